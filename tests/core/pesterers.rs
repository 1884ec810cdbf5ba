//! Whoever asks again and again, or says what has been answered: it costs nobody much.

use olmcast::{
    device::Identity,
    endpoint::{Admission, Event, Publish, Refusal, SubscriptionStatus},
    primitives::{DeviceId, RoomKeys, StreamRef},
    protocol::{Kind, StreamKeyWithheld, WithheldCode},
};

use crate::{
    hostile::subscribe_of,
    network::{Fate, Network, Room, invite},
    tools::{encode, signed, signed_content},
    trust::{decides, joins, publishing, requests, status},
};

fn asks(net: &mut Network, keys: &RoomKeys, stream: StreamRef, who: &Identity, sequence: u64) {
    let payload = serde_json::to_vec(&subscribe_of(who, stream, sequence)).unwrap();
    let to = Some(stream.publisher);
    let bytes = signed(&who.signer(), keys, to, Kind::Subscribe, &payload);
    net.deliver(stream.publisher, &encode(&bytes));
}

#[test]
fn whoever_is_refused_by_the_user_is_asked_about_less_and_less_often() {
    for thinks_for in [0, 30] {
        let (mut net, stream, keys) = publishing(Admission::Ask);
        let mallory = Identity::generate();
        let mut shown = None;
        for second in 0..1200 {
            asks(&mut net, &keys, stream, &mallory, second + 1);
            if !net.endpoint(stream.publisher).asking(stream.stream).is_empty() {
                shown.get_or_insert(second);
            }
            if shown.is_some_and(|shown| second >= shown + thinks_for) {
                shown = None;
                decides(&mut net, stream, |publisher, now| {
                    publisher.refuse(stream.stream, mallory.device(), now).unwrap();
                });
            }
            net.run(1000);
        }
        let asked = requests(&net, stream, mallory.device()).len();
        assert!((5..=10).contains(&asked), "{asked}");
    }
}

#[test]
fn whoever_is_blocked_or_without_the_invite_floods_neither_events_nor_the_channel() {
    for is_blocked in [true, false] {
        let (mut net, stream, keys) = publishing(Admission::Invite);
        let room = keys.room();
        let mallory = Identity::generate();
        let theirs = if is_blocked { keys.clone() } else { RoomKeys::without_invite(room) };
        if is_blocked {
            decides(&mut net, stream, |publisher, now| publisher.block(mallory.device(), now));
        }
        let sent = net.log.len();
        for sequence in 1..=200 {
            asks(&mut net, &theirs, stream, &mallory, sequence);
        }
        let told = |net: &Network| {
            let is_told = |event: &&Event| matches!(event, Event::Refused { .. });
            net.events(stream.publisher).filter(is_told).count()
        };
        assert!((1..=40).contains(&told(&net)), "{}", told(&net));
        assert!(net.log.len() - sent <= 40, "{}", net.log.len() - sent);
        // Later it is told again.
        let before = told(&net);
        net.run(5000);
        asks(&mut net, &theirs, stream, &mallory, 201);
        assert_eq!(told(&net), before + 1);
    }
}

#[test]
fn a_late_word_that_the_user_is_asked_does_not_undo_a_key() {
    let mut net = Network::new();
    let keys = invite().room_keys();
    let publisher = net.device(keys.clone());
    let stream = net.publish(publisher, &keys, Publish::new("camera").admission(Admission::Ask));
    let a = net.device(keys);
    // The first answer takes a detour.
    let mut is_first = true;
    net.rule = Box::new(move |from, to, bytes| {
        let withheld = signed_content::<StreamKeyWithheld>(bytes, Kind::StreamKeyWithheld);
        match (from, to, withheld) == (publisher, a, None) || from != publisher || to != a {
            true => Fate::Deliver,
            false if std::mem::take(&mut is_first) => Fate::Late(3000),
            false => Fate::Deliver,
        }
    });
    net.subscribe(a, stream);
    net.run(300);
    net.admit(stream, a).unwrap();
    net.run(1000);
    assert_eq!(status(&mut net, a, stream), SubscriptionStatus::Live);
    net.run(3000);
    assert_eq!(status(&mut net, a, stream), SubscriptionStatus::Live);
    assert!(!net.events(a).any(|event| matches!(event, Event::Withheld { .. })));
}

fn codes_told(net: &Network, to: DeviceId) -> Vec<WithheldCode> {
    let to_it = net.log.iter().filter(|(_, whom, _)| *whom == Some(to));
    let code = |(_, _, bytes): &(_, _, Vec<u8>)| {
        signed_content::<StreamKeyWithheld>(bytes, Kind::StreamKeyWithheld).map(|w| w.code)
    };
    to_it.filter_map(code).collect()
}

#[test]
fn a_device_cannot_find_out_which_names_are_known() {
    let (mut net, stream, keys) = publishing(Admission::Ask);
    let friend = joins(&mut net, &keys, stream, "Ada");
    net.admit(stream, friend).unwrap();
    net.run(500);
    let [known, free] = ["Ada", "Bob"].map(|name| joins(&mut net, &keys, stream, name));
    assert!(
        requests(&net, stream, known)[0].is_some() && requests(&net, stream, free)[0].is_none()
    );
    assert_eq!(codes_told(&net, known), [WithheldCode::Asked]);
    assert_eq!(codes_told(&net, free), [WithheldCode::Asked]);
}

#[test]
fn a_stranger_is_not_told_what_goes_on_in_a_room_that_it_has_no_invite_to() {
    // The door is closed, or only the verified are let in.
    for is_closed in [true, false] {
        let mut room = Room::with(1);
        let (stream, publisher) = (room.stream, room.stream.publisher);
        if is_closed {
            let kicked = room.subscribers[0];
            room.net.kick(stream, kicked);
        } else {
            let now = room.net.time();
            let endpoint = room.net.endpoint(publisher);
            endpoint.set_admission(stream.stream, Admission::Verified, now).unwrap();
        }
        let stranger = room.net.device(RoomKeys::without_invite(room.invite.room()));
        let member = room.net.device(room.invite.room_keys());
        for device in [stranger, member] {
            room.net.subscribe(device, stream);
            room.net.run(500);
        }
        let (reason, code) = match is_closed {
            true => (Refusal::Closed, WithheldCode::Closed),
            false => (Refusal::NotVerified, WithheldCode::NotVerified),
        };
        assert_eq!(codes_told(&room.net, stranger), [WithheldCode::NotAdmitted]);
        assert_eq!(codes_told(&room.net, member), [code]);
        let stream = stream.stream;
        let told = Event::Refused { stream, device: stranger, reason };
        assert!(room.net.events(publisher).any(|event| *event == told), "our user hears why");
    }
}

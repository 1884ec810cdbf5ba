//! What a publisher lets itself be asked for, and what it says to those who ask for more.

use olmcast::{
    device::Identity,
    endpoint::{Admission, Event, LeaveReason, Output, Publish, SubscriptionStatus},
    protocol::{Carrier, Envelope, Kind, OlmMessage, StreamKeyRequest, WithheldCode},
};

use crate::{
    hostile::{signed, subscribe_of},
    network::{Fate, LATENCY, Network, Room, invite},
    visitor::Visitor,
};

fn is_busy(event: &Event) -> bool {
    matches!(event, Event::Withheld { code: WithheldCode::Busy, retrying: true, .. })
}

fn rotations(room: &Room) -> usize {
    let rotated = |event: &&Event| matches!(event, Event::Rotated { .. });
    room.net.events(room.stream.publisher).filter(rotated).count()
}

#[test]
fn whoever_comes_and_goes_waits_longer_each_time_and_is_told_so() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let offer = room.net.offer(a, room.stream).bytes;
    let start = room.net.now;
    // It comes back as soon as it can, and leaves as soon as it is in, for a minute.
    while room.net.now < start + 60_000 {
        let held = room.net.endpoint(a).subscription(room.stream).is_some();
        if !held {
            let now = room.net.time();
            room.net.endpoint(a).subscribe(&offer, "", now).unwrap();
            room.net.flush(a);
        } else if room.reads(a) {
            room.net.unsubscribe(a, room.stream);
        }
        room.net.run(100);
    }
    // Let in at 0, 5, 15, 35 s: it costs the others four generations, where it could be a hundred.
    assert_eq!(rotations(&room), 4);
    assert!(room.net.events(a).filter(|event| is_busy(event)).count() >= 3);
    let status = room.net.endpoint(a).subscription(room.stream).unwrap().status;
    assert_eq!(status, SubscriptionStatus::Deferred(WithheldCode::Busy));
    assert!(room.reads(b));
    // And it does get in, without being asked to do anything.
    room.net.run(20_000);
    assert!(room.reads(a));
}

#[test]
fn a_holder_that_was_there_for_long_may_return_at_once() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    room.net.run(30_000);
    room.net.unsubscribe(a, room.stream);
    room.net.run(500);
    let (offer, now) = (room.net.offer(a, room.stream).bytes, room.net.time());
    room.net.endpoint(a).subscribe(&offer, "", now).unwrap();
    room.net.flush(a);
    room.net.run(300);
    assert!(room.reads(a));
}

#[test]
fn a_holder_that_starts_over_again_and_again_is_told_to_wait() {
    let mut room = Room::with(1);
    let (stream, publisher, keys) = (room.stream, room.stream.publisher, room.invite.room_keys());
    let member = Identity::generate();
    for sequence in 1..=10 {
        let subscribe = subscribe_of(&member, stream, sequence);
        let bytes = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &subscribe);
        room.net.deliver(publisher, &bytes);
    }
    let told = |room: &Room| {
        let log = room.net.log.iter().filter(|(_, to, _)| *to == Some(member.device()));
        log.filter(|(_, _, bytes)| bytes.windows(4).any(|text| text == b"busy")).count()
    };
    // The first, and three that start over.
    assert_eq!(told(&room), 6);
    assert_eq!(room.net.endpoint(publisher).holders(stream.stream).len(), 2);
    room.net.run(2000);
    let subscribe = subscribe_of(&member, stream, 11);
    let bytes = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &subscribe);
    room.net.deliver(publisher, &bytes);
    assert_eq!(told(&room), 6);
}

#[test]
fn a_crowd_beyond_the_limit_is_told_to_come_again_and_gets_in() {
    let mut room = Room::with(0);
    let (stream, publisher, keys) = (room.stream, room.stream.publisher, room.invite.room_keys());
    let a = room.net.device(keys.clone());
    room.net.run(2 * LATENCY);
    for _ in 0..2000 {
        let member = Identity::generate();
        let subscribe = subscribe_of(&member, stream, 1);
        let bytes = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &subscribe);
        room.net.deliver(publisher, &bytes);
    }
    let offer = room.net.offer(a, stream).bytes;
    let now = room.net.time();
    room.net.endpoint(a).subscribe(&offer, "", now).unwrap();
    let subscribe = room.net.endpoint(a).poll_output().unwrap();
    let Output::Send { bytes, .. } = subscribe else { panic!() };
    room.net.deliver(publisher, &bytes);
    assert_eq!(room.net.endpoint(publisher).holders(stream.stream).len(), 2000);
    room.net.run(100);
    assert!(room.net.events(a).any(is_busy));
    room.net.run(2000);
    assert!(room.reads(a));
}

#[test]
fn whoever_asks_for_keys_too_often_is_answered_busy_and_reads_on() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    // Forged frames of generations that never come make it ask; answers about what is forged
    // bring nothing, so it asks less and less.
    let sent = |room: &Room, from, to| {
        room.net.log.iter().filter(|(f, t, _)| (*f, *t) == (from, Some(to))).count()
    };
    let (asked, answered) = (sent(&room, a, publisher), sent(&room, publisher, a));
    for _ in 0..600 {
        let mut forged = vec![1, 1, 1];
        forged.extend([0x91, 0x50, 0x00]); // KID 5 << 12, CTR 1
        forged.extend([0; 40]);
        assert!(room.net.opens(a, room.stream, &forged).is_err());
        room.net.run(100);
    }
    let asked = sent(&room, a, publisher) - asked;
    let answered = sent(&room, publisher, a) - answered;
    // Each answer is confirmed, and there are three renewals in a minute.
    assert!((8..=30).contains(&asked), "{asked} in 60 s");
    assert!(answered <= 20, "{answered} in 60 s");
    assert!(room.reads(a));
}

#[test]
fn requests_beyond_the_limit_are_answered_with_when_to_come_again() {
    let mut room = Room::with(0);
    let mut visitor = Visitor::join(&mut room);
    for request in 1..=10 {
        let request = StreamKeyRequest { request, held: None, key_id: 1 };
        visitor.say(&mut room, OlmMessage::StreamKeyRequest(request));
    }
    let told = |text: &[u8]| {
        let log = room.net.log.iter().filter(|(_, to, _)| *to == Some(visitor.id()));
        log.filter(|(_, _, bytes)| bytes.windows(text.len()).any(|found| found == text)).count()
    };
    assert_eq!(told(br#""busy""#), 7, "all but three");
    assert_eq!(told(br#""request":10"#), 1);
}

#[test]
fn a_removed_holder_that_did_not_hear_of_it_is_told_when_it_speaks() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let publisher = room.stream.publisher;
    // The service says that it is gone, and loses what tells it so.
    room.net.rule = Box::new(move |from, to, _| match (from == publisher, to == a) {
        (true, true) => Fate::Lose,
        _ => Fate::Deliver,
    });
    let now = room.net.time();
    room.net.endpoint(publisher).handle_peer_gone(a, now);
    room.net.run(6000);
    let left =
        Event::HolderLeft { stream: room.stream.stream, device: a, reason: LeaveReason::Gone };
    assert!(room.net.events(publisher).any(|event| *event == left));
    room.net.rule = Box::new(|_, _, _| Fate::Deliver);
    // It sees frames that it cannot read, asks, hears, and subscribes anew, all in some seconds.
    for _ in 0..50 {
        let wire = room.net.frame(room.stream);
        let _ = room.net.opens(a, room.stream, &wire);
        room.net.run(100);
    }
    assert!(room.reads(a) && room.reads(b));
}

#[test]
fn an_unsubscribe_that_overtakes_its_subscribe_leaves_no_ghost() {
    let mut room = Room::with(0);
    let (publisher, stream) = (room.stream.publisher, room.stream);
    let a = room.net.device(room.invite.room_keys());
    room.net.run(2 * LATENCY);
    let is_subscribe = |bytes: &[u8]| match Envelope::decode(bytes).unwrap().carrier {
        Carrier::Signed(signed) => signed.kind == Kind::Subscribe,
        _ => false,
    };
    room.net.rule = Box::new(
        move |_, _, bytes| {
            if is_subscribe(bytes) { Fate::Late(300) } else { Fate::Deliver }
        },
    );
    let (offer, now) = (room.net.offer(a, stream).bytes, room.net.time());
    room.net.endpoint(a).subscribe(&offer, "", now).unwrap();
    room.net.flush(a);
    room.net.unsubscribe(a, stream);
    room.net.run(1000);
    assert!(room.net.endpoint(publisher).holders(stream.stream).is_empty());
    let joined = |event: &&Event| matches!(event, Event::HolderJoined { .. });
    assert_eq!(room.net.events(publisher).filter(joined).count(), 0);
}

#[test]
fn a_refusal_that_got_lost_is_said_again() {
    let mut net = Network::new();
    let keys = invite().room_keys();
    let publisher = net.device(keys.clone());
    let stream = net.publish(publisher, &keys, Publish::new("camera").admission(Admission::Ask));
    let a = net.device(keys.clone());
    net.subscribe(a, stream);
    net.run(100);
    net.rule = Box::new(move |_, to, _| if to == a { Fate::Lose } else { Fate::Deliver });
    let now = net.time();
    net.endpoint(publisher).refuse(stream.stream, a, now).unwrap();
    net.flush(publisher);
    net.run(1000);
    let asked = SubscriptionStatus::Deferred(WithheldCode::Asked);
    assert_eq!(net.endpoint(a).subscription(stream).unwrap().status, asked);
    net.rule = Box::new(|_, _, _| Fate::Deliver);
    // It repeats its question within 9.6 s.
    net.run(10_000);
    let refused = SubscriptionStatus::Closed(Some(WithheldCode::NotAdmitted));
    assert_eq!(net.endpoint(a).subscription(stream).unwrap().status, refused);
    let asked = |event: &&Event| matches!(event, Event::JoinRequest { .. });
    assert_eq!(net.events(publisher).filter(asked).count(), 1, "nobody is asked twice");
}

#[test]
fn whoever_asks_on_has_a_place_before_those_who_vanished() {
    let mut net = Network::new();
    let keys = invite().room_keys();
    let publisher = net.device(keys.clone());
    let stream = net.publish(publisher, &keys, Publish::new("camera").admission(Admission::Ask));
    let first = net.device(keys.clone());
    net.subscribe(first, stream);
    for _ in 0..255 {
        let member = Identity::generate();
        let subscribe = subscribe_of(&member, stream, 1);
        let bytes = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &subscribe);
        net.deliver(publisher, &bytes);
    }
    net.run(50_000);
    let late = net.device(keys);
    net.subscribe(late, stream);
    net.run(1000);
    let asked = |net: &Network, who| {
        let asked =
            |event: &Event| matches!(event, Event::JoinRequest { device, .. } if *device == who);
        net.events(publisher).any(asked)
    };
    assert!(!asked(&net, late) && net.events(late).any(is_busy));
    // The others did not repeat their question for a minute; the first one did.
    net.run(60_000);
    assert!(asked(&net, late));
    assert_eq!(net.admit(stream, first), Ok(()));
}

#[test]
fn whoever_must_wait_uses_up_nobody_elses_admission() {
    let mut room = Room::with(0);
    let (stream, publisher, keys) = (room.stream, room.stream.publisher, room.invite.room_keys());
    let a = room.net.device(keys.clone());
    room.net.run(2 * LATENCY);
    let member = Identity::generate();
    let send = |room: &mut Room, sequence, kind: Kind| {
        let subscribe = subscribe_of(&member, stream, sequence);
        // Who reads an `Unsubscribe` ignores the other fields.
        let bytes = signed(&member.signer(), &keys, publisher, kind, &subscribe);
        room.net.deliver(publisher, &bytes);
        bytes
    };
    send(&mut room, 1, Kind::Subscribe);
    send(&mut room, 2, Kind::Unsubscribe);
    // One message, which is answered `busy` each time that it comes, and may come again.
    let again = send(&mut room, 3, Kind::Subscribe);
    for _ in 0..2000 {
        room.net.deliver(publisher, &again);
    }
    let (offer, now) = (room.net.offer(a, stream).bytes, room.net.time());
    room.net.endpoint(a).subscribe(&offer, "", now).unwrap();
    let Some(Output::Send { bytes, .. }) = room.net.endpoint(a).poll_output() else { panic!() };
    room.net.deliver(publisher, &bytes);
    room.net.run(500);
    assert!(!room.net.events(a).any(is_busy));
    assert!(room.reads(a));
}

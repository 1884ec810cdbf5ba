//! A service can hide and delay. Whoever it does that to can see that something is wrong, and what.

use olmcast::{
    endpoint::{Event, LeaveReason, SubscriptionStatus},
    primitives::{Codec, DeviceId, StreamRef},
    protocol::{Carrier, Envelope, Kind, WithheldCode},
};

use crate::network::{Fate, Room, VIDEO};

fn hide(room: &mut Room, mut hidden: impl FnMut(DeviceId, DeviceId, &[u8]) -> bool + 'static) {
    room.net.rule = Box::new(
        move |from, to, bytes| {
            if hidden(from, to, bytes) { Fate::Lose } else { Fate::Deliver }
        },
    );
}

fn hide_nothing(room: &mut Room) {
    hide(room, |_, _, _| false);
}

fn carrier(bytes: &[u8]) -> Carrier {
    Envelope::decode(bytes).unwrap().carrier
}

fn is_olm(bytes: &[u8]) -> bool {
    matches!(carrier(bytes), Carrier::Olm(_))
}

fn is_of(kind: Kind, bytes: &[u8]) -> bool {
    matches!(carrier(bytes), Carrier::Signed(signed) if signed.kind == kind)
}

fn status(room: &mut Room, device: DeviceId) -> SubscriptionStatus {
    let stream = room.stream;
    room.net.endpoint(device).subscription(stream).unwrap().status
}

fn saw(room: &Room, device: DeviceId, expected: impl Fn(StreamRef) -> Event) -> bool {
    let expected = expected(room.stream);
    room.net.events(device).any(|event| *event == expected)
}

fn left(room: &Room, device: DeviceId) -> Option<LeaveReason> {
    room.net.events(room.stream.publisher).find_map(|event| match event {
        Event::HolderLeft { device: left, reason, .. } if *left == device => Some(*reason),
        _ => None,
    })
}

/// Somebody who asks while the service does as it likes.
fn asking(room: &mut Room) -> DeviceId {
    let device = room.net.device(room.invite.room_keys());
    room.net.run(100);
    let (offer, now) = (room.net.offer(device, room.stream).bytes, room.net.time());
    room.net.endpoint(device).subscribe(&offer, "", now).unwrap();
    room.net.flush(device);
    device
}

#[test]
fn a_hidden_subscribe_shows_as_unanswered() {
    let mut room = Room::with(0);
    let publisher = room.stream.publisher;
    hide(&mut room, move |_, to, bytes| to == publisher && is_of(Kind::Subscribe, bytes));
    let a = asking(&mut room);
    assert_eq!(status(&mut room, a), SubscriptionStatus::Asking);
    room.net.run(5500);
    assert_eq!(status(&mut room, a), SubscriptionStatus::Unanswered);
    assert!(saw(&room, a, |stream| Event::Unanswered { stream }));
    hide_nothing(&mut room);
    room.net.run(12_000);
    assert_eq!(status(&mut room, a), SubscriptionStatus::Live);
}

#[test]
fn a_hidden_first_key_shows_as_unanswered_and_its_holder_as_unconfirmed() {
    let mut room = Room::with(0);
    let (publisher, stream) = (room.stream.publisher, room.stream.stream);
    hide(&mut room, move |from, _, bytes| from == publisher && is_olm(bytes));
    let a = asking(&mut room);
    room.net.run(5500);
    assert_eq!(status(&mut room, a), SubscriptionStatus::Unanswered);
    assert!(saw(&room, a, |stream| Event::Unanswered { stream }));
    let holders = room.net.endpoint(publisher).holders(stream);
    assert_eq!(holders.iter().map(|h| (h.device, h.confirmed)).collect::<Vec<_>>(), [(a, None)]);
    room.net.run(60_000);
    assert_eq!(left(&room, a), Some(LeaveReason::LeaseExpired));
}

#[test]
fn hidden_acks_show_as_an_unconfirmed_holder_who_can_read() {
    let mut room = Room::with(0);
    let (publisher, stream) = (room.stream.publisher, room.stream.stream);
    hide(&mut room, move |_, to, bytes| to == publisher && is_olm(bytes));
    let a = asking(&mut room);
    room.net.run(10_000);
    assert_eq!(status(&mut room, a), SubscriptionStatus::Live);
    assert!(room.reads(a));
    assert_eq!(room.net.endpoint(publisher).holders(stream)[0].confirmed, None);
    hide_nothing(&mut room);
    room.net.run(10_000);
    assert!(room.net.endpoint(publisher).holders(stream)[0].confirmed.is_some());
}

#[test]
fn a_hidden_new_generation_shows_as_a_missing_key() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let publisher = room.stream.publisher;
    hide(&mut room, move |from, to, bytes| (from, to) == (publisher, a) && is_olm(bytes));
    room.net.unsubscribe(b, room.stream);
    for _ in 0..80 {
        room.net.run(50);
        let _ = room.reads(a);
    }
    room.net.run(500);
    assert_eq!(status(&mut room, a), SubscriptionStatus::KeyMissing);
    assert!(saw(&room, a, |stream| Event::KeyMissing { stream }));
    let holders = room.net.endpoint(publisher).holders(room.stream.stream);
    assert_eq!(holders[0].confirmed, None);
    hide_nothing(&mut room);
    room.net.run(10_000);
    assert!(room.reads(a));
    assert_eq!(status(&mut room, a), SubscriptionStatus::Live);
}

#[test]
fn a_holder_cut_off_in_both_directions_stalls_and_loses_its_lease() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    hide(&mut room, move |from, to, _| from == a || (from == publisher && to == a));
    room.net.run(61_000);
    assert_eq!(status(&mut room, a), SubscriptionStatus::Stalled);
    assert!(saw(&room, a, |stream| Event::Stalled { stream }));
    assert!(!room.reads(a));
    assert_eq!(left(&room, a), Some(LeaveReason::LeaseExpired));
    room.net.run(6000);
    assert!(saw(&room, a, |stream| Event::Unanswered { stream }));
    hide_nothing(&mut room);
    room.net.run(30_000);
    assert_eq!(status(&mut room, a), SubscriptionStatus::Live);
    assert!(saw(&room, a, |stream| Event::Resumed { stream }));
    assert!(room.reads(a));
}

#[test]
fn hidden_renewals_end_a_lease_and_the_holder_is_told() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    hide(&mut room, move |from, to, bytes| (from, to) == (a, publisher) && is_olm(bytes));
    room.net.run(60_500);
    assert_eq!(left(&room, a), Some(LeaveReason::LeaseExpired));
    assert!(saw(&room, a, |stream| Event::Withheld {
        stream,
        code: WithheldCode::Removed,
        retrying: true
    }));
    room.net.run(10_000);
    assert!(room.reads(a), "it asked again");
}

#[test]
fn hidden_answers_to_renewals_show_as_stalled() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    hide(&mut room, move |from, to, bytes| (from, to) == (publisher, a) && is_olm(bytes));
    room.net.run(62_000);
    assert_eq!(status(&mut room, a), SubscriptionStatus::Stalled);
    assert!(saw(&room, a, |stream| Event::Stalled { stream }));
}

#[test]
fn a_holder_that_is_said_to_be_gone_is_told_so_and_waits_with_a_reason() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    let mut deferred = Vec::new();
    for _ in 0..60 {
        let now = room.net.time();
        room.net.endpoint(publisher).handle_peer_gone(a, now);
        room.net.run(500);
        if let SubscriptionStatus::Deferred(code) = status(&mut room, a) {
            deferred.push(code);
        }
    }
    assert_eq!(left(&room, a), Some(LeaveReason::Gone));
    assert!(saw(&room, a, |stream| Event::Withheld {
        stream,
        code: WithheldCode::Removed,
        retrying: true
    }));
    assert!(deferred.contains(&WithheldCode::Removed));
    // It did not leave by itself, so that nobody can make it wait longer each time.
    room.net.run(6000);
    assert!(room.reads(a), "once the lies stop");
}

#[test]
fn a_publisher_that_is_said_to_be_gone_shows_as_gone_and_is_read_on() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    let now = room.net.time();
    room.net.endpoint(a).handle_peer_gone(room.stream.publisher, now);
    room.net.flush(a);
    assert!(saw(&room, a, |stream| Event::PublisherGone { stream }));
    room.net.run(100_000);
    assert_eq!(status(&mut room, a), SubscriptionStatus::Live);
    assert!(room.reads(a));
}

#[test]
fn a_hidden_unsubscribe_keeps_its_holder_for_one_lease() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    hide(&mut room, move |from, _, _| from == a);
    room.net.unsubscribe(a, room.stream);
    room.net.run(61_000);
    assert_eq!(left(&room, a), Some(LeaveReason::LeaseExpired));
    assert!(room.reads(b));
    let wire = room.net.frame(room.stream);
    let opened = room.hoards[0].try_open(Codec::Vp8, VIDEO, &wire);
    assert!(opened.is_none());
}

#[test]
fn a_hidden_removal_shows_as_a_missing_key_and_then_as_over() {
    let mut room = Room::with(2);
    let a = room.subscribers[0];
    hide(&mut room, move |_, to, bytes| to == a && is_of(Kind::StreamKeyWithheld, bytes));
    room.net.kick(room.stream, a);
    assert_eq!(left(&room, a), Some(LeaveReason::Kicked));
    for _ in 0..80 {
        room.net.run(50);
        let _ = room.reads(a);
    }
    room.net.run(500);
    assert_eq!(status(&mut room, a), SubscriptionStatus::KeyMissing);
    // It asks in vain, and in the end anew; unless that is hidden too, it hears why.
    hide_nothing(&mut room);
    room.net.run(70_000);
    assert_eq!(status(&mut room, a), SubscriptionStatus::Closed(Some(WithheldCode::Blocked)));
}

#[test]
fn a_hidden_end_shows_as_stalled_and_then_as_over() {
    let mut room = Room::with(1);
    let (a, publisher, stream) = (room.subscribers[0], room.stream.publisher, room.stream.stream);
    hide(&mut room, move |_, to, bytes| to == a && is_of(Kind::StreamEnd, bytes));
    let now = room.net.time();
    room.net.endpoint(publisher).end(stream, now).unwrap();
    room.net.flush(publisher);
    room.net.run(70_000);
    assert!(saw(&room, a, |stream| Event::Stalled { stream }));
    assert_eq!(status(&mut room, a), SubscriptionStatus::Closed(Some(WithheldCode::Ended)));
}

#[test]
fn hidden_beacons_cost_nobody_a_frame_and_old_steps_are_forgotten_nevertheless() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    hide(&mut room, |_, _, bytes| matches!(carrier(bytes), Carrier::Megolm { .. }));
    let old = room.net.frame(room.stream);
    room.join();
    room.net.run(1000);
    assert!(room.reads(a), "the step is derived from what it holds");
    // Its next renewal tells it where the stream is.
    room.net.run(30_000);
    let publisher = room.stream.publisher;
    let position = room.net.endpoint(publisher).position(room.stream.stream);
    assert_eq!(room.net.endpoint(a).subscription(room.stream).unwrap().position, position);
    assert!(room.net.opens(a, room.stream, &old).is_err());
    assert_eq!(status(&mut room, a), SubscriptionStatus::Live);
}

#[test]
fn an_old_offer_shown_again_after_its_end_gets_nobody_a_key() {
    let mut room = Room::with(1);
    let (a, publisher, stream) = (room.subscribers[0], room.stream.publisher, room.stream);
    let old = room.net.offer(a, stream).bytes;
    let now = room.net.time();
    room.net.endpoint(publisher).end(stream.stream, now).unwrap();
    room.net.flush(publisher);
    room.net.run(100);
    let late = room.net.device(room.invite.room_keys());
    let hoard = room.net.endpoint(late).hoard_keys();
    room.net.deliver(late, &old);
    let now = room.net.time();
    room.net.endpoint(late).subscribe(&old, "", now).unwrap();
    room.net.flush(late);
    room.net.run(1000);
    assert_eq!(status(&mut room, late), SubscriptionStatus::Closed(Some(WithheldCode::Ended)));
    assert_eq!(hoard.sessions(), 0);
}

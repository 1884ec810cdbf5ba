//! What a user interface can show of a stream, and since when.

use std::time::Duration;

use olmcast::{
    device::{Identity, TrustState},
    endpoint::{Admission, Publish, SubscriptionState, SubscriptionStatus},
    primitives::{DeviceId, Timestamp},
    protocol::WithheldCode,
};

use crate::network::{Fate, LATENCY, Network, Room, invite};

fn state(room: &mut Room, device: DeviceId) -> SubscriptionState {
    room.net.endpoint(device).subscription(room.stream).unwrap()
}

/// The status, and how many milliseconds after `start` it began.
fn status(room: &mut Room, device: DeviceId, start: Timestamp) -> (SubscriptionStatus, u128) {
    let SubscriptionState { status, since, .. } = state(room, device);
    (status, since.since(start).as_millis())
}

#[test]
fn whoever_waits_for_a_key_has_waited_since_it_asked() {
    let mut room = Room::with(0);
    let keys = room.invite.room_keys();
    let publisher = room.stream.publisher;
    let a = room.net.device(keys);
    room.net.run(2 * LATENCY);
    room.net.rule = Box::new(move |from, _, _| match from == publisher {
        true => Fate::Lose,
        false => Fate::Deliver,
    });
    let start = room.net.time();
    room.net.subscribe(a, room.stream);
    let asked = u128::from(2 * LATENCY);
    assert_eq!(status(&mut room, a, start), (SubscriptionStatus::Asking, asked));
    room.net.run(4000);
    assert_eq!(status(&mut room, a, start), (SubscriptionStatus::Asking, asked));
    room.net.run(4000);
    assert_eq!(status(&mut room, a, start), (SubscriptionStatus::Unanswered, asked));
    let waiting = state(&mut room, a);
    assert_eq!((waiting.holders, waiting.trust()), (None, TrustState::Unknown));
    room.net.rule = Box::new(|_, _, _| Fate::Deliver);
    room.net.run(10_000);
    let (status, since) = status(&mut room, a, start);
    assert_eq!(status, SubscriptionStatus::Live);
    assert!((8000..18_100).contains(&since), "{since}");
    let live = state(&mut room, a);
    assert_eq!((live.holders, live.trust()), (Some(1), TrustState::Pinned));
}

#[test]
fn a_key_has_been_missing_since_the_first_frame_that_needed_it() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let publisher = room.stream.publisher;
    let joined = state(&mut room, a).since;
    room.net.rule = Box::new(move |from, to, _| match (from, to) == (publisher, a) {
        true => Fate::Lose,
        false => Fate::Deliver,
    });
    room.net.unsubscribe(b, room.stream);
    room.net.run(2500);
    assert_eq!(state(&mut room, a).since, joined, "live for as long");
    let first = room.net.time();
    for _ in 0..12 {
        assert!(!room.reads(a));
        room.net.run(200);
    }
    // The endpoint looks every 250 ms.
    let (missing, since) = status(&mut room, a, first);
    assert_eq!(missing, SubscriptionStatus::KeyMissing);
    assert!(since <= 250, "{since}");
    room.net.rule = Box::new(|_, _, _| Fate::Deliver);
    room.net.run(9000);
    let (status, since) = status(&mut room, a, first);
    assert_eq!(status, SubscriptionStatus::Live);
    assert!(since >= 2400);
}

#[test]
fn a_stalled_stream_has_been_so_since_its_last_confirmation() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    // It joined within the first 500 ms, and was confirmed by that alone.
    let confirmed = state(&mut room, a).since;
    room.net.kill(publisher);
    room.net.run(59_000);
    assert_eq!(status(&mut room, a, confirmed), (SubscriptionStatus::Live, 0));
    room.net.run(2000);
    assert_eq!(status(&mut room, a, confirmed), (SubscriptionStatus::Stalled, 0));
}

#[test]
fn a_removed_holder_has_been_so_since_it_was_told() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    let kicked = room.net.time();
    room.net.kick(room.stream, a);
    room.net.run(5000);
    let removed = SubscriptionStatus::Closed(Some(WithheldCode::Removed));
    assert_eq!(status(&mut room, a, kicked), (removed, u128::from(LATENCY)));
    assert!(removed.to_string().contains("removed"));
}

#[test]
fn whoever_is_put_to_the_user_waits_in_one_state_for_the_answer() {
    let mut net = Network::new();
    let keys = invite().room_keys();
    let publisher = net.device(keys.clone());
    let stream = net.publish(publisher, &keys, Publish::new("camera").admission(Admission::Ask));
    let a = net.device_of(Identity::generate().with_name("Alice"), keys);
    net.subscribe(a, stream);
    let asked = net.time();
    let state = |net: &mut Network| net.endpoint(a).subscription(stream).unwrap();
    net.run(1000);
    let expected = SubscriptionStatus::Deferred(WithheldCode::Asked);
    // Its question is repeated and answered meanwhile.
    let sent = net.log.len();
    for _ in 0..600 {
        net.run(100);
        let SubscriptionState { status, since, .. } = state(&mut net);
        assert_eq!((status, since.since(asked)), (expected, Duration::from_millis(2 * LATENCY)));
    }
    assert!((10..=20).contains(&(net.log.len() - sent)), "asked and answered every 8 s");
    let asking = net.endpoint(publisher).asking(stream.stream);
    let [asking] = &asking[..] else { panic!() };
    assert_eq!((asking.device, &*asking.name, &*asking.claim), (a, "Alice", "somebody"));
    assert_eq!((asking.distrust, &asking.known), (None, &None));
    assert_eq!(asking.since.since(asked), Duration::from_millis(LATENCY));
    // Should nobody answer its repetition any more, that shows.
    net.rule = Box::new(|_, _, _| Fate::Lose);
    net.run(16_000);
    assert_eq!(state(&mut net).status, SubscriptionStatus::Unanswered);
    net.rule = Box::new(|_, _, _| Fate::Deliver);
    net.run(10_000);
    assert_eq!(state(&mut net).status, expected);
    // The answer to the first question is the answer to all of them.
    net.admit(stream, a).unwrap();
    net.flush(publisher);
    net.run(300);
    assert_eq!(state(&mut net).status, SubscriptionStatus::Live);
}

#[test]
fn the_roster_that_was_told_of_last_has_a_number_that_grows_with_each_change() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    let told = |room: &mut Room| {
        let code = room.net.endpoint(a).stream_code(room.stream);
        (state(room, a).roster_version.unwrap(), code.unwrap())
    };
    let first = told(&mut room);
    room.net.run(70_000);
    assert_eq!(told(&mut room), first, "steps and renewals change nothing");
    let b = room.join();
    room.net.run(2000);
    let second = told(&mut room);
    assert!(second.0 > first.0 && second.1 != first.1);
    room.net.unsubscribe(b, room.stream);
    room.net.run(3000);
    let third = told(&mut room);
    assert!(third.0 > second.0 && third.1 != second.1);
}

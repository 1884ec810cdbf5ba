use olmcast::{
    endpoint::{Event, LeaveReason, RotationCause},
    primitives::Codec,
};

use crate::network::{Fate, Room, VIDEO, ms};

/// When the encryptors switched, in milliseconds after the leave.
fn cut_over(room: &Room) -> Vec<(RotationCause, u64)> {
    room.net
        .events(room.stream.publisher)
        .filter_map(|event| match event {
            Event::Rotated { cause, since, switched, .. } => {
                Some((*cause, ms(switched.since(*since))))
            }
            _ => None,
        })
        .collect()
}

/// Nothing that is encrypted from now on opens for the one at `index`, whatever it kept.
fn is_cut_off(room: &mut Room, index: usize) -> bool {
    (0..20).all(|_| {
        room.net.run(50);
        let wire = room.net.frame(room.stream);
        room.hoards[index].try_open(Codec::Vp8, VIDEO, &wire).is_none()
    })
}

#[test]
fn a_leaver_cannot_decrypt_after_the_cut_over_and_the_others_can() {
    let mut room = Room::with(3);
    let [a, b, c] = room.subscribers[..] else { panic!() };
    room.net.unsubscribe(b, room.stream);
    room.net.run(500);
    let switched = cut_over(&room);
    assert_eq!(switched.len(), 1);
    assert!(switched[0].1 <= 400, "all acked, so it is not waited for: {switched:?}");
    assert!(is_cut_off(&mut room, 1));
    assert!(room.reads(a) && room.reads(c));
}

#[test]
fn a_leave_is_cut_over_within_two_seconds_if_a_holder_does_not_answer() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    room.net.rule = Box::new(move |from, _, _| if from == a { Fate::Lose } else { Fate::Deliver });
    room.net.unsubscribe(b, room.stream);
    room.net.run(3000);
    assert_eq!(cut_over(&room), [(RotationCause::Leave, 1950)]);
    assert!(is_cut_off(&mut room, 1));
    assert!(room.reads(a), "it was heard nothing of, but it holds the key");
}

#[test]
fn a_kick_is_cut_over_within_one_second_if_a_holder_does_not_answer() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    room.net.rule = Box::new(move |from, _, _| if from == a { Fate::Lose } else { Fate::Deliver });
    room.net.kick(room.stream, b);
    room.net.run(3000);
    assert_eq!(cut_over(&room), [(RotationCause::Kick, 950)]);
    assert!(is_cut_off(&mut room, 1));
}

#[test]
fn a_kick_is_cut_over_at_once_when_all_answer() {
    let mut room = Room::with(2);
    let b = room.subscribers[1];
    room.net.kick(room.stream, b);
    room.net.run(500);
    assert!(matches!(cut_over(&room)[..], [(RotationCause::Kick, after)] if after <= 50));
    assert!(room.net.opens(b, room.stream, &[1; 60]).is_err(), "the kicked one was told");
    assert!(is_cut_off(&mut room, 1));
}

#[test]
fn the_last_holder_leaving_rotates_as_well() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    room.net.kick(room.stream, a);
    room.net.run(10);
    assert_eq!(cut_over(&room), [(RotationCause::Kick, 0)]);
    assert!(is_cut_off(&mut room, 0));
}

#[test]
fn steady_churn_cannot_put_off_a_cut_over() {
    let mut room = Room::with(2);
    let stream = room.stream;
    // One joins and one leaves every 200 ms, for 10 s.
    for round in 0..50 {
        let oldest = room.subscribers[round + 1];
        room.join();
        room.net.run(160);
        room.net.unsubscribe(oldest, stream);
    }
    room.net.run(3000);
    let switched = cut_over(&room);
    assert!(switched.len() >= 4, "{switched:?}");
    assert!(switched.iter().all(|(_, after)| *after <= 2000), "{switched:?}");
    for left in 1..=50 {
        let wire = room.net.frame(stream);
        assert!(room.hoards[left].try_open(Codec::Vp8, VIDEO, &wire).is_none(), "{left}");
    }
    let stayed = room.subscribers[0];
    assert!(room.reads(stayed));
}

#[test]
fn one_who_leaves_while_the_new_session_is_handed_out_does_not_get_to_use_it() {
    let mut room = Room::with(3);
    let [a, b, c] = room.subscribers[..] else { panic!() };
    // a never acks, so that the rotation stays open until its deadline.
    room.net.rule = Box::new(move |from, _, _| if from == a { Fate::Lose } else { Fate::Deliver });
    room.net.unsubscribe(b, room.stream);
    room.net.run(1000);
    room.net.unsubscribe(c, room.stream);
    room.net.run(1200);
    assert_eq!(cut_over(&room), [(RotationCause::Leave, 1950)]);
    assert!(is_cut_off(&mut room, 1));
    assert!(is_cut_off(&mut room, 2), "the session that c was sent was voided");
    assert!(room.reads(a));
}

#[test]
fn a_holder_that_vanishes_is_removed_after_five_seconds_and_one_that_returns_is_not() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let publisher = room.stream.publisher;
    let now = room.net.time();
    for device in [a, b] {
        room.net.endpoint(publisher).handle_peer_gone(device, now);
    }
    room.net.run(4000);
    let now = room.net.time();
    room.net.endpoint(publisher).handle_peer_back(a, now);
    room.net.kill(b);
    room.net.run(3500);
    let left: Vec<_> = room
        .net
        .events(publisher)
        .filter_map(|event| match event {
            Event::HolderLeft { device, reason, .. } => Some((*device, *reason)),
            _ => None,
        })
        .collect();
    assert_eq!(left, [(b, LeaveReason::Gone)]);
    assert!(is_cut_off(&mut room, 1));
    assert!(room.reads(a));
}

#[test]
fn a_holder_that_stops_renewing_loses_its_lease_after_sixty_seconds() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    room.net.rule = Box::new(move |from, _, _| if from == b { Fate::Lose } else { Fate::Deliver });
    room.net.run(59_000);
    assert!(cut_over(&room).is_empty());
    room.net.run(30_000);
    assert_eq!(cut_over(&room).len(), 1);
    let publisher = room.stream.publisher;
    let reason = LeaveReason::LeaseExpired;
    let expired = Event::HolderLeft { stream: room.stream.stream, device: b, reason };
    assert!(room.net.events(publisher).any(|event| *event == expired));
    assert!(room.reads(a) && !room.reads(b));
}

#[test]
fn a_kick_of_a_leaver_that_just_came_back_has_a_kicks_deadline() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let offer = room.net.offer(b, room.stream).bytes;
    room.net.run(30_000);
    // One holder answers nothing, so the switch waits for its deadline.
    room.net.rule = Box::new(move |from, _, _| if from == a { Fate::Lose } else { Fate::Deliver });
    room.net.unsubscribe(b, room.stream);
    room.net.run(10);
    let now = room.net.time();
    room.net.endpoint(b).subscribe(&offer, "", now).unwrap();
    room.net.flush(b);
    room.net.run(50);
    // It is a holder again, and was sent nothing yet; what it had it still has.
    assert_eq!(room.net.endpoint(room.stream.publisher).holders(room.stream.stream).len(), 2);
    room.net.kick(room.stream, b);
    room.net.run(1000);
    assert!(is_cut_off(&mut room, 1));
}

//! A removal is never late: not in a crowd, and not if nobody drives the endpoint.

use std::time::Duration;

use olmcast::{
    device::Identity,
    endpoint::{Event, Output, Recipient},
    primitives::Codec,
    protocol::{Carrier, Envelope, Kind},
};

use crate::{
    hostile::{signed, subscribe_of},
    network::{Fate, Room, VIDEO},
};

#[test]
fn encryptors_stop_when_their_endpoint_is_not_driven() {
    for (kick, deadline) in [(false, 2000), (true, 1000)] {
        let mut room = Room::with(2);
        let [a, b] = room.subscribers[..] else { panic!() };
        let (stream, publisher) = (room.stream, room.stream.publisher);
        let encryptor = room.net.encryptor(stream);
        assert!(!encryptor.is_overdue(room.net.time()));
        // One holder answers nothing any more, so the switch waits for its deadline.
        room.net.rule =
            Box::new(move |from, _, _| if from == a { Fate::Lose } else { Fate::Deliver });
        if kick {
            room.net.kick(stream, b);
        } else {
            room.net.unsubscribe(b, stream);
            let bytes = room.net.log.last().unwrap().2.clone();
            room.net.deliver(publisher, &bytes);
        }
        // From here on its driver hangs.
        let left = room.net.time();
        let after = |ms| left + Duration::from_millis(ms);
        assert!(!encryptor.is_overdue(after(deadline)));
        assert!(encryptor.is_overdue(after(deadline + 1)));

        // It is driven again, and switches at once.
        room.net.endpoint(publisher).handle_timeout(after(10_000));
        room.net.flush(publisher);
        assert!(!encryptor.is_overdue(after(10_000)));
        let wire = room.net.frame(stream);
        assert!(room.hoards[1].try_open(Codec::Vp8, VIDEO, &wire).is_none());
    }
}

#[test]
fn whoever_is_driven_in_time_is_never_overdue() {
    let mut room = Room::with(3);
    let stream = room.stream;
    let encryptor = room.net.encryptor(stream);
    for round in 0..400_usize {
        match round % 40 {
            7 => {
                let leaver = room.subscribers[round / 40];
                room.net.unsubscribe(leaver, stream);
            }
            20 => {
                room.join();
            }
            _ => {}
        }
        room.net.run(25);
        assert!(!encryptor.is_overdue(room.net.time()), "{round}");
    }
    // A fresh session each hour is nobody's removal.
    room.net.run(3_601_000);
    let rotated = |event: &&Event| matches!(event, Event::Rotated { .. });
    assert!(room.net.events(stream.publisher).filter(rotated).count() > 10);
    assert!(!encryptor.is_overdue(room.net.time()));
}

#[test]
fn a_fresh_session_for_its_own_sake_stops_nobody() {
    let mut room = Room::with(1);
    let encryptor = room.net.encryptor(room.stream);
    let soon = 1_800_000_000_000 + 3_599_900;
    room.net.run(soon - room.net.now);
    // Nobody confirms the new session, and the endpoint is not driven any more.
    room.net.rule = Box::new(|_, _, _| Fate::Lose);
    let before = room.net.log.len();
    room.net.run(200);
    let handed = room.net.log[before..].iter().filter(|(_, _, bytes)| bytes.len() > 400).count();
    assert_eq!(handed, 1, "the session is being replaced");
    assert!(!encryptor.is_overdue(room.net.time() + Duration::from_secs(3600)));
}

/// Holders that never confirm, and are handed every generation's key.
fn crowd(room: &mut Room, count: usize) -> Vec<Identity> {
    let (publisher, keys) = (room.stream.publisher, room.invite.room_keys());
    let members: Vec<_> = (0..count).map(|_| Identity::generate()).collect();
    for member in &members {
        let subscribe = subscribe_of(member, room.stream, 1);
        let bytes = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &subscribe);
        room.net.deliver(publisher, &bytes);
    }
    room.net.run(200);
    members
}

#[test]
fn a_crowd_is_dealt_with_in_slices_and_the_deadline_holds() {
    let mut room = Room::with(1);
    let (a, stream, publisher) = (room.subscribers[0], room.stream, room.stream.publisher);
    let members = crowd(&mut room, 1000);
    let holders = room.net.endpoint(publisher).holders(stream.stream).len();
    assert_eq!(holders, 1001);
    room.net.log.clear();

    let now = room.net.time();
    let endpoint = room.net.endpoint(publisher);
    endpoint.kick(stream.stream, members[500].device(), now).unwrap();
    let mut handed = Vec::new();
    loop {
        let mut slice = 0;
        while let Some(output) = endpoint.poll_output() {
            if let Output::Send { to: Recipient::Device(to), bytes } = output
                && matches!(Envelope::decode(&bytes).unwrap().carrier, Carrier::Olm(_))
            {
                assert!(bytes.len() <= 600, "{} bytes", bytes.len());
                assert_ne!(to, members[500].device());
                handed.push(to);
                slice += 1;
            }
        }
        assert!(slice <= 256, "{slice} at once");
        if endpoint.poll_timeout().unwrap() > now {
            break;
        }
        endpoint.handle_timeout(now);
    }
    handed.sort();
    handed.dedup();
    assert_eq!(handed.len(), 1000, "everybody who stays");

    // It is cut off in time although hardly anybody confirms, …
    room.net.run(1000);
    let switched = room.net.events(publisher).find_map(|event| match event {
        Event::Rotated { since, switched, .. } => Some(switched.since(*since)),
        _ => None,
    });
    assert!(switched.unwrap() <= Duration::from_secs(1));
    // … and who confirms has the key, at the latest when it is sent again.
    room.net.run(1500);
    assert!(room.reads(a));
}

#[test]
fn a_slice_that_was_not_handed_out_before_the_switch_is_handed_out_after_it() {
    let mut room = Room::with(0);
    let (stream, publisher) = (room.stream, room.stream.publisher);
    let members = crowd(&mut room, 600);
    let a = room.join();
    room.net.run(500);
    assert!(room.reads(a));
    // Its driver hangs right after the first slice of a kick, longer than the deadline.
    let now = room.net.time();
    room.net.endpoint(publisher).kick(stream.stream, members[0].device(), now).unwrap();
    let late = now + Duration::from_millis(1500);
    room.net.endpoint(publisher).handle_timeout(late);
    room.net.flush(publisher);
    let rotated = |event: &Event| matches!(event, Event::Rotated { .. });
    assert!(room.net.events(publisher).any(rotated), "it switches first");
    room.net.now += 1500;
    room.net.run(1000);
    assert!(room.reads(a), "the last of all");
}

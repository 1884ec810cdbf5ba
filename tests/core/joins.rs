use olmcast::{
    endpoint::Event,
    primitives::{Codec, Generation},
};

use crate::network::{LATENCY, Room, VIDEO};

#[test]
fn a_joiner_reads_from_its_own_step_on() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    assert!(room.reads(a));
}

#[test]
fn a_joiner_cannot_read_what_was_encrypted_before_it_joined() {
    let mut room = Room::with(1);
    let past: Vec<_> = (0..10)
        .map(|_| {
            room.net.run(50);
            room.net.frame(room.stream)
        })
        .collect();
    let late = room.join();
    room.net.run(500);
    assert!(room.reads(late));
    for wire in &past {
        assert!(room.net.opens(late, room.stream, wire).is_err());
        assert!(room.hoards[1].try_open(Codec::Vp8, VIDEO, wire).is_none());
    }
    // That the frames are there to be opened, the one who was there shows.
    assert!(room.hoards[0].try_open(Codec::Vp8, VIDEO, &past[0]).is_some());
}

#[test]
fn a_join_costs_those_who_are_there_no_message_of_their_own() {
    let mut room = Room::with(3);
    let before = room.net.log.len();
    let late = room.join();
    room.net.run(500);
    let to_others = room.net.log[before..]
        .iter()
        .filter(|(from, to, _)| {
            *from == room.stream.publisher && to.is_some_and(|device| device != late)
        })
        .count();
    assert_eq!(to_others, 0);
    for device in room.subscribers.clone() {
        assert!(room.reads(device));
    }
}

#[test]
fn those_who_were_there_read_on_even_if_the_beacon_is_lost() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    room.net.rule = Box::new(move |from, to, _| match (from == publisher, to == a) {
        (true, true) => crate::network::Fate::Lose,
        _ => crate::network::Fate::Deliver,
    });
    room.join();
    room.net.run(500);
    assert!(room.reads(a));
}

#[test]
fn joins_at_the_same_time_share_one_step() {
    let mut room = Room::with(0);
    for _ in 0..5 {
        let device = room.net.device(room.invite.room_keys());
        room.subscribers.push(device);
    }
    room.net.run(2 * LATENCY);
    for device in room.subscribers.clone() {
        let (offer, now) = (room.net.offer(device, room.stream), room.net.time());
        room.net.endpoint(device).subscribe(&offer.bytes, "", now).unwrap();
        room.net.flush(device);
    }
    room.net.run(500);
    let steps = room
        .net
        .events(room.stream.publisher)
        .filter(|event| matches!(event, Event::Stepped { .. }))
        .count();
    assert_eq!(steps, 1);
    for device in room.subscribers.clone() {
        assert!(room.reads(device));
    }
}

#[test]
fn the_same_subscribe_again_is_answered_with_the_same_bytes() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    let to_a = |room: &Room| {
        let log = room.net.log.iter();
        log.filter(|(from, to, _)| (*from, *to) == (publisher, Some(a)))
            .map(|(_, _, bytes)| bytes.clone())
            .collect::<Vec<_>>()
    };
    let subscribe = room
        .net
        .log
        .iter()
        .find(|(from, ..)| *from == a)
        .map(|(_, _, bytes)| bytes.clone())
        .unwrap();
    let first = to_a(&room)[0].clone();
    let before = to_a(&room).len();
    room.net.deliver(publisher, &subscribe);
    assert_eq!(to_a(&room).len(), before, "it was only just answered");
    room.net.run(1000);
    for _ in 0..10 {
        room.net.deliver(publisher, &subscribe);
    }
    assert_eq!(to_a(&room)[before..], [first], "and once a second is enough");
}

#[test]
fn a_stream_out_of_steps_goes_on_in_a_new_generation() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    // A step a minute, and renewals in between: 68 hours would pass, but a session lives an hour.
    for _ in 0..62 {
        room.net.run(60_000);
        assert!(room.reads(a));
    }
    let position = room.net.endpoint(room.stream.publisher).position(room.stream.stream).unwrap();
    assert_eq!(position.generation, Generation(1));
}

use olmcast::{endpoint::Event, sframe::DecryptError};

use crate::network::{Fate, LATENCY, Room};

#[test]
fn keys_arrive_over_a_network_that_loses_repeats_and_reorders() {
    for seed in 0..20_u64 {
        let mut room = Room::with(0);
        let mut state = seed + 1;
        room.net.rule = Box::new(move |_, _, _| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            match (state >> 33) % 10 {
                0..=2 => Fate::Lose,
                3 => Fate::Twice,
                4 | 5 => Fate::Late(200),
                _ => Fate::Deliver,
            }
        });
        let devices: Vec<_> = (0..4)
            .map(|_| {
                let device = room.net.device(room.invite.room_keys());
                let offer = room.net.endpoint(room.stream.publisher);
                let offer = offer.offer(room.stream.stream).unwrap();
                room.net.deliver(device, &offer);
                let now = room.net.time();
                room.net.endpoint(device).subscribe(&offer, "", now).unwrap();
                room.net.flush(device);
                device
            })
            .collect();
        room.net.run(20_000);
        for &device in &devices {
            assert!(room.reads(device), "seed {seed}");
        }
        room.net.kick(room.stream, devices[0]);
        room.net.run(20_000);
        assert!(!room.reads(devices[0]), "seed {seed}");
        for &device in &devices[1..] {
            assert!(room.reads(device), "seed {seed}");
        }
    }
}

#[test]
fn a_key_that_was_lost_is_asked_for_when_its_frames_come() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let publisher = room.stream.publisher;
    // The new generation's key and all its repeats are lost on the way to a, for a while.
    room.net.rule = Box::new(move |from, to, _| match (from == publisher, to == a) {
        (true, true) => Fate::Lose,
        _ => Fate::Deliver,
    });
    room.net.kick(room.stream, b);
    room.net.run(1100);
    room.net.rule = Box::new(|_, _, _| Fate::Deliver);
    let wire = room.net.frame(room.stream);
    assert!(matches!(room.net.opens(a, room.stream, &wire), Err(DecryptError::UnknownKey(_))));
    let asked_at = room.net.now;
    while room.net.opens(a, room.stream, &wire).is_err() {
        room.net.run(10);
        assert!(room.net.now < asked_at + 360 + 2 * LATENCY, "asked for within 350 ms");
    }
}

#[test]
fn a_subscriber_without_confirmation_stalls_says_so_and_recovers() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    room.net.rule =
        Box::new(move |from, _, _| if from == publisher { Fate::Lose } else { Fate::Deliver });
    room.net.run(85_000);
    let stalled = Event::Stalled { stream: room.stream };
    assert!(room.net.events(a).any(|event| *event == stalled));
    assert!(!room.reads(a), "it renders nothing");
    room.net.rule = Box::new(|_, _, _| Fate::Deliver);
    room.net.run(10_000);
    assert!(room.net.events(a).any(|event| *event == Event::Resumed { stream: room.stream }));
    assert!(room.reads(a));
}

#[test]
fn key_requests_are_answered_three_at_once_and_then_one_in_two_seconds() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    let answers = |room: &Room| {
        let log = room.net.log.iter();
        log.filter(|(from, to, _)| (*from, *to) == (publisher, Some(a))).count()
    };
    // Frames of a generation that never comes, forged by somebody on the way.
    let mut asked = 0;
    let before = answers(&room);
    for _ in 0..60 {
        let mut forged = vec![1, 1, 1];
        forged.extend([0x91, 0x50, 0x00]); // KID 5 << 12, CTR 1
        forged.extend([0; 40]);
        let error = room.net.opens(a, room.stream, &forged).unwrap_err();
        asked += u32::from(matches!(error, DecryptError::UnknownKey(_)));
        room.net.run(100);
    }
    assert_eq!(asked, 60);
    let answered = answers(&room) - before;
    assert!((1..=6).contains(&answered), "{answered} answers in 6 s");
    assert!(room.reads(a));
}

//! A relay that sends frames of its own making at line rate: they cost at most one attempt to open
//! each, move nothing, cost no honest frame, and make nobody ask without end.

use std::time::{Duration, Instant};

use olmcast::{
    endpoint::SubscriptionStatus,
    media::{self, FrameDecryptor, hazmat},
    primitives::{Codec, DeviceId, Generation, Position, Step, Timestamp},
    protocol::{Carrier, Envelope},
    sframe::{BaseKey, CipherSuite, Counter, DecryptError, Header, KeyId},
};

use crate::network::Room;

const FORGED_A_SECOND: u64 = 2000;
const HONEST_EVERY_MS: u64 = 33;
const SECONDS: u64 = 20;

/// Random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

/// A VP8 delta frame's clear bytes, a header, and what nobody encrypted.
fn forged(key_id: u64, counter: u64, payload: usize) -> Vec<u8> {
    let header = Header { key_id: KeyId(key_id), counter: Counter(counter) }.encode();
    [&[1; 3][..], header.as_slice(), &vec![0x55; payload + 16]].concat()
}

fn key_id(generation: u32, step: u32) -> u64 {
    let step = Step::new(step).unwrap();
    media::key_id(Position { generation: Generation(generation), step }).0
}

/// A room that has seen a generation go and some steps pass, with one subscriber.
fn room() -> (Room, DeviceId, Position) {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    room.net.unsubscribe(b, room.stream);
    room.net.run(5000);
    for _ in 0..3 {
        room.join();
        room.net.run(5000);
    }
    let publisher = room.stream.publisher;
    let position = room.net.endpoint(publisher).position(room.stream.stream).unwrap();
    assert_eq!((position.generation.0, position.step.get()), (1, 3));
    (room, a, position)
}

/// Olm messages of a device, which are requests, renewals and acks.
fn said(room: &Room, device: DeviceId) -> usize {
    let by_device = |(from, _, bytes): &&(DeviceId, Option<DeviceId>, Vec<u8>)| {
        *from == device && matches!(Envelope::decode(bytes).unwrap().carrier, Carrier::Olm(_))
    };
    room.net.log.iter().filter(by_device).count()
}

/// Floods a subscriber with frames that `next` names by key id and counter. Returns how many were
/// refused how, and how much the subscriber said meanwhile.
fn flood(next: impl Fn(&mut Dice) -> (u64, u64)) -> (Vec<(DecryptError, usize)>, usize) {
    let (mut room, a, position) = room();
    let mut decryptor = room.net.decryptor(a, room.stream);
    let mut dice = Dice(1);
    let (mut counts, mut out) = (Vec::<(DecryptError, usize)>::new(), Vec::new());
    let (before, start) = (said(&room, a), room.net.now);
    while room.net.now < start + SECONDS * 1000 {
        let (key_id, counter) = next(&mut dice);
        let now = room.net.time();
        for _ in 0..FORGED_A_SECOND / 1000 {
            let wire = forged(key_id, counter, 100);
            let error = decryptor.decrypt_into(&wire, now, &mut out).unwrap_err();
            // Which key was missing does not matter here.
            let error = match error {
                DecryptError::UnknownKey(_) => DecryptError::UnknownKey(KeyId(0)),
                other => other,
            };
            match counts.iter_mut().find(|(counted, _)| *counted == error) {
                Some((_, count)) => *count += 1,
                None => counts.push((error, 1)),
            }
        }
        if (room.net.now - start).is_multiple_of(HONEST_EVERY_MS) {
            let wire = room.net.frame(room.stream);
            decryptor.decrypt_into(&wire, now, &mut out).expect("an honest frame");
        }
        room.net.run(1);
    }
    let said = said(&room, a) - before;
    let state = room.net.endpoint(a).subscription(room.stream).unwrap();
    assert_eq!(state.position, Some(position), "the head stays");
    let status = [SubscriptionStatus::Live, SubscriptionStatus::KeyMissing];
    assert!(status.contains(&state.status), "{:?}", state.status);
    assert_eq!(state.opened, SECONDS * 1000 / HONEST_EVERY_MS + 1);
    // The floor stays too: a frame of before, under the oldest step that is left, still opens.
    let wire = room.net.frame(room.stream);
    room.join();
    room.net.run(400);
    assert_eq!(room.net.opens(a, room.stream, &wire), Ok(()));
    assert!(room.reads(a));
    assert_eq!(counts.iter().map(|(_, n)| n).sum::<usize>() as u64, FORGED_A_SECOND * SECONDS);
    (counts, said)
}

fn count(counts: &[(DecryptError, usize)], error: DecryptError) -> usize {
    counts.iter().find(|(counted, _)| *counted == error).map_or(0, |(_, count)| *count)
}

/// What a subscriber says of itself in that time: two renewals.
const OF_ITSELF: usize = 2;

#[test]
fn steps_far_ahead_are_derived_ten_times_a_second_and_asked_for_never() {
    let (counts, said) = flood(|dice| (key_id(1, 12 + dice.roll(4084) as u32), dice.roll(1 << 20)));
    let tried = count(&counts, DecryptError::Authentication);
    assert!((1..=10 * (SECONDS as usize + 1)).contains(&tried), "{counts:?}");
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!(count(&counts, DecryptError::Limit) > 0);
    assert!(said <= OF_ITSELF, "{said}");
}

#[test]
fn steps_just_ahead_and_the_present_one_are_tried_once_a_frame() {
    let (counts, said) = flood(|dice| (key_id(1, 3 + dice.roll(9) as u32), 5000 + dice.roll(1000)));
    assert_eq!(count(&counts, DecryptError::Authentication), counts[0].1);
    assert_eq!(counts.len(), 1, "{counts:?}");
    assert!(said <= OF_ITSELF, "{said}");
}

#[test]
fn what_has_expired_or_is_no_position_is_never_tried() {
    let (counts, said) = flood(|dice| match dice.roll(4) {
        0 => (key_id(0, dice.roll(4096) as u32), dice.roll(1 << 20)),
        1 => (key_id(1, dice.roll(3) as u32), dice.roll(1 << 20)),
        2 => (u64::MAX - dice.roll(1 << 20), dice.roll(1 << 20)),
        _ => (key_id(1, 4 + dice.roll(4092) as u32), (1 << 20) + dice.roll(1 << 30)),
    });
    assert_eq!(count(&counts, DecryptError::Authentication), 0, "{counts:?}");
    assert!(count(&counts, DecryptError::Expired) > 0 && count(&counts, DecryptError::Limit) > 0);
    assert_eq!(counts.len(), 2, "{counts:?}");
    assert!(said <= OF_ITSELF, "{said}");
}

#[test]
fn generations_that_do_not_exist_are_asked_for_less_and_less() {
    let (counts, said) = flood(|dice| {
        let generation = 2 + dice.roll(u64::from(u32::MAX) - 2) as u32;
        (key_id(generation, dice.roll(4096) as u32), dice.roll(1 << 20))
    });
    assert_eq!(count(&counts, DecryptError::UnknownKey(KeyId(0))), counts[0].1, "{counts:?}");
    assert_eq!(counts.len(), 1);
    // After answers that did not help: pauses of 1, 2, 4, 8, 8 s. Each answer is confirmed.
    assert!((1..=OF_ITSELF + 2 * 6).contains(&said), "{said} messages in {SECONDS} s");
}

#[test]
fn everything_at_once_is_no_worse() {
    let (counts, said) = flood(|dice| {
        let step = dice.roll(4096) as u32;
        let key_id = match dice.roll(5) {
            0 => key_id(0, step),
            1 => key_id(2 + step, step),
            2 => dice.roll(u64::MAX),
            _ => key_id(1, step),
        };
        (key_id, dice.roll(1 << 24))
    });
    assert_eq!(count(&counts, DecryptError::Syntax), 0, "{counts:?}");
    assert!(said <= OF_ITSELF + 2 * 6, "{said} messages in {SECONDS} s");
}

/// What each byte of a forged frame costs, with as few other costs as can be.
fn cost_of_payload(decryptor: &mut FrameDecryptor, now: Timestamp, key_id: u64) -> Duration {
    const LARGE: usize = 1 << 20;
    let mut out = Vec::with_capacity(2 * LARGE);
    let [small, large] = [1, LARGE].map(|payload| forged(key_id, 9000, payload));
    let mut least = |wire: &[u8]| {
        let mut time = || {
            let start = Instant::now();
            let refused = decryptor.decrypt_into(wire, now, &mut out);
            let time = start.elapsed();
            assert_eq!(refused, Err(DecryptError::Authentication));
            time
        };
        (0..50).map(|_| time()).min().unwrap()
    };
    let small = least(&small);
    least(&large).saturating_sub(small)
}

/// There is no counter of attempts, so the clock must tell: with as many keys at hand as there can
/// be, a large frame costs what it costs a decryptor that has one key and nothing to choose from.
#[test]
fn a_forged_frame_costs_one_attempt_to_open() {
    let (mut room, a, _) = room();
    for _ in 0..20 {
        room.join();
        room.net.run(170);
        assert!(room.reads(a));
    }
    let publisher = room.stream.publisher;
    let position = room.net.endpoint(publisher).position(room.stream.stream).unwrap();
    let (now, present) = (room.net.time(), media::key_id(position).0);
    let base_key = BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(7));
    let mut with_one_key = hazmat::decryptor(Codec::Vp8, base_key, KeyId(present));
    let mut decryptor = room.net.decryptor(a, room.stream);
    // Each on its own may meet with a busy machine.
    let is_one = |_| {
        let one = cost_of_payload(&mut with_one_key, now, present);
        [present, present - 3, present + 5].into_iter().all(|key_id| {
            let cost = cost_of_payload(&mut decryptor, now, key_id);
            cost < one * 3 / 2
        })
    };
    assert!((0..20).any(is_one));
}

use std::sync::{atomic::AtomicU64, mpsc};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

use super::*;
use crate::{
    media::{FrameDecryptor, key_id, position},
    primitives::Codec,
    sframe::{CipherSuite, Counter, SealKey},
};

const TRACK: TrackId = TrackId(1);

/// Keys made of nothing but their place, from a first step on.
struct Toy(Step);

fn base_key(step: Step, track: TrackId) -> BaseKey {
    BaseKey::fill(CipherSuite::default(), |bytes| {
        bytes[..2].copy_from_slice(&step.get().to_be_bytes());
        bytes[2..4].copy_from_slice(&track.0.to_be_bytes());
    })
}

impl GenerationKeys for Toy {
    fn base_key(&mut self, step: Step, track: TrackId) -> Option<BaseKey> {
        (step >= self.0).then(|| base_key(step, track))
    }
    fn advance_to(&mut self, step: Step) {
        self.0 = self.0.max(step);
    }
}

fn at(generation: u32, step: u32) -> Position {
    Position { generation: Generation(generation), step: Step::new(step).unwrap() }
}

fn frame(position: Position) -> Vec<u8> {
    let seal = SealKey::new(base_key(position.step, TRACK), key_id(position));
    let mut wire = Vec::new();
    seal.seal_into(b"", b"frame", &mut wire, 0).unwrap();
    wire
}

fn ring_at(position: Position) -> (SharedKeyRing, FrameDecryptor) {
    let ring = SharedKeyRing::default();
    ring.lock().install(position, Box::new(Toy(position.step)), Timestamp::default());
    (ring.clone(), FrameDecryptor::new(Codec::Opus, ring, TRACK))
}

fn decrypt(decryptor: &mut FrameDecryptor, wire: &[u8], ms: u64) -> Result<(), DecryptError> {
    decryptor.decrypt_into(wire, Timestamp::from_unix_millis(ms), &mut Vec::new())
}

#[test]
fn a_later_step_is_derived_on_the_spot_and_an_earlier_one_never() {
    let (_, mut decryptor) = ring_at(at(0, 5));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 7)), 0), Ok(()));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 5)), 0), Ok(()));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 4)), 0), Err(DecryptError::Expired));
}

#[test]
fn a_frame_moves_neither_head_nor_floor() {
    let (ring, mut decryptor) = ring_at(at(0, 0));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 4095)), 0), Ok(()));
    ring.lock().handle_timeout(Timestamp::from_unix_millis(60_000));
    assert_eq!(ring.lock().head(), Some(at(0, 0)));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 0)), 60_000), Ok(()));
}

#[test]
fn an_announced_step_expires_the_ones_before_it_after_two_seconds() {
    let (ring, mut decryptor) = ring_at(at(0, 0));
    ring.lock().announce(at(0, 1), Timestamp::from_unix_millis(1000));
    ring.lock().handle_timeout(Timestamp::from_unix_millis(2999));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 0)), 2999), Ok(()));
    ring.lock().handle_timeout(Timestamp::from_unix_millis(3000));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 0)), 3000), Err(DecryptError::Expired));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 1)), 3000), Ok(()));
}

#[test]
fn an_older_generation_expires_and_an_unknown_newer_one_is_noted() {
    let (ring, mut decryptor) = ring_at(at(1, 0));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 0)), 0), Err(DecryptError::Expired));
    let unknown = key_id(at(2, 0));
    assert_eq!(
        decrypt(&mut decryptor, &frame(at(2, 0)), 7),
        Err(DecryptError::UnknownKey(unknown))
    );
    let noticed = Timestamp::from_unix_millis(9);
    assert_eq!(ring.lock().missing(noticed), Some((unknown, noticed)));
    let later = Timestamp::from_unix_millis(99);
    assert_eq!(ring.lock().missing(later), Some((unknown, noticed)));
    ring.lock().install(at(2, 0), Box::new(Toy(Step::FIRST)), Timestamp::from_unix_millis(10));
    assert_eq!(ring.lock().missing(later), None);
    assert_eq!(decrypt(&mut decryptor, &frame(at(2, 0)), 10), Ok(()));
    ring.lock().handle_timeout(Timestamp::from_unix_millis(4010));
    assert_eq!(decrypt(&mut decryptor, &frame(at(1, 0)), 4010), Err(DecryptError::Expired));
}

#[test]
fn a_second_handle_for_a_track_accepts_no_replay() {
    let (ring, mut decryptor) = ring_at(at(0, 0));
    let wire = frame(at(0, 0));
    assert_eq!(decrypt(&mut decryptor, &wire, 0), Ok(()));
    drop(decryptor);
    let mut again = FrameDecryptor::new(Codec::Opus, ring, TRACK);
    assert_eq!(decrypt(&mut again, &wire, 0), Err(DecryptError::Replayed));
}

#[test]
fn forged_frames_far_ahead_are_limited_by_a_budget_and_kept_nowhere() {
    let (ring, mut decryptor) = ring_at(at(0, 0));
    let mut forged = frame(at(0, 3000));
    *forged.last_mut().unwrap() ^= 1;
    let results: Vec<_> = (0..100).map(|_| decrypt(&mut decryptor, &forged, 0)).collect();
    let opened = results.iter().filter(|r| **r == Err(DecryptError::Authentication)).count();
    assert_eq!(opened, FAR_DERIVATIONS as usize);
    let ring = ring.lock();
    let kept: Vec<_> = ring.generations[&Generation(0)].track_keys.keys().collect();
    assert_eq!(kept, [&(Step::FIRST, TRACK)], "only what the publisher announced");
    drop(ring);
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 8)), 0), Ok(()), "honest frames go on");
}

#[test]
fn a_closed_ring_opens_nothing_ever_again() {
    let (ring, mut decryptor) = ring_at(at(0, 0));
    ring.set_state(RingState::Closed);
    ring.set_state(RingState::Live);
    ring.lock().install(at(1, 0), Box::new(Toy(Step::FIRST)), Timestamp::default());
    for position in [at(0, 0), at(1, 0)] {
        assert_eq!(decrypt(&mut decryptor, &frame(position), 0), Err(DecryptError::Expired));
    }
}

/// As [`Toy`], and counts how often it was asked for a key.
struct Counting(Toy, Arc<AtomicU64>);

impl GenerationKeys for Counting {
    fn base_key(&mut self, step: Step, track: TrackId) -> Option<BaseKey> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.base_key(step, track)
    }
    fn advance_to(&mut self, step: Step) {
        self.0.advance_to(step);
    }
}

fn counting_ring_at(position: Position) -> (SharedKeyRing, FrameDecryptor, impl FnMut() -> u64) {
    let (ring, asked) = (SharedKeyRing::default(), Arc::new(AtomicU64::new(0)));
    let keys = Counting(Toy(position.step), Arc::clone(&asked));
    ring.lock().install(position, Box::new(keys), Timestamp::default());
    let decryptor = FrameDecryptor::new(Codec::Opus, ring.clone(), TRACK);
    asked.store(0, Ordering::Relaxed);
    (ring, decryptor, move || asked.swap(0, Ordering::Relaxed))
}

/// The first so many frames of a position.
fn frames(position: Position, count: usize) -> Vec<Vec<u8>> {
    let seal = SealKey::new(base_key(position.step, TRACK), key_id(position));
    let wire = |_| {
        let mut wire = Vec::new();
        seal.seal_into(b"", b"frame", &mut wire, 0).unwrap();
        wire
    };
    (0..count).map(wire).collect()
}

fn forged(position: Position) -> Vec<u8> {
    let mut wire = frame(position);
    *wire.last_mut().unwrap() ^= 1;
    wire
}

fn millis(ms: u64) -> Timestamp {
    Timestamp::from_unix_millis(ms)
}

/// In all three ways, by the handle there is and by another one.
#[track_caller]
fn refused(
    ring: &SharedKeyRing,
    decryptor: &mut FrameDecryptor,
    wire: &[u8],
    ms: u64,
    error: DecryptError,
) {
    let opened = ring.lock().opened();
    let mut other = FrameDecryptor::new(Codec::Opus, ring.clone(), TRACK);
    for decryptor in [decryptor, &mut other] {
        let (mut out, mut in_place) = (b"old content".to_vec(), wire.to_vec());
        assert_eq!(decryptor.decrypt_into(wire, millis(ms), &mut out), Err(error));
        assert_eq!(decryptor.decrypt_in_place(&mut in_place, millis(ms)), Err(error));
        assert_eq!(decryptor.decrypt(wire, millis(ms)), Err(error));
        assert!(out.is_empty() && in_place == wire, "nothing was opened");
    }
    assert_eq!(ring.lock().opened(), opened);
}

#[test]
fn a_replay_is_refused_at_once_later_by_another_handle_and_in_place() {
    let (ring, mut decryptor) = ring_at(at(0, 0));
    let wires = frames(at(0, 0), 1500);
    assert_eq!(decrypt(&mut decryptor, &wires[0], 0), Ok(()));
    refused(&ring, &mut decryptor, &wires[0], 0, DecryptError::Replayed);
    for wire in &wires[1..] {
        assert_eq!(decrypt(&mut decryptor, wire, 0), Ok(()));
    }
    for wire in wires.iter().step_by(61) {
        refused(&ring, &mut decryptor, wire, 0, DecryptError::Replayed);
    }
    drop(decryptor);
    let mut again = FrameDecryptor::new(Codec::Opus, ring.clone(), TRACK);
    refused(&ring, &mut again, &wires[1499], 0, DecryptError::Replayed);
    assert_eq!(ring.lock().opened(), 1500);
}

#[test]
fn a_replay_is_refused_across_a_step_and_a_generation_and_late_frames_are_not() {
    let (ring, mut decryptor) = ring_at(at(0, 0));
    let [first, second, third] = [at(0, 0), at(0, 1), at(1, 0)].map(|place| frames(place, 4));
    assert_eq!(decrypt(&mut decryptor, &first[0], 0), Ok(()));

    ring.lock().announce(at(0, 1), millis(0));
    assert_eq!(decrypt(&mut decryptor, &second[0], 0), Ok(()));
    refused(&ring, &mut decryptor, &first[0], 0, DecryptError::Replayed);
    ring.lock().handle_timeout(millis(1999));
    refused(&ring, &mut decryptor, &first[0], 1999, DecryptError::Replayed);
    assert_eq!(decrypt(&mut decryptor, &first[1], 1999), Ok(()));
    ring.lock().handle_timeout(millis(2000));
    refused(&ring, &mut decryptor, &first[0], 2000, DecryptError::Expired);
    refused(&ring, &mut decryptor, &first[2], 2000, DecryptError::Expired);

    ring.lock().install(at(1, 0), Box::new(Toy(Step::FIRST)), millis(2000));
    assert_eq!(decrypt(&mut decryptor, &third[0], 2000), Ok(()));
    refused(&ring, &mut decryptor, &second[0], 2000, DecryptError::Replayed);
    ring.lock().handle_timeout(millis(5999));
    refused(&ring, &mut decryptor, &second[0], 5999, DecryptError::Replayed);
    assert_eq!(decrypt(&mut decryptor, &second[1], 5999), Ok(()));
    ring.lock().handle_timeout(millis(6000));
    refused(&ring, &mut decryptor, &second[0], 6000, DecryptError::Expired);
    refused(&ring, &mut decryptor, &second[2], 6000, DecryptError::Expired);
    refused(&ring, &mut decryptor, &third[0], 6000, DecryptError::Replayed);
    assert_eq!(ring.lock().opened(), 5);
}

#[test]
fn a_key_that_comes_again_opens_nothing_again() {
    let (ring, mut decryptor) = ring_at(at(0, 0));
    let wires = frames(at(0, 0), 2);
    assert_eq!(decrypt(&mut decryptor, &wires[0], 0), Ok(()));
    ring.lock().install(at(0, 0), Box::new(Toy(Step::FIRST)), millis(0));
    refused(&ring, &mut decryptor, &wires[0], 0, DecryptError::Replayed);
    assert_eq!(decrypt(&mut decryptor, &wires[1], 0), Ok(()));
}

#[test]
fn frames_in_any_order_within_the_window_open_once_and_one_beyond_it_does_not() {
    let seed = getrandom::u64().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    // An announced step and one whose key is derived for its first frame.
    for step in [0, 3] {
        let (ring, mut decryptor) = ring_at(at(0, 0));
        let wires = frames(at(0, step), 4000);
        for block in wires.chunks(1000) {
            let mut order: Vec<_> = block.iter().collect();
            order.shuffle(&mut rng);
            for wire in &order {
                assert_eq!(decrypt(&mut decryptor, wire, 0), Ok(()), "seed {seed}");
            }
            for wire in order {
                let replayed = Err(DecryptError::Replayed);
                assert_eq!(decrypt(&mut decryptor, wire, 0), replayed, "seed {seed}");
            }
        }
        assert_eq!(ring.lock().opened(), 4000);
    }

    let (ring, mut decryptor) = ring_at(at(0, 0));
    let wires = frames(at(0, 0), 1030);
    assert_eq!(decrypt(&mut decryptor, &wires[1029], 0), Ok(()));
    for wire in &wires[..6] {
        refused(&ring, &mut decryptor, wire, 0, DecryptError::Replayed);
    }
    assert_eq!(decrypt(&mut decryptor, &wires[6], 0), Ok(()), "the window's last place");
}

#[test]
fn one_frame_in_two_decryptors_at_once_is_given_out_once() {
    static PLAIN: [u8; 100_000] = [7; 100_000];
    let ring = SharedKeyRing::default();
    ring.lock().install(at(0, 0), Box::new(Toy(Step::FIRST)), Timestamp::default());
    let barrier = std::sync::Barrier::new(2);
    // Each step's key is unknown until its first frame; long frames, so that both are at it.
    let wire = |step| {
        let position = at(0, step);
        let seal = SealKey::new(base_key(position.step, TRACK), key_id(position));
        let mut wire = Vec::new();
        seal.seal_into(b"", &PLAIN, &mut wire, 0).unwrap();
        wire
    };
    let wires: Vec<_> = (1..600).map(wire).collect();
    let open_all = || {
        let mut decryptor = FrameDecryptor::new(Codec::Opus, ring.clone(), TRACK);
        let open = |(second, wire): (usize, &Vec<u8>)| {
            // A second later each time, so that there is always budget.
            let (now, mut out) = (millis(1000 * second as u64), wire.clone());
            barrier.wait();
            let opened = match second % 2 {
                0 => decryptor.decrypt_into(wire, now, &mut out),
                _ => decryptor.decrypt_in_place(&mut out, now),
            };
            (opened, out == PLAIN, out.is_empty() || out == *wire)
        };
        wires.iter().enumerate().map(open).collect::<Vec<_>>()
    };
    let [one, other] = std::thread::scope(|scope| {
        [scope.spawn(open_all), scope.spawn(open_all)].map(|thread| thread.join().unwrap())
    });
    for pair in one.into_iter().zip(other) {
        let given = (Ok(()), true, false);
        let refused = (Err(DecryptError::Replayed), false, true);
        assert!(pair == (given, refused) || pair == (refused, given), "{pair:?}");
    }
    assert_eq!(ring.lock().opened(), 599);
}

/// As [`Toy`], and says when it is asked for a key.
struct Telling(Toy, mpsc::Sender<()>);

impl GenerationKeys for Telling {
    fn base_key(&mut self, step: Step, track: TrackId) -> Option<BaseKey> {
        self.1.send(()).unwrap();
        self.0.base_key(step, track)
    }
    fn advance_to(&mut self, _: Step) {}
}

#[test]
fn a_frame_that_was_being_opened_when_the_ring_closed_is_wiped() {
    let mut wire = Vec::new();
    let seal = SealKey::new(base_key(Step::new(1).unwrap(), TRACK), key_id(at(0, 1)));
    seal.seal_into(b"", &vec![7; crate::sframe::MAX_FRAME_SIZE], &mut wire, 0).unwrap();
    let was_open = (0..200).any(|round| {
        let (ring, (asked, is_asked)) = (SharedKeyRing::default(), mpsc::channel());
        let keys = Box::new(Telling(Toy(Step::FIRST), asked));
        ring.lock().install(at(0, 0), keys, Timestamp::default());
        let mut decryptor = FrameDecryptor::new(Codec::Opus, ring.clone(), TRACK);
        is_asked.recv().unwrap(); // for the announced step
        let mut frame = wire.clone();
        let opened = std::thread::scope(|scope| {
            let opening = scope.spawn(|| match round % 2 {
                0 => decryptor.decrypt_in_place(&mut frame, Timestamp::default()),
                _ => decryptor.decrypt_into(&wire, Timestamp::default(), &mut frame),
            });
            is_asked.recv().unwrap();
            ring.set_state(RingState::Closed);
            opening.join().unwrap()
        });
        // Expired: the key was found, so the frame was opened, and closing came before the end.
        assert!(opened == Ok(()) || opened == Err(DecryptError::Expired) && frame.is_empty());
        opened.is_err() && round % 2 == 0
    });
    assert!(was_open, "in two hundred rounds closing was never in time");
}

#[test]
fn nothing_opens_once_closing_has_returned() {
    for round in 0..50 {
        let (ring, decryptor) = ring_at(at(0, 0));
        let is_closed = AtomicBool::new(false);
        let wires: Vec<_> = [at(0, 0), at(0, 1)].into_iter().flat_map(|p| frames(p, 300)).collect();
        std::thread::scope(|scope| {
            let (is_closed, wires) = (&is_closed, &wires);
            let mut decryptor = decryptor;
            scope.spawn(move || {
                for wire in wires {
                    let was_closed = is_closed.load(Ordering::SeqCst);
                    let opened = decrypt(&mut decryptor, wire, 0);
                    assert!(!(was_closed && opened.is_ok()), "opened after it was closed");
                    assert!(matches!(opened, Ok(()) | Err(DecryptError::Expired)), "{opened:?}");
                }
            });
            std::thread::sleep(Duration::from_micros(20 * round));
            ring.set_state(RingState::Closed);
            is_closed.store(true, Ordering::SeqCst);
        });
        assert!(ring.lock().generations.is_empty());
    }
}

#[test]
fn an_insiders_frame_at_the_last_step_stops_nobody() {
    let (ring, mut decryptor, mut asked) = counting_ring_at(at(0, 2));
    let insiders = frames(at(0, 4095), 2);
    assert_eq!(decrypt(&mut decryptor, &insiders[0], 0), Ok(()), "it is authentic");
    assert_eq!(asked(), 1);
    // Nothing but that key is there now, and it refuses the replay without a derivation.
    refused(&ring, &mut decryptor, &insiders[0], 0, DecryptError::Replayed);
    assert_eq!((asked(), ring.lock().head()), (0, Some(at(0, 2))));
    for ms in [0, 1999, 2000, 60_000] {
        ring.lock().handle_timeout(millis(ms));
        assert_eq!(ring.lock().head(), Some(at(0, 2)));
        assert_eq!(ring.lock().missing(millis(ms)), None);
        assert_eq!(ring.lock().generations[&Generation(0)].floor.get(), 2);
        refused(&ring, &mut decryptor, &frame(at(0, 1)), ms, DecryptError::Expired);
    }
    // The honest publisher goes on step by step, and its old steps expire as always.
    for step in 2..30 {
        let ms = 60_000 * u64::from(step);
        ring.lock().announce(at(0, step), millis(ms));
        assert_eq!(decrypt(&mut decryptor, &frame(at(0, step)), ms), Ok(()), "step {step}");
        ring.lock().handle_timeout(millis(ms + 2000));
        assert_eq!(ring.lock().head(), Some(at(0, step)));
        let expired = frame(at(0, step - 1));
        refused(&ring, &mut decryptor, &expired, ms + 2000, DecryptError::Expired);
    }
}

#[test]
fn far_ahead_derivations_are_ten_a_second_and_honest_frames_lose_nothing() {
    let (ring, mut decryptor, mut asked) = counting_ring_at(at(0, 100));
    let mut second_track = FrameDecryptor::new(Codec::Opus, ring.clone(), TrackId(2));
    asked();
    let honest = frames(at(0, 100), 40);
    for second in 0..3_u64 {
        for round in 0..30 {
            let ms = 1000 * second + 33 * round;
            // From the first step that costs, to the last one; half of them at another track.
            let step = 109 + (second * 30 + round) as u32 * 44;
            let far = if round % 2 == 0 { &mut decryptor } else { &mut second_track };
            let expected =
                if round < 10 { DecryptError::Authentication } else { DecryptError::Limit };
            assert_eq!(decrypt(far, &forged(at(0, step)), ms), Err(expected), "{second} {round}");
            assert_eq!(asked(), u64::from(round < 10));
            if second == 1 {
                assert_eq!(decrypt(&mut decryptor, &honest[round as usize], ms), Ok(()));
                assert_eq!(asked(), 0);
            }
        }
        // A late beacon or eight cost nothing.
        let near = frame(at(0, 101 + second as u32));
        assert_eq!(decrypt(&mut decryptor, &near, 1000 * second + 999), Ok(()));
        assert_eq!(asked(), 1);
    }
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 108)), 2999), Ok(()));
    assert_eq!(ring.lock().head(), Some(at(0, 100)));
    assert_eq!(ring.lock().missing(millis(0)), None);
}

#[test]
fn below_the_floor_or_in_an_older_generation_nothing_is_derived_or_noted() {
    let (ring, mut decryptor, mut asked) = counting_ring_at(at(5, 10));
    ring.lock().announce(at(5, 20), millis(0));
    ring.lock().handle_timeout(millis(2000));
    asked();
    for position in [at(5, 19), at(5, 10), at(5, 9), at(5, 0), at(4, 4095), at(4, 20), at(0, 0)] {
        for wire in [frame(position), forged(position)] {
            refused(&ring, &mut decryptor, &wire, 2000, DecryptError::Expired);
            assert_eq!((asked(), ring.lock().missing(millis(2000))), (0, None), "{position}");
        }
    }
    // Between two generations that are there: it was skipped, so it cannot come any more.
    ring.lock().install(at(7, 0), Box::new(Toy(Step::FIRST)), millis(2000));
    refused(&ring, &mut decryptor, &frame(at(6, 0)), 2000, DecryptError::Expired);
    assert_eq!(ring.lock().missing(millis(2000)), None);
    assert_eq!(decrypt(&mut decryptor, &frame(at(5, 20)), 2000), Ok(()));
}

#[test]
fn a_forged_frame_under_a_step_that_nobody_announced_keeps_nothing() {
    let (ring, mut decryptor, mut asked) = counting_ring_at(at(0, 0));
    let wires = frames(at(0, 5), 2);
    for _ in 0..100 {
        let now = decrypt(&mut decryptor, &forged(at(0, 5)), 0);
        assert_eq!((now, asked()), (Err(DecryptError::Authentication), 1));
    }
    assert_eq!(ring.lock().generations[&Generation(0)].track_keys.len(), 1);
    assert_eq!(ring.lock().opened(), 0);
    for wire in &wires {
        assert_eq!(decrypt(&mut decryptor, wire, 0), Ok(()));
    }
    assert_eq!(asked(), 1, "an authentic one keeps its key");
}

#[test]
fn a_counter_that_no_sender_reaches_is_refused_under_any_key() {
    let (ring, mut decryptor) = ring_at(at(0, 0));
    for position in [at(0, 0), at(0, 1)] {
        for counter in [crate::sframe::MAX_FRAMES_PER_KEY, u64::from(u32::MAX), u64::MAX] {
            let header = Header { key_id: key_id(position), counter: Counter(counter) };
            let wire = [header.encode().as_slice(), &[0; 30]].concat();
            refused(&ring, &mut decryptor, &wire, 0, DecryptError::Limit);
        }
    }
}

#[test]
fn key_ids_and_positions_are_each_others_inverse_and_end_at_two_to_the_44() {
    for generation in [0, 1, 2, 4095, 4096, 1 << 20, (1 << 31) - 1, 1 << 31, u32::MAX] {
        for step in [0, 1, 7, 8, 255, 256, 4094, 4095] {
            let place = at(generation, step);
            assert_eq!(position(key_id(place)), Some(place));
            assert_eq!(key_id(place).0, u64::from(generation) * 4096 + u64::from(step));
        }
    }
    for bit in 0..44 {
        for number in [(1 << bit) - 1, 1 << bit, (1 << bit) + 1] {
            assert_eq!(position(KeyId(number)).map(key_id), Some(KeyId(number)));
        }
    }
    let (ring, mut decryptor) = ring_at(at(0, 0));
    for bit in 44..64 {
        for number in
            [1 << bit, (1 << bit) | 1, (1 << bit) + (1 << 43), (1_u64 << bit) - 1 + (1 << bit)]
        {
            assert_eq!(position(KeyId(number)), None, "{number:#x}");
            let header = Header { key_id: KeyId(number), counter: Counter(0) };
            let wire = [header.encode().as_slice(), &[0; 30]].concat();
            refused(&ring, &mut decryptor, &wire, 0, DecryptError::Limit);
            assert_eq!(ring.lock().missing(millis(0)), None);
        }
    }
}

#[test]
fn a_clock_that_is_behind_refills_no_budget() {
    let (_, mut decryptor) = ring_at(at(0, 0));
    let forged = forged(at(0, 3000));
    let mut tried = 0;
    for _ in 0..100 {
        for ms in [1000, 2000] {
            let result = decrypt(&mut decryptor, &forged, ms);
            tried += u32::from(result == Err(DecryptError::Authentication));
        }
    }
    assert!(tried <= 2 * FAR_DERIVATIONS, "{tried} derivations in two seconds");
}

#[test]
fn a_counter_that_no_sender_reaches_costs_no_derivation() {
    let (_, mut decryptor) = ring_at(at(0, 0));
    let key_id = key_id(at(0, 3000));
    let header = Header { key_id, counter: Counter(MAX_FRAMES_PER_KEY) }.encode();
    let forged = [header.as_slice(), &[0; 30]].concat();
    for _ in 0..100 {
        assert_eq!(decrypt(&mut decryptor, &forged, 0), Err(DecryptError::Limit));
    }
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 3000)), 0), Ok(()));
}

#[test]
fn a_generation_that_has_expired_does_not_come_back() {
    let (ring, mut decryptor) = ring_at(at(1, 0));
    let wire = frame(at(1, 0));
    assert_eq!(decrypt(&mut decryptor, &wire, 0), Ok(()));
    ring.lock().install(at(2, 0), Box::new(Toy(Step::FIRST)), Timestamp::default());
    ring.lock().handle_timeout(millis(10_000));
    for generation in [0, 1] {
        ring.lock().install(at(generation, 0), Box::new(Toy(Step::FIRST)), millis(10_000));
        assert_eq!(
            decrypt(&mut decryptor, &frame(at(generation, 0)), 10_000),
            Err(DecryptError::Expired)
        );
    }
}

#[test]
fn many_steps_at_once_leave_no_step_readable_behind() {
    let (ring, mut decryptor) = ring_at(at(0, 0));
    for step in 1..=200 {
        ring.lock().announce(at(0, step), Timestamp::default());
    }
    ring.lock().handle_timeout(millis(2_000));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 199)), 2_000), Err(DecryptError::Expired));
    assert_eq!(decrypt(&mut decryptor, &frame(at(0, 200)), 2_000), Ok(()));
}

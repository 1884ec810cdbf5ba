use super::*;
use crate::{
    media::{FrameDecryptor, key_id},
    primitives::Codec,
    sframe::{CipherSuite, SealKey},
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

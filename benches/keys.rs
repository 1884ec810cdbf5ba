//! What a key costs.
//!
//! ```text
//! derive/next-step, +100, +1000       a frame so many steps beyond the last, seen by a subscriber
//! first-frame-of-a-step               the first frame of a step that was announced …
//! first-frame-of-a-step-unannounced   … or was not, and so pays for deriving the key …
//! second-frame-of-a-step              … and the frame after it
//! install                             a send key from a base key
//! forged/…                            a forged frame of each class, until it is refused
//! ```
//!
//! The frames of `derive` are forged: a decryptor derives the key before it can tell, and keeps
//! nothing of a frame that was not authentic, so that the next one pays as well: for the Megolm
//! ratchet (which goes on from where it was last), both HKDFs, the key set-up and a tag over 48
//! bytes. Those of `forged` are of the same size. All that is tried is `forged/present-step`, and
//! what `derive` measures, of which steps far ahead get ten a second.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a bench may stop")]

mod pair;
mod settings;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BatchSize, Bencher};
use olmcast::{
    media::{self, hazmat},
    primitives::{Codec, Position, Step},
    sframe::{BaseKey, CipherSuite, Counter, DecryptError, Header, KeyId},
};
use pair::Pair;

const FORGED_PAYLOAD: usize = 48;

/// Where a forged frame claims to be from, seen from the present position, and its counter.
type Class = (fn(Position) -> u64, u64, fn(KeyId) -> DecryptError);

const FORGED: [(&str, Class); 6] = [
    ("present-step", (|at| media::key_id(at).0, 9, |_| DecryptError::Authentication)),
    ("step-far-ahead", (|_| 4095, 9, |_| DecryptError::Limit)),
    ("expired-step", (|_| 0, 9, |_| DecryptError::Expired)),
    ("newer-generation", (|_| 1 << 20, 9, DecryptError::UnknownKey)),
    ("no-position", (|_| u64::MAX, 9, |_| DecryptError::Limit)),
    ("counter-beyond-the-limit", (|_| 4095, 1 << 20, |_| DecryptError::Limit)),
];

fn main() {
    let mut criterion = settings::criterion();

    let mut group = criterion.benchmark_group("derive");
    for (name, steps) in [("next-step", 1), ("+100", 100), ("+1000", 1000)] {
        group.bench_function(name, |b| derive(b, steps));
    }
    group.finish();

    criterion.bench_function("install", install);

    let mut group = criterion.benchmark_group("forged");
    for (name, class) in FORGED {
        group.bench_function(name, |b| refuse(b, class));
    }
    group.finish();

    // To get to the next step takes the pair a hundred times as long as what is measured.
    let mut criterion = criterion
        .sample_size(20)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_millis(50));
    criterion.bench_function("first-frame-of-a-step", |b| frame_of_a_step(b, true, 0));
    criterion.bench_function("first-frame-of-a-step-unannounced", |b| frame_of_a_step(b, false, 0));
    criterion.bench_function("second-frame-of-a-step", |b| frame_of_a_step(b, true, 1));

    criterion.final_summary();
}

fn derive(b: &mut Bencher, ahead: u32) {
    let mut pair = Pair::new();
    let first = pair.position();
    let forged: Vec<_> = (1..)
        .map_while(|n| Step::new(u32::from(first.step.get()) + n * ahead))
        .map(|step| forged(Position { step, ..first }))
        .collect();
    let mut frames = forged.iter().cycle();
    let mut out = Vec::new();
    b.iter_custom(|count| {
        let mut time = Duration::ZERO;
        for wire in frames.by_ref().take(count as usize) {
            // Ten derivations a second are all that steps so far ahead get.
            pair.now = pair.now + Duration::from_millis(101);
            let start = Instant::now();
            let opened = pair.decryptor.decrypt_into(black_box(wire), pair.now, &mut out);
            time += start.elapsed();
            assert_eq!(opened, Err(DecryptError::Authentication));
        }
        time
    });
}

/// A frame that names a position and was never encrypted, with 0 as its counter.
fn forged(position: Position) -> Vec<u8> {
    forged_as(media::key_id(position), 0)
}

fn forged_as(key_id: KeyId, counter: u64) -> Vec<u8> {
    let header = Header { key_id, counter: Counter(counter) }.encode();
    [header.as_slice(), &[0x55; FORGED_PAYLOAD + 16]].concat()
}

/// The same frame again and again, once the budget for steps far ahead is used up.
fn refuse(b: &mut Bencher, (key_id, counter, expected): Class) {
    let mut pair = Pair::new();
    pair.pass(Duration::from_secs(3));
    let far = forged_as(KeyId(4095), 9);
    let key_id = KeyId(key_id(pair.position()));
    let wire = forged_as(key_id, counter);
    let expected = Err(expected(key_id));
    let mut out = Vec::new();
    for _ in 0..10 {
        let _ = pair.decryptor.decrypt_into(&far, pair.now, &mut out);
    }
    assert_eq!(pair.decryptor.decrypt_into(&wire, pair.now, &mut out), expected);
    b.iter(|| pair.decryptor.decrypt_into(black_box(&wire), pair.now, &mut out));
}

fn install(b: &mut Bencher) {
    b.iter_batched(
        || BaseKey::fill(CipherSuite::AesGcm128Sha256, |bytes| bytes.fill(7)),
        |base_key| hazmat::with_kid(Codec::Opus, black_box(base_key), KeyId(5)),
        BatchSize::SmallInput,
    );
}

/// The publisher moves on by a step; its `index`th frame from there is measured.
fn frame_of_a_step(b: &mut Bencher, is_announced: bool, index: usize) {
    let new_pair = || {
        let mut pair = Pair::new();
        pair.loses_announcements = !is_announced;
        pair
    };
    let mut pair = new_pair();
    let (mut wires, mut out) = ([Vec::new(), Vec::new()], Vec::new());
    b.iter_custom(|count| {
        let mut time = Duration::ZERO;
        for _ in 0..count {
            while !to_next_step(&mut pair) {
                pair = new_pair();
            }
            for (i, wire) in wires.iter_mut().enumerate() {
                pair.encryptor.encrypt_into(&[1; 120], wire).unwrap();
                let start = Instant::now();
                pair.decryptor.decrypt_into(black_box(wire), pair.now, &mut out).unwrap();
                if i == index {
                    time += start.elapsed();
                }
            }
        }
        time
    });
}

/// False if a new generation came instead, as it does once an hour.
fn to_next_step(pair: &mut Pair) -> bool {
    let before = pair.position();
    while pair.position() == before {
        pair.pass(Duration::from_secs(5));
    }
    pair.position().generation == before.generation
}

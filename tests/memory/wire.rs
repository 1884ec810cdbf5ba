use olmcast::{
    media,
    primitives::{Codec, Generation, Position, Step},
    sframe::{CipherSuite, Counter, Header, KeyId, MAX_FRAMES_PER_KEY},
};

use super::{SUITES, encryptor};

fn at(generation: u32, step: u32) -> KeyId {
    media::key_id(Position { generation: Generation(generation), step: Step::new(step).unwrap() })
}

/// Bytes that a frame grows by.
fn overhead(key_id: KeyId, counter: u64) -> usize {
    let header = Header { key_id, counter: Counter(counter) };
    header.encode().as_slice().len() + CipherSuite::TAG_LENGTH
}

/// The most that a frame of such a key can grow by.
fn largest_overhead(key_id: KeyId) -> usize {
    overhead(key_id, MAX_FRAMES_PER_KEY - 1)
}

/// As many frames as a key encrypts in the minute that it is used, at a thousand a second.
const A_MINUTES_FRAMES: u64 = 1 << 16;

#[test]
fn a_frame_grows_by_its_header_and_its_tag() {
    for suite in SUITES {
        for codec in [Codec::Vp8, Codec::Opus] {
            for key_id in [0, 7, 8, 255, 256, 1 << 12, 1 << 16, 1 << 24, 1 << 56] {
                let mut encryptor = encryptor(codec, suite, Default::default(), key_id);
                let mut wire = Vec::new();
                for counter in 0..300 {
                    encryptor.encrypt_into(&[1; 50], &mut wire).unwrap();
                    assert_eq!(wire.len() - 50, overhead(KeyId(key_id), counter));
                }
            }
        }
    }
}

#[test]
fn early_frames_of_early_keys_grow_by_17_bytes() {
    for step in 0..8 {
        for counter in 0..8 {
            assert_eq!(overhead(at(0, step), counter), 17);
        }
    }
    assert_eq!(overhead(at(0, 8), 0), 18);
    assert_eq!(overhead(at(0, 0), 8), 18);
}

#[test]
fn a_key_id_takes_up_to_3_bytes_until_generation_4096() {
    let key_bytes = |key_id| overhead(key_id, 0) - 17;
    for (first, last, bytes) in [
        (at(0, 0), at(0, 7), 0),
        (at(0, 8), at(0, 255), 1),
        (at(0, 256), at(15, 4095), 2),
        (at(16, 0), at(4095, 4095), 3),
        (at(4096, 0), at((1 << 20) - 1, 4095), 4),
        (at(1 << 20, 0), at((1 << 28) - 1, 4095), 5),
        (at(1 << 28, 0), at(u32::MAX, 4095), 6),
    ] {
        assert_eq!((key_bytes(first), key_bytes(last)), (bytes, bytes), "{first} to {last}");
    }
}

#[test]
fn no_frame_of_the_first_4096_generations_grows_by_more_than_23_bytes() {
    assert_eq!(largest_overhead(at(4095, 4095)), 23);
    // One more generation, and the last 15 of 16 counters would take a byte more …
    assert_eq!(largest_overhead(at(4096, 0)), 24);
    // … which no key reaches in its minute: so it is 23 up to generation 2^20.
    assert_eq!(overhead(at((1 << 20) - 1, 4095), A_MINUTES_FRAMES - 1), 23);
    assert_eq!(overhead(at(1 << 20, 0), A_MINUTES_FRAMES - 1), 24);
    assert_eq!(largest_overhead(at(u32::MAX, 4095)), 26, "of any key of a stream");
    assert_eq!(largest_overhead(KeyId(u64::MAX)), 28, "of any key of your own");
}

use std::collections::HashSet;

use super::*;
use crate::sframe::{MAX_FRAMES_PER_KEY, usage::MAX_BLOCKS_PER_KEY};

fn key_used(frames: u64, blocks: u64) -> SealKey {
    let base_key = BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(3));
    SealKey { usage: Usage::at(frames, blocks), ..SealKey::new(base_key, KeyId(9)) }
}

fn counter(sealed: &[u8]) -> u64 {
    Header::parse(sealed).unwrap().0.counter.0
}

#[test]
fn a_key_stops_at_its_last_frame_and_stays_stopped() {
    let key = key_used(MAX_FRAMES_PER_KEY - 1, 0);
    let mut out = b"before".to_vec();
    key.seal_into(b"", b"x", &mut out, 6).unwrap();
    assert_eq!(counter(&out[6..]), MAX_FRAMES_PER_KEY - 1);
    for _ in 0..3 {
        assert_eq!(key.seal_into(b"", b"x", &mut out, 6), Err(EncryptError::Limit));
        assert_eq!(out, b"before");
        let mut frame = b"frame".to_vec();
        assert_eq!(key.seal_in_place(&mut frame, 0..0), Err(EncryptError::Limit));
        assert_eq!(frame, b"frame");
    }
}

#[test]
fn a_key_stops_at_its_last_block() {
    let key = key_used(0, MAX_BLOCKS_PER_KEY - 3);
    let mut out = Vec::new();
    assert_eq!(key.seal_into(b"", &[0; 64], &mut out, 0), Err(EncryptError::Limit));
    key.seal_into(b"", b"x", &mut out, 0).unwrap();
    assert_eq!(counter(&out), 0, "the frame that did not fit took no counter");
    assert_eq!(key.seal_into(b"", b"x", &mut out, 0), Err(EncryptError::Limit));
    assert!(out.is_empty());
}

#[test]
fn the_blocks_of_the_largest_frames_do_not_run_into_the_counter() {
    let key = key_used(0, 0);
    let (frame, mut out) = (vec![0; MAX_FRAME_SIZE], Vec::new());
    for expected in 0..3 {
        key.seal_into(b"", &frame, &mut out, 0).unwrap();
        assert_eq!(counter(&out), expected);
    }
}

#[test]
fn counters_of_parallel_threads_never_repeat() {
    let key = key_used(MAX_FRAMES_PER_KEY - 3990, 0);
    let counters: Vec<u64> = std::thread::scope(|scope| {
        let key = &key;
        let encrypt = move || {
            let mut out = Vec::new();
            let seal = |out: &mut Vec<u8>| key.seal_into(b"", b"x", out, 0).map(|()| counter(out));
            (0..1000).filter_map(|_| seal(&mut out).ok()).collect::<Vec<_>>()
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(encrypt)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let distinct: HashSet<_> = counters.iter().collect();
    assert_eq!((counters.len(), distinct.len()), (3990, 3990));
}

#[test]
fn frames_above_four_mebibytes_are_refused() {
    let key = key_used(0, 0);
    let mut large = vec![0; MAX_FRAME_SIZE + 1];
    let mut out = Vec::new();
    assert_eq!(key.seal_into(b"", &large, &mut out, 0), Err(EncryptError::TooLarge));
    assert_eq!(key.seal_in_place(&mut large, 0..0), Err(EncryptError::TooLarge));
    assert!(out.is_empty() && large == vec![0; MAX_FRAME_SIZE + 1]);
}

#[test]
fn a_buffer_used_before_gives_the_same_bytes_as_a_new_one() {
    for plain in [&[7; 300][..], &[8; 3], &[9; 80]] {
        let (mut new, mut used) = (Vec::new(), vec![0xAB; 200]);
        used[..2].copy_from_slice(b"ab");
        key_used(5, 0).seal_into(b"meta", plain, &mut new, 0).unwrap();
        key_used(5, 0).seal_into(b"meta", plain, &mut used, 2).unwrap();
        assert_eq!((&used[..2], &used[2..]), (&b"ab"[..], &new[..]));
        let mut in_place = [b"meta", plain].concat();
        key_used(5, 0).seal_in_place(&mut in_place, 0..4).unwrap();
        assert_eq!(in_place, [b"meta", &new[..]].concat());
    }
}

#[test]
fn nothing_to_encrypt_and_no_place_to_write_are_no_reason_to_panic() {
    let key = key_used(0, 0);
    let mut out = b"ab".to_vec();
    assert_eq!(key.seal_into(b"meta", b"", &mut out, 0), Err(EncryptError::Empty));
    assert_eq!(key.seal_in_place(&mut b"meta".to_vec(), 0..4), Err(EncryptError::Empty));
    assert_eq!(key.seal_in_place(&mut b"meta".to_vec(), 0..5), Err(EncryptError::Syntax));
    out = b"ab".to_vec();
    key.seal_into(b"", b"x", &mut out, usize::MAX).unwrap();
    assert_eq!((&out[..2], counter(&out[2..])), (&b"ab"[..], 0));
}

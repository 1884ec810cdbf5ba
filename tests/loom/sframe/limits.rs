use std::sync::Arc;

use loom::thread;

use super::{
    EncryptError,
    usage::{MAX_BLOCKS_PER_KEY, MAX_FRAMES_PER_KEY, Usage},
};
use crate::check;

type Claims = [Result<u64, EncryptError>; 2];

/// Two threads that take two frames each; then nobody takes any more.
fn claims(usage: Usage, blocks: u64) -> Vec<Result<u64, EncryptError>> {
    let usage = Arc::new(usage);
    let claim = move |usage: &Usage| -> Claims {
        [(); 2].map(|()| usage.claim(blocks).map(|counter| counter.0))
    };
    let other = Arc::clone(&usage);
    let other = thread::spawn(move || claim(&other));
    let mut claims = claim(&usage).to_vec();
    claims.extend(other.join().unwrap());
    claims.extend(claim(&usage));
    claims
}

#[test]
fn two_threads_never_claim_the_same_counter_and_leave_none_out() {
    check("claims", 20, || {
        let mut claims: Vec<_> = claims(Usage::new(), 3).into_iter().map(Result::unwrap).collect();
        claims.sort_unstable();
        assert_eq!(claims, [0, 1, 2, 3, 4, 5]);
    });
}

#[test]
fn of_two_threads_one_gets_the_last_frame_and_nobody_any_more() {
    check("the last frame", 5, || {
        let claims = claims(Usage::at(MAX_FRAMES_PER_KEY - 1, 0), 1);
        let granted: Vec<_> = claims.into_iter().filter_map(Result::ok).collect();
        assert_eq!(granted, [MAX_FRAMES_PER_KEY - 1]);
    });
}

#[test]
fn of_two_threads_one_gets_the_last_blocks_and_nobody_any_more() {
    check("the last blocks", 5, || {
        let claims = claims(Usage::at(7, MAX_BLOCKS_PER_KEY - 5), 5);
        let granted: Vec<_> = claims.into_iter().filter_map(Result::ok).collect();
        assert_eq!(granted, [7]);
    });
}

#[test]
fn a_frame_too_many_for_the_blocks_takes_no_counter() {
    check("too many blocks", 9, || {
        let usage = Arc::new(Usage::at(7, MAX_BLOCKS_PER_KEY - 5));
        let other = Arc::clone(&usage);
        let large = thread::spawn(move || other.claim(6).map(|counter| counter.0));
        let small = [1, 2].map(|blocks| usage.claim(blocks).map(|counter| counter.0));
        assert_eq!(small, [Ok(7), Ok(8)]);
        assert_eq!(large.join().unwrap(), Err(EncryptError::Limit));
        assert_eq!(usage.claim(2).map(|counter| counter.0), Ok(9));
        assert_eq!(usage.claim(1).map(|counter| counter.0), Err(EncryptError::Limit));
    });
}

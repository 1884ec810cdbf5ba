//! A search of this process's own memory for secrets, shared by the test binaries that do it.

use std::{fs, os::unix::fs::FileExt};

/// Secrets are never written here as they are, or the search would find its own needle.
const MASK: u8 = 0xa5;

/// How often each masked secret stands in this process's memory.
pub(crate) fn search(needles: &[Vec<u8>]) -> Vec<usize> {
    const PIECE: usize = 1 << 16;
    let memory = fs::File::open("/proc/self/mem").unwrap();
    let mut buffer = vec![0; PIECE];
    let own = buffer.as_ptr() as usize..buffer.as_ptr() as usize + PIECE;
    let mut found = vec![0; needles.len()];
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (start, end) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let [start, end] = [start, end].map(|at| usize::from_str_radix(at, 16).unwrap());
        let mut at = start;
        while at < end {
            let length = PIECE.min(end - at);
            if memory.read_exact_at(&mut buffer[..length], at as u64).is_ok() {
                for (needle, found) in needles.iter().zip(&mut found) {
                    let is_here = |(offset, window): &(usize, &[u8])| {
                        !own.contains(&(at + offset))
                            && window.iter().zip(needle).all(|(byte, other)| byte ^ MASK == *other)
                    };
                    let windows = buffer[..length].windows(needle.len()).enumerate();
                    *found += windows.filter(is_here).count();
                }
            }
            // Pieces overlap, so that nothing is missed between them.
            at += if length == PIECE { PIECE - 64 } else { length };
        }
    }
    found
}

pub(crate) fn masked(secret: &[u8]) -> Vec<u8> {
    secret.iter().map(|byte| byte ^ MASK).collect()
}

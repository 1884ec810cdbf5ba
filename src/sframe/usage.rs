use super::{
    Counter, EncryptError,
    sync::{AtomicU64, Ordering},
};

/// The most frames that one key encrypts: 2^20, far below AES-GCM's limits.
pub const MAX_FRAMES_PER_KEY: u64 = 1 << 20;
/// The most AES blocks that one key encrypts: 2^32.
pub(super) const MAX_BLOCKS_PER_KEY: u64 = 1 << 32;

/// Where the blocks begin in the one number that counts both.
const BLOCKS: u32 = 24;

/// What a send key has been used for: frames and AES blocks, in one number, so that both are
/// claimed in one atomic step. It begins at nothing and can be neither set nor cloned.
pub(super) struct Usage(AtomicU64);

impl Usage {
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Takes the next frame's counter and its blocks, or nothing. The number stops at its limits
    /// instead of running on, so it cannot wrap, however often it is asked.
    ///
    /// No thread reads anything through it that another one wrote, so it orders nothing.
    //= RFC 9605 §7.4
    //# However, senders MUST reject requests to encrypt multiple times with the same key and
    //# nonce since several AEAD algorithms fail badly in such cases (see, e.g., Section 5.1.1 of
    //# [RFC5116]).
    //= RFC 9605 §9.1
    //# Applications MUST ensure that each (base_key, KID, CTR) combination is used for at most one
    //# SFrame encryption operation.
    #[inline]
    pub(super) fn claim(&self, blocks: u64) -> Result<Counter, EncryptError> {
        let mut used = self.0.load(Ordering::Relaxed);
        loop {
            let after_blocks = (used >> BLOCKS) + blocks;
            let frames = used & ((1 << BLOCKS) - 1);
            if frames >= MAX_FRAMES_PER_KEY || after_blocks > MAX_BLOCKS_PER_KEY {
                return Err(EncryptError::Limit);
            }
            let after = after_blocks << BLOCKS | (frames + 1);
            let ordering = Ordering::Relaxed;
            match self.0.compare_exchange_weak(used, after, ordering, ordering) {
                Ok(_) => return Ok(Counter(frames)),
                Err(now) => used = now,
            }
        }
    }

    /// As if so much had been used: no test encrypts 2^32 blocks.
    #[cfg(test)]
    pub(super) fn at(frames: u64, blocks: u64) -> Self {
        Self(AtomicU64::new(blocks << BLOCKS | frames))
    }
}

//! `src/sframe/usage.rs` under loom, and what else the production files name as `crate::sframe`.

mod sync {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering};
}

#[path = "../../../src/sframe/usage.rs"]
#[allow(unreachable_pub, reason = "it is public in the library")]
mod usage;

mod limits;

pub(crate) use olmcast::{
    primitives::Position,
    sframe::{Counter, DecryptError, EncryptError, ReplayWindow},
};

/// Stands for a `SealKey`: a position's one counter.
pub(crate) struct Key {
    pub(crate) position: Position,
    usage: usage::Usage,
}

impl Key {
    pub(crate) fn new(position: Position) -> Self {
        Self { position, usage: usage::Usage::new() }
    }

    /// What makes a nonce: the key and the counter.
    pub(crate) fn encrypt(&self) -> (Position, u64) {
        (self.position, self.usage.claim(1).unwrap().0)
    }
}

/// Stands for the library's, which does the same for everybody who has a reference.
pub(crate) struct OpenKey;

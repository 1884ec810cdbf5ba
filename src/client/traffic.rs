use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What a client has sent so far: the messages of the protocol and their bytes, as they were
/// given to the connection. A message to a whole room counts once; what the connection itself
/// needs, and what it sends again after an interruption, does not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Messages sent.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Counts for the driver, and shows it to the handles.
#[derive(Clone, Default)]
pub(super) struct Meter(Arc<Counters>);

#[derive(Default)]
struct Counters {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    pub(super) fn count(&self, bytes: usize) {
        self.0.messages.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic {
            messages: self.0.messages.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
        }
    }
}

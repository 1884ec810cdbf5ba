//! `src/media/slot.rs` and `src/media/track_key.rs` under loom.

mod sync {
    pub(super) use std::sync::PoisonError;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    pub(super) use loom::{
        hint::spin_loop,
        sync::{
            Arc, Mutex, MutexGuard, MutexGuard as Locked,
            atomic::{AtomicU64, Ordering},
        },
        thread::yield_now,
    };

    /// How often it was tried in vain.
    pub(super) static CONTENDED: AtomicUsize = AtomicUsize::new(0);

    /// Stands for the `try-lock` crate's, whose own atomics are thereby taken on trust: loom's
    /// mutex locks, synchronises and is tried in the same way.
    pub(super) struct TryLock<T>(Mutex<T>);

    impl<T> TryLock<T> {
        pub(super) fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(super) fn try_lock(&self) -> Option<Locked<'_, T>> {
            let locked = self.0.try_lock().ok();
            CONTENDED.fetch_add(usize::from(locked.is_none()), Relaxed);
            locked
        }
    }
}

// The deadline is a number of its own; nothing else is read by it.
#[allow(dead_code)]
#[path = "../../../src/media/slot.rs"]
mod slot;
#[path = "../../../src/media/track_key.rs"]
mod track_key;

mod slots;
mod track_keys;

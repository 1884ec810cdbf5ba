use std::{
    hint,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use try_lock::{Locked, TryLock};

use crate::sframe::{Counter, DecryptError, OpenKey, ReplayWindow};

/// How often to look again before giving way to another thread.
const SPINS: u32 = 64;

/// A key with the window of what was opened with it.
pub(super) struct Opener {
    key: OpenKey,
    window: ReplayWindow,
}

impl Opener {
    pub(super) fn new(key: OpenKey) -> Self {
        Self { key, window: ReplayWindow::default() }
    }

    /// The order of RFC 9605 §9.3: screen for replays, open, and only then record.
    #[inline]
    pub(super) fn open(
        &mut self,
        counter: Counter,
        open: impl FnOnce(&OpenKey) -> Result<(), DecryptError>,
    ) -> Result<(), DecryptError> {
        self.window.screen(counter)?;
        open(&self.key)?;
        self.window.record(counter)
    }
}

/// The key of one KID of one track, shared by the ring that owns it and the track's decryptors.
///
/// The ring wipes it, whoever still refers to it: a decryptor that gets no frames any more keeps
/// nothing. Hence the lock. It belongs to this track and this KID alone, and it is a try-lock
/// because a mutex would cost a second atomic exchange for each frame, to wake waiters that there
/// are hardly ever.
pub(super) struct TrackKey {
    opener: TryLock<Option<Opener>>,
    opened: AtomicU64,
}

impl TrackKey {
    pub(super) fn new(opener: Opener) -> Self {
        Self { opener: TryLock::new(Some(opener)), opened: AtomicU64::new(0) }
    }

    /// For an opener that has opened the first frame.
    pub(super) fn after_first_frame(opener: Opener) -> Self {
        Self { opened: AtomicU64::new(1), ..Self::new(opener) }
    }

    /// Opens a frame that is no replay; `None` if the key was wiped.
    #[inline]
    pub(super) fn open(
        &self,
        counter: Counter,
        open: impl FnOnce(&OpenKey) -> Result<(), DecryptError>,
    ) -> Option<Result<(), DecryptError>> {
        let mut opener = self.lock();
        let result = opener.as_mut()?.open(counter, open);
        if result.is_ok() {
            // Under the lock, so nobody else writes: a plain load and store, which are cheaper.
            self.opened.store(self.opened.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        Some(result)
    }

    /// Frames opened so far.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Forgets the key; a frame that is being opened is finished first.
    pub(super) fn wipe(&self) {
        *self.lock() = None;
    }

    /// Who is in front opens one frame: microseconds.
    #[inline]
    fn lock(&self) -> Locked<'_, Option<Opener>> {
        if let Some(opener) = self.opener.try_lock() {
            return opener;
        }
        self.wait()
    }

    #[cold]
    fn wait(&self) -> Locked<'_, Option<Opener>> {
        let mut spins = 0;
        loop {
            if let Some(opener) = self.opener.try_lock() {
                return opener;
            }
            if spins < SPINS {
                spins += 1;
                hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }
}

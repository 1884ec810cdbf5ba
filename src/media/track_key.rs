use super::sync::{Locked, TryLock, spin_loop, yield_now};
use crate::sframe::{Counter, DecryptError, OpenKey, ReplayWindow};

/// How often to look again before giving way to another thread.
const SPINS: u32 = 64;

/// A key with what was opened with it.
pub(super) struct Opener {
    key: OpenKey,
    window: ReplayWindow,
    opened: u64,
}

impl Opener {
    pub(super) fn new(key: OpenKey) -> Self {
        Self { key, window: ReplayWindow::default(), opened: 0 }
    }

    /// Opens a frame that is no replay.
    #[inline(always)] // A result through memory costs as much as the window.
    pub(super) fn open(
        &mut self,
        counter: Counter,
        open: &mut impl FnMut(&OpenKey) -> Result<(), DecryptError>,
    ) -> Result<(), DecryptError> {
        self.window.accept(counter, || open(&self.key))?;
        self.opened += 1;
        Ok(())
    }
}

/// The key of one KID of one track, shared by the ring that owns it and the track's decryptors.
///
/// The ring wipes it, whoever still refers to it: a decryptor that gets no frames any more keeps
/// nothing. Hence the lock. It belongs to this track and this KID alone, and it is a try-lock
/// because a mutex would cost a second atomic exchange for each frame, to wake waiters that there
/// are hardly ever.
pub(super) struct TrackKey(TryLock<Option<Opener>>);

impl TrackKey {
    pub(super) fn new(opener: Opener) -> Self {
        Self(TryLock::new(Some(opener)))
    }

    /// Opens a frame that is no replay; `None` if the key was wiped.
    #[inline]
    pub(super) fn open(
        &self,
        counter: Counter,
        open: &mut impl FnMut(&OpenKey) -> Result<(), DecryptError>,
    ) -> Option<Result<(), DecryptError>> {
        Some(self.lock().as_mut()?.open(counter, open))
    }

    /// Frames opened so far; none if the key was wiped.
    pub(super) fn opened(&self) -> u64 {
        self.lock().as_ref().map_or(0, |opener| opener.opened)
    }

    /// Forgets the key, and says how many frames it opened. One that is being opened is finished
    /// first.
    pub(super) fn wipe(&self) -> u64 {
        let mut opener = self.lock();
        let opened = opener.as_ref().map_or(0, |opener| opener.opened);
        // Dropped where it is: moved out, it would leave its bytes behind.
        *opener = None;
        opened
    }

    /// Who is in front opens one frame: microseconds.
    #[inline]
    fn lock(&self) -> Locked<'_, Option<Opener>> {
        if let Some(opener) = self.0.try_lock() {
            return opener;
        }
        self.wait()
    }

    #[cold]
    fn wait(&self) -> Locked<'_, Option<Opener>> {
        let mut spins = 0;
        loop {
            if let Some(opener) = self.0.try_lock() {
                return opener;
            }
            if spins < SPINS {
                spins += 1;
                spin_loop();
            } else {
                yield_now();
            }
        }
    }
}

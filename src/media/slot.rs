use super::sync::{Arc, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError};
use crate::{
    primitives::{Position, Timestamp},
    sframe::EncryptError,
};

/// A key at this or a later position was installed before, and a second send key for it would
/// start its counter at 0 again; or the stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a send key at this or a later position was already installed, or the stream has ended")]
pub(crate) struct InstallRefused;

/// Where an endpoint puts a track's current key and its encryptors find it.
///
/// Every change gets a new version. An encryptor looks at the version for each frame, which costs
/// a plain load, and takes the lock only when it has changed: no lock is held, and no shared
/// count is touched, while anything is encrypted.
pub(crate) struct Slot<K> {
    version: AtomicU64,
    current: Mutex<Current<K>>,
    /// After when the key must not be used any more, in milliseconds; [`NEVER`] if there is no
    /// such time.
    deadline: AtomicU64,
}

const NEVER: u64 = u64::MAX;

struct Current<K> {
    key: Option<Arc<K>>,
    last: Option<Position>,
    paused: bool,
    closed: bool,
}

impl<K> Slot<K> {
    pub(super) fn new() -> Self {
        let current = Current { key: None, last: None, paused: false, closed: false };
        // Versions begin at 1, so that a handle's 0 is none of them.
        let (version, deadline) = (AtomicU64::new(1), AtomicU64::new(NEVER));
        Self { version, current: Mutex::new(current), deadline }
    }

    /// Puts a position's one send key to use, and makes it only then. A frame that begins after
    /// this has returned is encrypted with it or a later one.
    pub(super) fn put(
        &self,
        position: Position,
        make: impl FnOnce() -> K,
    ) -> Result<(), InstallRefused> {
        let mut current = self.lock();
        if current.closed || current.last.is_some_and(|last| position <= last) {
            return Err(InstallRefused);
        }
        current.last = Some(position);
        current.key = Some(Arc::new(make()));
        self.change(&current);
        Ok(())
    }

    /// Stops or resumes encrypting: no frame that begins after this has returned gets out.
    pub(crate) fn pause(&self, paused: bool) {
        let mut current = self.lock();
        current.paused = paused;
        self.change(&current);
    }

    /// Stops encrypting for good and lets go of the key.
    pub(crate) fn close(&self) {
        let mut current = self.lock();
        current.closed = true;
        current.key = None;
        self.change(&current);
    }

    /// After when the key must not be used any more: somebody who has it was removed.
    pub(crate) fn set_deadline(&self, deadline: Option<Timestamp>) {
        self.deadline.store(deadline.map_or(NEVER, Timestamp::unix_millis), Ordering::Relaxed);
    }

    /// Whether the endpoint should have replaced the key by now, and did not.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        now.unix_millis() > self.deadline.load(Ordering::Relaxed)
    }

    /// Called with the lock held, so that a version stands for one state.
    fn change(&self, _: &MutexGuard<'_, Current<K>>) {
        self.version.fetch_add(1, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Current<K>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one encryptor last saw in its slot.
pub(super) struct Seen<K> {
    version: u64,
    pub(super) key: Result<Arc<K>, EncryptError>,
}

impl<K> Seen<K> {
    pub(super) fn nothing() -> Self {
        Self { version: 0, key: Err(EncryptError::NotReady) }
    }

    /// The key to encrypt with now.
    #[inline]
    pub(super) fn key(&mut self, slot: &Slot<K>) -> Result<&K, EncryptError> {
        if slot.version.load(Ordering::Acquire) != self.version {
            self.look(slot);
        }
        self.key.as_deref().map_err(|&error| error)
    }

    #[cold]
    fn look(&mut self, slot: &Slot<K>) {
        let current = slot.lock();
        self.key = match &current.key {
            _ if current.paused || current.closed => Err(EncryptError::Paused),
            Some(key) => Ok(Arc::clone(key)),
            None => Err(EncryptError::NotReady),
        };
        self.version = slot.version.load(Ordering::Relaxed);
    }
}

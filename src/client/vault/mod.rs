//! A device on disk.
//!
//! ```no_run
//! use olmcast::{client::{Client, Unlock, Vault}, primitives::Invite};
//!
//! # async fn run(link: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let unlock = Unlock::passphrase("seven words that nobody said before me");
//! let mut vault = Vault::load_or_create("olmcast/vault", &unlock)?;
//! if vault.identity().name().is_empty() {
//!     vault.update(|identity| identity.set_name("Ada"))?;
//! }
//! let invite: Invite = link.parse()?;
//! // What it pins, verifies and blocks from now on is there at the next start.
//! let client = Client::connect(&invite, vault).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Beside a vault `V` lie `.V.olmcast-lock`, which says who has it, and for moments
//! `.V.olmcast-tmp`, the next one. No vault and no key file can have a name like that.

mod error;
mod file;
mod keeper;
mod lock;
#[cfg(test)]
mod tests;
mod unlock;

use std::{fmt, path::Path};

pub(super) use self::keeper::{Keeper, Kept};
pub use self::{
    error::{Holder, VaultError},
    unlock::Unlock,
};
use self::{file::Place, lock::Lock};
use crate::device::{Identity, SealError};

/// What is read of a vault at most.
const MAX_FILE: usize = 65 << 20;

/// A device that outlives the process: its [`Identity`], with all that it remembers of others, in
/// an encrypted file that this process alone has.
///
/// Made [from an `Identity`](From), it is kept nowhere.
pub struct Vault {
    identity: Identity,
    store: Option<Store>,
}

impl Vault {
    /// Opens a vault, or makes one with a new device if there is none; its folder too, if need be.
    ///
    /// It blocks: some tenths of a second with a passphrase, for the time that argon2id takes.
    ///
    /// # Errors
    /// [`VaultError`]; among them [`Locked`](VaultError::Locked) at once, if somebody has it.
    pub fn load_or_create(path: impl AsRef<Path>, unlock: &Unlock) -> Result<Self, VaultError> {
        let place = Place::make(path.as_ref())?;
        unlock.refuse_vault(&place)?;
        let store = Store::lock(place)?;
        match store.read()? {
            Some(bytes) => Self::unlock(store, &bytes, unlock),
            None => Self::create(store, unlock),
        }
    }

    /// Opens a vault that is there.
    ///
    /// # Errors
    /// As [`load_or_create`](Self::load_or_create), and [`VaultError::NotFound`].
    pub fn open(path: impl AsRef<Path>, unlock: &Unlock) -> Result<Self, VaultError> {
        let path = path.as_ref();
        let place = Place::find(path)?;
        let missing = || VaultError::NotFound(path.to_owned());
        if !place.exists() {
            // Nothing is locked, so that no file is made.
            return Err(missing());
        }
        unlock.refuse_vault(&place)?;
        let store = Store::lock(place)?;
        let bytes = store.read()?.ok_or_else(missing)?;
        Self::unlock(store, &bytes, unlock)
    }

    /// Says whether a vault is there and nobody has it, before a user is asked for its passphrase.
    ///
    /// # Errors
    /// [`VaultError::NotFound`], [`VaultError::Locked`] with who has it, or why that cannot be seen.
    pub fn check_free(path: impl AsRef<Path>) -> Result<(), VaultError> {
        let path = path.as_ref();
        let place = Place::find(path)?;
        if !place.exists() {
            return Err(VaultError::NotFound(path.to_owned()));
        }
        Store::lock(place).map(drop)
    }

    fn unlock(store: Store, bytes: &[u8], unlock: &Unlock) -> Result<Self, VaultError> {
        let key = unlock.key(store.path())?;
        let identity = Identity::open(bytes, &key).map_err(VaultError::seal(store.path()))?;
        // What a process that was killed may have left. If that fails, the next write says so.
        let _ = store.place.remove_temporary();
        Ok(Self { identity, store: Some(store) })
    }

    fn create(store: Store, unlock: &Unlock) -> Result<Self, VaultError> {
        let seal = |error: SealError| VaultError::seal(store.path())(error);
        let key = unlock.new_key(store.path())?;
        let mut identity = Identity::generate();
        identity.seal_with(&key).map_err(seal)?;
        store.write(&identity.sealed().map_err(seal)?)?;
        Ok(Self { identity, store: Some(store) })
    }

    /// The device.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it is kept, by its true name; `None` if nowhere.
    pub fn path(&self) -> Option<&Path> {
        self.store.as_ref().map(Store::path)
    }

    /// Changes the device and waits until that is on disk.
    ///
    /// # Errors
    /// [`VaultError::Io`], [`VaultError::Seal`], and [`VaultError::OtherDevice`] for another
    /// device's identity: nothing changed then. After [`VaultError::NotDurable`], it did.
    pub fn update<T>(&mut self, change: impl FnOnce(&mut Identity) -> T) -> Result<T, VaultError> {
        self.update_with(change, Store::write)
    }

    fn update_with<T>(
        &mut self,
        change: impl FnOnce(&mut Identity) -> T,
        write: impl FnOnce(&Store, &[u8]) -> Result<(), VaultError>,
    ) -> Result<T, VaultError> {
        let before = self.identity.again();
        let changed = change(&mut self.identity);
        let written = self.keep(&before, write);
        if !matches!(written, Ok(()) | Err(VaultError::NotDurable { .. })) {
            self.identity = before;
        }
        written.map(|()| changed)
    }

    fn keep(
        &self,
        before: &Identity,
        write: impl FnOnce(&Store, &[u8]) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        if self.identity.device() != before.device() {
            return Err(VaultError::OtherDevice);
        }
        let Some(store) = &self.store else { return Ok(()) };
        write(store, &self.identity.sealed().map_err(VaultError::seal(store.path()))?)
    }

    pub(super) fn into_parts(self) -> (Identity, Option<Store>) {
        (self.identity, self.store)
    }
}

impl From<Identity> for Vault {
    /// A device that is kept nowhere.
    fn from(identity: Identity) -> Self {
        Self { identity, store: None }
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("identity", &self.identity)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// The same as [`Vault::load_or_create`].
    ///
    /// # Errors
    /// As there.
    pub fn load_or_create(path: impl AsRef<Path>, unlock: &Unlock) -> Result<Vault, VaultError> {
        Vault::load_or_create(path, unlock)
    }
}

/// Where a vault is kept, locked.
#[derive(Debug)]
pub(super) struct Store {
    place: Place,
    _lock: Lock,
}

impl Store {
    /// Before anything is read: whoever has it may be about to write.
    fn lock(place: Place) -> Result<Self, VaultError> {
        place.refuse_exposed_folder()?;
        let lock = Lock::take(&place.lock(), &place.path)?;
        Ok(Self { place, _lock: lock })
    }

    fn read(&self) -> Result<Option<Vec<u8>>, VaultError> {
        self.place.refuse_hard_link()?;
        self.place.read(MAX_FILE)
    }

    fn path(&self) -> &Path {
        &self.place.path
    }

    fn write(&self, sealed: &[u8]) -> Result<(), VaultError> {
        self.place.write(sealed)
    }
}

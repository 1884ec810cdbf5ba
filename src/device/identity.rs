use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vodozemac::olm::{Account, AccountPickle};
use zeroize::Zeroizing;

use super::{
    Memory, SealError, SealingKey,
    seal::{Opened, Seal},
    tidy,
};
use crate::{
    primitives::{DeviceId, Signature, SigningForm, overwrite_drawn},
    protocol::PublicKey,
};

/// A device: its Olm account (the Ed25519 key that names it, the Curve25519 key that others
/// encrypt to, the one-time keys in flight), what it calls itself, and what it remembers of others.
///
/// It lives in memory: dropping it loses the device for good, unless it was [sealed](Self::sealed)
/// and the bytes were kept.
///
/// ```
/// use olmcast::device::{Identity, SealingKey};
///
/// let key = SealingKey::passphrase("seven words that nobody said before me")?;
/// let mut identity = Identity::generate().with_name("Ada");
/// identity.seal_with(&key)?;
/// let bytes = identity.sealed()?;
///
/// let again = Identity::open(&bytes, &key)?;
/// assert_eq!(again.device(), identity.device());
/// assert_eq!(again.name(), "Ada");
/// # Ok::<(), olmcast::device::SealError>(())
/// ```
pub struct Identity {
    account: Arc<Mutex<Account>>,
    /// The account as it was when it was made, with no one-time key in it: what is sealed each
    /// time, so that nothing that is to be forgotten is ever kept.
    pickle: Arc<Zeroizing<Vec<u8>>>,
    seal: Option<Seal>,
    device: DeviceId,
    curve25519: PublicKey,
    name: String,
    memory: Memory,
}

impl Identity {
    /// Makes a new device with random keys.
    pub fn generate() -> Self {
        let account = Account::new();
        overwrite_drawn();
        let pickle = written(&account.pickle());
        Self::with_account(account, pickle)
    }

    fn with_account(account: Account, pickle: Zeroizing<Vec<u8>>) -> Self {
        Self {
            device: DeviceId::from_bytes(*account.ed25519_key().as_bytes()),
            curve25519: PublicKey(account.curve25519_key()),
            account: Arc::new(Mutex::new(account)),
            pickle: Arc::new(pickle),
            seal: None,
            name: String::new(),
            memory: Memory::default(),
        }
    }

    /// The device that was sealed, with what it remembered then. It is sealed with the same
    /// passphrase or key from now on.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(sealed: &[u8], key: &SealingKey) -> Result<Self, SealError> {
        let (seal, Opened { account: pickle, name, memory }) = Seal::open(sealed, key)?;
        let account = serde_json::from_slice::<AccountPickle>(&pickle);
        let account = Account::from_pickle(account.map_err(|_| SealError::Content)?);
        let mut identity = Self::with_account(account, pickle);
        identity.seal = Some(seal);
        identity.set_name(name);
        identity.memory = memory;
        Ok(identity)
    }

    /// Seals with this passphrase or key from now on. With a passphrase it takes a moment, and
    /// 64 MiB, to work out the key, which is kept.
    ///
    /// # Errors
    /// [`SealError::Memory`], [`SealError::Randomness`].
    pub fn seal_with(&mut self, key: &SealingKey) -> Result<(), SealError> {
        self.seal = Some(Seal::new(key)?);
        Ok(())
    }

    /// The device as bytes to be kept: who it is, what it calls itself, and what it remembers; no
    /// sessions and no one-time keys. What anybody can read of them is whether they were sealed
    /// with a passphrase or a key, and about how much they say.
    ///
    /// # Errors
    /// [`SealError::NoKey`] before [`seal_with`](Self::seal_with), [`SealError::Randomness`],
    /// [`SealError::TooLarge`].
    pub fn sealed(&self) -> Result<Vec<u8>, SealError> {
        self.sealed_with(&self.memory)
    }

    /// The same, with a memory that was taken away.
    pub(crate) fn sealed_with(&self, memory: &Memory) -> Result<Vec<u8>, SealError> {
        let seal = self.seal.as_ref().ok_or(SealError::NoKey)?;
        seal.seal(&self.pickle, &self.name, memory)
    }

    /// The same device again, as it is now, to be able to undo a change.
    #[cfg(feature = "client")]
    pub(crate) fn again(&self) -> Self {
        Self {
            account: Arc::clone(&self.account),
            pickle: Arc::clone(&self.pickle),
            seal: self.seal.clone(),
            device: self.device,
            curve25519: self.curve25519,
            name: self.name.clone(),
            memory: self.memory.clone(),
        }
    }

    /// Whether it has a passphrase or key to be sealed with.
    pub(crate) fn can_be_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// Calls itself so, to people; 128 bytes of it at most. For others that is a claim until they
    /// pin or verify it.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.set_name(name);
        self
    }

    /// The same, of a device that is there already.
    pub fn set_name(&mut self, name: impl Into<String>) {
        self.name = tidy(&name.into());
    }

    /// What it calls itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whom it knows, and whom it shuts out.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The same, to decide about others while no endpoint runs with this device.
    pub fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// Takes what it remembers away, to keep it elsewhere.
    pub(crate) fn take_memory(&mut self) -> Memory {
        std::mem::take(&mut self.memory)
    }

    /// The device's id, which is its public Ed25519 key.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The public Curve25519 key, as it stands in signed messages.
    pub fn curve25519(&self) -> PublicKey {
        self.curve25519
    }

    /// A handle that signs for this device and can do nothing else.
    pub fn signer(&self) -> Signer {
        Signer { account: Arc::clone(&self.account), device: self.device }
    }

    pub(super) fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same account again, for an attempt that may have to be undone.
    pub(super) fn copy_of_account(&self) -> Account {
        Account::from_pickle(self.account().pickle())
    }

    /// Makes one one-time key, for one message. It is never part of a published pool.
    pub(crate) fn one_time_key(&self) -> Option<PublicKey> {
        let mut account = self.account();
        let created = account.generate_one_time_keys(1).created;
        overwrite_drawn();
        // Nothing else publishes it; without this the account would go on offering it.
        account.mark_keys_as_published();
        created.first().copied().map(PublicKey)
    }

    /// Forgets a one-time key whose message will not be answered any more.
    pub(crate) fn forget_one_time_key(&self, key: PublicKey) {
        self.account().remove_one_time_key(key.0);
    }
}

/// The most that an account without one-time keys takes.
const PICKLE: usize = 2048;

/// What the library says of an account, written in place: memory that it outgrew would be given
/// back with the keys in it.
fn written(pickle: &AccountPickle) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(vec![0; PICKLE]);
    let mut free = bytes.as_mut_slice();
    let length = match serde_json::to_writer(&mut free, pickle) {
        Ok(()) => PICKLE - free.len(),
        // It has a fixed number of keys. Without it nothing can be opened, and `open` says so.
        Err(_) => 0,
    };
    bytes.truncate(length);
    bytes
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("device", &self.device).finish_non_exhaustive()
    }
}

/// Signs in the name of a device.
#[derive(Clone)]
pub struct Signer {
    account: Arc<Mutex<Account>>,
    device: DeviceId,
}

impl Signer {
    /// The device that the signatures are by.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// Signs one statement.
    pub fn sign(&self, form: SigningForm<'_>) -> Signature {
        let account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        Signature::from_bytes(account.sign(form.to_bytes()).to_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("device", &self.device).finish_non_exhaustive()
    }
}

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vodozemac::olm::Account;

use super::{Memory, tidy};
use crate::{
    primitives::{DeviceId, Signature, SigningForm},
    protocol::PublicKey,
};

/// A device: its Olm account (the Ed25519 key that names it, the Curve25519 key that others
/// encrypt to, the one-time keys in flight), what it calls itself, and what it remembers of others.
///
/// It lives in memory: dropping it loses the device for good.
pub struct Identity {
    account: Arc<Mutex<Account>>,
    device: DeviceId,
    curve25519: PublicKey,
    name: String,
    memory: Memory,
}

impl Identity {
    /// Makes a new device with random keys.
    pub fn generate() -> Self {
        let account = Account::new();
        Self {
            device: DeviceId::from_bytes(*account.ed25519_key().as_bytes()),
            curve25519: PublicKey(account.curve25519_key()),
            account: Arc::new(Mutex::new(account)),
            name: String::new(),
            memory: Memory::default(),
        }
    }

    /// Calls itself so, to people; 128 bytes of it at most. For others that is a claim until they
    /// pin or verify it.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.set_name(&name.into());
        self
    }

    pub(crate) fn set_name(&mut self, name: &str) {
        self.name = tidy(name);
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
        // Nothing else publishes it; without this the account would go on offering it.
        account.mark_keys_as_published();
        created.first().copied().map(PublicKey)
    }

    /// Forgets a one-time key whose message will not be answered any more.
    pub(crate) fn forget_one_time_key(&self, key: PublicKey) {
        self.account().remove_one_time_key(key.0);
    }
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

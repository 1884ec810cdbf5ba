//! Keys from a secret that the application brought (face 1): one key per random KID.

use std::{collections::HashMap, sync::Arc};

use hkdf::Hkdf;
use sha2::Sha256;

use crate::{
    primitives::Secret,
    sframe::{
        BaseKey, CipherSuite, DecryptError, EncryptError, Header, KeyId, OpenKey, ReplayWindow,
    },
};

/// Below this KIDs belong to streams with generations and steps.
const FIRST_KEY_ID: u64 = 1 << 56;
/// Encryptors a decryptor will follow. Only authentic frames add one, so that only a holder of
/// the secret can use them up; none is dropped, because its replay window would go with it.
const MAX_KEY_IDS: usize = 1024;

pub(super) fn base_key(suite: CipherSuite, secret: &Secret<32>) -> BaseKey {
    let prk = Hkdf::<Sha256>::new(Some(b"olmcast/1 own secret"), secret.expose());
    BaseKey::fill(suite, |out| {
        // At most 64 bytes, and HKDF-SHA-256 gives 8,160.
        let expanded = prk.expand(&suite.id().to_be_bytes(), out);
        debug_assert!(expanded.is_ok());
    })
}

pub(super) fn random_key_id() -> Result<KeyId, EncryptError> {
    loop {
        let key_id = getrandom::u64().map_err(|_| EncryptError::NotReady)?;
        if key_id >= FIRST_KEY_ID {
            return Ok(KeyId(key_id));
        }
    }
}

pub(super) struct OwnSecret {
    base_key: BaseKey,
    keys: HashMap<KeyId, (Arc<OpenKey>, ReplayWindow)>,
}

impl OwnSecret {
    pub(super) fn new(suite: CipherSuite, secret: &Secret<32>) -> Self {
        Self { base_key: base_key(suite, secret), keys: HashMap::new() }
    }

    /// The key for a frame that is no replay; changes nothing. A KID that no encryptor of this kind
    /// draws is most likely plain media.
    pub(super) fn screen(&self, header: Header) -> Result<Arc<OpenKey>, DecryptError> {
        if header.key_id.0 < FIRST_KEY_ID {
            return Err(DecryptError::Syntax);
        }
        match self.keys.get(&header.key_id) {
            Some((key, window)) => window.screen(header.counter).map(|()| Arc::clone(key)),
            None if self.keys.len() >= MAX_KEY_IDS => Err(DecryptError::Limit),
            None => Ok(Arc::new(OpenKey::new(&self.base_key, header.key_id))),
        }
    }

    /// Keeps the key and the counter of a frame that was authentic.
    pub(super) fn record(&mut self, header: Header, key: Arc<OpenKey>) -> Result<(), DecryptError> {
        let (_, window) = self.keys.entry(header.key_id).or_insert((key, ReplayWindow::default()));
        window.record(header.counter)
    }
}

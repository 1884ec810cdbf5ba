//! Keys from a secret that the application brought (face 1): one key for each KID.

use std::{collections::BTreeMap, sync::Arc};

use hkdf::Hkdf;
use sha2::Sha256;

use super::{FrameEncryptor, slot::Slot, track_key::Opener};
use crate::{
    primitives::{Codec, Generation, Position, Secret, Step},
    sframe::{BaseKey, CipherSuite, DecryptError, EncryptError, Header, KeyId, OpenKey, SealKey},
};

/// Below this KIDs belong to streams with generations and steps.
const FIRST_KEY_ID: KeyId = KeyId(1 << 56);
/// Encryptors a decryptor will follow. Only authentic frames add one, so that only a holder of
/// the secret can use them up; none is dropped, because its replay window would go with it.
const MAX_KEY_IDS: usize = 1024;

/// One base key for each encryptor.
//
//= RFC 9605 §4.4.1
//# A given base_key MUST NOT be used for encryption by multiple senders.
pub(super) fn base_key(suite: CipherSuite, secret: &Secret<32>, key_id: KeyId) -> BaseKey {
    let mut info = [0; 10];
    info[..2].copy_from_slice(&suite.id().to_be_bytes());
    info[2..].copy_from_slice(&key_id.0.to_be_bytes());
    let prk = Hkdf::<Sha256>::new(Some(b"olmcast/1 own secret"), secret.expose());
    BaseKey::fill(suite, |out| {
        // At most 64 bytes, and HKDF-SHA-256 gives 8,160.
        let expanded = prk.expand(&info, out);
        debug_assert!(expanded.is_ok());
    })
}

pub(super) fn random_key_id() -> Result<KeyId, EncryptError> {
    loop {
        let key_id = KeyId(getrandom::u64().map_err(|_| EncryptError::NotReady)?);
        if key_id >= FIRST_KEY_ID {
            return Ok(key_id);
        }
    }
}

/// An encryptor whose key never changes.
pub(super) fn encryptor(codec: Codec, base_key: BaseKey, key_id: KeyId) -> FrameEncryptor {
    let slot = Slot::new();
    let position = Position { generation: Generation(0), step: Step::FIRST };
    let installed = slot.put(position, || SealKey::new(base_key, key_id));
    debug_assert!(installed.is_ok(), "nothing was installed before");
    FrameEncryptor::new(codec, Arc::new(slot))
}

pub(super) struct OwnSecret {
    source: Source,
    /// Boxed, because a tree's node has room for eleven.
    keys: BTreeMap<KeyId, Box<Opener>>,
}

enum Source {
    /// All KIDs that [`random_key_id`] draws. Any other is most likely plain media.
    Secret(CipherSuite, Secret<32>),
    /// No KIDs but those that are there.
    Fixed,
}

impl OwnSecret {
    pub(super) fn new(suite: CipherSuite, secret: &Secret<32>) -> Self {
        Self { source: Source::Secret(suite, secret.clone()), keys: BTreeMap::new() }
    }

    /// For one KID.
    pub(super) fn fixed(base_key: BaseKey, key_id: KeyId) -> Self {
        let opener = Box::new(Opener::new(OpenKey::new(base_key, key_id)));
        Self { source: Source::Fixed, keys: BTreeMap::from([(key_id, opener)]) }
    }

    /// Opens a frame that is no replay. Only an authentic one leaves a trace.
    #[inline]
    pub(super) fn open(
        &mut self,
        header: Header,
        open: &mut impl FnMut(&OpenKey) -> Result<(), DecryptError>,
    ) -> Result<(), DecryptError> {
        match self.keys.get_mut(&header.key_id) {
            Some(opener) => opener.open(header.counter, open),
            None => self.open_fresh(header, open),
        }
    }

    #[cold]
    fn open_fresh(
        &mut self,
        header: Header,
        open: &mut impl FnMut(&OpenKey) -> Result<(), DecryptError>,
    ) -> Result<(), DecryptError> {
        let key_id = header.key_id;
        let base_key = match &self.source {
            Source::Fixed => return Err(DecryptError::UnknownKey(key_id)),
            Source::Secret(..) if key_id < FIRST_KEY_ID => return Err(DecryptError::Syntax),
            Source::Secret(..) if self.keys.len() >= MAX_KEY_IDS => {
                return Err(DecryptError::Limit);
            }
            Source::Secret(suite, secret) => base_key(*suite, secret, key_id),
        };
        let mut opener = Box::new(Opener::new(OpenKey::new(base_key, key_id)));
        opener.open(header.counter, open)?;
        self.keys.insert(key_id, opener);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_encryptors_of_one_secret_share_neither_kid_nor_base_key() {
        let suite = CipherSuite::default();
        let secret = Secret::fill(|bytes| bytes.fill(5));
        let (first, second) = (random_key_id().unwrap(), random_key_id().unwrap());
        assert!(first != second && first >= FIRST_KEY_ID && second >= FIRST_KEY_ID);
        // Under one KID, so that the base keys alone can make the difference.
        let sealed_by = |of| {
            let mut out = Vec::new();
            let key = SealKey::new(base_key(suite, &secret, of), KeyId(0));
            key.seal_into(b"", b"probe", &mut out, 0).unwrap();
            out
        };
        assert_ne!(sealed_by(first), sealed_by(second));
        assert_eq!(sealed_by(first), sealed_by(first));
    }
}

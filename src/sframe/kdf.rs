use hkdf::Hkdf;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use super::{Backend, CipherSuite, KeyId};
use crate::primitives::Secret;

/// A `base_key` of RFC 9605 §4.4.1: the secret from which one KID's key and salt follow.
///
/// It makes one [`SealKey`](super::SealKey) or one [`OpenKey`](super::OpenKey) and is gone: it
/// can be neither copied nor used for both.
///
/// ```compile_fail,E0382
/// # use olmcast::sframe::{BaseKey, CipherSuite, KeyId, OpenKey, SealKey};
/// let base_key = BaseKey::fill(CipherSuite::default(), |bytes| getrandom::fill(bytes).unwrap());
/// let seal = SealKey::new(base_key, KeyId(1));
/// let open = OpenKey::new(base_key, KeyId(1)); // and neither a second `SealKey`
/// ```
///
/// Held as 64 bytes, of which a suite uses the first Nh.
//
//= RFC 9605 §4.4.1
//# Implementations MUST mark each base_key as usable for encryption or decryption, never both.
#[derive(Debug)]
pub struct BaseKey {
    suite: CipherSuite,
    backend: Backend,
    secret: Secret<64>,
    length: usize,
}

impl BaseKey {
    /// Lets `fill` write Nh secret bytes in place.
    pub fn fill(suite: CipherSuite, fill: impl FnOnce(&mut [u8])) -> Self {
        let length = suite.hash_length();
        let secret = Secret::fill(|bytes| fill(&mut bytes[..length]));
        Self { suite, backend: Backend::default(), secret, length }
    }

    /// The same key, for the frames of which this backend is to be used.
    #[must_use]
    pub fn with_backend(self, backend: Backend) -> Self {
        Self { backend, ..self }
    }

    /// The suite this key was made for.
    pub fn suite(&self) -> CipherSuite {
        self.suite
    }

    pub(super) fn backend(&self) -> Backend {
        self.backend
    }

    #[cfg(test)]
    pub(super) fn of_any_length(suite: CipherSuite, bytes: &[u8]) -> Self {
        let secret = Secret::fill(|secret| secret[..bytes.len()].copy_from_slice(bytes));
        Self { suite, backend: Backend::default(), secret, length: bytes.len() }
    }

    fn bytes(&self) -> &[u8] {
        &self.secret.expose()[..self.length]
    }

    /// `derive_key_salt` of RFC 9605 §4.4.2.
    pub(super) fn derive(&self, key_id: KeyId) -> KeyAndSalt {
        match self.suite {
            CipherSuite::AesGcm128Sha256 => {
                let prk = Hkdf::<Sha256>::new(None, self.bytes());
                self.expand(key_id, |info, out| prk.expand(info, out).is_ok())
            }
            CipherSuite::AesGcm256Sha512 => {
                let prk = Hkdf::<Sha512>::new(None, self.bytes());
                self.expand(key_id, |info, out| prk.expand(info, out).is_ok())
            }
        }
    }

    fn expand(&self, key_id: KeyId, expand: impl Fn(&[u8], &mut [u8]) -> bool) -> KeyAndSalt {
        let mut key = Zeroizing::new([0; 32]);
        let mut salt = Zeroizing::new([0; CipherSuite::NONCE_LENGTH]);
        let length = self.suite.key_length();
        // HKDF fails only above 255 hash lengths; ours are 32 bytes at most.
        let key_made = expand(&self.label(b"SFrame 1.0 Secret key ", key_id), &mut key[..length]);
        let salt_made =
            expand(&self.label(b"SFrame 1.0 Secret salt ", key_id), salt.as_mut_slice());
        debug_assert!(key_made && salt_made);
        KeyAndSalt { key, length, salt }
    }

    pub(super) fn label(&self, text: &[u8], key_id: KeyId) -> Vec<u8> {
        [text, &key_id.0.to_be_bytes(), &self.suite.id().to_be_bytes()].concat()
    }
}

/// `sframe_key` and `sframe_salt`.
pub(super) struct KeyAndSalt {
    key: Zeroizing<[u8; 32]>,
    length: usize,
    pub(super) salt: Zeroizing<[u8; CipherSuite::NONCE_LENGTH]>,
}

impl KeyAndSalt {
    pub(super) fn key(&self) -> &[u8] {
        &self.key[..self.length]
    }
}

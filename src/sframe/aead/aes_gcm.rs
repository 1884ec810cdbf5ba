#![cfg_attr(feature = "aws-lc", allow(dead_code, reason = "the oracle of the other backend"))]

use aes_gcm::{
    Aes128Gcm, Aes256Gcm,
    aead::{AeadInOut, KeyInit, inout::InOutBuf},
};

use super::{AeadFailed, Nonce};
use crate::sframe::CipherSuite;

/// An expanded AES-GCM key of the RustCrypto library, which zeroizes it on drop.
pub(in crate::sframe) enum Key {
    /// No key at all: the library refused its length. Refuses everything.
    Unusable,
    Aes128(Box<Aes128Gcm>),
    Aes256(Box<Aes256Gcm>),
}

impl Key {
    pub(in crate::sframe) fn new(suite: CipherSuite, key: &[u8]) -> Self {
        match suite {
            CipherSuite::AesGcm128Sha256 => Aes128Gcm::new_from_slice(key)
                .map_or(Self::Unusable, |key| Self::Aes128(Box::new(key))),
            CipherSuite::AesGcm256Sha512 => Aes256Gcm::new_from_slice(key)
                .map_or(Self::Unusable, |key| Self::Aes256(Box::new(key))),
        }
    }

    /// Writes ciphertext and tag to `out`, which must be 16 bytes longer than `plain`.
    pub(in crate::sframe) fn seal(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        plain: &[u8],
        out: &mut [u8],
    ) -> Result<(), AeadFailed> {
        let (text, tag) = out.split_at_mut_checked(plain.len()).ok_or(AeadFailed)?;
        let buffer = InOutBuf::new(plain, text).map_err(|_| AeadFailed)?;
        let made = match self {
            Self::Unusable => return Err(AeadFailed),
            Self::Aes128(key) => key.encrypt_inout_detached(nonce.into(), aad, buffer),
            Self::Aes256(key) => key.encrypt_inout_detached(nonce.into(), aad, buffer),
        };
        let made = made.map_err(|_| AeadFailed)?;
        if tag.len() != made.len() {
            return Err(AeadFailed);
        }
        tag.copy_from_slice(&made);
        Ok(())
    }

    /// Writes the plaintext to `out`, which must be 16 bytes shorter than `sealed`.
    pub(in crate::sframe) fn open(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), AeadFailed> {
        let (text, tag) = sealed.split_at_checked(out.len()).ok_or(AeadFailed)?;
        let tag: &[u8; CipherSuite::TAG_LENGTH] = tag.try_into().map_err(|_| AeadFailed)?;
        let buffer = InOutBuf::new(text, out).map_err(|_| AeadFailed)?;
        match self {
            Self::Unusable => return Err(AeadFailed),
            Self::Aes128(key) => key.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()),
            Self::Aes256(key) => key.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()),
        }
        .map_err(|_| AeadFailed)
    }
}

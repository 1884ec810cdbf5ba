use aes_gcm::{
    Aes128Gcm, Aes256Gcm,
    aead::{AeadInOut, KeyInit, inout::InOutBuf},
};

use super::{AeadFailed, Nonce, Tag, Text};
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

    #[inline]
    pub(in crate::sframe) fn seal(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        text: Text<'_>,
        tag: &mut Tag,
    ) -> Result<(), AeadFailed> {
        let text = in_out(text)?;
        let made = match self {
            Self::Unusable => return Err(AeadFailed),
            Self::Aes128(key) => key.encrypt_inout_detached(nonce.into(), aad, text),
            Self::Aes256(key) => key.encrypt_inout_detached(nonce.into(), aad, text),
        };
        *tag = made.map_err(|_| AeadFailed)?.into();
        Ok(())
    }

    #[inline]
    pub(in crate::sframe) fn open(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        text: Text<'_>,
        tag: &Tag,
    ) -> Result<(), AeadFailed> {
        let text = in_out(text)?;
        match self {
            Self::Unusable => return Err(AeadFailed),
            Self::Aes128(key) => key.decrypt_inout_detached(nonce.into(), aad, text, tag.into()),
            Self::Aes256(key) => key.decrypt_inout_detached(nonce.into(), aad, text, tag.into()),
        }
        .map_err(|_| AeadFailed)
    }
}

fn in_out(text: Text<'_>) -> Result<InOutBuf<'_, '_, u8>, AeadFailed> {
    match text {
        Text::Apart { from, to } => InOutBuf::new(from, to).map_err(|_| AeadFailed),
        Text::InPlace(text) => Ok(text.into()),
    }
}

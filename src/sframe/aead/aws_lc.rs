use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce as AwsNonce, UnboundKey};

use super::{AeadFailed, Nonce, Tag, Text};
use crate::sframe::CipherSuite;

/// An expanded AES-GCM key of aws-lc-rs, which zeroizes it on drop. `None` if the library
/// refused it; then it refuses everything.
pub(in crate::sframe) struct Key(Option<LessSafeKey>);

impl Key {
    pub(in crate::sframe) fn new(suite: CipherSuite, key: &[u8]) -> Self {
        let algorithm = match suite {
            CipherSuite::AesGcm128Sha256 => &AES_128_GCM,
            CipherSuite::AesGcm256Sha512 => &AES_256_GCM,
        };
        Self(UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new))
    }

    #[inline]
    pub(in crate::sframe) fn seal(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        text: Text<'_>,
        tag: &mut Tag,
    ) -> Result<(), AeadFailed> {
        let key = self.0.as_ref().ok_or(AeadFailed)?;
        let nonce = AwsNonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(aad);
        match text {
            Text::Apart { from, to } => {
                key.seal_out_of_place_scatter(nonce, aad, from, to, &[], tag)
            }
            Text::InPlace(text) => key.seal_in_place_scatter(nonce, aad, text, &[], tag),
        }
        .map_err(|_| AeadFailed)
    }

    #[inline]
    pub(in crate::sframe) fn open(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        text: Text<'_>,
        tag: &Tag,
    ) -> Result<(), AeadFailed> {
        let key = self.0.as_ref().ok_or(AeadFailed)?;
        let nonce = AwsNonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(aad);
        match text {
            Text::Apart { from, to } => key.open_separate_gather(nonce, aad, from, tag, to),
            Text::InPlace(text) => {
                key.open_in_place_separate_tag(nonce, aad, tag, text).map(|_| ())
            }
        }
        .map_err(|_| AeadFailed)
    }
}

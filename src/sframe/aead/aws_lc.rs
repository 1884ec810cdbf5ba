use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce as AwsNonce, UnboundKey};

use super::{AeadFailed, Nonce};
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

    /// Writes ciphertext and tag to `out`, which must be 16 bytes longer than `plain`.
    pub(in crate::sframe) fn seal(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        plain: &[u8],
        out: &mut [u8],
    ) -> Result<(), AeadFailed> {
        let key = self.0.as_ref().ok_or(AeadFailed)?;
        let (text, tag) = out.split_at_mut_checked(plain.len()).ok_or(AeadFailed)?;
        let nonce = AwsNonce::assume_unique_for_key(*nonce);
        key.seal_out_of_place_scatter(nonce, Aad::from(aad), plain, text, &[], tag)
            .map_err(|_| AeadFailed)
    }

    /// Writes the plaintext to `out`, which must be 16 bytes shorter than `sealed`.
    pub(in crate::sframe) fn open(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), AeadFailed> {
        let key = self.0.as_ref().ok_or(AeadFailed)?;
        let (text, tag) = sealed.split_at_checked(out.len()).ok_or(AeadFailed)?;
        let nonce = AwsNonce::assume_unique_for_key(*nonce);
        key.open_separate_gather(nonce, Aad::from(aad), text, tag, out).map_err(|_| AeadFailed)
    }
}

//! AES-GCM, by one of two libraries behind the same three calls.
//!
//! `aes-gcm` (RustCrypto) is always compiled: pure Rust, portable, and what the other is tested
//! against. With feature `aws-lc` (default), aws-lc-rs is used.

mod aes_gcm;
#[cfg(feature = "aws-lc")]
mod aws_lc;

use zeroize::Zeroize;

use super::CipherSuite;

/// The library that does AES-GCM. Both make the same bytes, so each side chooses for itself.
///
/// The default is the fastest that is compiled in; nobody needs to name it but benchmarks and
/// those who want pure Rust in a build that has both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// `aes-gcm` of RustCrypto: pure Rust, always there.
    #[cfg_attr(not(feature = "aws-lc"), default)]
    AesGcm,
    /// `aws-lc-rs`, with feature `aws-lc`.
    #[cfg(feature = "aws-lc")]
    #[default]
    AwsLc,
}

pub(super) type Nonce = [u8; CipherSuite::NONCE_LENGTH];
pub(super) type Tag = [u8; CipherSuite::TAG_LENGTH];

/// The library refused: a wrong tag on opening, an impossible length on sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AeadFailed;

/// Where a call reads its text and where it writes it.
pub(super) enum Text<'a> {
    /// From one slice to another of the same length.
    Apart { from: &'a [u8], to: &'a mut [u8] },
    /// Over itself.
    InPlace(&'a mut [u8]),
}

impl Text<'_> {
    fn reborrow(&mut self) -> Text<'_> {
        match self {
            Self::Apart { from, to } => Text::Apart { from, to },
            Self::InPlace(text) => Text::InPlace(text),
        }
    }

    fn wipe(self) {
        match self {
            Self::Apart { to, .. } => to.zeroize(),
            Self::InPlace(text) => text.zeroize(),
        }
    }
}

/// An expanded key. Both libraries zeroize it on drop.
pub(super) enum Key {
    AesGcm(aes_gcm::Key),
    #[cfg(feature = "aws-lc")]
    AwsLc(aws_lc::Key),
}

impl Key {
    pub(super) fn new(backend: Backend, suite: CipherSuite, key: &[u8]) -> Self {
        match backend {
            Backend::AesGcm => Self::AesGcm(aes_gcm::Key::new(suite, key)),
            #[cfg(feature = "aws-lc")]
            Backend::AwsLc => Self::AwsLc(aws_lc::Key::new(suite, key)),
        }
    }

    /// Encrypts the text and writes the tag. If it fails, neither plaintext nor ciphertext is
    /// left where the output would have been.
    #[inline(always)] // As `open`.
    pub(super) fn seal(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        mut text: Text<'_>,
        tag: &mut Tag,
    ) -> Result<(), AeadFailed> {
        let sealed = match self {
            Self::AesGcm(key) => key.seal(nonce, aad, text.reborrow(), tag),
            #[cfg(feature = "aws-lc")]
            Self::AwsLc(key) => key.seal(nonce, aad, text.reborrow(), tag),
        };
        sealed.inspect_err(|_| text.wipe())
    }

    /// Checks the tag and decrypts the text. If it fails, nothing is left where the output would
    /// have been: a library may have decrypted before it compared the tag.
    #[inline(always)] // A call between a call and a call.
    pub(super) fn open(
        &self,
        nonce: &Nonce,
        aad: &[u8],
        mut text: Text<'_>,
        tag: &Tag,
    ) -> Result<(), AeadFailed> {
        let opened = match self {
            Self::AesGcm(key) => key.open(nonce, aad, text.reborrow(), tag),
            #[cfg(feature = "aws-lc")]
            Self::AwsLc(key) => key.open(nonce, aad, text.reborrow(), tag),
        };
        opened.inspect_err(|_| text.wipe())
    }
}

#[cfg(test)]
mod tests;

//! AES-GCM, by one of two libraries behind the same three calls.
//!
//! `aes-gcm` (RustCrypto) is always compiled: pure Rust, portable, and what the other is tested
//! against. With feature `aws-lc` (default), aws-lc-rs is used.

mod aes_gcm;
#[cfg(feature = "aws-lc")]
mod aws_lc;

#[cfg(not(feature = "aws-lc"))]
pub(super) use aes_gcm::Key;
#[cfg(feature = "aws-lc")]
pub(super) use aws_lc::Key;

use super::CipherSuite;

pub(super) type Nonce = [u8; CipherSuite::NONCE_LENGTH];

/// The library refused: a wrong tag on opening, an impossible length on sealing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AeadFailed;

#[cfg(all(test, feature = "aws-lc"))]
mod tests {
    use super::{aes_gcm, aws_lc};
    use crate::sframe::CipherSuite;

    #[test]
    fn both_backends_make_and_open_the_same_bytes() {
        for suite in [CipherSuite::AesGcm128Sha256, CipherSuite::AesGcm256Sha512] {
            let key = vec![0x42; suite.key_length()];
            let (ours, theirs) = (aes_gcm::Key::new(suite, &key), aws_lc::Key::new(suite, &key));
            for length in [1, 15, 16, 17, 1200] {
                let plain: Vec<u8> = (0..length).map(|i| i as u8).collect();
                let (mut a, mut b) = (vec![0; length + 16], vec![0; length + 16]);
                ours.seal(&[7; 12], b"aad", &plain, &mut a).unwrap();
                theirs.seal(&[7; 12], b"aad", &plain, &mut b).unwrap();
                assert_eq!(a, b);
                let mut opened = vec![0; length];
                ours.open(&[7; 12], b"aad", &b, &mut opened).unwrap();
                assert_eq!(opened, plain);
                opened.fill(0);
                theirs.open(&[7; 12], b"aad", &a, &mut opened).unwrap();
                assert_eq!(opened, plain);
                a[length / 2] ^= 1;
                assert!(ours.open(&[7; 12], b"aad", &a, &mut opened).is_err());
                assert!(theirs.open(&[7; 12], b"aad", &a, &mut opened).is_err());
            }
        }
    }
}

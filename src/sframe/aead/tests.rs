//! The two backends against each other, over random keys, nonces, texts and damage.

use proptest::{collection::vec, prelude::*};

use super::*;

fn suite() -> impl Strategy<Value = CipherSuite> {
    prop_oneof![Just(CipherSuite::AesGcm128Sha256), Just(CipherSuite::AesGcm256Sha512)]
}

/// Both ways of calling: from slice to slice, and over the text itself.
fn seal(key: &Key, nonce: &Nonce, aad: &[u8], plain: &[u8]) -> [(Vec<u8>, Tag); 2] {
    let (mut apart, mut tag) = (vec![0; plain.len()], Tag::default());
    let text = Text::Apart { from: plain, to: &mut apart };
    key.seal(nonce, aad, text, &mut tag).unwrap();
    let (mut in_place, mut other_tag) = (plain.to_vec(), Tag::default());
    key.seal(nonce, aad, Text::InPlace(&mut in_place), &mut other_tag).unwrap();
    [(apart, tag), (in_place, other_tag)]
}

type Opened = Result<Vec<u8>, AeadFailed>;

/// Likewise; also what is in the output when it failed.
fn open(key: &Key, nonce: &Nonce, aad: &[u8], sealed: &[u8], tag: &Tag) -> [Opened; 2] {
    let mut apart = vec![0xEE; sealed.len()];
    let text = Text::Apart { from: sealed, to: &mut apart };
    let first = key.open(nonce, aad, text, tag);
    let mut in_place = sealed.to_vec();
    let second = key.open(nonce, aad, Text::InPlace(&mut in_place), tag);
    [(first, apart), (second, in_place)].map(|(result, out)| {
        if result.is_err() {
            assert!(out.iter().all(|&byte| byte == 0), "a failure left something behind");
        }
        result.map(|()| out)
    })
}

fn keys(suite: CipherSuite, key: &[u8; 32]) -> Vec<Key> {
    let backends = [
        Backend::AesGcm,
        #[cfg(feature = "aws-lc")]
        Backend::AwsLc,
    ];
    backends.map(|backend| Key::new(backend, suite, &key[..suite.key_length()])).into()
}

proptest! {
    #[test]
    fn every_backend_makes_and_opens_the_same_bytes(
        suite in suite(),
        key: [u8; 32],
        nonce: Nonce,
        aad in vec(any::<u8>(), 0..100),
        plain in vec(any::<u8>(), 0..3000),
    ) {
        let keys = keys(suite, &key);
        let sealed: Vec<_> = keys.iter().flat_map(|key| seal(key, &nonce, &aad, &plain)).collect();
        for other in &sealed {
            prop_assert_eq!(other, &sealed[0]);
        }
        let (text, tag) = &sealed[0];
        for opened in keys.iter().flat_map(|key| open(key, &nonce, &aad, text, tag)) {
            prop_assert_eq!(opened.as_ref(), Ok(&plain));
        }
    }

    #[test]
    fn every_backend_refuses_what_was_altered_and_leaves_nothing(
        suite in suite(),
        key: [u8; 32],
        nonce: Nonce,
        aad in vec(any::<u8>(), 1..40),
        plain in vec(any::<u8>(), 1..3000),
        part in 0..4,
        bit: prop::sample::Index,
    ) {
        let keys = keys(suite, &key);
        let (mut text, mut tag) = seal(&keys[0], &nonce, &aad, &plain)[0].clone();
        let (mut nonce, mut aad) = (nonce, aad);
        let altered = match part {
            0 => &mut text[..],
            1 => &mut tag[..],
            2 => &mut nonce[..],
            _ => &mut aad[..],
        };
        let bit = bit.index(altered.len() * 8);
        altered[bit / 8] ^= 1 << (bit % 8);
        for opened in keys.iter().flat_map(|key| open(key, &nonce, &aad, &text, &tag)) {
            prop_assert_eq!(opened, Err(AeadFailed));
        }
    }
}

#[test]
fn a_key_of_a_wrong_length_does_nothing_and_leaves_nothing() {
    let suite = CipherSuite::AesGcm128Sha256;
    let backends = [
        Backend::AesGcm,
        #[cfg(feature = "aws-lc")]
        Backend::AwsLc,
    ];
    for backend in backends {
        let key = Key::new(backend, suite, &[1; 5]);
        let mut text = *b"a frame";
        assert!(key.seal(&[0; 12], b"", Text::InPlace(&mut text), &mut [0; 16]).is_err());
        assert_eq!(text, [0; 7]);
    }
}

#[test]
fn keys_are_zeroized_when_they_are_dropped() {
    // aws-lc does so in its own code. RustCrypto does with a feature, and types tell that it is on.
    fn zeroized<T: zeroize::ZeroizeOnDrop>() {}
    zeroized::<::aes_gcm::Aes128Gcm>();
    zeroized::<::aes_gcm::Aes256Gcm>();
}

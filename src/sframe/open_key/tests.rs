use super::*;
use crate::sframe::SealKey;

fn pair(suite: CipherSuite) -> (SealKey, OpenKey) {
    let base_key = || BaseKey::fill(suite, |bytes| bytes.fill(3));
    (SealKey::new(base_key(), KeyId(9)), OpenKey::new(base_key(), KeyId(9)))
}

fn open(key: &OpenKey, metadata: &[u8], sealed: &[u8]) -> Result<Vec<u8>, DecryptError> {
    let mut out = b"before, and longer than the frame that comes: all of it goes".to_vec();
    let opened = Ciphertext::parse(sealed)
        .and_then(|ciphertext| key.open_into(metadata, &ciphertext, &mut out, 6));
    assert_eq!(&out[..6], b"before");
    opened.map(|()| out.split_off(6))
}

#[test]
fn every_flipped_bit_and_every_other_metadata_is_refused() {
    for suite in [CipherSuite::AesGcm128Sha256, CipherSuite::AesGcm256Sha512] {
        let (seal, key) = pair(suite);
        let mut sealed = Vec::new();
        seal.seal_into(b"clear", b"a media frame", &mut sealed, 0).unwrap();
        for bit in 0..sealed.len() * 8 {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let error = open(&key, b"clear", &altered).unwrap_err();
            let expected = match error {
                // A KID is what selects the key, so another one is a key that this is not.
                DecryptError::UnknownKey(_) => bit < 16,
                DecryptError::Authentication | DecryptError::Syntax => true,
                _ => false,
            };
            assert!(expected, "bit {bit}: {error}");
        }
        assert_eq!(open(&key, b"Clear", &sealed), Err(DecryptError::Authentication));
        assert_eq!(open(&key, b"", &sealed), Err(DecryptError::Authentication));
        assert_eq!(open(&key, b"clear", &sealed), Ok(b"a media frame".to_vec()));
    }
}

#[test]
fn in_place_a_forged_frame_is_wiped_and_others_stay_as_they_are() {
    let (seal, key) = pair(CipherSuite::default());
    let mut sealed = b"clear a media frame".to_vec();
    seal.seal_in_place(&mut sealed, 0..6).unwrap();
    let mut opened = sealed.clone();
    key.open_in_place(&mut opened, 0..6).unwrap();
    assert_eq!(opened, b"clear a media frame");

    let mut forged = sealed.clone();
    forged[0] ^= 1;
    assert_eq!(key.open_in_place(&mut forged, 0..6), Err(DecryptError::Authentication));
    assert!(forged.is_empty());

    let other = OpenKey::new(BaseKey::fill(CipherSuite::default(), |b| b.fill(3)), KeyId(8));
    for (clear, length, key, error) in [
        (6, sealed.len(), &other, DecryptError::UnknownKey(KeyId(9))),
        (6, 20, &key, DecryptError::Syntax),
        (60, sealed.len(), &key, DecryptError::Syntax),
    ] {
        let mut frame = sealed[..length].to_vec();
        assert_eq!(key.open_in_place(&mut frame, 0..clear), Err(error));
        assert_eq!(frame, sealed[..length]);
    }
}

#[test]
fn metadata_longer_than_any_codecs_is_authenticated_too() {
    let (seal, key) = pair(CipherSuite::default());
    for length in [63, 64, 65, 500] {
        let mut metadata = vec![5; length];
        let mut sealed = Vec::new();
        seal.seal_into(&metadata, b"frame", &mut sealed, 0).unwrap();
        assert_eq!(open(&key, &metadata, &sealed), Ok(b"frame".to_vec()));
        *metadata.last_mut().unwrap() ^= 1;
        assert_eq!(open(&key, &metadata, &sealed), Err(DecryptError::Authentication));
    }
}

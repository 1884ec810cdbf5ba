use super::*;
use crate::media::FrameEncryptor;

fn pair() -> (FrameEncryptor, FrameDecryptor) {
    let secret = Secret::fill(|bytes| bytes.fill(5));
    let suite = CipherSuite::default();
    (
        FrameEncryptor::from_secret(Codec::Vp8, suite, &secret).unwrap(),
        FrameDecryptor::from_secret(Codec::Vp8, suite, &secret),
    )
}

#[test]
fn a_replayed_frame_is_refused_and_a_reordered_one_is_not() {
    let (mut encryptor, mut decryptor) = pair();
    let now = Timestamp::default();
    let wires: Vec<_> = (0..3)
        .map(|i| {
            let mut wire = Vec::new();
            encryptor.encrypt_into(&[1, 2, 3, i], &mut wire).unwrap();
            wire
        })
        .collect();
    let mut out = Vec::new();
    for i in [2, 0, 1] {
        decryptor.decrypt_into(&wires[i], now, &mut out).unwrap();
        assert_eq!(out, [1, 2, 3, i as u8]);
    }
    for wire in &wires {
        let error = decryptor.decrypt_into(wire, now, &mut out).unwrap_err();
        assert_eq!((error, out.len()), (DecryptError::Replayed, 0));
    }
}

#[test]
fn plain_stripped_cut_and_empty_frames_are_never_media() {
    let (mut encryptor, mut decryptor) = pair();
    let (mut wire, mut out) = (Vec::new(), Vec::new());
    encryptor.encrypt_into(&[1; 60], &mut wire).unwrap();
    let now = Timestamp::default();
    for bad in [&[][..], &[1; 3], &[1; 60], &wire[3..]] {
        assert!(decryptor.decrypt_into(bad, now, &mut out).is_err());
        assert!(out.is_empty());
    }
    for length in 0..wire.len() {
        assert!(decryptor.decrypt_into(&wire[..length], now, &mut out).is_err());
    }
    decryptor.decrypt_into(&wire, now, &mut out).unwrap();
}

#[test]
fn a_key_frame_flag_flipped_on_the_way_is_noticed() {
    let (mut encryptor, mut decryptor) = pair();
    let (mut wire, mut out) = (Vec::new(), Vec::new());
    encryptor.encrypt_into(&[1; 60], &mut wire).unwrap();
    for bit in 0..24 {
        let mut altered = wire.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert!(decryptor.decrypt_into(&altered, Timestamp::default(), &mut out).is_err());
    }
}

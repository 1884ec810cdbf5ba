use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::{
    media::{FrameDecryptor, FrameEncryptor, clear_length, hazmat, header},
    primitives::Timestamp,
    sframe::{BaseKey, CipherSuite, KeyId, MAX_FRAME_SIZE},
};

const CODECS: [Codec; 2] = [Codec::H264, Codec::Av1];

fn base_key() -> BaseKey {
    BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(7))
}

fn ends(codec: Codec) -> (FrameEncryptor, FrameDecryptor) {
    let key_id = KeyId(1);
    (hazmat::with_kid(codec, base_key(), key_id), hazmat::decryptor(codec, base_key(), key_id))
}

/// A frame as an encoder makes it, with this much in it.
fn frame(codec: Codec, is_key_frame: bool, content: &[u8]) -> Vec<u8> {
    match codec {
        Codec::H264 => {
            let mut frame = vec![0, 0, 0, 1, 9, 0xF0];
            if is_key_frame {
                frame.extend([0, 0, 0, 1, 0x67, 0x42, 1, 0, 0, 1, 0x68, 0xCE, 0, 0, 0, 1, 0x65]);
            } else {
                frame.extend([0, 0, 1, 0x41]);
            }
            frame.extend([0x88, 0x84]);
            frame.extend(content);
            frame.push(0x80);
            frame
        }
        _ => {
            let mut frame = vec![0x12, 0];
            if is_key_frame {
                frame.extend([0x0A, 3, 1, 2, 3]);
            }
            frame.push(0x30);
            frame.push(if is_key_frame { 0x10 } else { 0x30 });
            frame.extend(content);
            frame
        }
    }
}

/// Decrypts in one of the four ways.
fn decrypt(
    decryptor: &mut FrameDecryptor,
    way: usize,
    wire: &[u8],
) -> Result<Vec<u8>, DecryptError> {
    let now = Timestamp::default();
    match way {
        0 => {
            let mut out = vec![0xEE; 50];
            let opened = decryptor.decrypt_into(wire, now, &mut out);
            assert!(opened.is_ok() || out.is_empty());
            opened.map(|()| out)
        }
        1 => {
            let mut frame = wire.to_vec();
            let opened = decryptor.decrypt_in_place(&mut frame, now);
            assert!(opened.is_ok() || frame.is_empty() || frame == wire);
            opened.map(|()| frame)
        }
        2 => {
            let mut frame = BytesMut::from(wire);
            let opened = decryptor.decrypt_bytes(&mut frame, now);
            assert!(opened.is_ok() || frame.is_empty() || frame == wire);
            opened.map(|()| frame.to_vec())
        }
        _ => decryptor.decrypt(wire, now),
    }
}

#[test]
fn a_frame_is_encrypted_the_same_in_every_way_and_comes_back() {
    for codec in CODECS {
        for (is_key_frame, length) in [(true, 0), (true, 1), (false, 0), (false, 3000)] {
            let plain = frame(codec, is_key_frame, &vec![0x5A; length]);
            let wires = [0, 1, 2].map(|way| {
                let mut encryptor = ends(codec).0;
                assert_eq!(encryptor.is_key_frame(&plain), is_key_frame);
                match way {
                    0 => {
                        let mut out = vec![0xEE; 50];
                        encryptor.encrypt_into(&plain, &mut out).unwrap();
                        out
                    }
                    1 => {
                        let mut frame = plain.clone();
                        encryptor.encrypt_in_place(&mut frame).unwrap();
                        frame
                    }
                    _ => encryptor.encrypt(&plain).unwrap(),
                }
            });
            assert_eq!(wires[0], wires[1]);
            assert_eq!(wires[0], wires[2]);
            let key_id = header(codec, &wires[0]).unwrap().key_id;
            assert_eq!(key_id, KeyId(1));
            // An SFU tells key frames.
            let copied =
                wires[0].windows(3).any(|part| part == [1, 2, 3] || part == [0x67, 0x42, 1]);
            assert_eq!(copied, is_key_frame);
            for way in 0..4 {
                let mut decryptor = ends(codec).1;
                assert_eq!(decrypt(&mut decryptor, way, &wires[0]).unwrap(), plain);
                assert_eq!(decrypt(&mut decryptor, way, &wires[0]), Err(DecryptError::Replayed));
            }
        }
    }
}

/// One frame in half a million needs an escape, so these look for some.
#[test]
fn a_ciphertext_that_needs_escapes_comes_back_in_every_way() {
    let plain = frame(Codec::H264, true, &vec![0; 60_000]);
    let (mut encryptor, _) = ends(Codec::H264);
    let mut found = 0;
    while found < 3 {
        let wire = encryptor.encrypt(&plain).unwrap();
        let sealed = Unit::H264.parse(&wire).unwrap();
        if sealed.body.is_escaped {
            found += 1;
            for way in 0..4 {
                let mut decryptor = ends(Codec::H264).1;
                assert_eq!(decrypt(&mut decryptor, way, &wire).unwrap(), plain);
            }
        }
    }
}

#[test]
fn a_header_with_an_escape_is_read() {
    // KID 0, and a counter of 65,536: 02 01 00 00, which needs none, and one of 2 bytes behind.
    for (sframe, escaped) in [
        (&[0x0A, 1, 0, 0, 0xAA][..], &[0x0A, 1, 0, 0, 0xAA][..]),
        (&[0x0A, 1, 0, 0, 2, 0xAA], &[0x0A, 1, 0, 0, 3, 2, 0xAA]),
        (&[0xAA, 1, 0, 0, 1, 0, 0], &[0xAA, 1, 0, 0, 3, 1, 0, 0]),
    ] {
        let mut wire = vec![0, 0, 0, 1, 0x65, 0x88, 0xFF];
        let at = wire.len();
        wire.extend_from_slice(sframe);
        wire.extend([0xBB; 30]);
        let plain = wire[at..].to_vec();
        h264::close(&mut wire, at);
        assert!(wire[at..].starts_with(escaped));
        assert_eq!(Unit::H264.parse(&wire).unwrap().header(), Header::parse(&plain).unwrap().0);
    }
}

#[test]
fn a_ciphertext_without_a_text_is_none_and_nothing_half_done_is_left() {
    // KID 1, counter 0, and a tag with an escape.
    let mut wire = vec![0, 0, 0, 1, 0x65, 0x88, 0xFF];
    let at = wire.len();
    wire.extend([0x10, 5, 0, 0, 1, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]);
    h264::close(&mut wire, at);
    for way in 0..4 {
        assert_eq!(decrypt(&mut ends(Codec::H264).1, way, &wire), Err(DecryptError::Syntax));
    }
}

#[test]
fn what_stands_around_the_ciphertext_may_change_and_its_metadata_may_not() {
    // Copies and what is between them are anybody's; they reach no decoder.
    let plain = frame(Codec::H264, true, b"picture");
    let wire = ends(Codec::H264).0.encrypt(&plain).unwrap();
    let slice = wire.windows(2).position(|pair| pair == [0x65, 0x88]).unwrap();
    let altered = [&[0, 0, 1, 0x67, 0xFF, 0, 0, 1][..], &wire[slice..], &[0, 0, 1, 6, 9]].concat();
    assert_eq!(ends(Codec::H264).1.decrypt(&altered, Timestamp::default()).unwrap(), plain);
    // nal_ref_idc, and another parameter set.
    for (from, to) in
        [([0x65, 0x88, 0xFF], [0x25, 0x88, 0xFF]), ([0x65, 0x88, 0xFF], [0x65, 0x88, 0xBF])]
    {
        let mut altered = wire.clone();
        assert_eq!(altered[slice..slice + 3], from);
        altered[slice..slice + 3].copy_from_slice(&to);
        for way in 0..4 {
            let result = decrypt(&mut ends(Codec::H264).1, way, &altered);
            assert!(
                matches!(result, Err(DecryptError::Authentication | DecryptError::Syntax)),
                "{result:?}"
            );
        }
    }
    let plain = frame(Codec::Av1, true, b"picture");
    let wire = ends(Codec::Av1).0.encrypt(&plain).unwrap();
    // Without the copy and with the shortest length, as a depacketizer writes it.
    let sframe = &wire[10..];
    let altered = [&[0x12, 0, 0x32, sframe.len() as u8][..], sframe].concat();
    assert_eq!(ends(Codec::Av1).1.decrypt(&altered, Timestamp::default()).unwrap(), plain);
}

#[test]
fn what_is_no_frame_is_refused_and_left_as_it_was() {
    for codec in CODECS {
        let (mut encryptor, mut decryptor) = ends(codec);
        let mut out = vec![1, 2, 3];
        assert_eq!(encryptor.encrypt_into(b"", &mut out), Err(EncryptError::Empty));
        assert_eq!(encryptor.encrypt_into(b"no frame", &mut out), Err(EncryptError::Syntax));
        assert!(out.is_empty());
        let mut no_frame = b"no frame".to_vec();
        assert_eq!(encryptor.encrypt_in_place(&mut no_frame), Err(EncryptError::Syntax));
        assert_eq!(no_frame, b"no frame");
        let large = frame(codec, true, &vec![1; MAX_FRAME_SIZE]);
        assert_eq!(encryptor.encrypt_into(&large, &mut out), Err(EncryptError::TooLarge));
        assert!(out.is_empty());
        let mut in_place = large.clone();
        assert_eq!(encryptor.encrypt_in_place(&mut in_place), Err(EncryptError::TooLarge));
        assert!(in_place == large);
        // A plain frame is never media.
        let plain = frame(codec, true, &[0x5A; 100]);
        for way in 0..4 {
            assert!(decrypt(&mut decryptor, way, &plain).is_err());
        }
        assert!(clear_length(codec, &plain) == Some(0));
    }
}

proptest! {
    #[test]
    fn any_content_comes_back_and_any_damage_gives_a_typed_error(
        codec in prop::sample::select(&CODECS[..]),
        is_key_frame in any::<bool>(),
        content in prop::collection::vec(prop_oneof![Just(0), 0..4_u8, any::<u8>()], 0..200),
        way in 0..4_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let plain = frame(codec, is_key_frame, &content);
        let (mut encryptor, mut decryptor) = ends(codec);
        let wire = encryptor.encrypt(&plain).unwrap();
        let mut damaged = wire.clone();
        for (at, byte) in &damage {
            damaged[at.index(wire.len())] ^= byte;
        }
        for bad in [&damaged[..], &wire[..cut.index(wire.len())]] {
            // What does open was damaged where it does not matter.
            if let Ok(opened) = decrypt(&mut ends(codec).1, way, bad) {
                prop_assert_eq!(&opened, &plain);
            }
        }
        prop_assert_eq!(decrypt(&mut decryptor, way, &wire).unwrap(), plain);
    }
}

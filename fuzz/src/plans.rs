//! Codec plans: any frame that is taken comes back, and nothing else ever comes out.

use olmcast::{
    media::{self, FrameDecryptor, FrameEncryptor, hazmat},
    primitives::{Codec, Timestamp},
    sframe::{BaseKey, CipherSuite, DecryptError, EncryptError, KeyId},
};

fn base_key() -> BaseKey {
    BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(7))
}

fn encryptor(codec: Codec) -> FrameEncryptor {
    hazmat::with_kid(codec, base_key(), KeyId(1))
}

fn decryptor(codec: Codec) -> FrameDecryptor {
    hazmat::decryptor(codec, base_key(), KeyId(1))
}

/// The input's first byte chooses the codec, its second how much of the rest is damage to do; the
/// rest is a frame, both plain and as it arrives.
pub fn run(data: &[u8]) {
    let [codec, damage, data @ ..] = data else { return };
    let codec = Codec::ALL[usize::from(*codec) % Codec::ALL.len()];
    let (damage, frame) = data.split_at(usize::from(*damage).min(data.len()));
    arrives(codec, frame);
    leaves(codec, frame, damage);
}

/// Nobody who has no key makes anything that opens.
fn arrives(codec: Codec, wire: &[u8]) {
    let header = media::header(codec, wire);
    let opened = decrypt_in_all_ways(codec, wire);
    assert!(opened.is_err(), "forged");
    if let Err(error) = header {
        assert_eq!(opened, Err(error));
    }
}

fn leaves(codec: Codec, frame: &[u8], damage: &[u8]) {
    let _ = (media::is_key_frame(codec, frame), media::dimensions(codec, frame));
    let mut out = vec![0xEE; 40];
    let encrypted = encryptor(codec).encrypt_into(frame, &mut out);
    let mut in_place = frame.to_vec();
    assert_eq!(encryptor(codec).encrypt_in_place(&mut in_place), encrypted);
    if let Err(error) = encrypted {
        assert!(matches!(error, EncryptError::Empty | EncryptError::Syntax), "{error:?}");
        assert!(out.is_empty());
        assert_eq!(in_place, frame);
        return;
    }
    assert_eq!(in_place, out);
    assert_eq!(decrypt_in_all_ways(codec, &out).as_deref(), Ok(frame));
    // Nothing of the frame is left but what stays clear and what is copied.
    let mut damaged = out.clone();
    for pair in damage.chunks_exact(2) {
        let at = usize::from(pair[0]) * damaged.len() / 256;
        match pair[1] {
            0 => drop(damaged.remove(at)),
            1 => damaged.insert(at, 0),
            2 => damaged.truncate(at),
            other => damaged[at] ^= other,
        }
        if damaged.is_empty() {
            return;
        }
    }
    if let Ok(opened) = decrypt_in_all_ways(codec, &damaged) {
        // The damage is where it does not matter.
        assert_eq!(opened, frame);
    }
}

fn decrypt_in_all_ways(codec: Codec, wire: &[u8]) -> Result<Vec<u8>, DecryptError> {
    let now = Timestamp::default();
    let opened = decryptor(codec).decrypt(wire, now);
    let mut out = vec![0xEE; 40];
    assert_eq!(decryptor(codec).decrypt_into(wire, now, &mut out), opened.clone().map(drop));
    assert_eq!(out, opened.clone().unwrap_or_default());
    let mut in_place = wire.to_vec();
    assert_eq!(decryptor(codec).decrypt_in_place(&mut in_place, now), opened.clone().map(drop));
    match &opened {
        Ok(opened) => assert_eq!(&in_place, opened),
        Err(_) => assert!(in_place.is_empty() || in_place == wire, "neither whole nor gone"),
    }
    opened
}

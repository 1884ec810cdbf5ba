use std::fmt;

use zeroize::Zeroize;

use super::{key_ring::SharedKeyRing, own_secret::OwnSecret, plan};
use crate::{
    primitives::{Codec, Secret, Timestamp, TrackId},
    sframe::{CipherSuite, DecryptError, Header, MAX_FRAMES_PER_KEY},
};

/// Decrypts the frames of one track.
///
/// Handles of one stream share its keys and replay windows: making a second one for the same
/// track does not make a frame open twice.
pub struct FrameDecryptor {
    codec: Codec,
    keys: Keys,
}

enum Keys {
    Stream { ring: SharedKeyRing, track: TrackId },
    OwnSecret(OwnSecret),
}

impl FrameDecryptor {
    pub(crate) fn new(codec: Codec, ring: SharedKeyRing, track: TrackId) -> Self {
        Self { codec, keys: Keys::Stream { ring, track } }
    }

    /// A decryptor for frames of any encryptor made from the same secret.
    pub fn from_secret(codec: Codec, suite: CipherSuite, secret: &Secret<32>) -> Self {
        Self { codec, keys: Keys::OwnSecret(OwnSecret::new(suite, secret)) }
    }

    /// The codec whose frames it gives.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether `frame`, plain or encrypted, is a key frame. Always true for audio.
    pub fn is_key_frame(&self, frame: &[u8]) -> bool {
        plan::is_key_frame(self.codec, frame)
    }

    /// Replaces what `out` holds by the frame that `wire` carries.
    ///
    /// The order is that of RFC 9605 §9.3: screen for replays, open, and only then record. There
    /// is exactly one attempt to open, with the key the header names.
    ///
    /// # Errors
    /// [`DecryptError::UnknownKey`] while the key may still come: hold the frame and try again.
    /// With any other error the frame is lost. `out` is then empty.
    pub fn decrypt_into(
        &mut self,
        wire: &[u8],
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<(), DecryptError> {
        out.clear();
        let clear = plan::clear_length(self.codec, wire).ok_or(DecryptError::Syntax)?;
        let (clear, sframe) = wire.split_at(clear);
        let (header, _) = Header::parse(sframe)?;
        if header.counter.0 >= MAX_FRAMES_PER_KEY {
            return Err(DecryptError::Limit);
        }
        let key = match &self.keys {
            Keys::Stream { ring, track } => ring.lock().screen(header, *track, now)?,
            Keys::OwnSecret(keys) => keys.screen(header)?,
        };
        out.extend_from_slice(clear);
        let opened = key.open_into(clear, sframe, out).and_then(|()| match &mut self.keys {
            Keys::Stream { ring, track } => ring.lock().record(header, *track, key),
            Keys::OwnSecret(keys) => keys.record(header, key),
        });
        opened.inspect_err(|_| {
            out.zeroize();
        })
    }
}

impl fmt::Debug for FrameDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameDecryptor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
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
        let (encryptor, mut decryptor) = pair();
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
        let (encryptor, mut decryptor) = pair();
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
        let (encryptor, mut decryptor) = pair();
        let (mut wire, mut out) = (Vec::new(), Vec::new());
        encryptor.encrypt_into(&[1; 60], &mut wire).unwrap();
        for bit in 0..24 {
            let mut altered = wire.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(decryptor.decrypt_into(&altered, Timestamp::default(), &mut out).is_err());
        }
    }
}

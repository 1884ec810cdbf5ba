use std::{fmt, sync::Arc};

use bytes::{Buf, BytesMut};
use zeroize::Zeroize;

use super::{
    key_ring::{Found, SharedKeyRing},
    own_secret::OwnSecret,
    plan::{self, Unit},
    track_key::{Opener, TrackKey},
};
use crate::{
    primitives::{Codec, Secret, Timestamp, TrackId},
    sframe::{CipherSuite, Ciphertext, DecryptError, Header, KeyId, OpenKey},
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
    Stream(StreamKeys),
    OwnSecret(OwnSecret),
}

impl FrameDecryptor {
    pub(crate) fn new(codec: Codec, ring: SharedKeyRing, track: TrackId) -> Self {
        ring.lock().watch(track);
        Self { codec, keys: Keys::Stream(StreamKeys { ring, track, last: None }) }
    }

    /// A decryptor for frames of any encryptor made from the same secret. It follows 1,024 of
    /// them; then make another one. It remembers by itself what it has opened: a second one, or
    /// one after a restart, would open the same frames again.
    pub fn from_secret(codec: Codec, suite: CipherSuite, secret: &Secret<32>) -> Self {
        Self::with_own_secret(codec, OwnSecret::new(suite, secret))
    }

    pub(super) fn with_own_secret(codec: Codec, keys: OwnSecret) -> Self {
        Self { codec, keys: Keys::OwnSecret(keys) }
    }

    /// The codec whose frames it gives.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    //= RFC 9605 §9.4
    //# A receiver MUST NOT use SFrame-authenticated metadata until after the SFrame decrypt
    //# function has authenticated it, unless the purpose of such usage is to prepare an SFrame
    //# ciphertext for SFrame decryption.
    /// Whether `frame`, which was decrypted, is a key frame. Always true for audio. What an
    /// encrypted frame says of itself may be forged until it was decrypted.
    pub fn is_key_frame(&self, frame: &[u8]) -> bool {
        plan::is_key_frame(self.codec, frame)
    }

    /// Replaces what `out` holds by the frame that `wire` carries. Allocates nothing once `out`
    /// has grown; a frame under a step that was not announced, or under a KID of one's own secret
    /// that was not seen before, derives its key, and does.
    ///
    /// There is exactly one attempt to open, with the key that the header names. `now` limits how
    /// often keys far ahead are derived: it must move on.
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
        self.decrypt_to(wire, now, out).inspect_err(|_| out.clear())
    }

    /// Decrypts a frame where it stands. Allocates as little as
    /// [`decrypt_into`](Self::decrypt_into).
    ///
    /// # Errors
    /// As [`decrypt_into`](Self::decrypt_into). A frame that was not tried, because its key is
    /// not here or because it was seen before, is left as it was; one that was is wiped.
    pub fn decrypt_in_place(
        &mut self,
        frame: &mut Vec<u8>,
        now: Timestamp,
    ) -> Result<(), DecryptError> {
        let mut is_open = false;
        let opened = if let Some(unit) = Unit::of(self.codec) {
            let sealed = unit.parse(frame)?;
            self.keys.open(sealed.header(), now, &mut |key| {
                sealed.open_in_place(key, frame).inspect(|()| is_open = true)
            })
        } else {
            let clear = plan::clear_length(self.codec, frame).ok_or(DecryptError::Syntax)?;
            let header = Ciphertext::parse(&frame[clear..])?.header();
            self.keys.open(header, now, &mut |key| {
                key.open_in_place(frame, 0..clear).inspect(|()| is_open = true)
            })
        };
        opened.inspect_err(|_| wipe_if(is_open, frame))
    }

    /// The same for a buffer of bytes, of which what is not part of the frame is cut off: nothing
    /// is moved but the few bytes that were clear.
    ///
    /// # Errors
    /// As [`decrypt_in_place`](Self::decrypt_in_place).
    pub fn decrypt_bytes(
        &mut self,
        frame: &mut BytesMut,
        now: Timestamp,
    ) -> Result<(), DecryptError> {
        let (mut text, mut is_wiped) = (None, false);
        let opened = if let Some(unit) = Unit::of(self.codec) {
            let sealed = unit.parse(frame)?;
            self.keys.open(sealed.header(), now, &mut |key| {
                let opened = sealed.open_where_it_stands(key, frame);
                text = Some(opened.inspect_err(|_| is_wiped = true)?);
                Ok(())
            })
        } else {
            let clear = plan::clear_length(self.codec, frame).ok_or(DecryptError::Syntax)?;
            let header = Ciphertext::parse(&frame[clear..])?.header();
            self.keys.open(header, now, &mut |key| {
                let opened = key.open_where_it_stands(frame, 0..clear)?;
                let begin = opened.start - clear;
                frame.copy_within(..clear, begin);
                text = Some(begin..opened.end);
                Ok(())
            })
        };
        match (opened, text) {
            (Ok(()), Some(text)) => {
                frame.truncate(text.end);
                frame.advance(text.start);
                Ok(())
            }
            (opened, text) => {
                let error = opened.err().unwrap_or(DecryptError::Authentication);
                // What was opened must not be given out if the window then refused it.
                if text.is_some() {
                    frame.as_mut().zeroize();
                }
                if text.is_some() || is_wiped || error == DecryptError::Authentication {
                    frame.clear();
                }
                Err(error)
            }
        }
    }

    /// The frame that `wire` carries, in a vector of its own.
    ///
    /// # Errors
    /// As [`decrypt_into`](Self::decrypt_into).
    pub fn decrypt(&mut self, wire: &[u8], now: Timestamp) -> Result<Vec<u8>, DecryptError> {
        let mut out = Vec::with_capacity(wire.len());
        self.decrypt_to(wire, now, &mut out).map(|()| out)
    }

    #[inline]
    fn decrypt_to(
        &mut self,
        wire: &[u8],
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<(), DecryptError> {
        let mut is_open = false;
        if let Some(unit) = Unit::of(self.codec) {
            let sealed = unit.parse(wire)?;
            let opened = self.keys.open(sealed.header(), now, &mut |key| {
                sealed.open_into(key, wire, out).inspect(|()| is_open = true)
            });
            return opened.inspect_err(|_| wipe_if(is_open, out));
        }
        let clear = plan::clear_length(self.codec, wire).ok_or(DecryptError::Syntax)?;
        let (clear, sframe) = wire.split_at(clear);
        let ciphertext = Ciphertext::parse(sframe)?;
        // Not cleared before: growing a vector again would zero it again.
        out.resize(out.len().max(clear.len()), 0);
        let opened = self.keys.open(ciphertext.header(), now, &mut |key| {
            key.open_into(clear, &ciphertext, out, clear.len()).inspect(|()| is_open = true)
        });
        opened.inspect_err(|_| wipe_if(is_open, out))?;
        out[..clear.len()].copy_from_slice(clear);
        Ok(())
    }
}

/// What was opened must not be given out if the window then refused it.
fn wipe_if(is_open: bool, frame: &mut Vec<u8>) {
    if is_open {
        frame.zeroize();
    }
}

impl Keys {
    /// Opens a frame that is no replay, once, under the key that its header names.
    #[inline]
    fn open(
        &mut self,
        header: Header,
        now: Timestamp,
        open: &mut impl FnMut(&OpenKey) -> Result<(), DecryptError>,
    ) -> Result<(), DecryptError> {
        match self {
            Self::Stream(keys) => keys.open(header, now, open),
            Self::OwnSecret(keys) => keys.open(header, open),
        }
    }
}

/// A track's view of its stream's key ring.
struct StreamKeys {
    ring: SharedKeyRing,
    track: TrackId,
    /// The key of the last frame, which is most likely the next one's too.
    last: Option<(KeyId, Arc<TrackKey>)>,
}

impl StreamKeys {
    #[inline]
    fn open(
        &mut self,
        header: Header,
        now: Timestamp,
        open: &mut impl FnMut(&OpenKey) -> Result<(), DecryptError>,
    ) -> Result<(), DecryptError> {
        let key = match &self.last {
            Some((key_id, key)) if *key_id == header.key_id && !self.ring.is_stopped() => key,
            _ => match self.find(header, now)? {
                Found::Known(key) => &self.last.insert((header.key_id, key)).1,
                Found::Fresh(key) => return self.open_fresh(header, key, open),
            },
        };
        // Wiped since it was looked up: it is no longer in use.
        key.open(header.counter, open).unwrap_or(Err(DecryptError::Expired))
    }

    #[cold]
    fn find(&mut self, header: Header, now: Timestamp) -> Result<Found, DecryptError> {
        self.last = None;
        self.ring.lock().find(header, self.track, now)
    }

    #[cold]
    fn open_fresh(
        &mut self,
        header: Header,
        key: OpenKey,
        open: &mut impl FnMut(&OpenKey) -> Result<(), DecryptError>,
    ) -> Result<(), DecryptError> {
        let mut opener = Opener::new(key);
        opener.open(header.counter, open)?;
        let key = self.ring.lock().keep(header, self.track, opener)?;
        self.last = Some((header.key_id, key));
        Ok(())
    }
}

impl fmt::Debug for FrameDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameDecryptor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use super::{
    key_id, own_secret,
    plan::{self, Unit},
    slot::{InstallRefused, Seen, Slot},
};
use crate::{
    primitives::{Codec, Position, Secret, Timestamp},
    sframe::{BaseKey, CipherSuite, EncryptError, KeyId, MAX_OVERHEAD, SealKey},
};

/// Where an endpoint puts a track's send keys.
pub(crate) type EncryptorSlot = Slot<SealKey>;

impl EncryptorSlot {
    /// Makes the one send key of this position and puts it to use at once.
    pub(crate) fn install(
        &self,
        position: Position,
        base_key: BaseKey,
    ) -> Result<(), InstallRefused> {
        self.put(position, || SealKey::new(base_key, key_id(position)))
    }
}

impl Default for EncryptorSlot {
    fn default() -> Self {
        Self::new()
    }
}

/// Encrypts the frames of one track.
///
/// Cheap to clone: all clones share one key and one counter, so each simulcast layer encrypts
/// with a clone of its own, from any thread. The endpoint that handed it out installs and changes
/// its keys.
///
/// An encryptor holds the key that it last used until its next frame, [`release`](Self::release)
/// or drop.
pub struct FrameEncryptor {
    codec: Codec,
    slot: Arc<EncryptorSlot>,
    seen: Seen<SealKey>,
}

impl Clone for FrameEncryptor {
    fn clone(&self) -> Self {
        Self::new(self.codec, Arc::clone(&self.slot))
    }
}

impl FrameEncryptor {
    pub(crate) fn new(codec: Codec, slot: Arc<EncryptorSlot>) -> Self {
        Self { codec, slot, seen: Seen::nothing() }
    }

    /// An encryptor for a secret that both sides already share, without any key service.
    ///
    /// It draws a random KID of at least 2^56, from which its keys follow as well, so the same
    /// secret after a restart, or in a second encryptor, repeats no nonce. For 2^20 frames; then
    /// make another one.
    ///
    /// Give each sender and each track a secret of its own, and a fresh one to each session: the
    /// SFU can swap what goes under one secret, send it back to whoever sent it, or repeat it to
    /// a decryptor that was made later. A stream of an [`Endpoint`](crate::endpoint::Endpoint)
    /// sees to all that.
    ///
    /// # Errors
    /// [`EncryptError::NotReady`] if the operating system gives no random bytes.
    pub fn from_secret(
        codec: Codec,
        suite: CipherSuite,
        secret: &Secret<32>,
    ) -> Result<Self, EncryptError> {
        let key_id = own_secret::random_key_id()?;
        Ok(own_secret::encryptor(codec, own_secret::base_key(suite, secret, key_id), key_id))
    }

    /// The codec whose frames it takes.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether `frame` is a key frame. Always true for audio.
    pub fn is_key_frame(&self, frame: &[u8]) -> bool {
        plan::is_key_frame(self.codec, frame)
    }

    /// Whether somebody who has this key was removed so long ago that it must not be used any
    /// more, and its endpoint did not replace it in time: a driver that hangs, or a clock that
    /// jumped. Drop the frame then. Ask before each frame, with the time that the endpoint is
    /// given too; the WebRTC sender does.
    #[inline]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.slot.is_overdue(now)
    }

    //= RFC 9605 §6.1.3
    //# In order to support the SFU selectively removing layers, the sender MUST encapsulate each
    //# layer in a different SFrame ciphertext.
    /// Replaces what `out` holds by the encrypted form of `frame`, an encoded frame as it left
    /// the encoder. Allocates nothing once `out` has grown, and holds no lock.
    ///
    /// Where an SFU may drop layers (simulcast, SVC), each layer's frame is a call of its own.
    ///
    /// # Errors
    /// [`EncryptError::NotReady`] before the first key, [`EncryptError::Paused`] while the
    /// stream may not send, [`EncryptError::Limit`] when the key is used up,
    /// [`EncryptError::TooLarge`], [`EncryptError::Empty`] or [`EncryptError::Syntax`] for
    /// frames that are none. `out` is then empty.
    pub fn encrypt_into(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), EncryptError> {
        self.encrypt_to(frame, out).inspect_err(|_| out.clear())
    }

    /// Encrypts a frame where it stands. Allocates nothing if the vector has room for
    /// [`MAX_OVERHEAD`] bytes more, and of H.264 and AV1 for the copies that they need besides, and
    /// holds no lock. The text is moved by the length of the
    /// header.
    ///
    /// # Errors
    /// As [`encrypt_into`](Self::encrypt_into). `frame` is then in the clear, as it was, or empty:
    /// do not send it.
    pub fn encrypt_in_place(&mut self, frame: &mut Vec<u8>) -> Result<(), EncryptError> {
        if let Some(unit) = Unit::of(self.codec) {
            return unit.seal_in_place(self.seen.key(&self.slot)?, frame);
        }
        let clear = plan::clear_length_of_plain(self.codec, frame)?;
        self.seen.key(&self.slot)?.seal_in_place(frame, 0..clear)
    }

    /// The encrypted form of `frame`, in a vector of its own.
    ///
    /// # Errors
    /// As [`encrypt_into`](Self::encrypt_into).
    pub fn encrypt(&mut self, frame: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let mut out = Vec::with_capacity(frame.len() + MAX_OVERHEAD);
        self.encrypt_to(frame, &mut out).map(|()| out)
    }

    /// The KID of the last frame's key; `None` before the first frame and after a
    /// [`release`](Self::release).
    pub fn key_id(&self) -> Option<KeyId> {
        self.seen.key.as_ref().ok().map(|key| key.key_id())
    }

    /// Lets go of the key until the next frame. Call it when there is nothing to encrypt for a
    /// while (a muted track), so that a key that is replaced meanwhile does not stay in memory.
    pub fn release(&mut self) {
        self.seen = Seen::nothing();
    }

    #[inline]
    fn encrypt_to(&mut self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), EncryptError> {
        if let Some(unit) = Unit::of(self.codec) {
            return unit.seal_into(self.seen.key(&self.slot)?, frame, out);
        }
        let clear = plan::clear_length_of_plain(self.codec, frame)?;
        let key = self.seen.key(&self.slot)?;
        let (clear, plain) = frame.split_at(clear);
        if !clear.is_empty() {
            // Not cleared before: growing a vector again would zero it again.
            out.resize(out.len().max(clear.len()), 0);
            out[..clear.len()].copy_from_slice(clear);
        }
        key.seal_into(clear, plain, out, clear.len())
    }
}

impl fmt::Debug for FrameEncryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameEncryptor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

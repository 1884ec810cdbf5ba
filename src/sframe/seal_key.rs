use std::{fmt, ops::Range};

use super::{
    BaseKey, CipherSuite, Counter, EncryptError, Header, KeyId, MAX_FRAME_SIZE,
    aead::{AeadFailed, Tag, Text},
    context::Context,
    header::KeyIdField,
    usage::Usage,
};

/// The sending half of one KID: it counts its own frames, from 0, and cannot be cloned, rewound
/// or set. That is what makes a nonce unique; make one for each base key and KID, once.
//
//= RFC 9605 §4.3
//# Applications MUST ensure that each (KID, CTR) combination is used for exactly one SFrame
//# encryption operation.
//= RFC 9605 §9.3
//# As mentioned in Section 7.4, senders MUST reject requests to encrypt multiple times with the
//# same key and nonce.
pub struct SealKey {
    context: Context,
    field: KeyIdField,
    usage: Usage,
}

impl SealKey {
    /// Derives the key (RFC 9605 §4.4.2).
    pub fn new(base_key: BaseKey, key_id: KeyId) -> Self {
        Self {
            context: Context::new(base_key, key_id),
            field: KeyIdField::new(key_id),
            usage: Usage::new(),
        }
    }

    /// Its KID.
    pub fn key_id(&self) -> KeyId {
        self.context.key_id
    }

    /// Replaces what `out` holds from byte `at` on, or from its end if that is earlier, by
    /// `header ‖ ciphertext ‖ tag` of `plain`; what is before stays. `metadata` is authenticated
    /// only.
    ///
    /// Bytes that are already there are not zeroed first, so a buffer that is used again and
    /// again costs nothing but the encryption.
    ///
    /// # Errors
    /// [`EncryptError::Empty`] without a plaintext, [`EncryptError::TooLarge`] above
    /// [`MAX_FRAME_SIZE`], [`EncryptError::Limit`] once the key is used up. `out` then ends at
    /// `at`, or where it ended if that was earlier.
    #[inline]
    pub fn seal_into(
        &self,
        metadata: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
        at: usize,
    ) -> Result<(), EncryptError> {
        let at = at.min(out.len());
        self.seal_behind(metadata, plain, out, at).inspect_err(|_| out.truncate(at))
    }

    #[inline]
    fn seal_behind(
        &self,
        metadata: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
        at: usize,
    ) -> Result<(), EncryptError> {
        let counter = self.claim(metadata.len(), plain.len())?;
        let header_length = self.field.header_length(counter);
        out.resize(at + header_length + plain.len() + CipherSuite::TAG_LENGTH, 0);
        let sframe = &mut out[at..];
        // The tag alone makes this longer than any header: what is too much is overwritten.
        if let Some(start) = sframe.first_chunk_mut() {
            self.field.write(counter, start);
        }
        let (header, sealed) = sframe.split_at_mut(header_length);
        let (text, tag) = sealed.split_at_mut(plain.len());
        self.seal(counter, header, metadata, Text::Apart { from: plain, to: text }, tag)
    }

    /// Turns `metadata ‖ plain` into `metadata ‖ header ‖ ciphertext ‖ tag`, where `metadata` says
    /// which bytes those are; what is before them stays. Allocates only if the vector has no room
    /// for the up to [`MAX_OVERHEAD`](super::MAX_OVERHEAD) bytes that it grows by.
    ///
    /// # Errors
    /// As [`seal_into`](Self::seal_into), and [`EncryptError::Syntax`] if there are no such bytes.
    /// `frame` is then as it was, or empty if the library refused.
    #[inline]
    pub fn seal_in_place(
        &self,
        frame: &mut Vec<u8>,
        metadata: Range<usize>,
    ) -> Result<(), EncryptError> {
        let length = frame.len();
        let clear = metadata.end;
        if clear > length || metadata.start > clear {
            return Err(EncryptError::Syntax);
        }
        let counter = self.claim(metadata.len(), length - clear)?;
        let mut header = [0; Header::MAX_LENGTH];
        let header_length = self.field.write(counter, &mut header);
        let text = clear + header_length;
        frame.resize(length + header_length + CipherSuite::TAG_LENGTH, 0);
        frame.copy_within(clear..length, text);
        frame[clear..text].copy_from_slice(&header[..header_length]);
        let (front, sealed) = frame.split_at_mut(text);
        let (front, header) = front.split_at(clear);
        let (text, tag) = sealed.split_at_mut(length - clear);
        self.seal(counter, header, &front[metadata.start..], Text::InPlace(text), tag)
            .inspect_err(|_| frame.clear())
    }

    /// The counter of the next frame.
    #[inline]
    fn claim(&self, clear: usize, plain: usize) -> Result<Counter, EncryptError> {
        if plain == 0 {
            return Err(EncryptError::Empty);
        }
        let length = clear.saturating_add(plain);
        if length > MAX_FRAME_SIZE {
            return Err(EncryptError::TooLarge);
        }
        // One block for the tag's mask, and the additional data goes through GHASH as well.
        self.usage.claim(2 + (length + Header::MAX_LENGTH) as u64 / 16)
    }

    #[inline(always)] // A result through memory costs as much as the nonce.
    fn seal(
        &self,
        counter: Counter,
        header: &[u8],
        metadata: &[u8],
        text: Text<'_>,
        tag: &mut [u8],
    ) -> Result<(), EncryptError> {
        // All that a library may refuse is a length.
        let Ok(tag): Result<&mut Tag, _> = tag.try_into() else {
            return Err(EncryptError::TooLarge);
        };
        match self.context.seal(counter, header, metadata, text, tag) {
            Ok(()) => Ok(()),
            Err(AeadFailed) => Err(EncryptError::TooLarge),
        }
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("key_id", &self.context.key_id).finish_non_exhaustive()
    }
}

/// For the RFC's vectors only: the counter cannot be chosen from outside these tests.
#[cfg(test)]
pub(super) fn seal_with_counter(
    base_key: BaseKey,
    header: Header,
    metadata: &[u8],
    plain: &[u8],
) -> (Vec<u8>, [u8; 12], Vec<u8>) {
    let salt = base_key.derive(header.key_id).salt.to_vec();
    let key = SealKey::new(base_key, header.key_id);
    let encoded = header.encode();
    let mut out = [encoded.as_slice(), plain, &[0; 16]].concat();
    let (text, tag) = out[encoded.as_slice().len()..].split_at_mut(plain.len());
    key.seal(header.counter, encoded.as_slice(), metadata, Text::InPlace(text), tag).unwrap();
    (salt, key.context.nonce(header.counter), out)
}

#[cfg(test)]
mod tests;

use std::{fmt, ops::Range};

use zeroize::Zeroize;

use super::{
    BaseKey, CipherSuite, DecryptError, Header, KeyId, MAX_FRAME_SIZE,
    aead::{Tag, Text},
    context::Context,
};

/// An SFrame ciphertext (RFC 9605 §4.2), taken apart: `header ‖ ciphertext ‖ tag`.
#[derive(Clone, Copy, Debug)]
pub struct Ciphertext<'a> {
    header: Header,
    encoded_header: &'a [u8],
    text: &'a [u8],
    tag: &'a Tag,
}

impl<'a> Ciphertext<'a> {
    /// Takes it apart. Nothing is authentic yet.
    ///
    /// # Errors
    /// [`DecryptError::Syntax`] if the header is none (see [`Header::parse`]), if there is no
    /// room for a tag, or if it carries no media or more than [`MAX_FRAME_SIZE`].
    #[inline(always)] // Seven words through memory cost as much as all the rest.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, DecryptError> {
        let (header, length) = Header::parse(bytes)?;
        let (encoded_header, sealed) = bytes.split_at(length);
        let (text, tag) = sealed.split_last_chunk().ok_or(DecryptError::Syntax)?;
        if text.is_empty() || text.len() > MAX_FRAME_SIZE {
            return Err(DecryptError::Syntax);
        }
        Ok(Self { header, encoded_header, text, tag })
    }

    /// Its header.
    pub fn header(&self) -> Header {
        self.header
    }
}

/// The receiving half of one KID. It keeps no state; replay is the caller's
/// [`ReplayWindow`](super::ReplayWindow).
pub struct OpenKey(Context);

impl OpenKey {
    /// Derives the key (RFC 9605 §4.4.2).
    pub fn new(base_key: BaseKey, key_id: KeyId) -> Self {
        Self(Context::new(base_key, key_id))
    }

    //= RFC 9605 §4.4.4
    //# If a ciphertext fails to decrypt for any other reason, the client MUST discard the
    //# ciphertext.
    /// Checks the tag, over header, metadata and ciphertext, and replaces what `out` holds from
    /// byte `at` on, or from its end if that is earlier, by the plaintext; what is before stays.
    ///
    /// # Errors
    /// [`DecryptError::UnknownKey`] if the header names another KID,
    /// [`DecryptError::Authentication`] if the tag is wrong. `out` then ends at `at`, or where it
    /// ended if that was earlier, and no byte of this plaintext is behind its end.
    #[inline(always)] // As `Ciphertext::parse`.
    pub fn open_into(
        &self,
        metadata: &[u8],
        ciphertext: &Ciphertext<'_>,
        out: &mut Vec<u8>,
        at: usize,
    ) -> Result<(), DecryptError> {
        let &Ciphertext { header, encoded_header, text, tag } = ciphertext;
        let at = at.min(out.len());
        if header.key_id != self.0.key_id {
            out.truncate(at);
            return Err(DecryptError::UnknownKey(header.key_id));
        }
        out.resize(at + text.len(), 0);
        let text = Text::Apart { from: text, to: &mut out[at..] };
        if self.0.open(header.counter, encoded_header, metadata, text, tag).is_err() {
            out.truncate(at);
            return Err(DecryptError::Authentication);
        }
        Ok(())
    }

    /// Turns `metadata ‖ header ‖ ciphertext ‖ tag` into `metadata ‖ plain`, where `metadata` says
    /// which bytes those are; what is before them stays. Allocates nothing.
    ///
    /// # Errors
    /// As [`open_into`](Self::open_into) and [`Ciphertext::parse`]. After
    /// [`DecryptError::Authentication`] `frame` is wiped and empty, otherwise it is as it was.
    #[inline]
    pub fn open_in_place(
        &self,
        frame: &mut Vec<u8>,
        metadata: Range<usize>,
    ) -> Result<(), DecryptError> {
        let clear = metadata.end;
        let text = self.open_where_it_stands(frame, metadata).inspect_err(|error| {
            if *error == DecryptError::Authentication {
                frame.clear();
            }
        })?;
        let length = text.len();
        frame.copy_within(text, clear);
        // What the move left behind the end is plaintext too.
        frame[clear + length..].zeroize();
        frame.truncate(clear + length);
        Ok(())
    }

    /// The same, and the text stays where it is, which is returned.
    ///
    /// # Errors
    /// As [`open_in_place`](Self::open_in_place): after [`DecryptError::Authentication`] all of
    /// `frame` is wiped.
    #[inline]
    pub fn open_where_it_stands(
        &self,
        frame: &mut [u8],
        metadata: Range<usize>,
    ) -> Result<Range<usize>, DecryptError> {
        let clear = metadata.end;
        let (front, sframe) = frame.split_at_mut_checked(clear).ok_or(DecryptError::Syntax)?;
        let metadata = front.get(metadata).ok_or(DecryptError::Syntax)?;
        let Ciphertext { header, encoded_header, text, .. } = Ciphertext::parse(sframe)?;
        let (header_length, length) = (encoded_header.len(), text.len());
        if header.key_id != self.0.key_id {
            return Err(DecryptError::UnknownKey(header.key_id));
        }
        let (encoded_header, sealed) = sframe.split_at_mut(header_length);
        let (text, tag) = sealed
            .split_last_chunk_mut::<{ CipherSuite::TAG_LENGTH }>()
            .ok_or(DecryptError::Syntax)?;
        let text = Text::InPlace(text);
        if self.0.open(header.counter, encoded_header, metadata, text, tag).is_err() {
            frame.zeroize();
            return Err(DecryptError::Authentication);
        }
        let begin = clear + header_length;
        Ok(begin..begin + length)
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenKey").field("key_id", &self.0.key_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

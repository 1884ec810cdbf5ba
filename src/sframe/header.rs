use std::fmt;

use super::DecryptError;

/// Which key a frame is encrypted with (RFC 9605 §4.3, KID).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u64);

/// How many frames the key encrypted before this one (RFC 9605 §4.3, CTR).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counter(pub u64);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The SFrame header (RFC 9605 §4.3).
///
/// ```text
///  0 1 2 3 4 5 6 7
/// +-+-+-+-+-+-+-+-+------------+------------+
/// |X|  K  |Y|  C  |  KID (K+1) |  CTR (C+1) |
/// +-+-+-+-+-+-+-+-+------------+------------+
/// ```
///
/// X = 0: K *is* the KID and no KID bytes follow; X = 1: K + 1 bytes of KID follow, big-endian.
/// Y, C and CTR likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The key.
    pub key_id: KeyId,
    /// The frame's number under that key.
    pub counter: Counter,
}

/// A header in its wire form, on the stack.
#[derive(Clone, Copy)]
pub struct EncodedHeader {
    bytes: [u8; Header::MAX_LENGTH],
    length: usize,
}

impl EncodedHeader {
    /// Its 1 to 17 bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Debug for EncodedHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EncodedHeader").field(&self.as_slice()).finish()
    }
}

impl Header {
    /// The longest header: one byte and two 8-byte fields.
    pub const MAX_LENGTH: usize = 17;

    /// The one encoding of this header: the shortest.
    pub fn encode(self) -> EncodedHeader {
        let mut bytes = [0; Self::MAX_LENGTH];
        let length = KeyIdField::new(self.key_id).write(self.counter, &mut bytes);
        EncodedHeader { bytes, length }
    }

    /// Reads the header at the start of `bytes`; also returns its length.
    ///
    /// # Errors
    /// [`DecryptError::Syntax`] if the bytes end too early or a field is longer than it must be.
    /// One header has one encoding: anything else would give an attacker several wire forms of
    /// the same frame.
    #[inline(always)] // A result through memory costs as much as parsing.
    pub fn parse(bytes: &[u8]) -> Result<(Self, usize), DecryptError> {
        let (&config, mut rest) = bytes.split_first().ok_or(DecryptError::Syntax)?;
        let key_id = KeyId(Self::parse_field(config >> 4, &mut rest)?);
        let counter = Counter(Self::parse_field(config & 0x0F, &mut rest)?);
        Ok((Self { key_id, counter }, bytes.len() - rest.len()))
    }

    #[inline]
    fn parse_field(bits: u8, rest: &mut &[u8]) -> Result<u64, DecryptError> {
        if bits & 0x08 == 0 {
            return Ok(u64::from(bits));
        }
        let length = usize::from(bits & 0x07) + 1;
        let unused = 64 - 8 * length as u32;
        // A tag follows the header, so there are eight bytes from here: one load instead of many.
        let word = match rest.first_chunk() {
            Some(word) => *word,
            None => {
                let mut word = [0; 8];
                let field = rest.get(..length).ok_or(DecryptError::Syntax)?;
                word[..length].copy_from_slice(field);
                word
            }
        };
        *rest = &rest[length..];
        let value = u64::from_be_bytes(word) >> unused;
        // Not the shortest form: it would have fitted three bits, or the first byte is zero.
        if value < 8 || word[0] == 0 {
            return Err(DecryptError::Syntax);
        }
        Ok(value)
    }
}

/// What the headers of all frames under one KID have in common.
///
/// Fields are written as whole words, because copies of a variable length cost more than all the
/// rest; what a word has too much, the next one or the ciphertext overwrites.
pub(super) struct KeyIdField {
    bits: u8,
    word: [u8; 8],
    end: usize,
}

impl KeyIdField {
    pub(super) fn new(key_id: KeyId) -> Self {
        let (bits, word, length) = encode_field(key_id.0);
        Self { bits: bits << 4, word, end: 1 + length }
    }

    /// How long the header with this counter is.
    #[inline]
    pub(super) fn header_length(&self, counter: Counter) -> usize {
        self.end + encode_field(counter.0).2
    }

    /// Writes a header to the start of `out`, and returns its length. What is behind it there
    /// becomes anything.
    #[inline]
    pub(super) fn write(&self, counter: Counter, out: &mut [u8; Header::MAX_LENGTH]) -> usize {
        let (bits, word, length) = encode_field(counter.0);
        out[1..9].copy_from_slice(&self.word);
        if let Some(room) = out[self.end..].first_chunk_mut() {
            *room = word;
        }
        out[0] = self.bits | bits;
        self.end + length
    }
}

//= RFC 9605 §4.3
//# Otherwise, the value MUST be encoded with the minimum number of bytes required and appended
//# after the config byte, with the KID first and CTR second.
/// A field's four bits of the first byte, and how many bytes of the word stand behind it.
#[inline]
fn encode_field(value: u64) -> (u8, [u8; 8], usize) {
    if value < 8 {
        return (value as u8, [0; 8], 0);
    }
    let unused = value.leading_zeros() / 8;
    (0x08 | (7 - unused) as u8, (value << (8 * unused)).to_be_bytes(), 8 - unused as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_encodings_than_needed_are_refused() {
        for bytes in [
            &[0x80, 0x07][..],   // KID 7 in a byte of its own
            &[0x08, 0x00],       // CTR 0 in a byte of its own
            &[0x90, 0x00, 0x09], // KID 9 in two bytes
            &[0x09, 0x00, 0xFF], // CTR 255 in two bytes
        ] {
            assert_eq!(Header::parse(bytes), Err(DecryptError::Syntax), "{bytes:02x?}");
        }
    }

    #[test]
    fn every_cut_of_a_header_is_refused() {
        let header = Header { key_id: KeyId(u64::MAX), counter: Counter(u64::MAX - 1) };
        let encoded = header.encode();
        for length in 0..encoded.as_slice().len() {
            assert_eq!(Header::parse(&encoded.as_slice()[..length]), Err(DecryptError::Syntax));
        }
        assert_eq!(Header::parse(encoded.as_slice()), Ok((header, 17)));
    }
}

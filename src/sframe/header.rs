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
#[derive(Clone, Copy, Debug)]
pub struct EncodedHeader {
    bytes: [u8; Header::MAX_LENGTH],
    length: usize,
}

impl EncodedHeader {
    /// Its 1 to 17 bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Header {
    /// The longest header: one byte and two 8-byte fields.
    pub const MAX_LENGTH: usize = 17;

    /// The one encoding of this header: the shortest.
    #[inline]
    pub fn encode(self) -> EncodedHeader {
        let mut out = EncodedHeader { bytes: [0; Self::MAX_LENGTH], length: 1 };
        let key_id = Self::encode_field(&mut out, self.key_id.0);
        let counter = Self::encode_field(&mut out, self.counter.0);
        out.bytes[0] = key_id << 4 | counter;
        out
    }

    /// Appends a field's bytes, if it needs any, and returns its four bits of the first byte.
    #[inline]
    fn encode_field(out: &mut EncodedHeader, value: u64) -> u8 {
        if value < 8 {
            return value as u8;
        }
        let length = (8 - value.leading_zeros() as usize / 8).max(1);
        out.bytes[out.length..out.length + length]
            .copy_from_slice(&value.to_be_bytes()[8 - length..]);
        out.length += length;
        0x08 | (length - 1) as u8
    }

    /// Reads the header at the start of `bytes`; also returns its length.
    ///
    /// # Errors
    /// [`DecryptError::Syntax`] if the bytes end too early or a field is longer than it must be.
    /// One header has one encoding: anything else would give an attacker several wire forms of
    /// the same frame.
    #[inline]
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
        let (field, after) = rest.split_at_checked(length).ok_or(DecryptError::Syntax)?;
        *rest = after;
        let value = field.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        // Not the shortest form: it would have fitted three bits, or the first byte is zero.
        if value < 8 || field[0] == 0 {
            return Err(DecryptError::Syntax);
        }
        Ok(value)
    }
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

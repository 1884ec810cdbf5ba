//! `Header::parse` and `Ciphertext::parse`, against a second reader of RFC 9605 §4.3.

use olmcast::sframe::{CipherSuite, Ciphertext, Counter, DecryptError, Header, KeyId};

/// The input is what arrives, and its first 17 bytes make a header to write before it.
pub fn run(data: &[u8]) {
    reads(data);
    let header = header(data);
    let encoded = header.encode();
    let length = encoded.as_slice().len();
    assert_eq!(Header::parse(encoded.as_slice()), Ok((header, length)));
    let mut written = [0; 2 * Header::MAX_LENGTH];
    written[..length].copy_from_slice(encoded.as_slice());
    let followed = data.len().min(Header::MAX_LENGTH);
    written[length..length + followed].copy_from_slice(&data[..followed]);
    reads(&written[..length + followed]);
}

fn reads(bytes: &[u8]) {
    let parsed = Header::parse(bytes);
    assert_eq!(parsed, read(bytes).ok_or(DecryptError::Syntax));
    // Nothing shorter is a header, be the whole one or not.
    let length = parsed.map_or(bytes.len().min(Header::MAX_LENGTH), |(_, length)| length);
    for cut in 0..length {
        assert_eq!(Header::parse(&bytes[..cut]), Err(DecryptError::Syntax), "cut to {cut}");
    }
    if let Ok((header, length)) = parsed {
        assert_eq!(header.encode().as_slice(), &bytes[..length], "a second encoding");
        assert_eq!(Header::parse(&bytes[..length]), parsed);
        for next in [0, 0xFF] {
            let mut followed = [next; Header::MAX_LENGTH + 8];
            followed[..length].copy_from_slice(&bytes[..length]);
            assert_eq!(Header::parse(&followed), parsed, "what follows matters");
        }
    }
    // A header, a tag, and at least one byte between them.
    let whole = parsed.and_then(|(header, length)| {
        let text = bytes.len().checked_sub(length + CipherSuite::TAG_LENGTH);
        text.filter(|&text| text > 0).map(|_| header).ok_or(DecryptError::Syntax)
    });
    assert_eq!(Ciphertext::parse(bytes).map(|ciphertext| ciphertext.header()), whole);
}

/// The header at the start of `bytes` and its length, read the slow way.
pub(super) fn read(bytes: &[u8]) -> Option<(Header, usize)> {
    let first = *bytes.first()?;
    let [key_id_end, length] = {
        let key_id_end = 1 + field_length(first >> 4);
        [key_id_end, key_id_end + field_length(first & 15)]
    };
    let key_id = field(first >> 4, bytes.get(1..key_id_end)?)?;
    let counter = field(first & 15, bytes.get(key_id_end..length)?)?;
    Some((Header { key_id: KeyId(key_id), counter: Counter(counter) }, length))
}

fn field_length(bits: u8) -> usize {
    usize::from(bits.saturating_sub(7))
}

/// Its value, if it is in the shortest of the forms it could have.
fn field(bits: u8, bytes: &[u8]) -> Option<u64> {
    match bytes {
        [] => Some(u64::from(bits)),
        [0..=7] | [0, ..] => None,
        _ => {
            let mut value = [0; 8];
            value[8 - bytes.len()..].copy_from_slice(bytes);
            Some(u64::from_be_bytes(value))
        }
    }
}

/// A header made of the input, with fields of any length.
fn header(data: &[u8]) -> Header {
    let mut bytes = [0; Header::MAX_LENGTH];
    let length = data.len().min(bytes.len());
    bytes[..length].copy_from_slice(&data[..length]);
    let number = |at: usize, bits: u8| {
        let number = u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        number >> (8 * (bits & 7))
    };
    Header { key_id: KeyId(number(1, bytes[0] >> 4)), counter: Counter(number(9, bytes[0])) }
}

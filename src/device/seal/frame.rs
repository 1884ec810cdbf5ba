//! What all versions of a sealed device have in common, so that damage is told from an unknown
//! version and from a wrong passphrase:
//!
//! ```text
//! "olmcast\0" ‖ version u16 ‖ length of the body u64 ‖ body ‖ SHA-256 of all before it
//! ```
//!
//! Integers are big-endian. The checksum keeps nobody from changing anything: that does the AEAD,
//! whose additional data is all that stands before its ciphertext.

use sha2::{Digest, Sha256};

use super::SealError;

const MAGIC: &[u8; 8] = b"olmcast\0";
const LENGTH_AT: usize = MAGIC.len() + 2;
/// What stands before the body.
pub(super) const HEAD: usize = LENGTH_AT + 8;
const CHECKSUM: usize = 32;
/// More than anybody can know and admit.
pub(super) const MAX_BODY: usize = 64 << 20;

/// The beginning of a frame, with room for all of it.
pub(super) fn begin(version: u16, body: usize) -> Result<Vec<u8>, SealError> {
    if body > MAX_BODY {
        return Err(SealError::TooLarge);
    }
    let mut bytes = Vec::with_capacity(HEAD + body + CHECKSUM);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&version.to_be_bytes());
    bytes.extend_from_slice(&(body as u64).to_be_bytes());
    Ok(bytes)
}

/// The frame is complete but for its checksum.
pub(super) fn finish(bytes: &mut Vec<u8>) {
    let checksum = Sha256::digest(&*bytes);
    bytes.extend_from_slice(&checksum);
}

/// The version of a frame that is whole.
pub(super) fn check(bytes: &[u8]) -> Result<u16, SealError> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(SealError::Damaged);
    }
    let Some((before, checksum)) = bytes.split_last_chunk::<CHECKSUM>() else {
        return Err(SealError::CutShort);
    };
    let Some((head, body)) = before.split_first_chunk::<HEAD>() else {
        return Err(SealError::CutShort);
    };
    // Over the length that it has, whatever length it names: so damage to that number is no cut.
    let mut hash = Sha256::new();
    hash.update(&head[..LENGTH_AT]);
    hash.update((body.len() as u64).to_be_bytes());
    hash.update(body);
    let is_whole = hash.finalize()[..] == checksum[..];
    let named = head.last_chunk().map_or(0, |length| u64::from_be_bytes(*length));
    match (body.len() as u64).cmp(&named) {
        std::cmp::Ordering::Equal if is_whole => {
            Ok(u16::from_be_bytes([head[MAGIC.len()], head[MAGIC.len() + 1]]))
        }
        std::cmp::Ordering::Less if !is_whole => Err(SealError::CutShort),
        _ => Err(SealError::Damaged),
    }
}

/// The body of a frame that is whole.
pub(super) fn body(bytes: &[u8]) -> &[u8] {
    bytes.get(HEAD..bytes.len().saturating_sub(CHECKSUM)).unwrap_or_default()
}

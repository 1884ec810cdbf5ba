use zeroize::Zeroizing;

use super::{
    BaseKey, CipherSuite, Counter, Header, KeyId,
    aead::{self, AeadFailed, Tag, Text},
};

/// The largest media frame, in bytes: 4 MiB.
pub const MAX_FRAME_SIZE: usize = 4 << 20;

/// Metadata up to this length is authenticated without allocating. No codec's is longer.
const INLINE_METADATA: usize = 64;

/// A key and its salt: what RFC 9605 §4.4 calls a key context, without a counter.
pub(super) struct Context {
    pub(super) key_id: KeyId,
    key: aead::Key,
    salt: Zeroizing<[u8; CipherSuite::NONCE_LENGTH]>,
}

impl Context {
    pub(super) fn new(base_key: BaseKey, key_id: KeyId) -> Self {
        let derived = base_key.derive(key_id);
        let key = aead::Key::new(base_key.backend(), base_key.suite(), derived.key());
        Self { key_id, key, salt: derived.salt }
    }

    /// RFC 9605 §4.4.3: the salt XOR the counter, big-endian and padded to the nonce's length.
    #[inline]
    pub(super) fn nonce(&self, counter: Counter) -> aead::Nonce {
        let mut nonce = *self.salt;
        for (byte, counter) in nonce[4..].iter_mut().zip(counter.0.to_be_bytes()) {
            *byte ^= counter;
        }
        nonce
    }

    /// `header` is the counter's, encoded.
    #[inline]
    pub(super) fn seal(
        &self,
        counter: Counter,
        header: &[u8],
        metadata: &[u8],
        text: Text<'_>,
        tag: &mut Tag,
    ) -> Result<(), AeadFailed> {
        let nonce = self.nonce(counter);
        with_aad(header, metadata, |aad| self.key.seal(&nonce, aad, text, tag))
    }

    #[inline]
    pub(super) fn open(
        &self,
        counter: Counter,
        header: &[u8],
        metadata: &[u8],
        text: Text<'_>,
        tag: &Tag,
    ) -> Result<(), AeadFailed> {
        let nonce = self.nonce(counter);
        with_aad(header, metadata, |aad| self.key.open(&nonce, aad, text, tag))
    }
}

/// RFC 9605 §4.4.3: the additional data is the header, then the metadata.
#[inline]
fn with_aad<T>(header: &[u8], metadata: &[u8], call: impl FnOnce(&[u8]) -> T) -> T {
    if metadata.is_empty() {
        return call(header);
    }
    let length = header.len() + metadata.len();
    let mut inline = [0; Header::MAX_LENGTH + INLINE_METADATA];
    if let Some(aad) = inline.get_mut(..length) {
        aad[..header.len()].copy_from_slice(header);
        aad[header.len()..].copy_from_slice(metadata);
        call(aad)
    } else {
        call(&[header, metadata].concat())
    }
}

use zeroize::Zeroizing;

use super::{
    BaseKey, CipherSuite, Counter, Header, KeyId,
    aead::{self, AeadFailed, Tag, Text},
};

/// The largest media frame, in bytes: 4 MiB.
pub const MAX_FRAME_SIZE: usize = 4 << 20;

/// The most bytes that SFrame adds to a frame: header and tag. Of H.264 and AV1 what their plans put
/// around it comes on top.
pub const MAX_OVERHEAD: usize = Header::MAX_LENGTH + CipherSuite::TAG_LENGTH;

/// Metadata up to this length is authenticated without allocating. No codec's is longer.
const INLINE_METADATA: usize = 64;

/// A key and its salt: what RFC 9605 §4.4 calls a key context, without a counter.
pub(super) struct Context {
    pub(super) key_id: KeyId,
    key: aead::Key,
    salt: Salt,
}

/// `sframe_salt`, in the 8 and 4 bytes that the libraries read a nonce in: where a load spans two
/// stores, the processor waits for both, which costs as much as everything else here.
struct Salt {
    front: Zeroizing<u64>,
    back: Zeroizing<u32>,
}

impl Context {
    pub(super) fn new(base_key: BaseKey, key_id: KeyId) -> Self {
        let derived = base_key.derive(key_id);
        let key = aead::Key::new(base_key.backend(), base_key.suite(), derived.key());
        let [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11] = *derived.salt;
        let salt = Salt {
            front: u64::from_ne_bytes([s0, s1, s2, s3, s4, s5, s6, s7]).into(),
            back: u32::from_ne_bytes([s8, s9, s10, s11]).into(),
        };
        Self { key_id, key, salt }
    }

    /// RFC 9605 §4.4.3: the salt XOR the counter, big-endian and padded to the nonce's length.
    #[inline]
    pub(super) fn nonce(&self, counter: Counter) -> aead::Nonce {
        let mut nonce = [0; CipherSuite::NONCE_LENGTH];
        let (front, back) = nonce.split_at_mut(8);
        front.copy_from_slice(&(*self.salt.front ^ (counter.0 >> 32).to_be()).to_ne_bytes());
        back.copy_from_slice(&(*self.salt.back ^ (counter.0 as u32).to_be()).to_ne_bytes());
        nonce
    }

    /// `header` is the counter's, encoded.
    #[inline(always)] // As `open`.
    pub(super) fn seal(
        &self,
        counter: Counter,
        header: &[u8],
        metadata: &[u8],
        text: Text<'_>,
        tag: &mut Tag,
    ) -> Result<(), AeadFailed> {
        let aad = &mut Aad::default();
        self.key.seal(&self.nonce(counter), aad.join(header, metadata), text, tag)
    }

    #[inline(always)] // Eight arguments, most of them on the stack otherwise.
    pub(super) fn open(
        &self,
        counter: Counter,
        header: &[u8],
        metadata: &[u8],
        text: Text<'_>,
        tag: &Tag,
    ) -> Result<(), AeadFailed> {
        let aad = &mut Aad::default();
        self.key.open(&self.nonce(counter), aad.join(header, metadata), text, tag)
    }
}

/// Room for the additional data of one call: RFC 9605 §4.4.3 wants header and metadata in one
/// piece.
#[derive(Default)]
struct Aad {
    short: Option<[u8; Header::MAX_LENGTH + INLINE_METADATA]>,
    long: Vec<u8>,
}

impl Aad {
    #[inline]
    fn join<'a>(&'a mut self, header: &'a [u8], metadata: &[u8]) -> &'a [u8] {
        if metadata.is_empty() {
            return header;
        }
        let length = header.len() + metadata.len();
        let short = self.short.insert([0; Header::MAX_LENGTH + INLINE_METADATA]);
        if let Some(aad) = short.get_mut(..length) {
            aad[..header.len()].copy_from_slice(header);
            aad[header.len()..].copy_from_slice(metadata);
            return aad;
        }
        self.long = [header, metadata].concat();
        &self.long
    }
}

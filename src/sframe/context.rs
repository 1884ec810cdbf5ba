use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use zeroize::{Zeroize, Zeroizing};

use super::{
    BaseKey, CipherSuite, Counter, DecryptError, EncryptError, Header, KeyId, aead,
    header::EncodedHeader,
};

/// The largest media frame, in bytes: 4 MiB.
pub const MAX_FRAME_SIZE: usize = 4 << 20;
/// The most frames that one key encrypts: 2^20, far below AES-GCM's limits.
pub const MAX_FRAMES_PER_KEY: u64 = 1 << 20;
/// The most AES blocks that one key encrypts: 2^32.
const MAX_BLOCKS_PER_KEY: u64 = 1 << 32;

/// Metadata up to this length is authenticated without allocating.
const INLINE_METADATA: usize = 64;

/// A key and its salt: what RFC 9605 §4.4 calls a key context, without a counter.
struct Context {
    key_id: KeyId,
    key: aead::Key,
    salt: Zeroizing<[u8; CipherSuite::NONCE_LENGTH]>,
}

impl Context {
    fn new(base_key: &BaseKey, key_id: KeyId) -> Self {
        let derived = base_key.derive(key_id);
        Self { key_id, key: aead::Key::new(base_key.suite(), derived.key()), salt: derived.salt }
    }

    /// RFC 9605 §4.4.3: the salt XOR the counter, big-endian and padded to the nonce's length.
    fn nonce(&self, counter: Counter) -> aead::Nonce {
        let mut nonce = *self.salt;
        for (byte, counter) in nonce[4..].iter_mut().zip(counter.0.to_be_bytes()) {
            *byte ^= counter;
        }
        nonce
    }

    fn seal_at(
        &self,
        counter: Counter,
        metadata: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncryptError> {
        let header = Header { key_id: self.key_id, counter }.encode();
        let start = out.len();
        out.extend_from_slice(header.as_slice());
        let text = out.len();
        out.resize(text + plain.len() + CipherSuite::TAG_LENGTH, 0);
        let sealed = with_aad(&header, metadata, |aad| {
            self.key.seal(&self.nonce(counter), aad, plain, &mut out[text..])
        });
        sealed.map_err(|_| {
            // Whatever was written is gone before the caller sees the buffer again.
            out[start..].zeroize();
            out.truncate(start);
            EncryptError::TooLarge
        })
    }
}

/// RFC 9605 §4.4.3: the additional data is the header, then the metadata.
fn with_aad<T>(header: &EncodedHeader, metadata: &[u8], call: impl FnOnce(&[u8]) -> T) -> T {
    let header = header.as_slice();
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

/// The sending half of one KID: it counts its own frames, from 0, and cannot be cloned, rewound
/// or set. That is what makes a nonce unique; make one for each base key and KID, once.
pub struct SealKey {
    context: Context,
    frames: AtomicU64,
    blocks: AtomicU64,
}

impl SealKey {
    /// Derives the key (RFC 9605 §4.4.2).
    pub fn new(base_key: &BaseKey, key_id: KeyId) -> Self {
        let context = Context::new(base_key, key_id);
        Self { context, frames: AtomicU64::new(0), blocks: AtomicU64::new(0) }
    }

    /// The KID that frames are marked with.
    pub fn key_id(&self) -> KeyId {
        self.context.key_id
    }

    /// Appends `header ‖ ciphertext ‖ tag` to `out`. `metadata` is authenticated only.
    ///
    /// # Errors
    /// [`EncryptError::TooLarge`] above [`MAX_FRAME_SIZE`]; [`EncryptError::Limit`] once the key
    /// is used up. `out` is then as it was.
    pub fn seal_into(
        &self,
        metadata: &[u8],
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncryptError> {
        if plain.len() + metadata.len() > MAX_FRAME_SIZE {
            return Err(EncryptError::TooLarge);
        }
        // One block for the tag's mask, and the metadata goes through GHASH as well.
        let blocks = 2 + (plain.len() + metadata.len() + Header::MAX_LENGTH) as u64 / 16;
        claim(&self.blocks, blocks, MAX_BLOCKS_PER_KEY)?;
        let counter = Counter(claim(&self.frames, 1, MAX_FRAMES_PER_KEY)?);
        self.context.seal_at(counter, metadata, plain, out)
    }
}

/// Takes `amount` from a budget, or nothing. A counter that stops at its limit instead of
/// running on can never wrap, however often it is asked.
fn claim(used: &AtomicU64, amount: u64, limit: u64) -> Result<u64, EncryptError> {
    used.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
        used.checked_add(amount).filter(|&after| after <= limit)
    })
    .map_err(|_| EncryptError::Limit)
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("key_id", &self.context.key_id).finish_non_exhaustive()
    }
}

/// The receiving half of one KID. It keeps no state; replay is the caller's
/// [`ReplayWindow`](super::ReplayWindow).
pub struct OpenKey(Context);

impl OpenKey {
    /// Derives the key (RFC 9605 §4.4.2).
    pub fn new(base_key: &BaseKey, key_id: KeyId) -> Self {
        Self(Context::new(base_key, key_id))
    }

    /// Checks the tag of `sframe` (`header ‖ ciphertext ‖ tag`) and the metadata, and appends
    /// the plaintext to `out`.
    ///
    /// # Errors
    /// [`DecryptError::Syntax`] if it is cut short or carries no media,
    /// [`DecryptError::UnknownKey`] if it names another KID, [`DecryptError::Authentication`] if
    /// the tag is wrong. `out` is then as it was, without a byte of plaintext behind its end.
    pub fn open_into(
        &self,
        metadata: &[u8],
        sframe: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), DecryptError> {
        let (header, length) = Header::parse(sframe)?;
        if header.key_id != self.0.key_id {
            return Err(DecryptError::UnknownKey(header.key_id));
        }
        let sealed = &sframe[length..];
        let plain = sealed
            .len()
            .checked_sub(CipherSuite::TAG_LENGTH)
            .filter(|&plain| plain > 0 && plain <= MAX_FRAME_SIZE)
            .ok_or(DecryptError::Syntax)?;
        let start = out.len();
        out.resize(start + plain, 0);
        let nonce = self.0.nonce(header.counter);
        let opened = with_aad(&header.encode(), metadata, |aad| {
            self.0.key.open(&nonce, aad, sealed, &mut out[start..])
        });
        opened.map_err(|_| {
            // A library may have decrypted before it compared the tag.
            out[start..].zeroize();
            out.truncate(start);
            DecryptError::Authentication
        })
    }
}

impl fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenKey").field("key_id", &self.0.key_id).finish_non_exhaustive()
    }
}

/// For the RFC's vectors only: the counter cannot be chosen from outside these tests.
#[cfg(test)]
pub(super) fn seal_with_counter(
    base_key: &BaseKey,
    header: Header,
    metadata: &[u8],
    plain: &[u8],
) -> (Vec<u8>, [u8; 12], Vec<u8>) {
    let context = Context::new(base_key, header.key_id);
    let mut out = Vec::new();
    context.seal_at(header.counter, metadata, plain, &mut out).unwrap();
    (context.salt.to_vec(), context.nonce(header.counter), out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (SealKey, OpenKey) {
        let base = BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(3));
        (SealKey::new(&base, KeyId(9)), OpenKey::new(&base, KeyId(9)))
    }

    #[test]
    fn every_flipped_bit_is_refused_and_leaves_the_buffer_alone() {
        let (seal, open) = pair();
        let mut sealed = Vec::new();
        seal.seal_into(b"clear", b"a media frame", &mut sealed).unwrap();
        let mut out = b"before".to_vec();
        for bit in 0..(sealed.len() * 8) {
            let mut altered = sealed.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let error = open.open_into(b"clear", &altered, &mut out).unwrap_err();
            assert!(
                matches!(
                    error,
                    DecryptError::Authentication
                        | DecryptError::Syntax
                        | DecryptError::UnknownKey(_)
                ),
                "bit {bit}: {error}"
            );
            assert_eq!(out, b"before");
            // Nor does the spare capacity behind the end hold any of it.
            out.resize(out.capacity(), 0);
            assert!(!out.windows(5).any(|w| w == b"media"));
            out.truncate(6);
        }
        assert_eq!(open.open_into(b"Clear", &sealed, &mut out), Err(DecryptError::Authentication));
        open.open_into(b"clear", &sealed, &mut out).unwrap();
        assert_eq!(out, b"beforea media frame");
    }

    #[test]
    fn a_key_stops_at_its_last_frame_and_stays_stopped() {
        let (seal, _) = pair();
        seal.frames.store(MAX_FRAMES_PER_KEY - 1, Ordering::Relaxed);
        let mut out = Vec::new();
        seal.seal_into(b"", b"x", &mut out).unwrap();
        let length = out.len();
        for _ in 0..3 {
            assert_eq!(seal.seal_into(b"", b"x", &mut out), Err(EncryptError::Limit));
        }
        assert_eq!(out.len(), length);
    }

    #[test]
    fn a_key_stops_at_its_last_block() {
        let (seal, _) = pair();
        seal.blocks.store(MAX_BLOCKS_PER_KEY - 3, Ordering::Relaxed);
        let mut out = Vec::new();
        assert_eq!(seal.seal_into(b"", &[0; 64], &mut out), Err(EncryptError::Limit));
        seal.seal_into(b"", b"x", &mut out).unwrap();
        assert_eq!(seal.seal_into(b"", b"x", &mut out), Err(EncryptError::Limit));
    }

    #[test]
    fn counters_start_at_zero_and_never_repeat() {
        let (seal, _) = pair();
        let mut seen = std::collections::HashSet::new();
        let counters: Vec<u64> = std::thread::scope(|scope| {
            let seal = &seal;
            let workers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(move || {
                        (0..1000)
                            .map(|_| {
                                let mut out = Vec::new();
                                seal.seal_into(b"", b"x", &mut out).unwrap();
                                Header::parse(&out).unwrap().0.counter.0
                            })
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
        });
        assert!(counters.iter().all(|&counter| counter < 4000 && seen.insert(counter)));
    }

    #[test]
    fn frames_above_four_mebibytes_are_refused() {
        let (seal, _) = pair();
        let mut out = Vec::new();
        let large = vec![0; MAX_FRAME_SIZE + 1];
        assert_eq!(seal.seal_into(b"", &large, &mut out), Err(EncryptError::TooLarge));
        assert!(out.is_empty());
    }
}

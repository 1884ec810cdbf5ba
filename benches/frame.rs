//! What a frame costs: the AEAD library's own call (`floor-…`), ours, and the crate `sframe`.
//!
//! ```text
//! floor-seal, encrypt   / aes-gcm, aws-lc / bytes     the library alone ; FrameEncryptor
//! floor-open, decrypt   / aes-gcm, aws-lc / bytes     the library alone ; FrameDecryptor
//! sframe-crate, stream  / encrypt, decrypt / bytes    crate `sframe`, ring ; two endpoints
//! vp8                   / encrypt, decrypt / bytes    ten bytes clear; all others are Opus
//! ```
//!
//! All use AES-128-GCM with a key that was set up before, read slices and write to a buffer that
//! is reused. The floor writes what SFrame must: four bytes of header, which are the additional
//! data, then ciphertext and tag; additional data and nonce differ from frame to frame. What is
//! compared runs one after the other, so that both meet the same noise.
//!
//! A frame opens once. So frames are encrypted in batches, outside the measured time, and every
//! bench that opens walks over a batch of the same size.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "a bench may stop")]

mod pair;
mod settings;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use aes_gcm::{
    Aes128Gcm,
    aead::{AeadInOut, KeyInit, inout::InOutBuf},
};
use criterion::{Bencher, BenchmarkId, Criterion, Throughput};
use olmcast::{
    media::{FrameDecryptor, FrameEncryptor, hazmat},
    primitives::{Codec, Timestamp},
    sframe::{Backend, BaseKey, CipherSuite, Header, KeyId, MAX_FRAMES_PER_KEY},
};
use pair::Pair;
use sframe::{
    CipherSuite as TheirSuite,
    frame::{EncryptedFrameView, MediaFrameView, MonotonicCounter},
    key::{DecryptionKey, EncryptionKey},
};

const SIZES: [usize; 6] = [64, 120, 1200, 5120, 20_000, 51_200];
/// One that needs no byte of its own: with a counter of three bytes the header has four.
const KEY_ID: KeyId = KeyId(5);
const HEADER: usize = 4;
const TAG: usize = 16;
/// The longest header that there is, and the tag.
const OVERHEAD: usize = Header::MAX_LENGTH + TAG;
/// Frames under one key, then a fresh one is made: a decryptor takes no counter above 2^20.
const CHUNK: u64 = MAX_FRAMES_PER_KEY / 4;

fn main() {
    let mut criterion = settings::criterion();
    let c = &mut criterion;
    for size in SIZES {
        let plain = aligned(size, size as u8);
        #[cfg(feature = "aws-lc")]
        {
            bench(c, "floor-seal", "aws-lc", size, |b| floor_seal(b, &plain, &AwsLc::new()));
            bench(c, "encrypt", "aws-lc", size, |b| {
                encrypt(b, &plain, Codec::Opus, Backend::AwsLc)
            });
        }
        bench(c, "floor-seal", "aes-gcm", size, |b| floor_seal(b, &plain, &AesGcm::new()));
        bench(c, "encrypt", "aes-gcm", size, |b| encrypt(b, &plain, Codec::Opus, Backend::AesGcm));
        bench(c, "sframe-crate", "encrypt", size, |b| sframe_encrypt(b, &plain));
        bench(c, "stream", "encrypt", size, |b| stream_encrypt(b, &plain));
        bench(c, "vp8", "encrypt", size, |b| encrypt(b, &plain, Codec::Vp8, Backend::default()));
        #[cfg(feature = "aws-lc")]
        {
            bench(c, "floor-open", "aws-lc", size, |b| floor_open(b, &plain, &AwsLc::new()));
            bench(c, "decrypt", "aws-lc", size, |b| {
                decrypt(b, &plain, Codec::Opus, Backend::AwsLc)
            });
        }
        bench(c, "floor-open", "aes-gcm", size, |b| floor_open(b, &plain, &AesGcm::new()));
        bench(c, "decrypt", "aes-gcm", size, |b| decrypt(b, &plain, Codec::Opus, Backend::AesGcm));
        bench(c, "sframe-crate", "decrypt", size, |b| sframe_decrypt(b, &plain));
        bench(c, "stream", "decrypt", size, |b| stream_decrypt(b, &plain));
        bench(c, "vp8", "decrypt", size, |b| decrypt(b, &plain, Codec::Vp8, Backend::default()));
    }
    criterion.final_summary();
}

fn bench(c: &mut Criterion, group: &str, name: &str, size: usize, run: impl FnMut(&mut Bencher)) {
    let mut group = c.benchmark_group(group);
    group.throughput(Throughput::Bytes(size as u64));
    group.bench_function(BenchmarkId::new(name, size), run);
    group.finish();
}

// What all have in common

/// A buffer at the start of a cache line: where an allocation happens to lie can cost more than
/// what is compared here.
fn aligned(length: usize, fill: u8) -> Vec<u8> {
    let mut misplaced = Vec::new();
    loop {
        let buffer = vec![fill; length + 16 * (misplaced.len() % 8)];
        if buffer.as_ptr().addr().is_multiple_of(64) {
            let mut buffer = buffer;
            buffer.truncate(length);
            return buffer;
        }
        misplaced.push(buffer);
    }
}

/// What seals or opens under one key, made anew before that key's frames are used up.
struct UnderOneKey<S, F> {
    state: Option<S>,
    frames: u64,
    renew: F,
}

impl<S, F: FnMut() -> S> UnderOneKey<S, F> {
    fn new(renew: F) -> Self {
        Self { state: None, frames: 0, renew }
    }

    /// The state, good for so many frames more, and whether it is new.
    fn of(&mut self, frames: u64) -> (&mut S, bool) {
        self.frames += frames;
        if self.frames > CHUNK {
            (self.state, self.frames) = (None, frames);
        }
        let is_new = self.state.is_none();
        (self.state.get_or_insert_with(&mut self.renew), is_new)
    }
}

/// Measures `seal`, but not `renew`.
fn measure_sealing<S>(b: &mut Bencher, renew: impl FnMut() -> S, mut seal: impl FnMut(&mut S)) {
    let mut key = UnderOneKey::new(renew);
    b.iter_custom(|frames| {
        let (mut left, mut time) = (frames, Duration::ZERO);
        while left > 0 {
            let count = left.min(CHUNK / 2);
            let (state, _) = key.of(count + 1);
            seal(state);
            let start = Instant::now();
            for _ in 0..count {
                seal(state);
            }
            time += start.elapsed();
            left -= count;
        }
        time
    });
}

/// Measures `open` on frames that are new each time, but neither `renew` nor `seal`.
fn measure_opening<S>(
    b: &mut Bencher,
    size: usize,
    renew: impl FnMut() -> S,
    mut seal: impl FnMut(&mut S, &mut Vec<u8>),
    mut open: impl FnMut(&mut S, &[u8]),
) {
    // 32 KiB, or a few frames: small ones stay in the first-level cache, all in the second.
    let batch = (32 * 1024 / size).clamp(8, 64);
    let mut wires: Vec<_> = (0..batch).map(|_| aligned(size + OVERHEAD, 0)).collect();
    let mut key = UnderOneKey::new(renew);
    b.iter_custom(|frames| {
        let (mut left, mut time) = (frames, Duration::ZERO);
        while left > 0 {
            let wires = &mut wires[..left.min(batch as u64) as usize];
            let (state, is_new) = key.of(wires.len() as u64 + 1);
            if is_new {
                // The first frame under a key pays for deriving it.
                seal(state, &mut wires[0]);
                open(state, &wires[0]);
            }
            wires.iter_mut().for_each(|wire| seal(state, wire));
            let start = Instant::now();
            for wire in &*wires {
                open(state, black_box(wire));
            }
            time += start.elapsed();
            left -= wires.len() as u64;
        }
        time
    });
}

// The floor

/// An AEAD library, from slice to slice.
trait Floor {
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], plain: &[u8], text: &mut [u8], tag: &mut [u8]);
    fn open(&self, nonce: &[u8; 12], aad: &[u8], text: &[u8], tag: &[u8], out: &mut [u8]);
}

#[cfg(feature = "aws-lc")]
struct AwsLc(aws_lc_rs::aead::LessSafeKey);

#[cfg(feature = "aws-lc")]
impl AwsLc {
    fn new() -> Self {
        use aws_lc_rs::aead::{AES_128_GCM, LessSafeKey, UnboundKey};
        Self(LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[7; 16]).unwrap()))
    }
}

#[cfg(feature = "aws-lc")]
impl Floor for AwsLc {
    #[inline]
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], plain: &[u8], text: &mut [u8], tag: &mut [u8]) {
        use aws_lc_rs::aead::{Aad, Nonce};
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.seal_out_of_place_scatter(nonce, Aad::from(aad), plain, text, &[], tag).unwrap();
    }

    #[inline]
    fn open(&self, nonce: &[u8; 12], aad: &[u8], text: &[u8], tag: &[u8], out: &mut [u8]) {
        use aws_lc_rs::aead::{Aad, Nonce};
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), text, tag, out).unwrap();
    }
}

struct AesGcm(Aes128Gcm);

impl AesGcm {
    fn new() -> Self {
        Self(Aes128Gcm::new_from_slice(&[7; 16]).unwrap())
    }
}

impl Floor for AesGcm {
    #[inline]
    fn seal(&self, nonce: &[u8; 12], aad: &[u8], plain: &[u8], text: &mut [u8], tag: &mut [u8]) {
        let buffer = InOutBuf::new(plain, text).unwrap();
        let made = self.0.encrypt_inout_detached(nonce.into(), aad, buffer).unwrap();
        tag.copy_from_slice(&made);
    }

    #[inline]
    fn open(&self, nonce: &[u8; 12], aad: &[u8], text: &[u8], tag: &[u8], out: &mut [u8]) {
        let buffer = InOutBuf::new(text, out).unwrap();
        let tag: &[u8; TAG] = tag.try_into().unwrap();
        self.0.decrypt_inout_detached(nonce.into(), aad, buffer, tag.into()).unwrap();
    }
}

fn floor_nonce(header: [u8; HEADER]) -> [u8; 12] {
    let mut nonce = [9; 12];
    nonce[4..].copy_from_slice(&u64::from(u32::from_be_bytes(header)).to_be_bytes());
    nonce
}

fn floor_frame(floor: &impl Floor, counter: u32, plain: &[u8], wire: &mut [u8]) {
    let header = counter.to_be_bytes();
    let (aad, sealed) = wire.split_at_mut(HEADER);
    aad.copy_from_slice(&header);
    let (text, tag) = sealed.split_at_mut(plain.len());
    floor.seal(&floor_nonce(header), &header, plain, text, tag);
}

fn floor_seal(b: &mut Bencher, plain: &[u8], floor: &impl Floor) {
    let mut wire = aligned(HEADER + plain.len() + TAG, 0);
    measure_sealing(
        b,
        || 0,
        |counter| {
            *counter += 1;
            floor_frame(floor, *counter, black_box(plain), &mut wire);
            black_box(&mut wire);
        },
    );
}

fn floor_open(b: &mut Bencher, plain: &[u8], floor: &impl Floor) {
    let mut out = aligned(plain.len(), 0);
    let seal = |counter: &mut u32, wire: &mut Vec<u8>| {
        *counter += 1;
        wire.resize(HEADER + plain.len() + TAG, 0);
        floor_frame(floor, *counter, plain, wire);
    };
    measure_opening(
        b,
        plain.len(),
        || 0,
        seal,
        |_, wire| {
            let (header, sealed) = wire.split_first_chunk::<HEADER>().unwrap();
            let (text, tag) = sealed.split_at(out.len());
            floor.open(&floor_nonce(*header), header, text, tag, &mut out);
            black_box(&mut out);
        },
    );
}

// Ours

fn base_key(backend: Backend) -> BaseKey {
    BaseKey::fill(CipherSuite::AesGcm128Sha256, |bytes| bytes.fill(7)).with_backend(backend)
}

fn encryptor(codec: Codec, backend: Backend) -> FrameEncryptor {
    hazmat::with_kid(codec, base_key(backend), KEY_ID)
}

fn decryptor(codec: Codec, backend: Backend) -> FrameDecryptor {
    hazmat::decryptor(codec, base_key(backend), KEY_ID)
}

fn encrypt(b: &mut Bencher, plain: &[u8], codec: Codec, backend: Backend) {
    let mut wire = aligned(plain.len() + OVERHEAD, 0);
    measure_sealing(
        b,
        || encryptor(codec, backend),
        |encryptor| {
            encryptor.encrypt_into(black_box(plain), &mut wire).unwrap();
            black_box(&mut wire);
        },
    );
}

fn decrypt(b: &mut Bencher, plain: &[u8], codec: Codec, backend: Backend) {
    let mut out = aligned(plain.len() + OVERHEAD, 0);
    measure_opening(
        b,
        plain.len(),
        || (encryptor(codec, backend), decryptor(codec, backend)),
        |(encryptor, _), wire| encryptor.encrypt_into(plain, wire).unwrap(),
        |(_, decryptor), wire| {
            decryptor.decrypt_into(wire, Timestamp::default(), &mut out).unwrap();
            black_box(&mut out);
        },
    );
}

fn stream_encrypt(b: &mut Bencher, plain: &[u8]) {
    let mut wire = aligned(plain.len() + OVERHEAD, 0);
    measure_sealing(b, Pair::new, |pair| {
        pair.encryptor.encrypt_into(black_box(plain), &mut wire).unwrap();
        black_box(&mut wire);
    });
}

fn stream_decrypt(b: &mut Bencher, plain: &[u8]) {
    let mut out = aligned(plain.len() + OVERHEAD, 0);
    measure_opening(
        b,
        plain.len(),
        Pair::new,
        |pair, wire| pair.encryptor.encrypt_into(plain, wire).unwrap(),
        |pair, wire| {
            pair.decryptor.decrypt_into(wire, pair.now, &mut out).unwrap();
            black_box(&mut out);
        },
    );
}

// Theirs

fn sframe_encrypt(b: &mut Bencher, plain: &[u8]) {
    let mut wire = aligned(plain.len() + OVERHEAD, 0);
    measure_sealing(
        b,
        || (sframe_sealer(), MonotonicCounter::default()),
        |(key, counter)| {
            let frame = MediaFrameView::try_new(counter, black_box(plain)).unwrap();
            frame.encrypt_into(key, &mut wire).unwrap();
            black_box(&mut wire);
        },
    );
}

/// Without a replay check, which that crate leaves to the caller.
fn sframe_decrypt(b: &mut Bencher, plain: &[u8]) {
    let opener =
        || DecryptionKey::derive_from(TheirSuite::AesGcm128Sha256, KEY_ID.0, [7; 32]).unwrap();
    let mut out = aligned(plain.len() + OVERHEAD, 0);
    measure_opening(
        b,
        plain.len(),
        || (sframe_sealer(), MonotonicCounter::default(), opener()),
        |(key, counter, _), wire| {
            let frame = MediaFrameView::try_new(counter, plain).unwrap();
            frame.encrypt_into(key, wire).unwrap();
        },
        |(_, _, key), wire| {
            EncryptedFrameView::try_new(wire).unwrap().decrypt_into(&*key, &mut out).unwrap();
            black_box(&mut out);
        },
    );
}

fn sframe_sealer() -> EncryptionKey {
    EncryptionKey::derive_from(TheirSuite::AesGcm128Sha256, KEY_ID.0, [7; 32]).unwrap()
}

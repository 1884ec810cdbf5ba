//! What the frame path takes: allocations, memory, and bytes on the wire.
//!
//! A binary of its own, because its allocator counts. It counts for each thread, so tests may run
//! side by side; what looks at the whole process runs in a process of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "figures are to be seen")]

mod allocations;
#[cfg(feature = "rtc")]
mod assembler;
#[path = "../../benches/crowd/mod.rs"]
#[allow(dead_code, reason = "the benches use more of it")]
mod crowd;
mod figures;
mod holders;
mod room;
mod wire;

use olmcast::{
    media::{FrameDecryptor, FrameEncryptor, hazmat},
    primitives::Codec,
    sframe::{Backend, BaseKey, CipherSuite, KeyId},
};

/// The largest frame that the tests use, in bytes.
const LARGEST: usize = 20_000;
/// What encrypting in place wants room for.
const ROOM: usize = 33;

const SUITES: [CipherSuite; 2] = [CipherSuite::AesGcm128Sha256, CipherSuite::AesGcm256Sha512];

/// The second is aws-lc in a default build.
const BACKENDS: [fn() -> Backend; 2] = [|| Backend::AesGcm, Backend::default];

fn base_key(suite: CipherSuite, backend: Backend) -> BaseKey {
    BaseKey::fill(suite, |bytes| bytes.fill(7)).with_backend(backend)
}

fn encryptor(codec: Codec, suite: CipherSuite, backend: Backend, key_id: u64) -> FrameEncryptor {
    hazmat::with_kid(codec, base_key(suite, backend), KeyId(key_id))
}

fn decryptor(codec: Codec, suite: CipherSuite, backend: Backend, key_id: u64) -> FrameDecryptor {
    hazmat::decryptor(codec, base_key(suite, backend), KeyId(key_id))
}

/// Frames of all sizes, every tenth a key frame, as slices of one buffer.
struct Frames {
    bytes: Vec<u8>,
    count: usize,
}

impl Frames {
    fn new() -> Self {
        Self { bytes: (0..LARGEST).map(|byte| byte as u8).collect(), count: 0 }
    }

    /// One of the largest: what every buffer must have grown to.
    fn largest(&self) -> &[u8] {
        &self.bytes
    }

    fn next(&mut self) -> &[u8] {
        self.count += 1;
        self.bytes[0] = if self.count.is_multiple_of(10) { 0x10 } else { 0x11 };
        // From 11 bytes up, and mostly small ones, as encoders make them.
        let spread = self.count * 7919 % 1200;
        let length = if self.count.is_multiple_of(4) { spread * 16 } else { spread };
        &self.bytes[..11 + length]
    }
}

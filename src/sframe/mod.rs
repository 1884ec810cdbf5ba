//! Floor 1: SFrame, as [RFC 9605] has it and nothing besides.
//!
//! ```text
//! BaseKey ──derive──▶ SealKey ──seal_into──▶ header ‖ ciphertext ‖ tag
//!         └─derive──▶ OpenKey ◀──open_into── header ‖ ciphertext ‖ tag
//! ```
//!
//! Bytes that stay readable in front of the SFrame ciphertext (what packetizers and SFUs must
//! see) are its *metadata*: authenticated, not encrypted. Where keys come from and which bytes
//! stay readable is decided further up, in the streams and in
//! [`media`](crate::media).
//!
//! The two AES-GCM suites with full tags are offered (4 and 5); the RFC's suites with cut tags
//! are not. Of the RFC's key management schemes (§5) none is used: Megolm takes their place.
//!
//! [RFC 9605]: https://www.rfc-editor.org/rfc/rfc9605
//!
#![doc = include_str!("compliance.md")]

mod aead;
mod cipher_suite;
mod context;
mod error;
mod header;
mod kdf;
mod open_key;
mod replay;
mod seal_key;
mod usage;
#[cfg(test)]
mod vectors;

pub use aead::Backend;
pub use cipher_suite::CipherSuite;
pub use context::{MAX_FRAME_SIZE, MAX_OVERHEAD};
pub use error::{DecryptError, EncryptError};
pub use header::{Counter, EncodedHeader, Header, KeyId};
pub use kdf::BaseKey;
pub use open_key::{Ciphertext, OpenKey};
pub use replay::ReplayWindow;
pub use seal_key::SealKey;
pub use usage::MAX_FRAMES_PER_KEY;

/// What `usage.rs` counts with. `tests/loom` compiles that file with loom's instead.
mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering};
}

//! Floor 2: encoded media frames, encrypted and decrypted whole.
//!
//! ```text
//! encoder ─▶ FrameEncryptor ─▶ packetizer ─▶ … SFU … ─▶ assembler ─▶ FrameDecryptor ─▶ decoder
//!            frame ──▶ clear bytes ‖ SFrame header ‖ ciphertext ‖ tag ──▶ frame
//! ```
//!
//! A codec's plan says which bytes of a frame stay readable, because packetizers and SFUs look
//! at them; those are authenticated as SFrame metadata. Handles come from an
//! [`Endpoint`](crate::endpoint::Endpoint), which installs keys into them by itself, or are made
//! from a secret of your own:
//!
//! ```
//! use olmcast::{
//!     media::{FrameDecryptor, FrameEncryptor},
//!     primitives::{Codec, Secret, Timestamp},
//!     sframe::CipherSuite,
//! };
//!
//! let secret = Secret::fill(|bytes| getrandom::fill(bytes).unwrap());
//! let mut encryptor = FrameEncryptor::from_secret(Codec::Opus, CipherSuite::default(), &secret)?;
//! let mut decryptor = FrameDecryptor::from_secret(Codec::Opus, CipherSuite::default(), &secret);
//!
//! let (mut wire, mut frame) = (Vec::new(), Vec::new());
//! encryptor.encrypt_into(b"an opus packet", &mut wire)?;
//! decryptor.decrypt_into(&wire, Timestamp::default(), &mut frame)?;
//! assert_eq!(frame, b"an opus packet");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod decryptor;
mod encryptor;
pub mod hazmat;
mod hold_queue;
mod key_ring;
mod own_secret;
mod plan;
mod slot;
mod track_key;

pub use decryptor::FrameDecryptor;
pub(crate) use encryptor::EncryptorSlot;
pub use encryptor::FrameEncryptor;
pub use hold_queue::HoldQueue;
pub(crate) use key_ring::{GenerationKeys, RingState, SharedKeyRing};
pub use plan::{clear_length, is_key_frame};

use crate::{
    primitives::{Generation, Position, Step},
    sframe::KeyId,
};

//= RFC 9605 §9.2
//# An application's KID assignment strategy MUST be structured to assure the non-reuse properties
//# discussed in Section 9.1.
/// `KID = generation << 12 | step`: exact, and it never wraps. The layout is that of RFC 9605
/// §5.1; its hash ratchet is not used, Megolm takes its place.
pub fn key_id(position: Position) -> KeyId {
    KeyId(u64::from(position.generation.0) << 12 | u64::from(position.step.get()))
}

/// The position that a KID names, if a publisher can have sent it.
pub fn position(key_id: KeyId) -> Option<Position> {
    let generation = Generation(u32::try_from(key_id.0 >> 12).ok()?);
    Some(Position { generation, step: Step::new((key_id.0 & 0xFFF) as u32)? })
}

/// What `slot.rs` and `track_key.rs` are built on. `tests/loom` compiles those files with loom's
/// instead.
mod sync {
    pub(super) use std::{
        hint::spin_loop,
        sync::{
            Arc, Mutex, MutexGuard, PoisonError,
            atomic::{AtomicU64, Ordering},
        },
        thread::yield_now,
    };

    pub(super) use try_lock::{Locked, TryLock};
}

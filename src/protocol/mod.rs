//! Floor 2: everything that goes over a wire between devices, and to their key service.
//!
//! ```text
//! subscriber                                         publisher
//!     |  <────────── StreamOffer (signed, room state) ───── |
//!     |  ── Subscribe (signed, one fresh one-time key) ───▶ |  admitted?
//!     |  <────────── StreamKey (Olm) ────────────────────── |  or StreamKeyWithheld (signed)
//!     |  ── StreamKeyAck (Olm) ───────────────────────────▶ |
//!     |  <────────── Beacon (Megolm, room): a new step ──── |
//!     |  ── Renew (Olm) ─────▶   ◀───── Renewed (Olm) ───── |  every 20 s
//!     |  ── StreamKeyRequest (Olm) ───────────────────────▶ |  when a key is missing
//!     |  ── Unsubscribe (signed) ─────────────────────────▶ |  a new generation follows
//! ```
//!
//! How two devices verify each other, [`device::sas`](crate::device::sas) shows.
//!
//! An [`Envelope`] is binary, a signed message inside is JSON, and what Olm encrypts is binary
//! too, since a handover to each of thousands of holders must be small. Unknown fields are ignored,
//! unknown versions and kinds are refused. All of it tolerates loss, repetition and reordering.

pub mod directory;
mod envelope;
mod messages;
mod olm;
mod public_key;
mod roster;
pub mod service;
mod verification;

pub use directory::{DeviceKeys, FallbackKey, KeysUpload, OneTimeKey};
pub use envelope::{Carrier, Envelope, EnvelopeError, MAX_ENVELOPE, OlmCarrier, SignedMessage};
pub use messages::{
    Answers, Beacon, Kind, StreamEnd, StreamKeyWithheld, StreamOffer, Subscribe, TrackOffer,
    Unsubscribe, WithheldCode,
};
pub use olm::{
    MAX_OLM_PLAINTEXT, MessageId, OfferHash, OlmMessage, OlmPlaintext, Place, Renew, Renewed,
    SESSION_KEY_LENGTH, StreamKey, StreamKeyAck, StreamKeyRequest,
};
pub use public_key::PublicKey;
pub use roster::{RosterDigest, RosterHash};
pub use verification::{
    CancelReason, VerificationAccept, VerificationCancel, VerificationDone, VerificationKey,
    VerificationMac, VerificationMessage, VerificationStart,
};

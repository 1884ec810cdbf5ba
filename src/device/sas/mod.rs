//! Verification: two people find out that their devices talk to each other, and to nobody in
//! between, by comparing a short string.
//!
//! ```text
//! initiator                                            accepter
//!     |  ── VerificationStart: Curve25519, name ─────────▶ |  its user is asked
//!     |  ◀──────── VerificationAccept: the same, and ───── |
//!     |            a commitment to its ephemeral key       |
//!     |  ── VerificationKey ─────────────────────────────▶ |
//!     |  ◀─────────────────────────── VerificationKey ──── |  as it was committed to?
//!     |       both users compare emojis or numbers         |
//!     |  ── VerificationMac ─────▶  ◀── VerificationMac ── |  once its user has confirmed
//!     |  ── VerificationDone ────▶  ◀── VerificationDone ─ |  once it has both
//! ```
//!
//! The scheme is that of Matrix (Client-Server API, "Short Authentication String (SAS)
//! verification"; <https://spec.matrix.org/latest/client-server-api/#short-authentication-string-sas-verification>),
//! with vodozemac's [`sas`](vodozemac::sas): X25519 with a key pair for one use, HKDF-SHA-256 and
//! HMAC-SHA-256. What is bound to what:
//!
//! * the **commitment** is a hash of the accepter's ephemeral key and of the start as it arrived. The
//!   accepter makes it before it has seen the initiator's key, so that somebody in between has one
//!   try at two equal strings, in 2^39 with numbers and in 2^42 with emojis, and cannot search;
//! * the **short string** follows from the agreed secret and from everything that was said: version,
//!   room, verification, both devices' Ed25519 and Curve25519 keys and names, both ephemeral keys,
//!   start and accept byte by byte;
//! * each side's **MAC** covers all of that again, with its direction and its purpose.
//!
//! None of that relies on the signatures of the messages, nor on the invite: whoever has all of
//! them changes the string, or fails at a MAC. Nothing is negotiated, so nothing can be lowered.
//!
//! A type stands for each state and is used up by what follows it:
//! `Started` → `KeySent` → `Comparing` → `Confirmed` → `Agreed` → `VerifiedPeer`, and on the other
//! side `Requested` → `Accepted` → `Comparing` →. When messages are repeated and when it fails, says
//! the [endpoint](crate::endpoint::Endpoint::verify).

mod accepter;
mod comparing;
mod emoji;
mod initiator;
mod short;
mod state;
mod terms;
#[cfg(test)]
mod tests;

pub(crate) use accepter::{Accepted, Requested};
pub(crate) use comparing::{Agreed, Comparing, Confirmed, VerifiedPeer};
pub use emoji::Emoji;
pub(crate) use initiator::{KeySent, Started};
pub use short::ShortAuthString;
pub use state::VerificationState;
pub(crate) use terms::Party;

use vodozemac::sas::Sas;

use crate::primitives::overwrite_drawn;

/// A key pair for one verification.
fn ephemeral() -> Sas {
    let sas = Sas::new();
    overwrite_drawn();
    sas
}

//! Floor 0: the words everything else is written in.
//!
//! Identifiers with strict decoding, secrets that zeroize and never print, the Ed25519
//! signing form, the invite link and the address of a service. Nothing here knows about media, sessions or networks.

mod address;
mod codec;
mod drawn;
mod ed25519;
mod ids;
mod invite;
mod secret;
mod signed;
mod timestamp;

pub use address::{ServiceAddress, Transport};
pub use codec::Codec;
pub(crate) use drawn::overwrite_drawn;
pub use ids::{
    DeviceId, Generation, IdError, Position, RoomId, Signature, Step, StreamId, StreamRef, TrackId,
    VerificationId,
};
pub use invite::{DoorKey, Invite, InviteError, RoomKeys};
pub use secret::Secret;
pub use signed::{SignatureMismatch, SigningForm, length_prefixed};
pub use timestamp::Timestamp;

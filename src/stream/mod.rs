//! Floor 4: the life of a stream's key, on both sides.
//!
//! A [`Publication`] owns the Megolm session of its stream and decides who holds it; a
//! [`Subscription`] receives it. Both are driven by the [endpoint](crate::endpoint) above, which
//! owns the device, the rooms and the time.
//!
//! * a **join** costs the holders nothing: the session is stepped once, and newcomers receive it
//!   from the new step on, so that they cannot read what was before;
//! * a **leave** makes a new session (a *generation*), handed to those who stay, and the
//!   encryptors switch to it at a deadline at the latest, so that the leaver cannot read what
//!   follows.

mod admission;
mod base_key;
mod census;
mod code;
mod effects;
mod events;
mod hoard;
mod holder;
mod publication;
mod rate;
mod retries;
mod roster;
mod rotation;
mod sessions;
mod subscription;
mod visitors;

pub use admission::Admission;
pub use code::StreamCode;
pub(crate) use effects::{Effects, signed_payload};
pub use events::{
    AskingState, Ended, Event, HolderState, LeaveReason, Offer, Output, Recipient, Refusal,
    RotationCause, SubscriptionState, SubscriptionStatus,
};
pub use hoard::Hoard;
pub(crate) use publication::{Publication, PublicationConfig};
pub(crate) use rate::{Quota, RateLimit};
pub(crate) use retries::Retry;
pub(crate) use subscription::Subscription;

//! Floor 3: one device: who it is, whom it talks to in private, and whom it lets in.

mod card;
mod door;
mod identity;
mod key_pool;
mod memory;
mod name;
mod pairwise;
pub mod sas;
mod seal;
mod trust;

pub use card::{CardError, DeviceCard};
pub use door::Doors;
pub use identity::{Identity, Signer};
pub(crate) use key_pool::KeyPool;
pub use memory::Memory;
pub use name::MAX_NAME;
pub(crate) use name::{Look, looks, tidy};
pub use pairwise::PairwiseError;
pub(crate) use pairwise::{Between, Pairwise};
pub use sas::{Emoji, ShortAuthString, VerificationState};
#[cfg(feature = "client")]
pub(crate) use seal::random_secret;
pub use seal::{Cost, SealError, SealingKey};
pub use trust::{Distrust, KnownDevice, TrustState, TrustStore};

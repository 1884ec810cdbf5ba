//! Floor 3: one device: who it is, whom it talks to in private, and whom it lets in.

mod door;
mod identity;
mod key_pool;
mod memory;
mod pairwise;
pub mod sas;
mod trust;

pub use door::Doors;
pub use identity::{Identity, Signer};
pub(crate) use key_pool::KeyPool;
pub use memory::Memory;
pub use pairwise::PairwiseError;
pub(crate) use pairwise::{Between, Pairwise};
pub use sas::{Emoji, ShortAuthString, VerificationState};
pub use trust::{Distrust, KnownDevice, MAX_NAME, TrustState, TrustStore};

//! Floor 3: one device: who it is, whom it talks to in private, and whom it lets in.

mod door;
mod identity;
mod key_pool;
mod memory;
mod name;
mod pairwise;
mod trust;

pub use door::Doors;
pub use identity::{Identity, Signer};
pub(crate) use key_pool::KeyPool;
pub use memory::Memory;
pub use name::MAX_NAME;
pub(crate) use name::tidy;
pub use pairwise::PairwiseError;
pub(crate) use pairwise::{Between, Pairwise};
pub use trust::{Distrust, KnownDevice, TrustState, TrustStore};

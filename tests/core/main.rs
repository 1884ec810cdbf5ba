//! The stream-key protocol on a virtual clock: real endpoints, real keys, real frames, and a
//! network that can lose, repeat and reorder. Needs no engine and no socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod admission;
mod attacks;
mod delivery;
mod forged_keys;
mod frames;
mod fuzz_corpora;
mod hostile;
mod houses;
mod joins;
mod leaves;
mod network;
mod properties;
mod restarts;
mod rfc9605;

//! The stream-key protocol on a virtual clock: real endpoints, real keys, real frames, and a
//! network that can lose, repeat and reorder. Needs no engine and no socket.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod admission;
mod attacks;
mod closed_door;
mod deadlines;
mod delivery;
mod flood;
mod forged_carriers;
mod forged_generations;
mod forged_keys;
mod forged_pairwise;
mod forged_renewals;
mod forged_statements;
mod forger;
mod frames;
mod fuzz_corpora;
mod hiding;
mod hostile;
mod houses;
mod impostors;
mod joins;
mod leases;
mod leaves;
mod limits;
mod low_order;
mod malicious_service;
#[cfg(target_os = "linux")]
mod memory;
mod network;
mod pesterers;
#[path = "../printed/mod.rs"]
mod printed;
mod properties;
mod restarts;
mod rfc9605;
#[cfg(target_os = "linux")]
#[path = "../searched/mod.rs"]
mod searched;
mod secrets;
mod simulations;
mod simulator;
mod statement;
mod states;
mod stream_code;
mod tools;
mod trust;
mod verification;
mod violations;
mod visitor;

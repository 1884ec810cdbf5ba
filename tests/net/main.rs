//! The key service and its client over real sockets on the loopback interface.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::unwrap_used)]

mod addresses;
mod client;
mod directory;
mod directory_client;
mod door;
mod fake_service;
mod fixture;
mod frames;
mod limits;
mod mail;
mod metrics;
#[cfg(feature = "nats")]
mod nodes;
mod presence;
mod restart;
mod rooms;
mod tls;
mod trust;
mod verification;

//! The vault on disk: its files, two processes, a thousand kills, and a client that comes back.

#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

mod beside;
mod client;
mod files;
#[path = "../net/fixture.rs"]
#[allow(dead_code, reason = "the tests of the network use more of it")]
mod fixture;
mod image;
#[cfg(unix)]
mod kills;
mod locks;
#[cfg(target_os = "linux")]
mod memory;
mod opener;
mod process;
#[cfg(target_os = "linux")]
#[path = "../searched/mod.rs"]
mod searched;

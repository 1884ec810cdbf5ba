//! The `olmcast` command as its users have it: real processes, real sockets, real kills.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(clippy::print_stdout, reason = "measured times are shown with --nocapture")]

mod admission;
mod demo;
mod devices;
mod disk;
mod fixture;
mod keys;
mod kicks;
mod losses;
mod recordings;
mod serving;
mod strangers;
#[cfg(unix)]
mod terminal;
mod trust;
mod usage;
#[cfg(unix)]
mod verifying;

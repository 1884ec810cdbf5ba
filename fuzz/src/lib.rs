//! What must hold for every input. Here, and not in the targets, so that the tests replay the
//! corpora through the same code.

#[cfg(feature = "rtc")]
pub mod assembler;
pub mod decrypt;
pub mod envelope;
pub mod header;
pub mod messages;
pub mod plane;
pub mod plans;
mod script;
mod stage;

//! olmcast (map to be written)
#![forbid(unsafe_code)]

pub mod device;
pub mod endpoint;
pub mod media;
pub mod primitives;
pub mod protocol;
pub mod sframe;
pub mod stream;

#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "rtc")]
pub mod rtc;
#[cfg(feature = "server")]
pub mod server;

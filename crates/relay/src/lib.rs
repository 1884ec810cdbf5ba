//! A small WHIP/WHEP forwarder (an SFU) for demos and tests.
//!
//! It forwards RTP and knows nothing of keys: this crate does not depend on `olmcast`, so Cargo
//! itself shows that the relay cannot decrypt what passes through it.
//!
//! # Flow
//!
//! - A publisher POSTs an SDP offer to `/whip/{stream}`. The stream lives until the publisher
//!   DELETEs the session named in `Location`, closes its connection, or falls silent for about
//!   four seconds.
//! - A subscriber POSTs a receive-only offer to `/whep/{stream}` and gets the same RTP packets:
//!   payload, sequence number, timestamp and marker are kept; SSRC and payload type are
//!   rewritten; header extensions are removed.
//! - Key-frame requests (PLI, FIR) of all subscribers are merged to one PLI per 500 ms. A
//!   subscriber that becomes connected counts as one request.
//! - When the publisher goes, every subscriber's connection is closed.
//!
//! Codecs: VP8 and Opus, at most one track of each, no RTX, no simulcast, no trickle ICE
//! (RFC 9725 calls that "full ICE gathering before answering").
//!
//! # Example
//!
//! ```no_run
//! use olmcast_relay::{Relay, RelayConfig};
//!
//! # async fn example() -> Result<(), olmcast_relay::Error> {
//! let relay = Relay::bind(RelayConfig::default()).await?;
//! println!("publish to http://{}/whip/{{stream}}", relay.local_addr());
//! relay.shutdown().await;
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod codec;
mod config;
mod egress;
mod engine;
mod http;
mod ingest;
mod key_frame;
mod kind;
mod layer_choice;
mod name;
mod offer;
mod peer;
mod recording;
mod refusal;
mod registry;
mod relay;
mod rids;
mod selection;
mod stream;

pub use config::{Error, RelayConfig};
pub use kind::Kind;
pub use recording::{RecordedPacket, Recording};
pub use relay::Relay;
pub use stream::StreamStats;

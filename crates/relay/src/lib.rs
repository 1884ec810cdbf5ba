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
//! - Key-frame requests (PLI, FIR) of all subscribers are merged to one PLI per 500 ms and layer.
//!   A subscriber that becomes connected counts as one request.
//! - When the publisher goes, every subscriber's connection is closed.
//!
//! Codecs: VP8, VP9, H.264, AV1 and Opus, at most one video and one audio track, each with the
//! first of these codecs that its publisher offers. Generic NACK and PLI; no RTX, no trickle ICE
//! (RFC 9725 calls that "full ICE gathering before answering").
//!
//! # Simulcast
//!
//! - A publisher may offer up to three rids for its video, `a=simulcast:send h;m;l`, from high to
//!   low. The relay receives all these layers.
//! - Each subscriber gets one layer at a time as one stream: sequence numbers and timestamps go on
//!   when it changes, which happens only at a key frame. Where one starts is told from what
//!   end-to-end encryption leaves in the clear; whatever else is in the payload, such as VP8's
//!   picture ids, stays as it is.
//! - That is the highest layer that is alive, unless the subscriber chooses another:
//!   `POST /whep/{stream}/{session}/layer` with `{"encodingId":"m"}` (the extension
//!   `urn:ietf:params:whep:ext:core:layer`; a `Link` header in the answer has the URL). `{}` or no
//!   body leaves the choice to the relay again.
//! - When the layer falls silent, the next lower one stands in until it has been back for three
//!   seconds.
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

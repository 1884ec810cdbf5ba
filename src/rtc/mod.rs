//! Floor 6: encrypted frames on webrtc-rs connections. The only room that names webrtc types;
//! it follows that crate's 0.x releases and is therefore exempt from semver.
//!
//! ```text
//! encoder ─▶ EncryptedSender:   encrypt ─▶ Packetizer ─▶ RTP ─▶ SFU
//! decoder ◀─ EncryptedReceiver: decrypt ◀─ Assembler  ◀─ RTP ◀─ SFU
//! ```
//!
//! - A frame is encrypted whole before it is packetized, and decrypted whole after it is
//!   assembled. NACK, RTCP and congestion control work on ciphertext below and need no key.
//! - [`EncryptedSender`] and [`EncryptedReceiver`] take any webrtc-rs connection that was built
//!   with [`media_engine`] and [`setting_engine`] (or with equal settings).
//! - [`connect_publisher`] and [`connect_subscriber`] make such connections to a WHIP or WHEP
//!   endpoint and say through [`Connection::state`] when the relay cannot be reached any more.
//! - [`Assembler`] and [`Packetizer`] do no I/O and can be used alone.
//!
//! Codecs: VP8 (RFC 7741), VP9 without spatial layers (RFC 9628), H.264 (RFC 6184, packetization
//! mode 1), AV1 (the payload format of the Alliance for Open Media) and Opus (RFC 7587), no RTX. A
//! track has one encoding, or the layers of a simulcast ([`EncryptedSender::add_simulcast`]).

mod assembler;
mod connection;
mod engine;
mod intake;
mod key_frame_requests;
mod packetizer;
mod payload;
mod receiver;
mod route;
mod sender;
mod whip;

pub use assembler::{AssembledFrame, Assembler, MediaPacket};
pub use connection::{ConnectError, Connection, ConnectionState};
pub use engine::{media_engine, setting_engine};
pub use intake::{ReceivedFrame, ReceiverStats};
pub use packetizer::{FrameInfo, PacketizeError, Packetizer};
pub use receiver::EncryptedReceiver;
pub use sender::{EncryptedSender, KeyFrameRequests, SendError};
pub use whip::{connect_publisher, connect_subscriber};

//! The language between a device and its key service.
//!
//! One WebSocket per device; each binary message is one frame: a version byte, then the frame in
//! postcard. What devices tell each other travels as an opaque [`Payload`], which the service
//! can neither read nor forge. The flow:
//!
//! - service → [`Challenge`](ServerFrame::Challenge): a nonce, fresh for this connection.
//! - device → [`Authenticate`](ClientFrame::Authenticate): the nonce and the server's name *as
//!   the device dialled it*, signed with the device key ([`Authentication`]). The name keeps a
//!   hostile server from passing another server's challenge on.
//!   → [`Welcome`](ServerFrame::Welcome), or [`Refused`](ServerFrame::Refused) and the end.
//! - device → [`Enter`](ClientFrame::Enter): the same nonce, signed with the room's door key
//!   ([`DoorKey`](crate::primitives::DoorKey)). The room's id is a hash of that key, so there is
//!   nothing to register. → [`Entered`](ServerFrame::Entered): who is there and what they
//!   publish. What does not fit into that frame follows as `Present` and `State` frames. An
//!   `Entered` that comes later, unasked, replaces all that was known of the room: the service
//!   sends it to a device that was too slow to be told of every change.
//! - device → [`Send`](ClientFrame::Send): mail for one device, at least once.
//!   → [`Accepted`](ServerFrame::Accepted), or `Refused`: it is always the sender who is
//!   refused, and nobody's mail is evicted.
//! - service → [`Mail`](ServerFrame::Mail), again after every reconnect until
//!   device → [`Ack`](ClientFrame::Ack), which covers all mail up to a sequence number.
//! - device → [`Broadcast`](ClientFrame::Broadcast): to whoever is in the room now; may be lost.
//! - device → [`SetState`](ClientFrame::SetState), [`ClearState`](ClientFrame::ClearState):
//!   what newcomers are told about a stream. → [`State`](ServerFrame::State) and
//!   [`StateCleared`](ServerFrame::StateCleared) to the others.
//! - service → [`Present`](ServerFrame::Present), [`Gone`](ServerFrame::Gone): who came and went.
//!
//! Both sides answer WebSocket pings. A side that hears nothing for [`IDLE_TIMEOUT`] hangs up.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::primitives::{DeviceId, RoomId, Signature, StreamId};

mod authentication;
mod codec;
mod payload;
mod refusal;
#[cfg(test)]
mod snapshots;

pub use authentication::Authentication;
pub use codec::FrameError;
pub use payload::Payload;
pub use refusal::{RefusalCode, Subject};

/// Version of this language; the first byte of every frame.
pub const VERSION: u8 = 1;

/// The HTTP path of the WebSocket.
pub const PATH: &str = "/v1/connect";

/// Most bytes that one [`Payload`] may have.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Most bytes that one encoded frame may have: a full payload and the addresses around it.
pub const MAX_FRAME: usize = MAX_PAYLOAD + 512;

/// How long a connection may be silent before the other side takes it for dead.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(12);

/// What a device says to its key service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientFrame {
    /// "I am this device, and this is whom I meant to call."
    Authenticate {
        /// The device, which is also its public key.
        device: DeviceId,
        /// The service's `name:port`, as dialled.
        server: String,
        /// Over the [`Authentication`] of this name and the connection's nonce.
        signature: Signature,
    },
    /// Asks to be let into a room.
    Enter {
        /// The room.
        room: RoomId,
        /// The public door key, whose hash is the room's id.
        door: [u8; 32],
        /// The door key's signature over the connection's nonce and this device.
        signature: Signature,
    },
    /// Leaves a room.
    Leave {
        /// The room.
        room: RoomId,
    },
    /// Mail for one device.
    Send {
        /// Chosen by the sender; the answer repeats it.
        request: u64,
        /// The recipient.
        to: DeviceId,
        /// What to deliver.
        bytes: Payload,
    },
    /// All mail up to here has arrived.
    Ack {
        /// The last sequence number that arrived.
        sequence: u64,
    },
    /// For everybody else who is in the room now.
    Broadcast {
        /// The room; the sender must be in it.
        room: RoomId,
        /// What to deliver.
        bytes: Payload,
    },
    /// What newcomers to the room shall be told about a stream of this device.
    SetState {
        /// The room; the sender must be in it.
        room: RoomId,
        /// The stream.
        stream: StreamId,
        /// The signed offer.
        bytes: Payload,
    },
    /// The stream is over.
    ClearState {
        /// The room; the sender must be in it.
        room: RoomId,
        /// The stream.
        stream: StreamId,
        /// The signed end, passed on to the others.
        bytes: Payload,
    },
}

/// What the key service says to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerFrame {
    /// The first frame on every connection.
    Challenge {
        /// To be signed; random, and good for this connection only.
        nonce: [u8; 32],
    },
    /// The device is authenticated.
    Welcome {
        /// Drawn at random when the service started with an empty memory. Sequence numbers of
        /// mail mean something only within one instance.
        instance: [u8; 16],
    },
    /// Something was refused.
    Refused {
        /// What.
        subject: Subject,
        /// Why.
        code: RefusalCode,
    },
    /// The device is in the room. Its own presence and state are not repeated to it.
    Entered {
        /// The room.
        room: RoomId,
        /// The others who are there now.
        roster: Vec<DeviceId>,
        /// What the others publish.
        state: Vec<RoomState>,
    },
    /// Mail was taken over for its recipient.
    Accepted {
        /// The sender's own number.
        request: u64,
    },
    /// Mail for this device.
    Mail {
        /// Increases from mail to mail, with gaps.
        sequence: u64,
        /// Who sent it; the service has checked this device's key.
        from: DeviceId,
        /// What was sent.
        bytes: Payload,
    },
    /// Somebody's broadcast.
    Broadcast {
        /// The room.
        room: RoomId,
        /// Who sent it.
        from: DeviceId,
        /// What was sent.
        bytes: Payload,
    },
    /// A stream of another device is new or has changed.
    State {
        /// The room.
        room: RoomId,
        /// Whose stream.
        device: DeviceId,
        /// The stream.
        stream: StreamId,
        /// The signed offer.
        bytes: Payload,
    },
    /// A stream of another device is no longer in the room's state.
    StateCleared {
        /// The room.
        room: RoomId,
        /// Whose stream.
        device: DeviceId,
        /// The stream.
        stream: StreamId,
        /// The publisher's signed end; none if the service dropped the state of a device that
        /// stayed away.
        bytes: Option<Payload>,
    },
    /// A device has entered the room.
    Present {
        /// The room.
        room: RoomId,
        /// Who.
        device: DeviceId,
    },
    /// A device has left the room, or its connection has ended.
    Gone {
        /// The room.
        room: RoomId,
        /// Who.
        device: DeviceId,
    },
}

/// One stream in a room's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomState {
    /// Whose stream.
    pub device: DeviceId,
    /// The stream.
    pub stream: StreamId,
    /// The signed offer.
    pub bytes: Payload,
}

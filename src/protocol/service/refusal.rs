use serde::{Deserialize, Serialize};

use crate::primitives::{RoomId, StreamId};

/// What a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Subject {
    /// The connection: a frame that could not be read, or the reason for hanging up.
    Connection,
    /// One `Send`, by the sender's own number.
    Request(u64),
    /// An `Enter` or a `Broadcast`.
    Room(RoomId),
    /// A `SetState` or a `ClearState`.
    Stream {
        /// The room.
        room: RoomId,
        /// The stream.
        stream: StreamId,
    },
}

/// Why the key service refused something. The text says what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[non_exhaustive]
pub enum RefusalCode {
    /// Not a frame, or a frame at the wrong time.
    #[error("the service could not read a frame; update the older of the two sides")]
    Malformed,
    /// A version of the language that the service does not speak.
    #[error("the service speaks another version; update the older of the two sides")]
    UnsupportedVersion,
    /// A payload above the service's limit for its kind.
    #[error("the message is too large for the service; send less, or raise its limits")]
    TooLarge,
    /// Something else came before authentication.
    #[error("the service answers nobody before authentication; authenticate first")]
    NotAuthenticated,
    /// The signature over the challenge is not the device's.
    #[error("the service did not accept the device's signature; check that the identity is intact")]
    WrongSignature,
    /// The device called the service by a name it does not go by.
    #[error(
        "the service does not go by the name that was dialled; dial one of its names, or add this name to its configuration"
    )]
    WrongServerName,
    /// The door signature is wrong, or the key is not this room's door.
    #[error("the room's door did not open; ask a member for the room's current invite link")]
    WrongDoor,
    /// Only who is in a room may do this.
    #[error("not in this room; enter it first")]
    NotInRoom,
    /// The room has as many members as the service allows.
    #[error("the room is full; wait until somebody leaves, or raise the service's limit")]
    RoomFull,
    /// The recipient's mailbox, or the lane for strangers to it, is full.
    #[error("the recipient's mailbox is full; try again when it has collected its mail")]
    MailboxFull,
    /// This device has as much in store at the service as one device may have.
    #[error("this device's quota is used up; wait until its earlier messages are collected")]
    QuotaExceeded,
    /// Too many frames in too short a time.
    #[error("too many messages in too short a time; slow down and try again")]
    RateLimited,
    /// The service has no room for another connection.
    #[error("the service is at its limit of connections; try again later")]
    Busy,
    /// A newer connection of the same device took over.
    #[error("another connection of this device took over; run one process per identity")]
    Replaced,
    /// Nothing was heard from this device for too long.
    #[error("the service heard nothing for too long; reconnect")]
    Silent,
    /// The service is going down.
    #[error("the service is shutting down; reconnect in a moment")]
    ShuttingDown,
    /// The service cannot keep anything at the moment.
    #[error("the service cannot store anything at the moment; try again soon")]
    Unavailable,
}

use crate::{
    primitives::{DeviceId, RoomId, StreamId},
    protocol::service::{FrameError, Payload, RefusalCode, RoomState},
};

/// What a consumer learns from a connection, in the order of its happening.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionEvent {
    /// Connected and authenticated; an [`Entered`](Self::Entered) follows for every room.
    Up,
    /// Not connected. Said once when the connection is lost, or when the reason has changed.
    /// Until the next [`Entered`](Self::Entered), nothing is known of a room.
    Down {
        /// Why, and what to do about it.
        reason: DownReason,
    },
    /// Mail for this device could not be taken over; it is not tried again.
    SendRefused {
        /// The recipient.
        to: DeviceId,
        /// Why.
        code: RefusalCode,
    },
    /// The room could not be entered, or a broadcast to it was refused. With
    /// [`RefusalCode::WrongDoor`] the invite is not this room's.
    RoomRefused {
        /// The room.
        room: RoomId,
        /// Why.
        code: RefusalCode,
    },
    /// A stream could not be announced to the room, or its end could not.
    StateRefused {
        /// The room.
        room: RoomId,
        /// The stream.
        stream: StreamId,
        /// Why.
        code: RefusalCode,
    },
    /// In the room; replaces all that was known of it. More members and streams may follow as
    /// [`Present`](Self::Present) and [`State`](Self::State).
    Entered {
        /// The room.
        room: RoomId,
        /// The others who are there.
        roster: Vec<DeviceId>,
        /// What they publish.
        state: Vec<RoomState>,
    },
    /// Mail.
    Mail {
        /// Who sent it.
        from: DeviceId,
        /// What.
        bytes: Payload,
    },
    /// Somebody told the whole room something.
    Broadcast {
        /// The room.
        room: RoomId,
        /// Who.
        from: DeviceId,
        /// What.
        bytes: Payload,
    },
    /// A stream is new, or its offer has changed.
    State {
        /// The room.
        room: RoomId,
        /// The publisher.
        device: DeviceId,
        /// The stream.
        stream: StreamId,
        /// The signed offer.
        bytes: Payload,
    },
    /// A stream is no longer in the room's state.
    StateCleared {
        /// The room.
        room: RoomId,
        /// The publisher.
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
    /// A device has left the room, or lost its connection.
    Gone {
        /// The room.
        room: RoomId,
        /// Who.
        device: DeviceId,
    },
}

/// Why there is no connection. The text says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DownReason {
    /// No connection could be made.
    #[error("cannot reach the key service ({0}); check that it runs and that the address is right")]
    Unreachable(String),
    /// There is no trust in the service's certificate.
    #[error(
        "the key service's certificate is not trusted: {0}; if it is self-signed, give its PEM file (--ca FILE)"
    )]
    Untrusted(String),
    /// Something answers there, but not with TLS. The clear is not tried instead.
    #[error(
        "no TLS with the key service ({0}); if it is meant to speak in the clear, the link begins with olmcast+plain://"
    )]
    NoTls(String),
    /// Something answers there, but no HTTP in the clear. TLS is not tried instead.
    #[error(
        "the key service does not speak in the clear ({0}); if it wants TLS, the link begins with olmcast+tls://"
    )]
    NotPlain(String),
    /// Something answers there, but not a key service.
    #[error("no key service there: it answered HTTP {0}; check the address")]
    NotAKeyService(u16),
    /// The service refused the device or hung up, and said why.
    #[error("{0}")]
    Refused(RefusalCode),
    /// The service said something that is not its language.
    #[error("{0}")]
    Frame(FrameError),
    /// The connection broke without a word.
    #[error("the connection to the key service was lost; reconnecting")]
    Lost,
    /// Nothing was heard from the service for too long.
    #[error("the key service is silent; reconnecting")]
    Silent,
}

impl DownReason {
    /// Whether the connection gives up. It does so only when another process took over this
    /// device: the two would throw each other out for ever.
    pub fn is_final(&self) -> bool {
        *self == Self::Refused(RefusalCode::Replaced)
    }
}

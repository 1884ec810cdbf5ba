use std::fmt;

use crate::{
    device::{Distrust, KnownDevice, TrustState, VerificationState},
    primitives::{DeviceId, Position, RoomId, StreamId, StreamRef, Timestamp},
    protocol::{OfferHash, StreamOffer, WithheldCode},
};

/// What an endpoint wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Output {
    /// Carry these bytes there. The channel may lose, repeat, delay and reorder them.
    Send {
        /// Where to.
        to: Recipient,
        /// An encoded [`Envelope`](crate::protocol::Envelope); opaque to whoever carries it.
        bytes: Vec<u8>,
    },
    /// Keep these bytes instead of those of before, on disk, before what comes next is carried
    /// out. It comes only from a device that [is sealed](crate::device::Identity::seal_with).
    Persist {
        /// The [sealed](crate::device::Identity::sealed) device, with all that it has to remember.
        sealed: Vec<u8>,
    },
    /// Tell the application.
    Event(Event),
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// To one device.
    Device(DeviceId),
    /// To everybody in a room.
    Room(RoomId),
    /// To everybody in a room, and kept for those who come later; replaces what was kept for
    /// the same stream.
    RoomState(RoomId, StreamId),
    /// To everybody in a room; what was kept for the stream is dropped.
    EndRoomState(RoomId, StreamId),
}

/// A stream that somebody offers, checked to be signed by its publisher.
#[derive(Clone, PartialEq, Eq)]
pub struct Offer {
    /// The stream.
    pub stream: StreamRef,
    /// The room it is offered in.
    pub room: RoomId,
    /// What the publisher says of it.
    pub content: StreamOffer,
    /// The message itself, to subscribe with.
    pub bytes: Vec<u8>,
    /// Names exactly this offer; the stream's key says the same.
    pub hash: OfferHash,
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offer")
            .field("stream", &self.stream)
            .field("room", &self.room)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Somebody wants our stream, and the user must decide: answer with `admit` or `refuse`.
    /// Until then it gets no key, and is told that the user is asked.
    JoinRequest {
        /// Our stream.
        stream: StreamId,
        /// Who asks.
        device: DeviceId,
        /// Which question this is: `admit` takes it. Should the device say something else of itself
        /// meanwhile, or turn out not to be who it says, there is another event with another number,
        /// and the answer to this one admits nobody.
        request: u64,
        /// What it calls itself.
        name: String,
        /// What it says besides, for the application.
        claim: String,
        /// Why it is asked about although admission is not [`Ask`](super::Admission::Ask), or what
        /// speaks against it: it is not the device that is known by that name, or has another key
        /// than before. Admitting it pins it as what it is now; a verified one stays verified as what
        /// it was, and is asked about again when it comes back under that name.
        distrust: Option<Distrust>,
    },
    /// Somebody wanted our stream and was refused.
    Refused {
        /// Our stream.
        stream: StreamId,
        /// Who asked.
        device: DeviceId,
        /// Why not.
        reason: Refusal,
    },
    /// A device was admitted and sent the key.
    HolderJoined {
        /// Our stream.
        stream: StreamId,
        /// The new holder.
        device: DeviceId,
        /// What it calls itself; what it is known as, says the [trust store](crate::device::TrustStore).
        name: String,
        /// What it says besides, for the application.
        claim: String,
        /// The first position it can read.
        position: Position,
    },
    /// A holder confirmed that it has a generation's key.
    KeyConfirmed {
        /// Our stream.
        stream: StreamId,
        /// The holder.
        device: DeviceId,
        /// From where on it can read.
        position: Position,
    },
    /// A holder is no more.
    HolderLeft {
        /// Our stream.
        stream: StreamId,
        /// The former holder.
        device: DeviceId,
        /// Why.
        reason: LeaveReason,
    },
    /// Our stream moved to a new step of the same generation.
    Stepped {
        /// Our stream.
        stream: StreamId,
        /// Where it is now.
        position: Position,
    },
    /// Our stream's encryptors switched to a new generation: from here on nobody who left before
    /// `since` can read.
    Rotated {
        /// Our stream.
        stream: StreamId,
        /// Where it is now.
        position: Position,
        /// Why.
        cause: RotationCause,
        /// When the first of those left for whom this was done.
        since: Timestamp,
        /// When the encryptors switched.
        switched: Timestamp,
    },
    /// A stream is offered, or its offer changed.
    Offered(Box<Offer>),
    /// A stream is offered by a device that is not the one known by its name, or has another key than
    /// before. It cannot be subscribed to until the user pins or verifies the device; it was offered
    /// just now, or somebody tried to.
    Distrusted {
        /// The stream.
        stream: StreamRef,
        /// What the device calls itself.
        name: String,
        /// What speaks against it.
        distrust: Distrust,
    },
    /// A stream that was offered or subscribed to is over.
    Ended {
        /// The stream.
        stream: StreamRef,
        /// Why.
        reason: Ended,
    },
    /// The publisher of a subscribed stream lost its connection, or so the service says. Media
    /// may go on; so does the subscription.
    PublisherGone {
        /// The stream.
        stream: StreamRef,
    },
    /// It is back.
    PublisherBack {
        /// The stream.
        stream: StreamRef,
    },
    /// A key of a subscribed stream arrived. The first one makes the subscription live.
    KeyReceived {
        /// The stream.
        stream: StreamRef,
        /// From where on it can be read.
        position: Position,
    },
    /// A subscribed stream's publisher announced a new step.
    Advanced {
        /// The stream.
        stream: StreamRef,
        /// Where it is now.
        position: Position,
    },
    /// The publisher gives no key.
    Withheld {
        /// The stream.
        stream: StreamRef,
        /// Why.
        code: WithheldCode,
        /// Whether the subscription goes on and asks again by itself.
        retrying: bool,
    },
    /// The publisher has not confirmed for 60 s that this device still belongs: nothing is
    /// decrypted until it does.
    Stalled {
        /// The stream.
        stream: StreamRef,
    },
    /// The publisher has not answered our `Subscribe` for 5 s: it is gone, or whoever carries
    /// the messages withholds them. The subscription goes on asking.
    Unanswered {
        /// The stream.
        stream: StreamRef,
    },
    /// Frames of a subscribed stream have come for 2 s whose key has not: the publisher cannot be
    /// reached, whoever carries the messages withholds them, or the frames are forged. The
    /// subscription goes on asking.
    KeyMissing {
        /// The stream.
        stream: StreamRef,
    },
    /// A stalled subscription is live again.
    Resumed {
        /// The stream.
        stream: StreamRef,
    },
    /// A verification of a device has come to another state, or somebody asks for one
    /// ([`VerificationState::Requested`]).
    Verification {
        /// The device.
        device: DeviceId,
        /// What it calls itself; empty until it has said so. To confirm the emojis is to confirm this
        /// name, too: the device is known by it from then on.
        name: String,
        /// As what it is known now, if it is: perhaps by another name.
        known: Option<KnownDevice>,
        /// What speaks against it: show that with what is to be compared.
        distrust: Option<Distrust>,
        /// How far it is.
        state: VerificationState,
    },
}

/// Why a device was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// It could not prove that it has the room's invite.
    NoInvite,
    /// It asked from another room than the stream's.
    WrongRoom,
    /// It is on no list, or the application refused it.
    NotAdmitted,
    /// Admission is for verified devices, and it is none.
    NotVerified,
    /// It is blocked.
    Blocked,
    /// The room was closed by a removal, the device was not admitted before, and the user has not
    /// decided about it.
    Closed,
}

impl Refusal {
    /// What the device is told. Whoever has no invite need not know how it stands with the room.
    pub(crate) fn code(self, has_invite: bool) -> WithheldCode {
        match self {
            Self::NotVerified | Self::Closed if !has_invite => WithheldCode::NotAdmitted,
            Self::NoInvite | Self::WrongRoom | Self::NotAdmitted => WithheldCode::NotAdmitted,
            Self::NotVerified => WithheldCode::NotVerified,
            Self::Blocked => WithheldCode::Blocked,
            Self::Closed => WithheldCode::Closed,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoInvite => "it could not prove that it has this room's invite",
            Self::WrongRoom => "it asked from another room",
            Self::NotAdmitted => "it was not admitted",
            Self::NotVerified => "it is not verified",
            Self::Blocked => "it is blocked",
            Self::Closed => "the room is closed since somebody was removed; make a new invite",
        })
    }
}

/// Why a holder left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LeaveReason {
    /// It said so.
    Unsubscribed,
    /// We removed it.
    Kicked,
    /// It is not trusted any more as much as this stream's admission asks for.
    Revoked,
    /// It vanished and did not come back within 5 s.
    Gone,
    /// It did not renew its lease for 60 s.
    LeaseExpired,
}

impl fmt::Display for LeaveReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsubscribed => "unsubscribed",
            Self::Kicked => "kicked",
            Self::Revoked => "not trusted enough any more",
            Self::Gone => "vanished",
            Self::LeaseExpired => "lease expired",
        })
    }
}

/// Why a new generation was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RotationCause {
    /// Somebody left.
    Leave,
    /// Somebody was removed.
    Kick,
    /// The session was old, or out of steps.
    Periodic,
}

/// Why a stream is over for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ended {
    /// The publisher ended it.
    ByPublisher,
    /// The publisher started again and offers a newer stream under the same label.
    Replaced,
    /// We blocked the publisher.
    Blocked,
    /// The publisher is not the device that is known by its name, or has another key than the one
    /// that was pinned or verified meanwhile.
    Distrusted,
}

/// A subscribed stream, as its subscriber sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// The newest position that the publisher announced; `None` before the first key.
    pub position: Option<Position>,
    /// Frames opened so far, over all tracks.
    pub opened: u64,
    /// Whether it can be watched, and if not, why.
    pub status: SubscriptionStatus,
    /// Since when: see the table at [`SubscriptionStatus`].
    pub since: Timestamp,
    /// How many hold its key, this device included, as the publisher says; `None` before the first
    /// key. Whether it says the same to all shows in the [`StreamCode`](super::StreamCode).
    pub holders: Option<u32>,
    /// Which roster of holders the publisher told of last. When that grows, or the position's
    /// generation, the [`StreamCode`](super::StreamCode) is another one.
    pub roster_version: Option<u64>,
    /// What the publisher calls itself. A claim: show what it is known as, if it is known.
    pub name: String,
    /// What the trust store knows of the publisher now: its state, and the name that is bound to its
    /// keys.
    pub known: Option<KnownDevice>,
}

impl SubscriptionState {
    /// Whether the publisher is known, verified, or blocked.
    pub fn trust(&self) -> TrustState {
        self.known.as_ref().map_or(TrustState::Unknown, |known| known.state)
    }
}

impl HolderState {
    /// Whether the holder is known, or verified.
    pub fn trust(&self) -> TrustState {
        self.known.as_ref().map_or(TrustState::Unknown, |known| known.state)
    }
}

/// A device that waits for the user's answer, as the publisher of a stream sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskingState {
    /// The device.
    pub device: DeviceId,
    /// Which question this is: `admit` takes it.
    pub request: u64,
    /// What it calls itself. A claim.
    pub name: String,
    /// What it says besides, for the application.
    pub claim: String,
    /// What the trust store knows of it now.
    pub known: Option<KnownDevice>,
    /// What speaks against it. `None`: [`Admission::Ask`](super::Admission::Ask) wants everybody
    /// to be asked about.
    pub distrust: Option<Distrust>,
    /// When it first asked.
    pub since: Timestamp,
}

/// Whether a subscribed stream can be watched, and if not, why.
///
/// | status | what to show | since | how it ends |
/// |---|---|---|---|
/// | `Asking` | waiting for the key | the question | a key, `Unanswered`, `Deferred`, `Closed` |
/// | `Unanswered` | waiting for the key; nobody answers | the question | the same |
/// | `Deferred(Asked)` | the publisher's user is asked | the first such answer | a key, `Closed` |
/// | `Deferred(Busy)` | waiting for our turn | the same | the same |
/// | `Live` | it can be watched | the key came, or came back | any of the next |
/// | `KeyMissing` | frames come, but not their key | the first such frame | the key, `Stalled` |
/// | `Stalled` | the publisher does not confirm that we belong; nothing is shown | its last confirmation | its next one, `Closed` |
/// | `Closed(Removed)` | removed: kicked, or not trusted enough any more | the answer | nothing: subscribe again |
/// | `Closed(code)` | withheld: not admitted, not verified, blocked, closed room, ended | the answer | nothing: subscribe again |
/// | `Closed(None)` | over | then | nothing |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriptionStatus {
    /// The publisher was asked and has not answered yet.
    Asking,
    /// The same for more than 5 s: it is gone, or somebody withholds our messages or its own.
    Unanswered,
    /// The publisher gives no key now. It will be asked again.
    Deferred(WithheldCode),
    /// Its key is here.
    Live,
    /// Frames have come for 2 s whose key has not.
    KeyMissing,
    /// The publisher has not confirmed for 60 s that we belong: nothing is decrypted until it
    /// does.
    Stalled,
    /// It is over; if the publisher said why, with its reason.
    Closed(Option<WithheldCode>),
}

impl fmt::Display for SubscriptionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asking => f.write_str("asking the publisher"),
            Self::Unanswered => {
                f.write_str("the publisher does not answer, or its answers do not get here")
            }
            Self::Deferred(code) => write!(f, "{code}; asking again"),
            Self::Live => f.write_str("live"),
            Self::KeyMissing => f.write_str("frames come, but not their key"),
            Self::Stalled => f.write_str("the publisher has not confirmed for 60 s that we belong"),
            Self::Closed(Some(code)) => write!(f, "over: {code}"),
            Self::Closed(None) => f.write_str("over"),
        }
    }
}

/// One holder of a stream, as its publisher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderState {
    /// The device.
    pub device: DeviceId,
    /// What it calls itself. A claim: show what it is known as, if it is known.
    pub name: String,
    /// What the trust store knows of it now: its state, and the name that is bound to its keys.
    pub known: Option<KnownDevice>,
    /// What it says besides, for the application.
    pub claim: String,
    /// The position it confirmed to hold, of the generation in use. If it stays `None`, the
    /// device is gone, or whoever carries the messages withholds them.
    pub confirmed: Option<Position>,
}

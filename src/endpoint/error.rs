use crate::{
    device::{Distrust, PairwiseError},
    primitives::{RoomId, SignatureMismatch},
    protocol::{EnvelopeError, Kind},
};

/// Why a command was not carried out. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// `enter` was not called for the room.
    #[error("this endpoint has not entered the room; call `enter` first")]
    UnknownRoom,
    /// There is no such stream here.
    #[error("there is no such stream")]
    UnknownStream,
    /// A stream needs a track.
    #[error("a stream needs at least one track, and at most 65,536")]
    NoTracks,
    /// The claim, or what is said of a stream to be published, does not fit a message.
    #[error("too long: a claim may have 2 KiB, the description of a stream 32 KiB")]
    TooLarge,
    /// Admission is by invite, but the room was entered without one.
    #[error("admission by invite needs a room with an invite; use another admission policy")]
    NoInvite,
    /// The device did not ask to be admitted, or was answered already.
    #[error("the device is not waiting for an answer")]
    NotAsked,
    /// The device says something else of itself than it did when the application was asked, or
    /// something else speaks against it: look at the newer [`JoinRequest`](super::Event::JoinRequest).
    #[error("what is known of the device has changed meanwhile; look at it again and answer anew")]
    AskedAnew,
    /// The device never held a key of ours, and does not ask for one.
    #[error("the device holds no key of ours and asks for none")]
    NotAHolder,
    /// The publisher is blocked, is not the device that is known by its name, or has another key
    /// than before: the user must decide, and pin or verify it.
    #[error("not subscribed: {0}; pin or verify it first")]
    Distrusted(Distrust),
    /// The device is blocked.
    #[error("the device is blocked; forget or pin it first")]
    Blocked,
    /// A device cannot verify itself.
    #[error("this is our own device")]
    OwnDevice,
    /// A verification of the device is under way already.
    #[error("a verification of this device is under way; confirm or cancel it first")]
    AlreadyVerifying,
    /// There is no verification of the device that waits for this.
    #[error("no verification of this device waits for that")]
    NotVerifying,
    /// One's own stream cannot be subscribed to.
    #[error("this is our own stream")]
    OwnStream,
    /// There is a subscription already.
    #[error("the stream is subscribed to already")]
    AlreadySubscribed,
    /// The offer's bytes are no valid offer.
    #[error("not a valid offer: {0}")]
    Offer(MessageError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

/// Why a message was not taken. It changed no stream, key or roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// Its bytes are no message.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It is of a room that this endpoint has not entered.
    #[error("the message is of another room ({0})")]
    UnknownRoom(RoomId),
    /// It is for another device.
    #[error("the message is for another device")]
    Misdirected,
    /// Its sender does not prove to have the room's invite.
    #[error("the sender has no invite to the room")]
    NoInvite,
    /// Its signature is wrong.
    #[error(transparent)]
    Signature(#[from] SignatureMismatch),
    /// Its content is not what its kind says.
    #[error("the content is no {}", .0.name())]
    Content(Kind),
    /// It cannot be decrypted, or says something that its sender may not say.
    #[error(transparent)]
    Olm(#[from] PairwiseError),
    /// It is for those who hold a key that this device does not have: a beacon of a stream that
    /// is not subscribed to, or of a step before its own. Usual, and harmless.
    #[error("the message is for holders of a key that is not here")]
    NoKey,
    /// Its sender is blocked.
    #[error("the sender is blocked")]
    Blocked,
    /// It is about a stream that is not known here.
    #[error("the message is about an unknown stream")]
    UnknownStream,
    /// It is older than what is known already, or a repetition.
    #[error("the message is old news")]
    Old,
}

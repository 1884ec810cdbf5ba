use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MessageId, PublicKey, RosterDigest};
use crate::primitives::{Codec, Generation, Step, StreamId, Timestamp, TrackId};

/// What a message says. The name is part of what is signed or encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is documented at the message of its name")]
pub enum Kind {
    StreamOffer,
    StreamEnd,
    Subscribe,
    Unsubscribe,
    StreamKeyWithheld,
    StreamKey,
    StreamKeyAck,
    StreamKeyRequest,
    Renew,
    Renewed,
    Beacon,
    VerificationStart,
    VerificationAccept,
    VerificationKey,
    VerificationMac,
    VerificationDone,
    VerificationCancel,
}

impl Kind {
    /// The name under which it is signed.
    pub fn name(self) -> &'static str {
        match self {
            Self::StreamOffer => "StreamOffer",
            Self::StreamEnd => "StreamEnd",
            Self::Subscribe => "Subscribe",
            Self::Unsubscribe => "Unsubscribe",
            Self::StreamKeyWithheld => "StreamKeyWithheld",
            Self::StreamKey => "StreamKey",
            Self::StreamKeyAck => "StreamKeyAck",
            Self::StreamKeyRequest => "StreamKeyRequest",
            Self::Renew => "Renew",
            Self::Renewed => "Renewed",
            Self::Beacon => "Beacon",
            Self::VerificationStart => "VerificationStart",
            Self::VerificationAccept => "VerificationAccept",
            Self::VerificationKey => "VerificationKey",
            Self::VerificationMac => "VerificationMac",
            Self::VerificationDone => "VerificationDone",
            Self::VerificationCancel => "VerificationCancel",
        }
    }
}

/// A track as its publisher describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackOffer {
    /// Allotted by the publisher, never reused within the stream.
    pub id: TrackId,
    /// What its frames are.
    pub codec: Codec,
    /// Simulcast layers; 1 without simulcast.
    pub layers: u8,
}

/// "I publish this." Signed, kept as room state. It is a hint: a stream is live only after a
/// [`StreamKey`](super::StreamKey) that answers one's own [`Subscribe`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOffer {
    /// New at every start of the publisher.
    pub stream: StreamId,
    /// What people see, "camera" for instance. A claim.
    pub label: String,
    /// What the publisher calls itself. A claim.
    #[serde(default)]
    pub name: String,
    /// The stream's tracks.
    pub tracks: Vec<TrackOffer>,
    /// Where the media can be had: opaque to olmcast, a WHEP address with our relay.
    pub media: String,
    /// The publisher's Olm identity key, bound to its Ed25519 key by this message's signature.
    pub curve25519: PublicKey,
    /// When the stream was started. A later one of the same device and label replaces it.
    pub started: Timestamp,
    /// Counts this stream's offers; the highest is current.
    pub seq: u64,
}

/// "This stream is over." Signed; clears the room state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEnd {
    /// The stream.
    pub stream: StreamId,
}

/// "Let me in." Signed to the publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscribe {
    /// The stream.
    pub stream: StreamId,
    /// The subscriber's Olm identity key.
    pub curve25519: PublicKey,
    /// A one-time key made for this message alone.
    pub one_time_key: PublicKey,
    /// Grows with every `Subscribe` and `Unsubscribe` of this device: max(last + 1, unix ms).
    pub sequence: u64,
    /// What the subscriber calls itself, in at most [`MAX_NAME`](Self::MAX_NAME) bytes. A claim.
    #[serde(default)]
    pub name: String,
    /// Text for the publisher's application, a token for instance. At most
    /// [`MAX_CLAIM`](Self::MAX_CLAIM).
    pub claim: String,
}

impl Subscribe {
    /// The longest claim, in bytes: publishers keep it.
    pub const MAX_CLAIM: usize = 2048;
    /// The longest name, in bytes.
    pub const MAX_NAME: usize = 128;
}

/// "I am gone." Signed to the publisher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// The stream.
    pub stream: StreamId,
    /// As in [`Subscribe`], one space for both.
    pub sequence: u64,
}

/// Why no key was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WithheldCode {
    /// The publisher's admission policy said no.
    NotAdmitted,
    /// The device is blocked.
    Blocked,
    /// Somebody was removed, and since then the room is closed to devices not admitted before.
    Closed,
    /// The device was removed from this stream.
    Removed,
    /// The stream is over, or was never here.
    Ended,
    /// Not now; try again later.
    Busy,
    /// The publisher's user is asked; ask again for the answer.
    Asked,
    /// The publisher admits verified devices only.
    NotVerified,
}

impl fmt::Display for WithheldCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAdmitted => "the publisher did not admit this device",
            Self::Blocked => "the publisher blocked this device",
            Self::Closed => "the publisher closed the room after a removal; ask for a new invite",
            Self::Removed => "the publisher removed this device",
            Self::Ended => "the stream has ended",
            Self::Busy => "the publisher is busy",
            Self::Asked => "the publisher's user is asked",
            Self::NotVerified => "the publisher admits verified devices only; verify each other",
        })
    }
}

/// "No, because." Signed to the asker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamKeyWithheld {
    /// The stream.
    pub stream: StreamId,
    /// What it answers. A removal, which nobody asked for, answers the `Subscribe` by which the
    /// holder came, so that an old one replayed after a new `Subscribe` says nothing.
    pub answers: Answers,
    /// Why.
    pub code: WithheldCode,
    /// When to ask again at the earliest, at most 30,000; `None`: do not.
    pub retry_after_ms: Option<u32>,
}

/// Which question a message answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// The [`Subscribe`] with this one-time key.
    OneTimeKey(PublicKey),
    /// The [`StreamKeyRequest`](super::StreamKeyRequest) with this id.
    Request(MessageId),
}

/// "From now on, this step." Megolm, to the room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    /// The stream.
    pub stream: StreamId,
    /// The session.
    pub generation: Generation,
    /// The new step.
    pub step: Step,
    /// Who holds the key, those included for whom this step was made.
    pub roster: RosterDigest,
}

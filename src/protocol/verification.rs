//! What two devices say to each other while their users compare a short string:
//! see [`device::sas`](crate::device::sas).
//!
//! All of it is signed, to one device, in a room that both are in.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Kind, PublicKey, Subscribe};
use crate::primitives::VerificationId;

/// "Let us verify each other." What it says is committed to by the answer, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationStart {
    /// Names this verification.
    pub id: VerificationId,
    /// How it is done: [`VERSION`](Self::VERSION).
    pub version: u16,
    /// The sender's Olm identity key.
    pub curve25519: PublicKey,
    /// What the sender calls itself, in at most [`Subscribe::MAX_NAME`] bytes.
    pub name: String,
    /// Grows with each start of this device: max(last + 1, unix ms). An old one says nothing.
    pub sequence: u64,
}

impl VerificationStart {
    /// The one way to verify there is: X25519, HKDF-SHA-256 and HMAC-SHA-256, a commitment by
    /// SHA-256, emojis and numbers from the same bytes. Nothing is negotiated, so there is nothing
    /// that somebody on the way could lower.
    pub const VERSION: u16 = 1;
}

/// "Yes." Sent before its sender has seen the other's ephemeral key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationAccept {
    /// Which verification.
    pub id: VerificationId,
    /// How it is done: [`VerificationStart::VERSION`].
    pub version: u16,
    /// The sender's Olm identity key.
    pub curve25519: PublicKey,
    /// What the sender calls itself, in at most [`Subscribe::MAX_NAME`] bytes.
    pub name: String,
    /// SHA-256 over the sender's ephemeral key and the start that this answers.
    #[serde(with = "hash")]
    pub commitment: [u8; 32],
}

/// An ephemeral key, used once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationKey {
    /// Which verification.
    pub id: VerificationId,
    /// The key.
    pub key: PublicKey,
}

/// "My user says that the short strings are equal." Proves which keys and names its sender means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationMac {
    /// Which verification.
    pub id: VerificationId,
    /// Over both devices' keys and names, and the room.
    #[serde(with = "hash")]
    pub mac: [u8; 32],
}

/// "Your proof was right, and my user agrees."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationDone {
    /// Which verification.
    pub id: VerificationId,
    /// As in [`VerificationMac`], for this message.
    #[serde(with = "hash")]
    pub mac: [u8; 32],
}

/// "No more of this." Even after it was done: then it is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerificationCancel {
    /// Which verification.
    pub id: VerificationId,
    /// Why.
    pub reason: CancelReason,
}

/// Why a verification failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CancelReason {
    /// One of the users does not want to go on.
    User,
    /// The user who was asked does not want to.
    Declined,
    /// It took longer than 10 minutes, or the other side was silent for 2.
    Timeout,
    /// A user says that the short strings differ: somebody is in between.
    NumbersDiffer,
    /// The proof of keys and names is wrong: somebody is in between, or one of the devices is not
    /// what it says.
    KeysDiffer,
    /// An ephemeral key, or the start, is not what was committed to: somebody is in between.
    Commitment,
    /// A message came in the other's name that is damaged or not signed by it: somebody on the way
    /// changes messages.
    Tampered,
    /// The other side does not keep to the order of the messages.
    Unexpected,
    /// The device is known by another Curve25519 key than the one that it states now.
    KeyChanged,
    /// Too many devices ask to be verified. Later there may be room.
    Busy,
    /// The other side verifies in another way: one of the two is too old.
    Version,
    /// The other side knows of no such verification: perhaps it was started again.
    Unknown,
    /// For a reason that this version does not know.
    #[serde(other)]
    Other,
}

impl fmt::Display for CancelReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "it was cancelled",
            Self::Declined => "the other user declined",
            Self::Timeout => "no answer came in time; try again when both are there",
            Self::NumbersDiffer => {
                "the emojis or numbers differ: somebody may be in between, do not trust this device"
            }
            Self::KeysDiffer => {
                "the keys differ: somebody may be in between, do not trust this device"
            }
            Self::Commitment => {
                "a key was exchanged on the way: somebody may be in between, do not trust this device"
            }
            Self::Tampered => {
                "somebody on the way changed a message; try another network or key service"
            }
            Self::Unexpected => "the other device did not keep to the protocol",
            Self::KeyChanged => {
                "the device has another Curve25519 key than before; forget it first if that is right"
            }
            Self::Busy => "the other device is asked by too many; try again later",
            Self::Version => "the two devices verify in different ways; update olmcast on both",
            Self::Unknown => "the other device knows nothing of it any more; start again",
            Self::Other => "the other device gave a reason that this version does not know",
        })
    }
}

/// Any message of a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is documented at the message of its name")]
pub enum VerificationMessage {
    Start(VerificationStart),
    Accept(VerificationAccept),
    Key(VerificationKey),
    Mac(VerificationMac),
    Done(VerificationDone),
    Cancel(VerificationCancel),
}

impl VerificationMessage {
    /// The largest payload, in bytes: a name may have to be escaped.
    pub const MAX_PAYLOAD: usize = 2048;

    /// Reads a payload. `None` if it is none of this kind, too large, or has too long a name.
    pub fn read(kind: Kind, payload: &[u8]) -> Option<Self> {
        if payload.len() > Self::MAX_PAYLOAD {
            return None;
        }
        let message = match kind {
            Kind::VerificationStart => Self::Start(serde_json::from_slice(payload).ok()?),
            Kind::VerificationAccept => Self::Accept(serde_json::from_slice(payload).ok()?),
            Kind::VerificationKey => Self::Key(serde_json::from_slice(payload).ok()?),
            Kind::VerificationMac => Self::Mac(serde_json::from_slice(payload).ok()?),
            Kind::VerificationDone => Self::Done(serde_json::from_slice(payload).ok()?),
            Kind::VerificationCancel => Self::Cancel(serde_json::from_slice(payload).ok()?),
            _ => return None,
        };
        let name = match &message {
            Self::Start(start) => &start.name,
            Self::Accept(accept) => &accept.name,
            _ => "",
        };
        (name.len() <= Subscribe::MAX_NAME).then_some(message)
    }

    /// The kind it is signed as.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Start(_) => Kind::VerificationStart,
            Self::Accept(_) => Kind::VerificationAccept,
            Self::Key(_) => Kind::VerificationKey,
            Self::Mac(_) => Kind::VerificationMac,
            Self::Done(_) => Kind::VerificationDone,
            Self::Cancel(_) => Kind::VerificationCancel,
        }
    }

    /// Which verification it belongs to.
    pub fn id(&self) -> VerificationId {
        match self {
            Self::Start(start) => start.id,
            Self::Accept(accept) => accept.id,
            Self::Key(key) => key.id,
            Self::Mac(mac) => mac.id,
            Self::Done(done) => done.id,
            Self::Cancel(cancel) => cancel.id,
        }
    }

    /// Its payload: JSON.
    pub fn payload(&self) -> Vec<u8> {
        let written = match self {
            Self::Start(start) => serde_json::to_vec(start),
            Self::Accept(accept) => serde_json::to_vec(accept),
            Self::Key(key) => serde_json::to_vec(key),
            Self::Mac(mac) => serde_json::to_vec(mac),
            Self::Done(done) => serde_json::to_vec(done),
            Self::Cancel(cancel) => serde_json::to_vec(cancel),
        };
        // These are plain structs; an empty payload would be refused by its reader.
        written.unwrap_or_default()
    }
}

/// 32 bytes as 43 characters of unpadded base64, decoded strictly.
mod hash {
    use super::{Deserialize, Deserializer, Engine, STANDARD_NO_PAD, Serializer, de};

    pub(super) fn serialize<S: Serializer>(hash: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD_NO_PAD.encode(hash))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(d)?;
        let bytes = STANDARD_NO_PAD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| de::Error::custom("expected 32 bytes in base64"))
    }
}

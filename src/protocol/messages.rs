use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use vodozemac::{Curve25519PublicKey, megolm::SessionKey};
use zeroize::Zeroizing;

use crate::{
    primitives::{
        Codec, DeviceId, Generation, Position, RoomId, Step, StreamId, Timestamp, TrackId,
    },
    sframe::CipherSuite,
};

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
        }
    }
}

/// A public Curve25519 key: 43 characters of unpadded base64, decoded strictly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub Curve25519PublicKey);

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD_NO_PAD.encode(self.0.as_bytes()))
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD_NO_PAD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
        let bytes = bytes.ok_or_else(|| de::Error::custom("a key is 32 bytes in base64"))?;
        Ok(Self(Curve25519PublicKey::from_bytes(bytes)))
    }
}

/// A random name for one handover, request or renewal between two devices.
pub type MessageId = u64;

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
/// [`StreamKey`] that answers one's own [`Subscribe`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOffer {
    /// New at every start of the publisher.
    pub stream: StreamId,
    /// What people see, "camera" for instance. A claim.
    pub label: String,
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
    /// Bytes for the publisher's application, a display name or a token. At most
    /// [`MAX_CLAIM`](Self::MAX_CLAIM).
    pub claim: String,
}

impl Subscribe {
    /// The longest claim, in bytes: publishers keep it.
    pub const MAX_CLAIM: usize = 4096;
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
    /// The [`StreamKeyRequest`] with this id.
    Request(MessageId),
}

/// The stream's key from a step on. Olm.
#[derive(Serialize, Deserialize)]
pub struct StreamKey {
    /// Names this handover, for the ack.
    pub share: MessageId,
    /// The stream.
    pub stream: StreamId,
    /// Which session, and its index.
    pub position: Position,
    /// The Megolm session at that index, with its signature.
    #[serde(with = "session_key")]
    pub session_key: SessionKey,
    /// The suite of all tracks.
    pub suite: CipherSuite,
    /// The stream's current offer, confirmed by this.
    pub offer: StreamOffer,
    /// What it answers. A new generation, which nobody asks for, answers the `Subscribe` by
    /// which the holder came.
    pub answers: Answers,
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamKey")
            .field("stream", &self.stream)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

mod session_key {
    use super::{Deserialize, Deserializer, Serializer, SessionKey, Zeroizing, de};

    pub(super) fn serialize<S: Serializer>(key: &SessionKey, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&Zeroizing::new(key.to_base64()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<SessionKey, D::Error> {
        let text = Zeroizing::new(String::deserialize(d)?);
        // The error is not passed on: it might quote what it could not read.
        SessionKey::from_base64(&text).map_err(|_| de::Error::custom("not a signed session key"))
    }
}

/// "I have it." Olm. An ack of any share of a generation counts for the generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamKeyAck {
    /// The handover.
    pub share: MessageId,
    /// Whether it was accepted.
    pub accepted: bool,
}

/// "I see frames that I have no key for." Olm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamKeyRequest {
    /// Names this request.
    pub request: MessageId,
    /// The stream.
    pub stream: StreamId,
    /// The newest position held.
    pub held: Option<Position>,
    /// The KID seen.
    pub key_id: u64,
}

/// "I am still here." Olm, every 20 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// Answered by the same.
    pub nonce: MessageId,
}

/// "You still belong." Olm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// The nonce of the [`Renew`].
    pub nonce: MessageId,
    /// Where the stream is now.
    pub position: Position,
    /// The current offer's `seq`.
    pub offer_seq: u64,
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
}

/// What Olm encrypts: the message, and between whom. All of it is compared at receipt, so that
/// no message can be passed on as if it had been meant for another.
#[derive(Debug, Serialize, Deserialize)]
pub struct OlmPlaintext {
    /// The room.
    pub room: RoomId,
    /// The sender's Ed25519 key.
    pub sender: DeviceId,
    /// The recipient's Ed25519 key.
    pub recipient: DeviceId,
    /// The message.
    pub message: OlmMessage,
}

/// The messages that travel under Olm.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "content")]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is documented at the message of its name")]
pub enum OlmMessage {
    StreamKey(Box<StreamKey>),
    StreamKeyAck(StreamKeyAck),
    StreamKeyRequest(StreamKeyRequest),
    Renew(Renew),
    Renewed(Renewed),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_of_another_length_is_refused() {
        let key = PublicKey(Curve25519PublicKey::from_bytes([9; 32]));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        for length in [0, 31, 33] {
            let text = format!("\"{}\"", STANDARD_NO_PAD.encode(vec![9; length]));
            assert!(serde_json::from_str::<PublicKey>(&text).is_err());
        }
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_kinds_refused() {
        let read = serde_json::from_str::<OlmMessage>;
        assert!(read(r#"{"kind":"Renew","content":{"nonce":1,"later":true}}"#).is_ok());
        assert!(read(r#"{"kind":"Later","content":{}}"#).is_err());
    }
}

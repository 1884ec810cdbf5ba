//! What travels under Olm, between a stream's publisher and one of its subscribers.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Answers, RosterDigest};
use crate::{
    primitives::{DeviceId, Position, RoomId, Secret, StreamRef},
    sframe::CipherSuite,
};

/// A random name for one handover, request or renewal between two devices.
pub type MessageId = u64;

/// The largest encoded plaintext, in bytes.
pub const MAX_OLM_PLAINTEXT: usize = 512;
/// Length of a Megolm session key: version, index, 128 bytes of ratchet, public key, signature.
pub const SESSION_KEY_LENGTH: usize = 229;

/// Between whom a message is, and about what: a hash of the room, the stream, the sender's and
/// the recipient's Ed25519 keys. The recipient computes it from what it expects and compares, so
/// that no message can be passed on as if it had been meant for another, and a handover stays
/// small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place([u8; 32]);

impl Place {
    /// The place of a message from `sender` to `recipient` about a stream in a room.
    pub fn new(room: RoomId, stream: StreamRef, sender: DeviceId, recipient: DeviceId) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"olmcast/1 olm place");
        // All of fixed length.
        hash.update(room.as_bytes());
        hash.update(stream.publisher.as_bytes());
        hash.update(stream.stream.as_bytes());
        hash.update(sender.as_bytes());
        hash.update(recipient.as_bytes());
        Self(hash.finalize().into())
    }
}

/// Which offer of a stream is meant: the first half of the SHA-256 hash of its payload as it was
/// signed. Only its publisher could make two of one hash, who may as well offer two streams; and in
/// a handover to each of thousands the bytes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferHash([u8; 16]);

impl OfferHash {
    /// The hash of a `StreamOffer`'s payload.
    pub fn of(payload: &[u8]) -> Self {
        Self(first_half(Sha256::digest(payload).into()))
    }
}

/// Half of a SHA-256 hash.
pub(super) fn first_half(hash: [u8; 32]) -> [u8; 16] {
    std::array::from_fn(|at| hash[at])
}

/// The stream's key from a step on.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamKey {
    /// Names this handover, for the ack.
    pub share: MessageId,
    /// Which session, and its index.
    pub position: Position,
    /// The Megolm session at that index, as `SessionKey::to_bytes` gives it, with its signature.
    /// The same for all holders, so it is not copied for each.
    #[serde(with = "session_key")]
    pub session_key: Arc<Secret<SESSION_KEY_LENGTH>>,
    /// The suite of all tracks.
    pub suite: CipherSuite,
    /// The stream's current offer, confirmed by this.
    pub offer: OfferHash,
    /// What it answers. A new generation, which nobody asks for, answers the `Subscribe` by
    /// which the holder came.
    pub answers: Answers,
    /// Who holds the key.
    pub roster: RosterDigest,
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamKey").field("position", &self.position).finish_non_exhaustive()
    }
}

mod session_key {
    use std::{fmt, sync::Arc};

    use serde::{Deserializer, Serializer, de, ser::SerializeTuple};

    use super::{SESSION_KEY_LENGTH, Secret};

    type SessionKey = Secret<SESSION_KEY_LENGTH>;

    pub(super) fn serialize<S: Serializer>(key: &SessionKey, s: S) -> Result<S::Ok, S::Error> {
        let mut bytes = s.serialize_tuple(SESSION_KEY_LENGTH)?;
        key.expose().iter().try_for_each(|byte| bytes.serialize_element(byte))?;
        bytes.end()
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Arc<SessionKey>, D::Error> {
        d.deserialize_tuple(SESSION_KEY_LENGTH, Visitor).map(Arc::new)
    }

    struct Visitor;

    impl<'de> de::Visitor<'de> for Visitor {
        type Value = SessionKey;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a session key")
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<SessionKey, A::Error> {
            let mut read = Ok(());
            let key = SessionKey::fill(|bytes| {
                read = bytes.iter_mut().try_for_each(|byte| {
                    *byte = seq.next_element()?.ok_or_else(|| de::Error::custom("cut short"))?;
                    Ok(())
                });
            });
            read.map(|()| key)
        }
    }
}

/// "I have it." An ack of any share of a generation counts for the generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamKeyAck {
    /// The handover.
    pub share: MessageId,
    /// Whether it was accepted.
    pub accepted: bool,
}

/// "I see frames that I have no key for."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamKeyRequest {
    /// Names this request.
    pub request: MessageId,
    /// The newest position held.
    pub held: Option<Position>,
    /// The KID seen.
    pub key_id: u64,
}

/// "I am still here." Every 20 s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// Answered by the same.
    pub nonce: MessageId,
    /// The last [`Renewed::ticket`], 0 before the first. Each prolongs the lease once, so that
    /// whoever carries the messages cannot save renewals up and keep a device that is gone.
    pub ticket: MessageId,
}

/// "You still belong."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewed {
    /// The nonce of the [`Renew`].
    pub nonce: MessageId,
    /// For the next [`Renew`].
    pub ticket: MessageId,
    /// Where the stream is now.
    pub position: Position,
    /// The current offer.
    pub offer: OfferHash,
    /// Who holds the key now.
    pub roster: RosterDigest,
}

/// The messages that travel under Olm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is documented at the message of its name")]
pub enum OlmMessage {
    StreamKey(StreamKey),
    StreamKeyAck(StreamKeyAck),
    StreamKeyRequest(StreamKeyRequest),
    Renew(Renew),
    Renewed(Renewed),
}

/// What Olm encrypts: a message and its place, in postcard. Later versions may append to it; what
/// stands behind the message is ignored, and an unknown kind is refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlmPlaintext {
    /// Between whom, and about what.
    pub place: Place,
    /// The message.
    pub message: OlmMessage,
}

impl OlmPlaintext {
    /// The bytes to encrypt. They never grow while they are written: the memory they outgrew
    /// would be given back with the key in it.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(vec![0; MAX_OLM_PLAINTEXT]);
        // Everything in a message is of bounded size, far below what there is room for.
        let length = postcard::to_slice(self, &mut bytes).map_or(0, |written| written.len());
        bytes.truncate(length);
        bytes
    }

    /// Reads decrypted bytes. The error is not passed on: it might quote what it could not read.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::take_from_bytes(bytes).ok().map(|(plaintext, _)| plaintext)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        primitives::{Generation, Step, StreamId},
        protocol::{PublicKey, RosterHash},
    };

    fn plaintext(message: OlmMessage) -> OlmPlaintext {
        let device = |byte| DeviceId::from_bytes([byte; 32]);
        let stream = StreamRef { publisher: device(1), stream: StreamId::from_bytes([2; 16]) };
        let place = Place::new(RoomId::from_bytes([3; 32]), stream, device(1), device(4));
        OlmPlaintext { place, message }
    }

    #[test]
    fn the_largest_message_fits() {
        let key = vodozemac::Curve25519PublicKey::from_bytes([9; 32]);
        let message = OlmMessage::StreamKey(StreamKey {
            share: u64::MAX,
            position: Position { generation: Generation(u32::MAX), step: Step::LAST },
            session_key: Arc::new(Secret::fill(|bytes| bytes.fill(7))),
            suite: CipherSuite::default(),
            offer: OfferHash::of(b"offer"),
            answers: Answers::OneTimeKey(PublicKey(key)),
            roster: RosterDigest {
                version: u64::MAX,
                holders: u32::MAX,
                hash: RosterHash([8; 16]),
            },
        });
        let bytes = plaintext(message.clone()).encode();
        assert!((320..=360).contains(&bytes.len()), "{}", bytes.len());
        assert_eq!(OlmPlaintext::decode(&bytes), Some(plaintext(message)));
    }

    /// vodozemac fills up to whole blocks of 16 bytes, at least one byte.
    #[test]
    fn with_all_that_is_likely_a_key_fits_22_blocks() {
        let key = vodozemac::Curve25519PublicKey::from_bytes([9; 32]);
        let (version, holders) = ((1 << 21) - 1, (1 << 14) - 1);
        let bytes = plaintext(OlmMessage::StreamKey(StreamKey {
            share: u64::MAX,
            position: Position { generation: Generation(u32::MAX), step: Step::LAST },
            session_key: Arc::new(Secret::fill(|bytes| bytes.fill(7))),
            suite: CipherSuite::default(),
            offer: OfferHash::of(b"offer"),
            answers: Answers::OneTimeKey(PublicKey(key)),
            roster: RosterDigest { version, holders, hash: RosterHash::of(b"roster") },
        }));
        assert!(bytes.encode().len() < 22 * 16);
    }

    #[test]
    fn what_a_later_version_appends_is_ignored_and_an_unknown_kind_refused() {
        let renew = plaintext(OlmMessage::Renew(Renew { nonce: 1, ticket: 2 }));
        let bytes = renew.encode();
        let appended = [&bytes[..], b"later"].concat();
        assert_eq!(OlmPlaintext::decode(&appended), Some(renew));
        let mut unknown = bytes.to_vec();
        unknown[32] = 5;
        assert_eq!(OlmPlaintext::decode(&unknown), None);
        for length in 0..bytes.len() {
            assert_eq!(OlmPlaintext::decode(&bytes[..length]), None);
        }
    }

    #[test]
    fn each_part_of_a_place_counts() {
        let device = |byte| DeviceId::from_bytes([byte; 32]);
        let stream = |publisher, stream| StreamRef {
            publisher: device(publisher),
            stream: StreamId::from_bytes([stream; 16]),
        };
        let room = |byte| RoomId::from_bytes([byte; 32]);
        let places = [
            Place::new(room(1), stream(2, 3), device(4), device(5)),
            Place::new(room(9), stream(2, 3), device(4), device(5)),
            Place::new(room(1), stream(9, 3), device(4), device(5)),
            Place::new(room(1), stream(2, 9), device(4), device(5)),
            Place::new(room(1), stream(2, 3), device(9), device(5)),
            Place::new(room(1), stream(2, 3), device(4), device(9)),
            Place::new(room(1), stream(2, 3), device(5), device(4)),
        ];
        for (index, place) in places.iter().enumerate() {
            assert!(!places[..index].contains(place));
        }
    }
}

use serde::{Deserialize, Serialize};

use super::Kind;
use crate::primitives::{DeviceId, RoomId, Signature, SigningForm, StreamId, StreamRef};

/// The version of the envelope and of all messages in it.
const VERSION: u8 = 1;
/// The largest encoded envelope, in bytes.
pub const MAX_ENVELOPE: usize = 64 * 1024;

/// Why bytes are no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Larger than [`MAX_ENVELOPE`].
    #[error("the message is larger than 64 KiB")]
    TooLarge,
    /// Made by a version of olmcast that this one does not speak.
    #[error("the message is of version {0}, this is version 1; update olmcast")]
    Version(u8),
    /// Cut short, with something behind its end, or no message at all.
    #[error("the message is damaged")]
    Syntax,
}

/// One message between two devices, or from one to its room.
///
/// Written with [postcard](https://postcard.jamesmunns.com/wire-format) behind a version byte.
/// What stands here besides `carrier`'s signed or encrypted bytes only helps to route; all of it
/// is compared with what was signed or encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Who sent it.
    pub sender: DeviceId,
    /// How it is protected.
    pub carrier: Carrier,
}

/// The three ways in which messages are protected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Carrier {
    /// Readable by anybody, signed by the sender.
    Signed(SignedMessage),
    /// Readable by one device.
    Olm(OlmCarrier),
    /// Readable by a stream's holders, signed by the stream's Megolm session.
    Megolm {
        /// The stream, among the sender's.
        stream: StreamId,
        /// A Megolm message.
        message: Vec<u8>,
    },
}

/// A signed statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedMessage {
    /// What kind of statement the payload is.
    pub kind: Kind,
    /// The room it belongs to.
    pub room: RoomId,
    /// The only device it is meant for, if it is meant for one.
    pub recipient: Option<DeviceId>,
    /// JSON, kept as the exact bytes that were signed.
    pub payload: Vec<u8>,
    /// The sender's, over [`SigningForm`].
    pub signature: Signature,
    /// That the sender has the room's invite
    /// ([`RoomKeys::admission_proof`](crate::primitives::RoomKeys::admission_proof)).
    pub proof: Option<[u8; 32]>,
}

impl SignedMessage {
    /// What the signature and the proof cover.
    pub fn form(&self) -> SigningForm<'_> {
        SigningForm {
            kind: self.kind.name(),
            room: Some(&self.room),
            recipient: self.recipient.as_ref(),
            payload: &self.payload,
        }
    }
}

/// A message under Olm. Each subscription has an Olm session of its own, named by its stream.
/// Which room that is in, both sides know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OlmCarrier {
    /// Who can read it.
    pub recipient: DeviceId,
    /// The stream whose handover it is about.
    pub stream: StreamId,
    /// Whether the stream is the sender's; else it is the recipient's.
    pub from_publisher: bool,
    /// 0 for a pre-key message, 1 for a normal one.
    pub message_type: u8,
    /// The Olm message.
    pub ciphertext: Vec<u8>,
}

impl OlmCarrier {
    /// The stream, in a message by `sender`.
    pub fn stream_ref(&self, sender: DeviceId) -> StreamRef {
        let publisher = if self.from_publisher { sender } else { self.recipient };
        StreamRef { publisher, stream: self.stream }
    }
}

impl Envelope {
    /// The wire form.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, EnvelopeError> {
        let bytes = postcard::to_extend(self, vec![VERSION]).map_err(|_| EnvelopeError::Syntax)?;
        if bytes.len() > MAX_ENVELOPE { Err(EnvelopeError::TooLarge) } else { Ok(bytes) }
    }

    /// Reads the wire form; all of it must be used.
    ///
    /// # Errors
    /// Any [`EnvelopeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(EnvelopeError::TooLarge);
        }
        let (&version, bytes) = bytes.split_first().ok_or(EnvelopeError::Syntax)?;
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        match postcard::take_from_bytes(bytes) {
            Ok((envelope, [])) => Ok(envelope),
            _ => Err(EnvelopeError::Syntax),
        }
    }

    /// Who an encoded envelope says that it is from; nothing else of it is read.
    pub fn sender_of(bytes: &[u8]) -> Option<DeviceId> {
        let sender = bytes.get(1..1 + DeviceId::LENGTH)?;
        sender.try_into().ok().map(DeviceId::from_bytes)
    }

    /// The one device it is for, or `None` for the whole room.
    pub fn recipient(&self) -> Option<DeviceId> {
        match &self.carrier {
            Carrier::Signed(signed) => signed.recipient,
            Carrier::Olm(olm) => Some(olm.recipient),
            Carrier::Megolm { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        Envelope {
            sender: DeviceId::from_bytes([1; 32]),
            carrier: Carrier::Megolm { stream: StreamId::from_bytes([3; 16]), message: vec![4, 5] },
        }
    }

    #[test]
    fn the_wire_form_is_exactly_this() {
        let mut expected = vec![1];
        expected.extend([1; 32]);
        expected.push(2);
        expected.extend([3; 16]);
        expected.extend([2, 4, 5]);
        assert_eq!(envelope().encode().unwrap(), expected);
        assert_eq!(Envelope::decode(&expected), Ok(envelope()));
        assert_eq!(Envelope::sender_of(&expected), Some(envelope().sender));
        assert_eq!(Envelope::sender_of(&expected[..32]), None);
    }

    #[test]
    fn cut_extended_and_foreign_bytes_are_refused() {
        let bytes = envelope().encode().unwrap();
        for length in 0..bytes.len() {
            assert!(Envelope::decode(&bytes[..length]).is_err());
        }
        assert_eq!(Envelope::decode(&[&bytes[..], &[0]].concat()), Err(EnvelopeError::Syntax));
        assert_eq!(Envelope::decode(&[&[2], &bytes[1..]].concat()), Err(EnvelopeError::Version(2)));
        assert_eq!(Envelope::decode(&vec![1; MAX_ENVELOPE + 1]), Err(EnvelopeError::TooLarge));
    }
}

//! A signed message that is right, and everything that can be wrong with it.

use olmcast::{
    device::{Identity, Signer},
    endpoint::MessageError,
    primitives::{DeviceId, RoomKeys, Signature},
    protocol::{Carrier, Envelope, EnvelopeError, Kind, MAX_ENVELOPE, SignedMessage},
};
use serde_json::{Value, json};

use crate::{
    network::{Network, Room, invite},
    tools::{Signs, encode, signed, state},
};

const KINDS: [Kind; 17] = [
    Kind::StreamOffer,
    Kind::StreamEnd,
    Kind::Subscribe,
    Kind::Unsubscribe,
    Kind::StreamKeyWithheld,
    Kind::StreamKey,
    Kind::StreamKeyAck,
    Kind::StreamKeyRequest,
    Kind::Renew,
    Kind::Renewed,
    Kind::Beacon,
    Kind::VerificationStart,
    Kind::VerificationAccept,
    Kind::VerificationKey,
    Kind::VerificationMac,
    Kind::VerificationDone,
    Kind::VerificationCancel,
];
/// Where the version, the carrier and the kind of a signed message stand.
const CARRIER_AT: usize = 33;
const KIND_AT: usize = 34;

/// A right message of one kind, and what is needed to make wrong ones of it.
pub(crate) struct Case {
    pub(crate) room: Room,
    pub(crate) keys: RoomKeys,
    pub(crate) kind: Kind,
    pub(crate) signer: Signer,
    /// Another member, who may sign as well, but not this.
    pub(crate) other: Signer,
    pub(crate) to: DeviceId,
    pub(crate) recipient: Option<DeviceId>,
    pub(crate) payload: Vec<u8>,
}

impl Case {
    pub(crate) fn new(
        kind: Kind,
        make: impl FnOnce(&mut Room) -> (Signer, DeviceId, bool, Vec<u8>),
    ) -> Self {
        let mut room = Room::with(2);
        let keys = room.invite.room_keys();
        let (signer, to, addressed, payload) = make(&mut room);
        let other = Identity::generate().signer();
        let recipient = addressed.then_some(to);
        Self { room, keys, kind, signer, other, to, recipient, payload }
    }

    pub(crate) fn net(&mut self) -> &mut Network {
        &mut self.room.net
    }

    pub(crate) fn right(&self) -> Envelope {
        signed(&self.signer, &self.keys, self.recipient, self.kind, &self.payload)
    }

    fn right_message(&self) -> SignedMessage {
        let Carrier::Signed(message) = self.right().carrier else { panic!() };
        message
    }

    /// Delivers it, and says why it was refused.
    pub(crate) fn deliver(&mut self, bytes: &[u8]) -> Option<MessageError> {
        let to = self.to;
        let errors = self.net().nodes[&to].errors.len();
        self.net().deliver(to, bytes);
        self.net().nodes[&to].errors.get(errors).copied()
    }

    pub(crate) fn refused(&mut self, what: &str, bytes: &[u8]) -> MessageError {
        let stream = self.room.stream;
        let (before, sent) = (state(self.net(), stream), self.room.net.log.len());
        let error = self.deliver(bytes);
        let error = error.unwrap_or_else(|| panic!("{:?}, {what}: taken", self.kind));
        assert_eq!(state(self.net(), stream), before, "{:?}, {what}", self.kind);
        assert_eq!(self.room.net.log.len(), sent, "{:?}, {what}: answered", self.kind);
        error
    }

    fn altered(&self, change: impl FnOnce(&mut Envelope, &mut SignedMessage)) -> Vec<u8> {
        let (mut envelope, mut message) = (self.right(), self.right_message());
        change(&mut envelope, &mut message);
        envelope.carrier = Carrier::Signed(message);
        encode(&envelope)
    }

    /// The proof of having the invite for whatever the message says now: members can make it.
    fn with_proof(&self, sender: DeviceId, mut message: SignedMessage) -> Vec<u8> {
        message.proof = self.keys.admission_proof(&sender, &message.form().to_bytes());
        encode(&Envelope { sender, carrier: Carrier::Signed(message) })
    }

    fn wrong_kinds(&mut self) {
        let (sender, kind) = (self.signer.id(), self.kind);
        let is_forged = |error| {
            matches!(
                error,
                MessageError::Signature(_)
                    | MessageError::NoInvite
                    | MessageError::Misdirected
                    | MessageError::Content(_)
            )
        };
        for other in KINDS.into_iter().filter(|other| *other != kind) {
            let what = format!("as {other:?}");
            let bytes = self.altered(|_, message| message.kind = other);
            let error = self.refused(&what, &bytes);
            assert!(is_forged(error), "{what}: {error}");
            let message = SignedMessage { kind: other, ..self.right_message() };
            let bytes = self.with_proof(sender, message);
            let error = self.refused(&what, &bytes);
            assert!(is_forged(error), "{what}: {error}");
        }
        // Those that are never signed, signed.
        for other in &KINDS[5..11] {
            let recipient = self.recipient;
            let envelope = signed(&self.signer, &self.keys, recipient, *other, &self.payload);
            let error = self.refused("signed", &encode(&envelope));
            assert_eq!(error, MessageError::Content(*other));
        }
        let right = encode(&self.right());
        for (at, first) in [(KIND_AT, 17), (CARRIER_AT, 3)] {
            for byte in first..=255 {
                let mut unknown = right.clone();
                unknown[at] = byte;
                let error = self.refused("unknown", &unknown);
                assert!(matches!(error, MessageError::Envelope(EnvelopeError::Syntax)), "{error}");
            }
        }
    }

    fn wrong_places(&mut self) {
        let (other, sender, to) = (self.other.id(), self.signer.id(), self.to);
        let elsewhere = invite().room_keys();
        let is_forged = |error| {
            matches!(
                error,
                MessageError::Signature(_)
                    | MessageError::NoInvite
                    | MessageError::Misdirected
                    | MessageError::UnknownRoom(_)
            )
        };
        let mut wrong = vec![
            ("another's", self.altered(|envelope, _| envelope.sender = other)),
            ("in another room", self.altered(|_, message| message.room = elsewhere.room())),
            ("for another", self.altered(|_, message| message.recipient = Some(other))),
        ];
        let addressed = if self.recipient.is_some() { None } else { Some(to) };
        wrong.push(("otherwise addressed", self.altered(|_, m| m.recipient = addressed)));
        for (what, recipient) in [("for another", Some(other)), ("otherwise addressed", addressed)]
        {
            let envelope = signed(&self.signer, &self.keys, recipient, self.kind, &self.payload);
            wrong.push((what, encode(&envelope)));
        }
        // A member signs it, in the name of whom it is not; or has signed it as its own.
        let envelope = signed(&self.other, &self.keys, self.recipient, self.kind, &self.payload);
        let Carrier::Signed(message) = envelope.carrier else { panic!() };
        wrong.push(("by another", self.with_proof(sender, message)));
        for (what, bytes) in wrong {
            let error = self.refused(what, &bytes);
            assert!(is_forged(error), "{:?}, {what}: {error}", self.kind);
        }
        for at in 0..64 {
            let mut bytes = *self.right_message().signature.as_bytes();
            bytes[at] ^= 1 << (at % 8);
            let signature = Signature::from_bytes(bytes);
            let bytes = self.altered(|_, message| message.signature = signature);
            assert!(matches!(self.refused("signature", &bytes), MessageError::Signature(_)));
        }
    }

    fn wrong_lengths(&mut self) {
        let right = encode(&self.right());
        for length in 0..right.len() {
            let error = self.refused(&format!("cut to {length}"), &right[..length]);
            assert!(matches!(error, MessageError::Envelope(_)), "{error}");
        }
        for tail in [&[0][..], &[1; 64]] {
            let error = self.refused("extended", &[&right[..], tail].concat());
            assert_eq!(error, MessageError::Envelope(EnvelopeError::Syntax));
        }
        for version in (0..=255).filter(|version| *version != 1) {
            let mut other = right.clone();
            other[0] = version;
            let error = self.refused("of another version", &other);
            assert_eq!(error, MessageError::Envelope(EnvelopeError::Version(version)));
        }
        let large = [&self.payload[..], &[b' '; MAX_ENVELOPE]].concat();
        let large = signed(&self.signer, &self.keys, self.recipient, self.kind, &large);
        let error = self.refused("too large", &encode(&large));
        assert_eq!(error, MessageError::Envelope(EnvelopeError::TooLarge));
    }

    fn wrong_contents(&mut self) {
        let right: Value = serde_json::from_slice(&self.payload).unwrap();
        let mut wrong = vec![json!(null), json!([]), json!({}), json!("x"), json!(1)];
        for (name, value) in right.as_object().unwrap() {
            let others = [
                json!(null),
                json!(true),
                json!(-1),
                json!(1.5),
                json!("x"),
                json!([1]),
                json!({}),
            ];
            // Any text is a label, and nothing is a time to wait.
            let is_right = |other: &Value| {
                matches!((name.as_str(), other), ("retry_after_ms", Value::Null))
                    || (other.is_string()
                        && ["label", "name", "media", "claim"].contains(&name.as_str()))
            };
            for other in others.into_iter().filter(|other| other != value && !is_right(other)) {
                let mut content = right.clone();
                content[name] = other;
                wrong.push(content);
            }
            let mut content = right.clone();
            content.as_object_mut().unwrap().remove(name);
            // Whoever has no name says none.
            if !["retry_after_ms", "name"].contains(&name.as_str()) {
                wrong.push(content);
            }
        }
        let mut payloads: Vec<Vec<u8>> =
            wrong.iter().map(|content| serde_json::to_vec(content).unwrap()).collect();
        payloads.extend((0..self.payload.len()).map(|length| self.payload[..length].to_vec()));
        payloads.push([&self.payload[..], b"{}"].concat());
        payloads.push(vec![0xff; 40]);
        for payload in payloads {
            let envelope = signed(&self.signer, &self.keys, self.recipient, self.kind, &payload);
            let what = String::from_utf8_lossy(&payload).into_owned();
            let error = self.refused(&what, &encode(&envelope));
            assert_eq!(error, MessageError::Content(self.kind), "{what}");
        }
    }

    /// Everything that is wrong with it is refused; it is taken; and again it changes nothing.
    pub(crate) fn run(mut self, again: Option<MessageError>) -> Self {
        self.wrong_kinds();
        self.wrong_places();
        self.wrong_lengths();
        self.wrong_contents();
        let (stream, right) = (self.room.stream, encode(&self.right()));
        let before = state(self.net(), stream);
        assert_eq!(self.deliver(&right), None, "{:?}", self.kind);
        assert_ne!(state(self.net(), stream), before, "{:?}: the right one is taken", self.kind);
        let after = state(self.net(), stream);
        assert_eq!(self.deliver(&right), again, "{:?}, replayed", self.kind);
        assert_eq!(state(self.net(), stream), after, "{:?}, replayed", self.kind);
        self
    }
}

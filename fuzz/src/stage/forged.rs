//! A device that makes its messages by itself, with vodozemac alone.

use olmcast::{
    primitives::{DeviceId, RoomId, RoomKeys, Signature, SigningForm, StreamRef},
    protocol::{
        Carrier, Envelope, Kind, OlmCarrier, OlmMessage, OlmPlaintext, Place, PublicKey,
        SignedMessage,
    },
};
use vodozemac::olm::{Account, OlmMessage as Ciphertext, Session, SessionConfig};

pub(crate) struct Forged {
    account: Account,
    invite: Option<RoomKeys>,
    pub(crate) device: DeviceId,
}

/// An Olm session of it with one of the endpoints.
#[derive(Default)]
pub(crate) struct Pair {
    session: Option<Session>,
    /// What the endpoint expects to read first.
    place: Vec<u8>,
    head: Option<(DeviceId, OlmCarrier)>,
    pub(crate) one_time_key: Option<PublicKey>,
    pub(crate) received: Vec<OlmMessage>,
}

impl Forged {
    pub(super) fn new(invite: Option<&RoomKeys>) -> Self {
        let account = Account::new();
        let device = DeviceId::from_bytes(*account.ed25519_key().as_bytes());
        Self { account, invite: invite.cloned(), device }
    }

    pub(crate) fn curve25519(&self) -> PublicKey {
        PublicKey(self.account.curve25519_key())
    }

    pub(super) fn one_time_key(&mut self) -> PublicKey {
        PublicKey(self.account.generate_one_time_keys(1).created[0])
    }

    /// An envelope with any payload, properly signed, and with a proof if it has the invite.
    pub(crate) fn sign(
        &self,
        kind: Kind,
        room: RoomId,
        recipient: Option<DeviceId>,
        payload: &[u8],
    ) -> Vec<u8> {
        let form = SigningForm {
            kind: kind.name(),
            room: Some(&room),
            recipient: recipient.as_ref(),
            payload,
        };
        let signature = Signature::from_bytes(self.account.sign(form.to_bytes()).to_bytes());
        let invite = self.invite.as_ref();
        let proof = invite.and_then(|keys| keys.admission_proof(&self.device, &form.to_bytes()));
        let payload = payload.to_vec();
        let message = SignedMessage { kind, room, recipient, payload, signature, proof };
        let carrier = Carrier::Signed(message);
        Envelope { sender: self.device, carrier }.encode().unwrap()
    }

    /// A session with somebody who asked with these keys, the device's own and a one-time key.
    pub(super) fn begin(
        &self,
        room: RoomId,
        stream: StreamRef,
        to: DeviceId,
        asked: (PublicKey, PublicKey),
    ) -> Pair {
        let (curve25519, one_time_key) = asked;
        let config = SessionConfig::default();
        let session = self.account.create_outbound_session(config, curve25519.0, one_time_key.0);
        self.pair(session.unwrap(), room, stream, to)
    }

    /// The session that an answer begins.
    pub(super) fn receive(
        &mut self,
        room: RoomId,
        stream: StreamRef,
        curve25519: PublicKey,
        answer: &OlmCarrier,
    ) -> Pair {
        let first = Ciphertext::from_parts(answer.message_type.into(), &answer.ciphertext);
        let Ok(Ciphertext::PreKey(first)) = first else { panic!("no first message") };
        let config = SessionConfig::default();
        let made = self.account.create_inbound_session(config, curve25519.0, &first).unwrap();
        let mut pair = self.pair(made.session, room, stream, stream.publisher);
        pair.one_time_key = Some(PublicKey(first.one_time_key()));
        pair.read(&made.plaintext);
        pair
    }

    fn pair(&self, session: Session, room: RoomId, stream: StreamRef, to: DeviceId) -> Pair {
        let place = Place::new(room, stream, self.device, to);
        let message = OlmMessage::Renew(olmcast::protocol::Renew { nonce: 0, ticket: 0 });
        let place = OlmPlaintext { place, message }.encode()[..32].to_vec();
        let head = OlmCarrier {
            recipient: to,
            stream: stream.stream,
            from_publisher: stream.publisher == self.device,
            message_type: 0,
            ciphertext: Vec::new(),
        };
        let head = Some((self.device, head));
        Pair { session: Some(session), place, head, one_time_key: None, received: Vec::new() }
    }
}

impl Pair {
    /// An envelope with any plaintext behind its right place, properly encrypted.
    pub(crate) fn encrypt(&mut self, message: &[u8]) -> Vec<u8> {
        self.encrypt_all(&[&self.place, message].concat())
    }

    /// The same with another place as well.
    pub(crate) fn encrypt_all(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let encrypted = self.session.as_mut().unwrap().encrypt(plaintext).unwrap();
        let (message_type, ciphertext) = encrypted.to_parts();
        let (sender, head) = self.head.clone().unwrap();
        let message_type = u8::try_from(message_type).unwrap();
        let carrier = Carrier::Olm(OlmCarrier { message_type, ciphertext, ..head });
        Envelope { sender, carrier }.encode().unwrap()
    }

    /// Reads what the other side sent; what is of another session is none of its business.
    pub(super) fn hear(&mut self, carrier: &OlmCarrier) {
        let parsed =
            Ciphertext::from_parts(carrier.message_type.into(), &carrier.ciphertext).unwrap();
        if let Some(Ok(plaintext)) = self.session.as_mut().map(|session| session.decrypt(&parsed)) {
            self.read(&plaintext);
        }
    }

    fn read(&mut self, plaintext: &[u8]) {
        self.received.push(OlmPlaintext::decode(plaintext).unwrap().message);
    }

    /// A message as it stands behind its place.
    pub(crate) fn plaintext(&self, message: OlmMessage) -> Vec<u8> {
        let place = serde_json::json!(self.place);
        let place: Place = serde_json::from_value(place).unwrap();
        OlmPlaintext { place, message }.encode()[32..].to_vec()
    }
}

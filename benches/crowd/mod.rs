//! A publisher with any number of subscribers, which are as little as a subscriber can be: an Olm
//! account, and a session.

use std::time::Duration;

use indexmap::IndexMap;
use olmcast::{
    device::Identity,
    endpoint::{Endpoint, Output, Publish, Recipient},
    primitives::{
        Codec, DeviceId, Invite, RoomKeys, Signature, SigningForm, StreamId, StreamRef, Timestamp,
    },
    protocol::{
        Carrier, Envelope, Kind, OlmCarrier, OlmMessage, OlmPlaintext, Place, PublicKey,
        SignedMessage, StreamKey, StreamKeyAck, Subscribe, Unsubscribe,
    },
};
use serde::Serialize;
use vodozemac::olm::{Account, OlmMessage as Ciphertext, Session, SessionConfig};

pub(crate) struct Crowd {
    pub(crate) endpoint: Endpoint,
    pub(crate) stream: StreamId,
    pub(crate) now: Timestamp,
    members: IndexMap<DeviceId, Member>,
    keys: RoomKeys,
    curve25519: PublicKey,
}

/// Longer than any batch gathers.
const GATHERED: Duration = Duration::from_millis(250);
/// Nobody here renews its lease, so a crowd is not used for longer than that.
const GOOD_FOR: Duration = Duration::from_secs(45);

impl Crowd {
    pub(crate) fn of(members: usize) -> Self {
        let keys = Invite::generate("service.test:1").unwrap().room_keys();
        let identity = Identity::generate();
        let curve25519 = identity.curve25519();
        let mut endpoint = Endpoint::with_seed(identity, [1; 32]);
        endpoint.enter(keys.clone());
        let now = Timestamp::from_unix_millis(1_800_000_000_000);
        let publish = Publish::new("camera").track(Codec::Vp8).track(Codec::Opus).with_invite();
        let stream = endpoint.publish(keys.room(), publish, now).unwrap();
        let mut crowd = Self { endpoint, stream, now, members: IndexMap::new(), keys, curve25519 };
        crowd.drain();
        // As many at a time as are let in at once.
        for count in (0..members).step_by(1000).map(|at| (members - at).min(1000)) {
            let newcomers: Vec<_> = (0..count).map(|_| crowd.newcomer()).collect();
            for newcomer in &newcomers {
                let bytes = newcomer.subscribe();
                crowd.endpoint.handle_message(&bytes, crowd.now).unwrap();
            }
            crowd.admit(newcomers);
            crowd.settle();
            crowd.now = crowd.now + Duration::from_secs(1);
        }
        crowd
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Those who were let in, and answer from now on.
    pub(crate) fn admit(&mut self, newcomers: impl IntoIterator<Item = Member>) {
        self.members.extend(newcomers.into_iter().map(|newcomer| (newcomer.device, newcomer)));
    }

    /// Takes any one out.
    pub(crate) fn take_one(&mut self) -> Member {
        self.members.swap_remove_index(0).unwrap().1
    }

    /// Whether its leases run out soon.
    pub(crate) fn is_old(&self) -> bool {
        self.now.since(Timestamp::from_unix_millis(1_800_000_000_000)) > GOOD_FOR
    }

    pub(crate) fn newcomer(&self) -> Member {
        let publisher = self.endpoint.device();
        let stream = StreamRef { publisher, stream: self.stream };
        Member::new(self.keys.clone(), stream, self.curve25519)
    }

    /// Lets what is gathered happen: this is the publisher's work.
    pub(crate) fn work(&mut self) -> Vec<Output> {
        self.now = self.now + GATHERED;
        let mut outputs = Vec::new();
        while self.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
            self.endpoint.handle_timeout(self.now);
            while let Some(output) = self.endpoint.poll_output() {
                outputs.push(output);
            }
        }
        outputs
    }

    /// Lets the members confirm what was sent to them. Only those who were sent something are
    /// looked at: in the publisher's memory there are no others.
    pub(crate) fn confirm(&mut self, outputs: &[Output]) -> Vec<Vec<u8>> {
        let answers = outputs.iter().filter_map(|output| match output {
            Output::Send { to: Recipient::Device(to), bytes } => {
                self.members.get_mut(to)?.confirm(bytes)
            }
            _ => None,
        });
        answers.collect()
    }

    /// All that is under way happens.
    pub(crate) fn settle(&mut self) {
        let outputs = self.work();
        for ack in self.confirm(&outputs) {
            self.endpoint.handle_message(&ack, self.now).unwrap();
        }
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        while self.endpoint.poll_output().is_some() {}
    }
}

pub(crate) struct Member {
    pub(crate) device: DeviceId,
    pub(crate) account: Account,
    one_time_key: PublicKey,
    pub(crate) claim: String,
    keys: RoomKeys,
    stream: StreamRef,
    publisher_curve: PublicKey,
    olm: Option<Session>,
}

impl Member {
    pub(crate) fn new(keys: RoomKeys, stream: StreamRef, publisher_curve: PublicKey) -> Self {
        let mut account = Account::new();
        let device = DeviceId::from_bytes(*account.ed25519_key().as_bytes());
        let one_time_key = PublicKey(account.generate_one_time_keys(1).created[0]);
        let claim = "a name of usual length".to_owned();
        Self { device, account, one_time_key, claim, keys, stream, publisher_curve, olm: None }
    }

    pub(crate) fn room_keys(&self) -> RoomKeys {
        self.keys.clone()
    }

    pub(crate) fn subscribe(&self) -> Vec<u8> {
        let subscribe = Subscribe {
            stream: self.stream.stream,
            curve25519: PublicKey(self.account.curve25519_key()),
            one_time_key: self.one_time_key,
            sequence: 1,
            // Nobody has the name of another.
            name: self.device.to_string(),
            claim: self.claim.clone(),
        };
        self.signed(Kind::Subscribe, &subscribe)
    }

    pub(crate) fn unsubscribe(&self) -> Vec<u8> {
        let unsubscribe = Unsubscribe { stream: self.stream.stream, sequence: 2 };
        self.signed(Kind::Unsubscribe, &unsubscribe)
    }

    fn signed(&self, kind: Kind, message: &impl Serialize) -> Vec<u8> {
        let payload = serde_json::to_vec(message).unwrap();
        let (room, recipient) = (self.keys.room(), Some(self.stream.publisher));
        let form = SigningForm {
            kind: kind.name(),
            room: Some(&room),
            recipient: recipient.as_ref(),
            payload: &payload,
        };
        let signature = Signature::from_bytes(self.account.sign(form.to_bytes()).to_bytes());
        let proof = self.keys.admission_proof(&self.device, &form.to_bytes());
        let message = SignedMessage { kind, room, recipient, payload, signature, proof };
        Envelope { sender: self.device, carrier: Carrier::Signed(message) }.encode().unwrap()
    }

    /// Reads a key, if it is sent one.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Option<StreamKey> {
        let Carrier::Olm(carrier) = Envelope::decode(bytes).unwrap().carrier else { return None };
        let message = usize::from(carrier.message_type);
        let message = Ciphertext::from_parts(message, &carrier.ciphertext).unwrap();
        let plaintext = match (&mut self.olm, &message) {
            (Some(olm), message) => olm.decrypt(message).unwrap(),
            (none, Ciphertext::PreKey(message)) => {
                let (config, curve) = (SessionConfig::default(), self.publisher_curve.0);
                let created = self.account.create_inbound_session(config, curve, message).unwrap();
                *none = Some(created.session);
                created.plaintext
            }
            _ => return None,
        };
        match OlmPlaintext::decode(&plaintext).unwrap().message {
            OlmMessage::StreamKey(key) => Some(key),
            _ => None,
        }
    }

    /// Reads a key and confirms it.
    pub(crate) fn confirm(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let key = self.read(bytes)?;
        let Self { device, stream, keys, .. } = self;
        let place = Place::new(keys.room(), *stream, *device, stream.publisher);
        let ack = OlmMessage::StreamKeyAck(StreamKeyAck { share: key.share, accepted: true });
        let plaintext = OlmPlaintext { place, message: ack }.encode();
        let encrypted = self.olm.as_mut()?.encrypt(&*plaintext).unwrap();
        let (message_type, ciphertext) = encrypted.to_parts();
        let carrier = OlmCarrier {
            recipient: stream.publisher,
            stream: stream.stream,
            from_publisher: false,
            message_type: u8::try_from(message_type).unwrap(),
            ciphertext,
        };
        Some(Envelope { sender: *device, carrier: Carrier::Olm(carrier) }.encode().unwrap())
    }
}

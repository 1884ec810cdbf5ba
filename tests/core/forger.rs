//! A publisher with tools of its own, and the subscriber that asked it for a key.

use std::sync::Arc;

use olmcast::{
    endpoint::{Hoard, MessageError, SubscriptionState},
    media::FrameEncryptor,
    primitives::{
        Codec, DeviceId, Generation, Position, RoomKeys, Secret, Step, StreamId, StreamRef,
        Timestamp,
    },
    protocol::{
        Answers, Beacon, Carrier, Envelope, Kind, OfferHash, OlmCarrier, OlmMessage, OlmPlaintext,
        Place, PublicKey, RosterDigest, RosterHash, SESSION_KEY_LENGTH, StreamKey, StreamOffer,
        Subscribe, TrackOffer,
    },
    sframe::CipherSuite,
};
use vodozemac::{
    megolm::{GroupSession, SessionConfig as MegolmConfig},
    olm::{Account, OlmMessage as Ciphertext, Session, SessionConfig},
};

use crate::{
    network::{Network, VIDEO, invite},
    tools::{Signs, encode, encryptor_under, signed, signed_content},
};

/// What came of a message to the victim.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It says that it took the key.
    Accepted,
    /// It says that it did not.
    Refused,
    /// It says nothing.
    Silent,
    Error(MessageError),
}

/// What a forged key may not change.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VictimState {
    pub(crate) subscription: SubscriptionState,
    sessions: usize,
    events: usize,
    /// Which of the probes open with everything that the victim was ever given.
    opens: Vec<bool>,
}

pub(crate) struct Forger {
    pub(crate) net: Network,
    pub(crate) keys: RoomKeys,
    pub(crate) stream: StreamRef,
    pub(crate) offer: OfferHash,
    pub(crate) account: Account,
    pub(crate) olm: Session,
    pub(crate) victim: DeviceId,
    pub(crate) asked: Subscribe,
    pub(crate) hoard: Hoard,
    /// Frames whose opening is part of the victim's state.
    pub(crate) probes: Vec<Vec<u8>>,
}

pub(crate) fn group_session(index: u32) -> GroupSession {
    let mut session = GroupSession::new(MegolmConfig::default());
    while session.message_index() < index {
        session.encrypt(b"to the next index");
    }
    session
}

pub(crate) fn at(generation: u32, step: u32) -> Position {
    Position { generation: Generation(generation), step: Step::new(step).unwrap() }
}

/// Another one for each version.
pub(crate) fn roster(version: u8) -> RosterDigest {
    let (hash, holders) = (RosterHash([version; 16]), u32::from(version) + 1);
    RosterDigest { version: version.into(), holders, hash }
}

pub(crate) fn session_key(bytes: &[u8]) -> Arc<Secret<SESSION_KEY_LENGTH>> {
    let mut key = [0; SESSION_KEY_LENGTH];
    key[..bytes.len()].copy_from_slice(bytes);
    Arc::new(Secret::from_slice(&key).unwrap())
}

impl Forger {
    pub(crate) fn new() -> Self {
        let (mut net, invite) = (Network::new(), invite());
        let (account, keys) = (Account::new(), invite.room_keys());
        let stream = StreamRef { publisher: account.id(), stream: StreamId::from_bytes([5; 16]) };
        let offer = StreamOffer {
            name: String::new(),
            stream: stream.stream,
            label: "camera".to_owned(),
            tracks: vec![TrackOffer { id: VIDEO, codec: Codec::Vp8, layers: 1 }],
            media: String::new(),
            curve25519: PublicKey(account.curve25519_key()),
            started: Timestamp::default(),
            seq: 1,
        };
        let payload = serde_json::to_vec(&offer).unwrap();
        let envelope = signed(&account, &keys, None, Kind::StreamOffer, &payload);
        let victim = net.device(keys.clone());
        let hoard = net.endpoint(victim).hoard_keys();
        net.deliver(victim, &encode(&envelope));
        let asked = ask(&mut net, victim, stream);
        let olm = outbound(&account, &asked);
        let offer = OfferHash::of(&payload);
        let probes = Vec::new();
        Self { net, keys, stream, offer, account, olm, victim, asked, hoard, probes }
    }

    /// The victim leaves and asks once more, with a new one-time key.
    pub(crate) fn have_victim_ask_again(&mut self) {
        self.net.run(10);
        self.net.unsubscribe(self.victim, self.stream);
        self.asked = ask(&mut self.net, self.victim, self.stream);
        self.olm = outbound(&self.account, &self.asked);
    }

    /// A key as an honest publisher would send it.
    pub(crate) fn key(&self, session: &GroupSession, generation: u32) -> StreamKey {
        StreamKey {
            share: 1,
            position: at(generation, session.message_index()),
            session_key: session_key(&session.session_key().to_bytes()),
            suite: CipherSuite::default(),
            offer: self.offer,
            answers: Answers::OneTimeKey(self.asked.one_time_key),
            roster: roster(0),
        }
    }

    /// The encryptor that goes with that key.
    pub(crate) fn encryptor(&self, session: &GroupSession, generation: u32) -> FrameEncryptor {
        let position = at(generation, session.message_index());
        encryptor_under(session, self.keys.room(), self.stream, position)
    }

    /// Its first frame.
    pub(crate) fn frame(&self, session: &GroupSession, generation: u32) -> Vec<u8> {
        self.encryptor(session, generation).encrypt(&[1; 40]).unwrap()
    }

    /// Takes the session a step on, and says so.
    pub(crate) fn announce(&mut self, session: &mut GroupSession, generation: u32) {
        let Position { generation, step } = at(generation, session.message_index() + 1);
        let stream = self.stream.stream;
        let beacon = Beacon { stream, generation, step, roster: roster(0) };
        let message = session.encrypt(serde_json::to_vec(&beacon).unwrap()).to_bytes();
        let carrier = Carrier::Megolm { stream, message };
        let bytes = encode(&Envelope { sender: self.stream.publisher, carrier });
        assert_eq!(self.deliver(&bytes), Outcome::Silent);
    }

    pub(crate) fn place(&self) -> Place {
        Place::new(self.keys.room(), self.stream, self.stream.publisher, self.victim)
    }

    pub(crate) fn plaintext(&self, key: StreamKey) -> Vec<u8> {
        let message = OlmMessage::StreamKey(key);
        OlmPlaintext { place: self.place(), message }.encode().to_vec()
    }

    pub(crate) fn envelope(&self, ciphertext: &Ciphertext) -> Envelope {
        let (message_type, ciphertext) = ciphertext.to_parts();
        self.envelope_of(u8::try_from(message_type).unwrap(), ciphertext)
    }

    pub(crate) fn envelope_of(&self, message_type: u8, ciphertext: Vec<u8>) -> Envelope {
        let carrier = Carrier::Olm(OlmCarrier {
            recipient: self.victim,
            stream: self.stream.stream,
            from_publisher: true,
            message_type,
            ciphertext,
        });
        Envelope { sender: self.stream.publisher, carrier }
    }

    pub(crate) fn deliver(&mut self, bytes: &[u8]) -> Outcome {
        let (errors, sent) = (self.net.nodes[&self.victim].errors.len(), self.net.log.len());
        self.net.deliver(self.victim, bytes);
        if let Some(error) = self.net.nodes[&self.victim].errors.get(errors) {
            return Outcome::Error(*error);
        }
        match self.heard(sent).into_iter().next() {
            Some(OlmMessage::StreamKeyAck(ack)) if ack.accepted => Outcome::Accepted,
            Some(OlmMessage::StreamKeyAck(_)) => Outcome::Refused,
            _ => Outcome::Silent,
        }
    }

    /// What the victim has said under Olm since so many messages. Read with a copy of the session,
    /// so that the forger can go on as if it had heard nothing.
    pub(crate) fn heard(&self, since: usize) -> Vec<OlmMessage> {
        let mut olm = Session::from_pickle(self.olm.pickle());
        let mut read = |bytes: &[u8]| {
            let Carrier::Olm(carrier) = Envelope::decode(bytes).ok()?.carrier else { return None };
            let kind = usize::from(carrier.message_type);
            let message = Ciphertext::from_parts(kind, &carrier.ciphertext).ok()?;
            Some(OlmPlaintext::decode(&olm.decrypt(&message).ok()?)?.message)
        };
        self.net.log[since..].iter().filter_map(|(_, _, bytes)| read(bytes)).collect()
    }

    /// Sends a plaintext under the Olm session.
    pub(crate) fn send(&mut self, plaintext: &[u8]) -> Outcome {
        let encrypted = self.olm.encrypt(plaintext).unwrap();
        let bytes = encode(&self.envelope(&encrypted));
        self.deliver(&bytes)
    }

    pub(crate) fn send_key(&mut self, key: StreamKey) -> Outcome {
        let plaintext = self.plaintext(key);
        self.send(&plaintext)
    }

    pub(crate) fn state(&mut self) -> VictimState {
        let opens = |probe: &Vec<u8>| self.hoard.try_open(Codec::Vp8, VIDEO, probe).is_some();
        let opens = self.probes.iter().map(opens).collect();
        VictimState {
            subscription: self.net.endpoint(self.victim).subscription(self.stream).unwrap(),
            sessions: self.hoard.sessions(),
            events: self.net.nodes[&self.victim].events.len(),
            opens,
        }
    }

    pub(crate) fn position(&mut self) -> Option<Position> {
        self.state().subscription.position
    }

    /// Does something that must come to `expected` and change nothing.
    pub(crate) fn expect(
        &mut self,
        what: &str,
        expected: Outcome,
        attack: impl FnOnce(&mut Self) -> Outcome,
    ) {
        let before = self.state();
        assert_eq!(attack(self), expected, "{what}");
        assert_eq!(self.state(), before, "{what}");
    }
}

fn ask(net: &mut Network, victim: DeviceId, stream: StreamRef) -> Subscribe {
    let (offer, now) = (net.offer(victim, stream).bytes, net.time());
    net.endpoint(victim).subscribe(&offer, "", now).unwrap();
    net.flush(victim);
    let asked = |(_, _, bytes): &(_, _, Vec<u8>)| signed_content(bytes, Kind::Subscribe);
    net.log.iter().rev().find_map(asked).unwrap()
}

pub(crate) fn outbound(account: &Account, asked: &Subscribe) -> Session {
    let (curve, one_time_key) = (asked.curve25519.0, asked.one_time_key.0);
    account.create_outbound_session(SessionConfig::default(), curve, one_time_key).unwrap()
}

//! A publisher with tools of its own, and what it can make a subscriber take for a key.

use std::sync::Arc;

use olmcast::{
    endpoint::Hoard,
    primitives::{
        Codec, DeviceId, Generation, Invite, Position, RoomKeys, Secret, Signature, SigningForm,
        Step, StreamId, StreamRef, Timestamp,
    },
    protocol::{
        Answers, Beacon, Carrier, Envelope, Kind, OfferHash, OlmCarrier, OlmMessage, OlmPlaintext,
        Place, PublicKey, SESSION_KEY_LENGTH, SignedMessage, StreamKey, StreamOffer, Subscribe,
        TrackOffer,
    },
    sframe::CipherSuite,
};
use vodozemac::{
    megolm::{GroupSession, SessionConfig as MegolmConfig},
    olm::{Account, Session, SessionConfig},
};

use crate::network::{Network, VIDEO, invite};

/// The forger, and the subscriber that asked it for a key.
struct Forger {
    net: Network,
    keys: RoomKeys,
    stream: StreamRef,
    offer: OfferHash,
    olm: Session,
    victim: DeviceId,
    asked: Subscribe,
    hoard: Hoard,
}

fn sent<T: serde::de::DeserializeOwned>(bytes: &[u8], kind: Kind) -> Option<T> {
    match Envelope::decode(bytes).ok()?.carrier {
        Carrier::Signed(signed) if signed.kind == kind => {
            serde_json::from_slice(&signed.payload).ok()
        }
        _ => None,
    }
}

impl Forger {
    fn new() -> Self {
        let (mut net, invite): (_, Invite) = (Network::new(), invite());
        let (account, keys) = (Account::new(), invite.room_keys());
        let publisher = DeviceId::from_bytes(*account.ed25519_key().as_bytes());
        let stream = StreamRef { publisher, stream: StreamId::from_bytes([5; 16]) };
        let offer = StreamOffer {
            stream: stream.stream,
            label: "camera".to_owned(),
            tracks: vec![TrackOffer { id: VIDEO, codec: Codec::Vp8, layers: 1 }],
            media: String::new(),
            curve25519: PublicKey(account.curve25519_key()),
            started: Timestamp::default(),
            seq: 1,
        };
        let payload = serde_json::to_vec(&offer).unwrap();
        let offer = OfferHash::of(&payload);
        let room = keys.room();
        let kind = Kind::StreamOffer;
        let form = SigningForm {
            kind: kind.name(),
            room: Some(&room),
            recipient: None,
            payload: &payload,
        };
        let signature = Signature::from_bytes(account.sign(form.to_bytes()).to_bytes());
        let proof = keys.admission_proof(&publisher, &form.to_bytes());
        let signed = SignedMessage { kind, room, recipient: None, payload, signature, proof };
        let envelope = Envelope { sender: publisher, carrier: Carrier::Signed(signed) };

        let victim = net.device(keys.clone());
        let hoard = net.endpoint(victim).hoard_keys();
        let now = net.time();
        net.endpoint(victim).subscribe(&envelope.encode().unwrap(), "", now).unwrap();
        net.flush(victim);
        let asked: Subscribe =
            net.log.iter().find_map(|(_, _, bytes)| sent(bytes, Kind::Subscribe)).unwrap();
        let (curve, one_time_key) = (asked.curve25519.0, asked.one_time_key.0);
        let config = SessionConfig::default();
        let olm = account.create_outbound_session(config, curve, one_time_key).unwrap();
        Self { net, keys, stream, offer, olm, victim, asked, hoard }
    }

    /// A key as an honest publisher would send it.
    fn key(&self, session: &GroupSession, generation: u32) -> StreamKey {
        StreamKey {
            share: 1,
            position: Position {
                generation: Generation(generation),
                step: Step::new(session.message_index()).unwrap(),
            },
            session_key: session_key(&session.session_key().to_bytes()),
            suite: CipherSuite::default(),
            offer: self.offer,
            answers: Answers::OneTimeKey(self.asked.one_time_key),
        }
    }

    fn place(&self) -> Place {
        Place::new(self.keys.room(), self.stream, self.stream.publisher, self.victim)
    }

    fn plaintext(&self, key: StreamKey) -> OlmPlaintext {
        OlmPlaintext { place: self.place(), message: OlmMessage::StreamKey(key) }
    }

    /// Sends a plaintext under the Olm session, and says how many keys the victim has then.
    fn send(&mut self, plaintext: &[u8]) -> usize {
        let encrypted = self.olm.encrypt(plaintext).unwrap();
        let (message_type, ciphertext) = encrypted.to_parts();
        let carrier = Carrier::Olm(OlmCarrier {
            recipient: self.victim,
            stream: self.stream.stream,
            from_publisher: true,
            message_type: u8::try_from(message_type).unwrap(),
            ciphertext,
        });
        let sender = self.stream.publisher;
        let bytes = Envelope { sender, carrier }.encode().unwrap();
        self.net.deliver(self.victim, &bytes);
        self.hoard.sessions()
    }

    fn send_key(&mut self, key: StreamKey) -> usize {
        let plaintext = self.plaintext(key);
        self.send(&plaintext.encode())
    }

    fn position(&mut self) -> Option<Position> {
        self.net.endpoint(self.victim).subscription(self.stream).unwrap().position
    }
}

fn session_key(bytes: &[u8]) -> Arc<Secret<SESSION_KEY_LENGTH>> {
    let mut key = [0; SESSION_KEY_LENGTH];
    key[..bytes.len()].copy_from_slice(bytes);
    Arc::new(Secret::from_slice(&key).unwrap())
}

#[test]
fn a_key_that_is_wrong_in_one_place_is_not_taken() {
    let mut forger = Forger::new();
    let mut session = GroupSession::new(MegolmConfig::default());
    session.encrypt(b"to index 1");
    let other = DeviceId::from_bytes(*Account::new().ed25519_key().as_bytes());
    let good = forger.key(&session, 1);
    let step = |step| Position { generation: Generation(1), step: Step::new(step).unwrap() };
    let (us, room, stream) = (forger.victim, forger.keys.room(), forger.stream);
    let altered = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = session.session_key().to_bytes();
        change(&mut bytes);
        session_key(&bytes)
    };
    let keys = [
        ("offer", StreamKey { offer: OfferHash::of(b"another"), ..good.clone() }),
        ("answers", StreamKey { answers: Answers::Request(0), ..good.clone() }),
        ("step before", StreamKey { position: step(0), ..good.clone() }),
        ("step after", StreamKey { position: step(2), ..good.clone() }),
        ("signature", StreamKey { session_key: altered(&|key| key[228] ^= 1), ..good.clone() }),
        ("ratchet", StreamKey { session_key: altered(&|key| key[50] ^= 1), ..good.clone() }),
        ("version", StreamKey { session_key: altered(&|key| key[0] = 1), ..good.clone() }),
        (
            "exported",
            StreamKey {
                // The same ratchet without a signature, as `ExportedSessionKey` has it.
                session_key: altered(&|key| {
                    key.truncate(key.len() - 64);
                    key[0] = 1;
                }),
                ..good.clone()
            },
        ),
    ];
    for (what, key) in keys {
        assert_eq!(forger.send_key(key), 0, "{what}");
        assert_eq!(forger.position(), None);
    }
    let elsewhere = StreamRef { stream: StreamId::from_bytes([6; 16]), ..stream };
    let places = [
        Place::new(room, stream, stream.publisher, other),
        Place::new(room, stream, other, us),
        Place::new(room, elsewhere, stream.publisher, us),
        Place::new(invite().room(), stream, stream.publisher, us),
    ];
    for place in places {
        let message = OlmMessage::StreamKey(good.clone());
        assert_eq!(forger.send(&OlmPlaintext { place, message }.encode()), 0);
        assert_eq!(forger.position(), None);
    }
    assert_eq!(forger.send_key(good), 1, "and only the right one is");
    assert_eq!(
        forger.position().map(|at| (at.generation, at.step.get())),
        Some((Generation(1), 1))
    );
}

#[test]
fn a_generation_is_taken_once_and_only_forwards() {
    let mut forger = Forger::new();
    let (first, second) =
        (GroupSession::new(MegolmConfig::default()), GroupSession::new(MegolmConfig::default()));
    assert_eq!(forger.send_key(forger.key(&first, 5)), 1);
    let held = forger.position();
    for (session, generation) in [(&second, 5), (&first, 6), (&first, 4)] {
        assert_eq!(forger.send_key(forger.key(session, generation)), 1, "{generation}");
        assert_eq!(forger.position(), held);
    }
    // The same again is no news, and a later generation is.
    assert_eq!(forger.send_key(forger.key(&first, 5)), 1);
    assert_eq!(forger.send_key(forger.key(&second, 7)), 2);
    let held = forger.position();
    // One of before may come late, to a newcomer; the stream does not fall back to it.
    let late = GroupSession::new(MegolmConfig::default());
    assert_eq!(forger.send_key(forger.key(&late, 6)), 3);
    assert_eq!(forger.position(), held);
    // Once they have expired they stay so.
    forger.net.run(5000);
    for generation in [4, 5, 6] {
        let session = GroupSession::new(MegolmConfig::default());
        assert_eq!(forger.send_key(forger.key(&session, generation)), 3);
    }
}

#[test]
fn a_beacon_for_another_stream_generation_or_step_moves_nothing() {
    let mut forger = Forger::new();
    let mut session = GroupSession::new(MegolmConfig::default());
    forger.send_key(forger.key(&session, 1));
    let step = |step| Step::new(step).unwrap();
    let stream = forger.stream.stream;
    let other = StreamId::from_bytes([6; 16]);
    // The index is 0, 1, 2 and 3 in turn, so the steps to come are 1, 2, 3 and 4.
    let wrong = [
        Beacon { stream: other, generation: Generation(1), step: step(1) },
        Beacon { stream, generation: Generation(2), step: step(2) },
        Beacon { stream, generation: Generation(1), step: step(4095) },
        Beacon { stream, generation: Generation(1), step: step(3) },
    ];
    let held = forger.position();
    let sender = forger.stream.publisher;
    let send = |forger: &mut Forger, session: &mut GroupSession, beacon: &Beacon| {
        let message = session.encrypt(serde_json::to_vec(beacon).unwrap()).to_bytes();
        let carrier = Carrier::Megolm { stream, message };
        let bytes = Envelope { sender, carrier }.encode().unwrap();
        forger.net.deliver(forger.victim, &bytes);
        forger.position()
    };
    for beacon in &wrong {
        assert_eq!(send(&mut forger, &mut session, beacon), held, "{beacon:?}");
    }
    let right = Beacon { stream, generation: Generation(1), step: step(5) };
    assert_ne!(send(&mut forger, &mut session, &right), held);
    // And nobody else can make one.
    let mut stranger = GroupSession::new(MegolmConfig::default());
    let held = forger.position();
    let forged = Beacon { stream, generation: Generation(1), step: step(1) };
    assert_eq!(send(&mut forger, &mut stranger, &forged), held);
}

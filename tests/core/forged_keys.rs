//! A publisher with tools of its own, and what it can make a subscriber take for a key.

use olmcast::{
    endpoint::Hoard,
    primitives::{
        Codec, DeviceId, Generation, Invite, Position, RoomKeys, Signature, SigningForm, Step,
        StreamId, StreamRef, Timestamp,
    },
    protocol::{
        Answers, Beacon, Carrier, Envelope, Kind, OlmCarrier, OlmMessage, OlmPlaintext, PublicKey,
        SignedMessage, StreamKey, StreamOffer, Subscribe, TrackOffer,
    },
    sframe::CipherSuite,
};
use serde_json::{Value, json};
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
    offer: StreamOffer,
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
        let signed = SignedMessage { kind, recipient: None, payload, signature, proof };
        let envelope = Envelope { sender: publisher, room, carrier: Carrier::Signed(signed) };

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
            stream: self.stream.stream,
            position: Position {
                generation: Generation(generation),
                step: Step::new(session.message_index()).unwrap(),
            },
            session_key: session.session_key(),
            suite: CipherSuite::default(),
            offer: self.offer.clone(),
            answers: Answers::OneTimeKey(self.asked.one_time_key),
        }
    }

    fn plaintext(&self, key: StreamKey) -> OlmPlaintext {
        OlmPlaintext {
            room: self.keys.room(),
            sender: self.stream.publisher,
            recipient: self.victim,
            message: OlmMessage::StreamKey(Box::new(key)),
        }
    }

    /// Sends a plaintext under the Olm session, and says how many keys the victim has then.
    fn send(&mut self, plaintext: &Value) -> usize {
        let encrypted = self.olm.encrypt(serde_json::to_vec(plaintext).unwrap()).unwrap();
        let (message_type, ciphertext) = encrypted.to_parts();
        let carrier = Carrier::Olm(OlmCarrier {
            recipient: self.victim,
            stream: self.stream,
            message_type: u8::try_from(message_type).unwrap(),
            ciphertext,
        });
        let (sender, room) = (self.stream.publisher, self.keys.room());
        let bytes = Envelope { sender, room, carrier }.encode().unwrap();
        self.net.deliver(self.victim, &bytes);
        self.hoard.sessions()
    }

    fn send_key(&mut self, key: StreamKey) -> usize {
        let plaintext = serde_json::to_value(self.plaintext(key)).unwrap();
        self.send(&plaintext)
    }

    fn position(&mut self) -> Option<Position> {
        self.net.endpoint(self.victim).subscription(self.stream).unwrap().position
    }
}

/// Sets a field deep in a JSON value.
fn set(value: &Value, path: &str, to: Value) -> Value {
    let mut value = value.clone();
    *value.pointer_mut(path).unwrap() = to;
    value
}

#[test]
fn a_key_that_is_wrong_in_one_place_is_not_taken() {
    let mut forger = Forger::new();
    let mut session = GroupSession::new(MegolmConfig::default());
    session.encrypt(b"to index 1");
    let other = Account::new();
    let other_device = DeviceId::from_bytes(*other.ed25519_key().as_bytes());
    let other_curve = serde_json::to_value(PublicKey(other.curve25519_key())).unwrap();
    let other_stream = json!(StreamId::from_bytes([6; 16]));
    let good = serde_json::to_value(forger.plaintext(forger.key(&session, 1))).unwrap();

    // The same ratchet without a signature, as `ExportedSessionKey` has it.
    let exported = {
        let mut bytes = session.session_key().to_bytes();
        bytes.truncate(bytes.len() - 64);
        bytes[0] = 1;
        vodozemac::base64_encode(bytes)
    };
    let badly_signed = {
        let mut bytes = session.session_key().to_bytes();
        *bytes.last_mut().unwrap() ^= 1;
        vodozemac::base64_encode(bytes)
    };
    let content = |field: &str| format!("/message/content/{field}");
    let wrong: Vec<(String, Value)> = vec![
        ("/recipient".to_owned(), json!(other_device)),
        ("/sender".to_owned(), json!(other_device)),
        ("/room".to_owned(), json!(invite().room())),
        ("/message/kind".to_owned(), json!("Renewed")),
        ("/message/kind".to_owned(), json!("Later")),
        (content("stream"), other_stream.clone()),
        (content("offer/stream"), other_stream),
        (content("offer/curve25519"), other_curve.clone()),
        (content("offer/seq"), json!(0)),
        (content("answers"), json!({ "one_time_key": other_curve })),
        (content("answers"), json!({ "request": 0 })),
        (content("answers"), json!({ "request": 1 })),
        (content("position/step"), json!(0)),
        (content("position/step"), json!(2)),
        (content("position/step"), json!(4096)),
        (content("position/step"), json!(-1)),
        (content("position/generation"), json!(u64::from(u32::MAX) + 1)),
        (content("suite"), json!(1)),
        (content("suite"), json!(3)),
        (content("suite"), json!(6)),
        (content("session_key"), json!(exported)),
        (content("session_key"), json!(badly_signed)),
        (content("session_key"), json!("")),
        (content("session_key"), json!(7)),
    ];
    for (path, to) in wrong {
        assert_eq!(forger.send(&set(&good, &path, to.clone())), 0, "{path} = {to}");
        assert_eq!(forger.position(), None);
    }
    assert_eq!(forger.send(&good), 1, "and only the right one is");
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
    for (session, generation) in [(&second, 5), (&second, 4), (&first, 6), (&first, 4)] {
        assert_eq!(forger.send_key(forger.key(session, generation)), 1, "{generation}");
        assert_eq!(forger.position(), held);
    }
    // The same again is no news, and a later generation is.
    assert_eq!(forger.send_key(forger.key(&first, 5)), 1);
    assert_eq!(forger.send_key(forger.key(&second, 6)), 2);
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
    let (sender, room) = (forger.stream.publisher, forger.keys.room());
    let send = |forger: &mut Forger, session: &mut GroupSession, beacon: &Beacon| {
        let message = session.encrypt(serde_json::to_vec(beacon).unwrap()).to_bytes();
        let carrier = Carrier::Megolm { stream, message };
        let bytes = Envelope { sender, room, carrier }.encode().unwrap();
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

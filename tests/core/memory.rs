//! What a subscriber has forgotten is nowhere in its memory: neither where it was kept, nor where
//! it came by. The subscriber is a process of its own, which searches itself; all that it could
//! have of the publisher's is what it was sent.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use olmcast::{
    device::Identity,
    endpoint::{Endpoint, Output},
    primitives::{Codec, DeviceId, Invite, Position, Step, StreamId, StreamRef, Timestamp},
    protocol::{
        Answers, Beacon, Carrier, Envelope, Kind, OfferHash, OlmCarrier, OlmMessage, OlmPlaintext,
        Place, PublicKey, StreamKey, StreamOffer, Subscribe, TrackOffer,
    },
    sframe::CipherSuite,
};
use vodozemac::{megolm::GroupSession, olm::Account};

use crate::{
    forger::{at, group_session, outbound, session_key},
    network::{VIDEO, invite},
    searched::{masked, search},
    tools::{Signs, base_key_under, encode, encryptor_under, signed, signed_content},
};

/// Set for the process that searches itself.
const SEARCHED: &str = "OLMCAST_TEST_SEARCHES_ITSELF";
const START: u64 = 1_800_000_000_000;

struct Link<R, W> {
    from: R,
    to: W,
}

impl<R: BufRead, W: Write> Link<R, W> {
    fn send(&mut self, bytes: &[u8]) {
        writeln!(self.to, "@{}", STANDARD.encode(bytes)).unwrap();
        self.to.flush().unwrap();
    }

    /// The next line that is meant for us; the test harness prints others.
    fn receive(&mut self) -> Vec<u8> {
        loop {
            let mut line = String::new();
            assert!(self.from.read_line(&mut line).unwrap() > 0, "the other side is gone");
            if let Some((_, text)) = line.trim().split_once('@') {
                return STANDARD.decode(text).unwrap();
            }
        }
    }
}

#[test]
#[ignore = "the other test runs it, in a process of its own"]
fn the_searched_process() {
    env::var(SEARCHED).expect("run by another test");
    let mut link = Link { from: std::io::stdin().lock(), to: std::io::stdout() };
    let invite: Invite = String::from_utf8(link.receive()).unwrap().parse().unwrap();
    let mut endpoint = Endpoint::with_seed(Identity::generate(), [7; 32]);
    endpoint.enter(invite.room_keys());
    let at = |ms| Timestamp::from_unix_millis(START + ms);
    let stream = endpoint.subscribe(&link.receive(), "", at(0)).unwrap();
    let Some(Output::Send { bytes, .. }) = endpoint.poll_output() else { panic!() };
    link.send(&bytes);
    endpoint.handle_message(&link.receive(), at(0)).unwrap();
    let mut decryptor = endpoint.decryptor(stream, VIDEO).unwrap();
    let mut open = |wire: Vec<u8>, now| decryptor.decrypt(&wire, now).is_ok();
    assert!(open(link.receive(), at(0)));
    let needles: Vec<_> = (0..3).map(|_| link.receive()).collect();
    let before = search(&needles);
    endpoint.handle_message(&link.receive(), at(100)).unwrap();
    assert!(open(link.receive(), at(100)));
    for ms in (200..5000).step_by(100) {
        endpoint.handle_timeout(at(ms));
        while endpoint.poll_output().is_some() {}
    }
    assert!(!open(link.receive(), at(5000)), "the step has expired");
    let after = search(&needles);
    for counts in [before, after] {
        link.send(&counts.iter().map(|count| u8::try_from(*count).unwrap()).collect::<Vec<_>>());
    }
}

/// An honest publisher's part, made of nothing but the specification.
struct Publisher {
    account: Account,
    invite: Invite,
    stream: StreamRef,
    session: GroupSession,
}

impl Publisher {
    fn new() -> Self {
        let account = Account::new();
        let stream = StreamRef { publisher: account.id(), stream: StreamId::from_bytes([5; 16]) };
        Self { account, invite: invite(), stream, session: group_session(0) }
    }

    fn position(&self) -> Position {
        at(0, self.session.message_index())
    }

    fn offer(&self) -> Vec<u8> {
        let offer = StreamOffer {
            name: String::new(),
            stream: self.stream.stream,
            label: "camera".to_owned(),
            tracks: vec![TrackOffer { id: VIDEO, codec: Codec::Vp8, layers: 1 }],
            media: String::new(),
            curve25519: PublicKey(self.account.curve25519_key()),
            started: Timestamp::default(),
            seq: 1,
        };
        serde_json::to_vec(&offer).unwrap()
    }

    fn key(&self, subscriber: DeviceId, asked: &Subscribe) -> Vec<u8> {
        let message = OlmMessage::StreamKey(StreamKey {
            share: 1,
            position: self.position(),
            session_key: session_key(&self.session.session_key().to_bytes()),
            suite: CipherSuite::default(),
            offer: OfferHash::of(&self.offer()),
            answers: Answers::OneTimeKey(asked.one_time_key),
            roster: crate::forger::roster(0),
        });
        let (room, publisher) = (self.invite.room(), self.stream.publisher);
        let place = Place::new(room, self.stream, publisher, subscriber);
        let plaintext = OlmPlaintext { place, message }.encode();
        let sealed = outbound(&self.account, asked).encrypt(&*plaintext).unwrap();
        let (message_type, ciphertext) = sealed.to_parts();
        let carrier = Carrier::Olm(OlmCarrier {
            recipient: subscriber,
            stream: self.stream.stream,
            from_publisher: true,
            message_type: u8::try_from(message_type).unwrap(),
            ciphertext,
        });
        encode(&Envelope { sender: publisher, carrier })
    }

    fn step(&mut self) -> Vec<u8> {
        let Position { generation, step } = self.position();
        let step = Step::new(u32::from(step.get()) + 1).unwrap();
        let stream = self.stream.stream;
        let beacon = Beacon { stream, generation, step, roster: crate::forger::roster(0) };
        let message = self.session.encrypt(serde_json::to_vec(&beacon).unwrap()).to_bytes();
        encode(&Envelope {
            sender: self.stream.publisher,
            carrier: Carrier::Megolm { stream, message },
        })
    }

    /// The part of the ratchet that every step changes, and the video track's base key.
    fn secrets(&self) -> [Vec<u8>; 2] {
        let ratchet = self.session.session_key().to_bytes()[101..133].to_vec();
        let room = self.invite.room();
        let base_key = base_key_under(&self.session, room, self.stream, self.position());
        [ratchet, base_key.to_vec()]
    }
}

#[test]
fn no_secret_of_a_past_step_is_left_in_a_subscribers_memory() {
    let mut process = Command::new(env::current_exe().unwrap())
        .args(["--exact", "memory::the_searched_process", "--ignored", "--nocapture"])
        .env(SEARCHED, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let from = BufReader::new(process.stdout.take().unwrap());
    let mut link = Link { from, to: process.stdin.take().unwrap() };
    let mut publisher = Publisher::new();
    let keys = publisher.invite.room_keys();
    link.send(publisher.invite.to_link().as_bytes());
    let offer = publisher.offer();
    link.send(&encode(&signed(&publisher.account, &keys, None, Kind::StreamOffer, &offer)));
    let bytes = link.receive();
    let subscriber = Envelope::decode(&bytes).unwrap().sender;
    let asked: Subscribe = signed_content(&bytes, Kind::Subscribe).unwrap();

    link.send(&publisher.key(subscriber, &asked));
    let encryptor = |publisher: &Publisher| {
        let room = publisher.invite.room();
        encryptor_under(&publisher.session, room, publisher.stream, publisher.position())
    };
    let mut first = encryptor(&publisher);
    link.send(&first.encrypt(&[1; 40]).unwrap());
    let [ratchet, base_key] = publisher.secrets();
    let beacon = publisher.step();
    let [next_ratchet, _] = publisher.secrets();
    for secret in [&ratchet, &base_key, &next_ratchet] {
        link.send(&masked(secret));
    }
    link.send(&beacon);
    link.send(&encryptor(&publisher).encrypt(&[1; 40]).unwrap());
    link.send(&first.encrypt(&[1; 40]).unwrap());
    let (before, after) = (link.receive(), link.receive());
    assert!(process.wait().unwrap().success());
    let counts = format!("ratchet, base key, next ratchet: {before:?}, then {after:?}");
    assert!(before[0] > 0, "the search finds what is there: {counts}");
    assert!(after[2] > 0, "the search finds what is there: {counts}");
    assert_eq!(after[..2], [0, 0], "{counts}");
}

//! What is secret stands in nothing that is printed.

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use olmcast::{
    device::Identity,
    endpoint::{Admission, MessageError, Publish},
    media::{FrameDecryptor, FrameEncryptor, HoldQueue, hazmat},
    primitives::{Codec, Invite, RoomKeys, Secret},
    protocol::{Envelope, OlmMessage, OlmPlaintext},
    sframe::{BaseKey, CipherSuite, DecryptError, Header, KeyId, OpenKey, SealKey},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::{
    forger::{Forger, Outcome, group_session},
    network::{Room, VIDEO},
    visitor::Visitor,
};

/// Every way in which bytes are usually written.
fn written(secret: &[u8]) -> Vec<String> {
    let hex = |upper: bool, between: &str| {
        let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        secret.iter().map(digits).collect::<Vec<_>>().join(between)
    };
    let decimal =
        |between: &str| secret.iter().map(u8::to_string).collect::<Vec<_>>().join(between);
    let mut written: Vec<_> = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
        .map(|form| form.encode(secret))
        .into();
    written.extend(["", " ", ":", ", "].into_iter().flat_map(|b| [hex(false, b), hex(true, b)]));
    written.extend([", ", ",", " "].map(decimal));
    // Behind other bytes, base64 begins elsewhere in a byte.
    for before in 1..3 {
        let shifted = [&vec![0; before][..], secret].concat();
        for form in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = form.encode(&shifted);
            written.push(text[4..text.len() - 2].to_owned());
        }
    }
    written
}

/// Any eight bytes of a secret in a row are too many.
fn assert_hidden(printed: &str, secrets: &[(&str, Vec<u8>)]) {
    for (what, secret) in secrets {
        assert!(secret.len() >= 16, "{what}");
        for part in secret.chunks_exact(8) {
            for form in written(part) {
                assert!(!printed.contains(&form), "{what} is printed: {form}");
            }
        }
        let raw = String::from_utf8_lossy(secret);
        assert!(!printed.contains(&*raw), "{what} is printed as it is");
    }
}

#[test]
fn the_search_finds_what_it_searches_for() {
    let secret: Vec<u8> = (100..132).collect();
    let secrets = [("a secret", secret.clone())];
    let shown = [
        format!("{secret:?}"),
        format!("{secret:02x?}"),
        format!("{secret:02X?}"),
        STANDARD.encode(&secret),
        URL_SAFE_NO_PAD.encode([&[1][..], &secret].concat()),
        URL_SAFE_NO_PAD.encode([&[1, 2][..], &secret].concat()),
        secret.iter().map(|byte| format!("{byte:02x}")).collect(),
    ];
    for shown in shown {
        let found = std::panic::catch_unwind(|| assert_hidden(&shown, &secrets));
        assert!(found.is_err(), "{shown}");
    }
    assert_hidden("nothing of it", &secrets);
}

/// Takes down all that is traced, at every level and of every target.
#[derive(Clone, Default)]
struct Transcript(Arc<Mutex<String>>);

impl Visit for Transcript {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field} {value:?} {value:#?}").unwrap();
    }
}

impl Subscriber for Transcript {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Transcript {
    fn note(&self, shown: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{shown:?} {shown:#?}").unwrap();
    }

    fn note_error(&self, error: &(impl std::error::Error + ?Sized)) {
        writeln!(self.0.lock().unwrap(), "{error} {error:?}").unwrap();
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// The invite's secret, as it stands in its link, and what follows from it.
fn secrets_of(invite: &Invite) -> Vec<(&'static str, Vec<u8>)> {
    let link = invite.to_link();
    let secret = URL_SAFE_NO_PAD.decode(link.split_once('#').unwrap().1).unwrap();
    let expand = |info: &[u8]| {
        let mut key = vec![0; 32];
        hkdf::Hkdf::<sha2::Sha256>::new(None, &secret).expand(info, &mut key).unwrap();
        key
    };
    let mut admission = Vec::new();
    for part in [&b"olmcast/1 admission"[..], invite.room().as_bytes()] {
        olmcast::primitives::length_prefixed(&mut admission, part);
    }
    let (door, admission) = (expand(b"olmcast/1 door key"), expand(&admission));
    vec![("the invite", secret), ("the door", door), ("the admission key", admission)]
}

/// What a stream's key message gives away to whoever may read it.
fn secrets_of_key(message: &OlmMessage) -> Vec<(&'static str, Vec<u8>)> {
    let OlmMessage::StreamKey(key) = message else { panic!() };
    let bytes = key.session_key.expose();
    vec![("the ratchet", bytes[5..133].to_vec()), ("the signature", bytes[165..].to_vec())]
}

#[test]
fn neither_logs_nor_debug_output_of_a_whole_run_show_a_secret() {
    let transcript = Transcript::default();
    let mut secrets = Vec::new();
    tracing::subscriber::with_default(transcript.clone(), || {
        tracing::trace!(proof = "that it listens");
        let mut room = Room::with(3);
        let (stream, invite) = (room.stream, room.invite.clone());
        secrets.extend(secrets_of(&invite));
        let visitor = Visitor::join(&mut room);
        secrets.extend(secrets_of_key(&visitor.heard[0]));
        transcript.note(&visitor.heard);
        let plaintext = visitor.plaintext(visitor.heard[0].clone());
        transcript.note(&OlmPlaintext::decode(&plaintext));
        // Frames, a leave, a kick, renewals, errors.
        for device in room.subscribers.clone() {
            assert!(room.reads(device));
        }
        let [a, b, c] = room.subscribers[..] else { panic!() };
        room.net.unsubscribe(c, stream);
        room.net.run(3000);
        let late = Visitor::join(&mut room);
        secrets.extend(secrets_of_key(&late.heard[0]));
        room.net.kick(stream, b);
        room.net.run(25_000);
        let log = room.net.log.clone();
        for (_, _, bytes) in &log {
            for at in (0..bytes.len()).step_by(31) {
                let mut altered = bytes.clone();
                altered[at] ^= 1;
                room.net.deliver(a, &altered);
                room.net.deliver(stream.publisher, &altered);
            }
            transcript.note(&Envelope::decode(bytes));
        }
        let wire = room.net.frame(stream);
        for length in 0..wire.len() {
            if let Err(error) = room.net.opens(a, stream, &wire[..length]) {
                transcript.note_error(&error);
            }
        }
        for node in room.net.nodes.values() {
            node.errors.iter().for_each(|error: &MessageError| transcript.note_error(error));
            transcript.note(&node.events);
            transcript.note(&node.errors);
            transcript.note(&node.endpoint);
        }
        for device in [a, stream.publisher] {
            let endpoint = room.net.endpoint(device);
            transcript.note(&endpoint.subscription(stream));
            transcript.note(&endpoint.holders(stream.stream));
            transcript.note(&endpoint.tracks(stream.stream));
            transcript.note(&endpoint.signer());
        }
        transcript.note(&room.hoards);
        transcript.note(&room.net.encryptor(stream));
        transcript.note(&room.net.decryptor(a, stream));
        transcript.note(&(&invite, invite.room_keys(), invite.door_key().unwrap()));
    });
    let printed = transcript.text();
    assert!(printed.contains("that it listens"));
    assert!(printed.len() > 10_000, "there was something to search");
    assert_eq!(secrets.len(), 7);
    assert_hidden(&printed, &secrets);
}

#[test]
fn debug_output_of_whatever_holds_a_key_shows_none() {
    let transcript = Transcript::default();
    let secret = Secret::<32>::fill(|bytes| bytes.iter_mut().zip(101..).for_each(|(b, n)| *b = n));
    let suite = CipherSuite::default();
    let bytes = secret.expose().to_vec();
    let base_key = || BaseKey::fill(suite, |out| out.copy_from_slice(&bytes));
    transcript.note(&secret);
    transcript.note(&base_key());
    transcript.note(&SealKey::new(base_key(), KeyId(1)));
    transcript.note(&OpenKey::new(base_key(), KeyId(1)));
    transcript.note(&hazmat::with_kid(Codec::Opus, base_key(), KeyId(1)));
    transcript.note(&hazmat::decryptor(Codec::Opus, base_key(), KeyId(1)));
    let mut encryptor = FrameEncryptor::from_secret(Codec::Opus, suite, &secret).unwrap();
    let mut decryptor = FrameDecryptor::from_secret(Codec::Opus, suite, &secret);
    let wire = encryptor.encrypt(b"a frame").unwrap();
    let now = olmcast::primitives::Timestamp::default();
    decryptor.decrypt(&wire, now).unwrap();
    transcript.note(&(encryptor, decryptor));
    transcript.note(&Header::parse(&wire));
    let mut queue = HoldQueue::new();
    queue.hold(&wire, 1, now);
    transcript.note(&queue);
    transcript.note(&Identity::generate());
    let invite = Invite::generate("h:1").unwrap();
    let keys = invite.room_keys();
    transcript.note(&Publish::new("camera").admission(Admission::Invite));
    transcript.note(&(&invite, &keys, RoomKeys::without_invite(keys.room())));
    let mut secrets = secrets_of(&invite);
    secrets.push(("the secret", bytes));
    assert_hidden(&transcript.text(), &secrets);
}

#[test]
fn a_step_below_the_floor_opens_with_nothing_but_what_a_dishonest_subscriber_kept() {
    let mut forger = Forger::new();
    let mut session = group_session(0);
    assert_eq!(forger.send_key(forger.key(&session, 1)), Outcome::Accepted);
    let mut encryptor = forger.encryptor(&session, 1);
    let frames: Vec<_> = (0..4).map(|_| encryptor.encrypt(&[1; 40]).unwrap()).collect();
    let opens = |forger: &mut Forger, frame: &[u8]| {
        let (victim, stream) = (forger.victim, forger.stream);
        forger.net.opens(victim, stream, frame)
    };
    assert_eq!(opens(&mut forger, &frames[0]), Ok(()));
    forger.announce(&mut session, 1);
    forger.net.run(1900);
    assert_eq!(opens(&mut forger, &frames[1]), Ok(()), "for a while");
    forger.net.run(200);
    assert_eq!(opens(&mut forger, &frames[2]), Err(DecryptError::Expired));
    let now = forger.frame(&session, 1);
    assert_eq!(opens(&mut forger, &now), Ok(()));
    // A key for the step of before, even the publisher's own, does not bring it back.
    let kept = forger.hoard.try_open(Codec::Vp8, VIDEO, &frames[3]);
    assert!(kept.is_some(), "the frame was right");
    assert_eq!(opens(&mut forger, &frames[3]), Err(DecryptError::Expired));
}

//! What is secret stands in nothing that is printed.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use olmcast::{
    device::Identity,
    endpoint::{Admission, MessageError, Publish},
    media::{FrameDecryptor, FrameEncryptor, HoldQueue, hazmat},
    primitives::{Codec, Invite, RoomKeys, Secret},
    protocol::{Envelope, OlmPlaintext},
    sframe::{BaseKey, CipherSuite, DecryptError, Header, KeyId, OpenKey, SealKey},
};

use crate::{
    forger::{Forger, Outcome, group_session},
    network::{Room, VIDEO},
    printed::{Transcript, assert_hidden, secrets_of, secrets_of_key},
    visitor::Visitor,
};

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

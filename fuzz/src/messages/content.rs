//! What the messages say.

use std::{fmt::Debug, sync::Arc};

use olmcast::{
    primitives::{Generation, Position, Secret, Step},
    protocol::{
        Answers, Beacon, Kind, OfferHash, OlmMessage, OlmPlaintext, Renew, Renewed, RosterDigest,
        RosterHash, SESSION_KEY_LENGTH, StreamEnd, StreamKey, StreamKeyAck, StreamKeyRequest,
        StreamKeyWithheld, StreamOffer, Subscribe, Unsubscribe, VerificationMessage,
    },
    sframe::CipherSuite,
};
use serde::{Serialize, de::DeserializeOwned};

use super::{Script, Stage};

/// Puts what is there into the places kept for it: bytes that no text has.
pub(super) fn named(stage: &Stage, body: &[u8]) -> Vec<u8> {
    fn json(value: &impl Serialize) -> Vec<u8> {
        serde_json::to_vec(value).unwrap()
    }
    let names = [
        json(&stage.stream.stream),
        json(&stage.forged.stream),
        json(&stage.asked.one_time_key),
        json(&stage.member_key()),
        json(&stage.member.curve25519()),
        json(&stage.newcomer.curve25519()),
        json(&stage.now),
        stage.asked.one_time_key.0.as_bytes().to_vec(),
    ];
    let name = |byte: &u8| usize::from(*byte).checked_sub(0xF5).and_then(|index| names.get(index));
    body.iter().flat_map(|byte| name(byte).cloned().unwrap_or_else(|| vec![*byte])).collect()
}

/// What can be read is the same once it was written and read again.
pub(super) fn payload_survives(kind: Kind, payload: &[u8]) {
    fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(payload: &[u8]) {
        if let Ok(read) = serde_json::from_slice::<T>(payload) {
            let written = serde_json::to_vec(&read).unwrap();
            assert_eq!(serde_json::from_slice::<T>(&written).unwrap(), read);
        }
    }
    match kind {
        Kind::StreamOffer => survives::<StreamOffer>(payload),
        Kind::StreamEnd => survives::<StreamEnd>(payload),
        Kind::Subscribe => survives::<Subscribe>(payload),
        Kind::Unsubscribe => survives::<Unsubscribe>(payload),
        Kind::StreamKeyWithheld => survives::<StreamKeyWithheld>(payload),
        Kind::Beacon => survives::<Beacon>(payload),
        _ => {
            if let Some(read) = VerificationMessage::read(kind, payload) {
                assert_eq!(VerificationMessage::read(kind, &read.payload()), Some(read));
            }
        }
    }
}

/// The same for what Olm encrypts.
pub(super) fn plaintext_survives(message: &[u8]) {
    let plaintext = [&[0; 32], message].concat();
    if let Some(read) = OlmPlaintext::decode(&plaintext) {
        let written = read.encode();
        assert!(written.len() <= plaintext.len());
        assert_eq!(OlmPlaintext::decode(&written), Some(read));
    }
}

/// A message as it stands behind its place.
pub(super) fn read(message: &[u8]) -> Option<OlmMessage> {
    OlmPlaintext::decode(&[&[0; 32], message].concat()).map(|plaintext| plaintext.message)
}

/// The public key of a Megolm session, behind a version byte, the index and the ratchet.
pub(super) fn session_id(session_key: &[u8]) -> Vec<u8> {
    session_key[133..165].to_vec()
}

/// A message whose every field is right, or nearly so, or anything, as it stands behind its place.
pub(super) fn message(stage: &mut Stage, to_publisher: bool, script: &mut Script<'_>) -> Vec<u8> {
    let message = match script.next() % 8 {
        0 => OlmMessage::StreamKeyAck(StreamKeyAck {
            share: id(stage, to_publisher, script),
            accepted: script.next() & 1 == 0,
        }),
        1 => OlmMessage::StreamKeyRequest(StreamKeyRequest {
            request: id(stage, to_publisher, script),
            held: (script.next() & 1 == 0).then(|| position(script)),
            key_id: u64::from(script.next()) << (script.next() % 57),
        }),
        2 => OlmMessage::Renew(Renew {
            nonce: id(stage, to_publisher, script),
            ticket: id(stage, to_publisher, script),
        }),
        3 => OlmMessage::Renewed(Renewed {
            nonce: id(stage, to_publisher, script),
            ticket: id(stage, to_publisher, script),
            position: position(script),
            offer: offer(stage, script),
            roster: roster(1),
        }),
        _ => OlmMessage::StreamKey(stream_key(stage, to_publisher, script)),
    };
    let pair = if to_publisher { &stage.held } else { &stage.answer };
    pair.plaintext(message)
}

fn stream_key(stage: &mut Stage, to_publisher: bool, script: &mut Script<'_>) -> StreamKey {
    let (which, wrong) = (script.next(), script.next());
    let session = &mut stage.sessions[usize::from(which) % 3];
    for _ in 0..which >> 6 {
        session.encrypt("");
    }
    let step = Step::new(session.message_index() + u32::from(wrong & 1)).unwrap_or(Step::LAST);
    let mut key = session.session_key().to_bytes();
    if wrong & 2 != 0 {
        script.alter(&mut key);
    }
    key.resize(SESSION_KEY_LENGTH, 0);
    let answers = match wrong >> 2 & 3 {
        0 | 1 => Answers::OneTimeKey(stage.asked.one_time_key),
        2 => Answers::Request(id(stage, to_publisher, script)),
        _ => Answers::OneTimeKey(stage.member_key()),
    };
    StreamKey {
        share: u64::from(script.next()),
        position: Position { generation: generation(script), step },
        session_key: Arc::new(Secret::from_slice(&key).unwrap()),
        suite: [CipherSuite::AesGcm128Sha256, CipherSuite::AesGcm256Sha512]
            [usize::from(wrong >> 4 & 1)],
        offer: offer(stage, script),
        answers,
        roster: roster(which),
    }
}

fn roster(version: u8) -> RosterDigest {
    let (version, holders) = (u64::from(version), u32::from(version));
    RosterDigest { version, holders, hash: RosterHash([7; 16]) }
}

/// A beacon, right or nearly so, and by which of the forger's sessions.
pub(super) fn beacon(stage: &mut Stage, script: &mut Script<'_>) -> (usize, Vec<u8>) {
    let (which, wrong) = (usize::from(script.next()) % 3, script.next());
    let payload = if wrong & 1 == 1 {
        named(stage, script.0)
    } else {
        let index = stage.sessions[which].message_index();
        let step = Step::new(index + 1 + u32::from(wrong >> 1 & 1)).unwrap_or(Step::LAST);
        let (stream, generation) = (stage.forged.stream, generation(script));
        serde_json::to_vec(&Beacon { stream, generation, step, roster: roster(wrong) }).unwrap()
    };
    let mut message = stage.sessions[which].encrypt(payload).to_bytes();
    if wrong & 4 != 0 {
        script.alter(&mut message);
    }
    (which, message)
}

/// A name that the other side has given to something, or any other.
fn id(stage: &Stage, to_publisher: bool, script: &mut Script<'_>) -> u64 {
    let pair = if to_publisher { &stage.held } else { &stage.answer };
    let choice = script.next();
    let back = usize::from(choice >> 4);
    let heard = pair.received.iter().rev().nth(back);
    match (choice & 3, heard) {
        (0, Some(OlmMessage::StreamKey(key))) => key.share,
        (0, Some(OlmMessage::StreamKeyRequest(request))) => request.request,
        (0, Some(OlmMessage::Renew(renew))) => renew.nonce,
        (0, Some(OlmMessage::Renewed(renewed))) => renewed.ticket,
        (1, _) => u64::MAX,
        _ => u64::from(choice >> 2),
    }
}

fn generation(script: &mut Script<'_>) -> Generation {
    Generation(match script.next() {
        low @ 0..240 => u32::from(low),
        high => u32::MAX >> (high & 15),
    })
}

fn position(script: &mut Script<'_>) -> Position {
    let step = u32::from(script.next()) << (script.next() % 5);
    Position { generation: generation(script), step: Step::new(step).unwrap_or(Step::LAST) }
}

fn offer(stage: &Stage, script: &mut Script<'_>) -> OfferHash {
    let length = stage.forged_offer.len();
    let is_right = script.next() < 240;
    OfferHash::of(&stage.forged_offer[..if is_right { length } else { length - 1 }])
}

//! Points of low order, with which a shared secret or a signature would be known to all: refused
//! wherever a public key stands on the wire.

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use olmcast::{
    device::{Identity, PairwiseError},
    endpoint::{EndpointError, MessageError},
    primitives::{DeviceId, Signature, SigningForm, StreamId},
    protocol::{
        Answers, Carrier, Envelope, Kind, PublicKey, SignedMessage, StreamEnd, StreamKey,
        StreamKeyWithheld, StreamOffer, Subscribe, Unsubscribe, WithheldCode,
    },
};
use serde::Serialize;
use sha2::Sha256;
use vodozemac::{
    Curve25519PublicKey,
    olm::{Message, OlmMessage as Ciphertext, PreKeyMessage, Session, SessionKeys},
};

use crate::{
    forger::{Forger, Outcome, at, group_session},
    network::Room,
    tools::{encode, signed, state},
};

fn bytes_of(hex: &str) -> [u8; 32] {
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}

/// The points of Curve25519 of order 1, 2, 4 and 8, in all their encodings.
fn low_order() -> Vec<Curve25519PublicKey> {
    let near_p = |first: &str| format!("{first}{}7f", "ff".repeat(30));
    let points = [
        "00".repeat(32),
        format!("01{}", "00".repeat(31)),
        near_p("ec"),
        near_p("ed"),
        near_p("ee"),
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800".to_owned(),
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157".to_owned(),
    ];
    let both = |point: [u8; 32]| {
        let mut top = point;
        top[31] |= 0x80;
        [point, top].map(Curve25519PublicKey::from_bytes)
    };
    points.iter().map(|hex| bytes_of(hex)).flat_map(both).collect()
}

/// The points of Ed25519 of small order.
fn small_order() -> Vec<[u8; 32]> {
    let near_p = format!("ec{}7f", "ff".repeat(30));
    [
        &format!("01{}", "00".repeat(31))[..],
        &near_p,
        &"00".repeat(32),
        &format!("{}80", "00".repeat(31)),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    ]
    .map(bytes_of)
    .to_vec()
}

fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap()
}

#[test]
fn a_point_of_low_order_in_a_signed_message_is_refused_and_changes_nothing() {
    assert_eq!(low_order().len(), 14);
    let mut room = Room::with(1);
    let (a, publisher, stream) = (room.subscribers[0], room.stream.publisher, room.stream);
    let keys = room.invite.room_keys();
    let signer = room.net.endpoint(publisher).signer();
    let member = Identity::generate();
    let offered = room.net.offer(a, stream).content;
    let subscribe = Subscribe {
        name: String::new(),
        stream: stream.stream,
        curve25519: member.curve25519(),
        one_time_key: Identity::generate().curve25519(),
        sequence: 1,
        claim: String::new(),
    };
    for point in low_order().into_iter().map(PublicKey) {
        let offer = StreamOffer {
            stream: StreamId::from_bytes([9; 16]),
            curve25519: point,
            ..offered.clone()
        };
        let withheld = StreamKeyWithheld {
            stream: stream.stream,
            answers: Answers::OneTimeKey(point),
            code: WithheldCode::Removed,
            retry_after_ms: None,
        };
        let offer = encode(&signed(&signer, &keys, None, Kind::StreamOffer, &json(&offer)));
        let subscribes = [
            Subscribe { curve25519: point, ..subscribe.clone() },
            Subscribe { one_time_key: point, ..subscribe.clone() },
            Subscribe { curve25519: point, one_time_key: point, ..subscribe.clone() },
        ];
        let subscribes = subscribes.map(|subscribe| {
            let (kind, to) = (Kind::Subscribe, Some(publisher));
            (publisher, kind, signed(&member.signer(), &keys, to, kind, &json(&subscribe)))
        });
        let withheld = {
            let kind = Kind::StreamKeyWithheld;
            (a, kind, signed(&signer, &keys, Some(a), kind, &json(&withheld)))
        };
        let before = state(&mut room.net, stream);
        let now = room.net.time();
        let refused = MessageError::Content(Kind::StreamOffer);
        let result = room.net.endpoint(a).subscribe(&offer, "", now);
        assert_eq!(result, Err(EndpointError::Offer(refused)));
        let errors = room.net.nodes[&a].errors.len();
        room.net.deliver(a, &offer);
        assert_eq!(room.net.nodes[&a].errors[errors..], [refused]);
        for (to, kind, envelope) in subscribes.into_iter().chain([withheld]) {
            let errors = room.net.nodes[&to].errors.len();
            room.net.deliver(to, &encode(&envelope));
            assert_eq!(room.net.nodes[&to].errors[errors..], [MessageError::Content(kind)]);
        }
        assert_eq!(state(&mut room.net, stream), before);
    }
    room.net.run(2000);
    let nobody = |to: &Option<DeviceId>| *to == Some(member.device());
    assert!(room.net.log.iter().all(|(_, to, _)| !nobody(to)), "nothing was sent");
    assert!(room.reads(a));
}

#[test]
fn a_point_of_low_order_in_a_first_message_is_refused_and_changes_nothing() {
    let mut forger = Forger::new();
    let plaintext = forger.plaintext(forger.key(&group_session(0), 1));
    let Ciphertext::PreKey(message) = forger.olm.encrypt(&plaintext).unwrap() else { panic!() };
    let (keys, inner) = (message.session_keys(), message.message().clone());
    let session = Outcome::Error(MessageError::Olm(PairwiseError::Session));
    for point in low_order() {
        let refused = match point.as_bytes()[31] & 0x80 {
            0 => session.clone(),
            _ => Outcome::Error(MessageError::Olm(PairwiseError::Syntax)),
        };
        for keys in [
            SessionKeys { base_key: point, ..keys },
            SessionKeys { identity_key: point, ..keys },
            SessionKeys { one_time_key: point, ..keys },
            SessionKeys { base_key: point, identity_key: point, ..keys },
        ] {
            let message = PreKeyMessage::wrap(keys, inner.clone());
            let bytes = encode(&forger.envelope(&Ciphertext::PreKey(message)));
            forger.expect("a weak key", refused.clone(), |forger| forger.deliver(&bytes));
        }
        let message = PreKeyMessage::wrap(keys, with_ratchet_key(&inner, point));
        let bytes = encode(&forger.envelope(&Ciphertext::PreKey(message)));
        forger.expect("a weak ratchet key", session.clone(), |forger| forger.deliver(&bytes));
    }
    let bytes = encode(&forger.envelope(&Ciphertext::PreKey(message)));
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
}

/// The same message under another ratchet key: a field of 32 bytes behind a version and a tag.
fn with_ratchet_key(message: &Message, point: Curve25519PublicKey) -> Message {
    let mut bytes = message.to_bytes();
    assert_eq!(bytes[3..35], *message.ratchet_key().as_bytes());
    bytes[3..35].copy_from_slice(point.as_bytes());
    Message::from_bytes(&bytes).unwrap()
}

/// A publisher can make such a message that is right in all else. Whoever took it could answer
/// nothing, and would look like somebody whose messages are withheld.
#[test]
fn a_ratchet_key_of_low_order_is_refused_from_the_publisher_itself() {
    let mut forger = Forger::new();
    let plaintext = forger.plaintext(forger.key(&group_session(0), 1));
    let keys = forger.olm.session_keys();
    let refused = Outcome::Error(MessageError::Olm(PairwiseError::Session));
    for point in low_order() {
        let mut olm = Session::from_pickle(forger.olm.pickle());
        let message_key = olm.next_message_key().unwrap();
        let mut keys_of_message = [0; 80];
        let expand = Hkdf::<Sha256>::new(Some(&[0]), message_key.key());
        expand.expand(b"OLM_KEYS", &mut keys_of_message).unwrap();
        let weak = with_ratchet_key(&message_key.encrypt_truncated_mac(&plaintext), point);
        // Authenticated anew, as only the publisher can.
        let mut bytes = weak.to_bytes();
        let end = bytes.len() - 8;
        let mut mac = Hmac::<Sha256>::new_from_slice(&keys_of_message[32..64]).unwrap();
        mac.update(&bytes[..end]);
        bytes[end..].copy_from_slice(&mac.finalize().into_bytes()[..8]);
        let message = PreKeyMessage::wrap(keys, Message::from_bytes(&bytes).unwrap());
        let bytes = encode(&forger.envelope(&Ciphertext::PreKey(message)));
        forger.expect("a weak ratchet key", refused.clone(), |forger| forger.deliver(&bytes));
    }
    assert_eq!(forger.send(&plaintext), Outcome::Accepted);
}

#[test]
fn a_point_of_low_order_in_a_later_message_is_refused_and_changes_nothing() {
    let mut forger = Forger::new();
    assert_eq!(forger.send_key(forger.key(&group_session(0), 1)), Outcome::Accepted);
    let plaintext = forger.plaintext(forger.key(&group_session(0), 2));
    let refused = Outcome::Error(MessageError::Olm(PairwiseError::Session));
    let Ciphertext::PreKey(message) = forger.olm.encrypt(&plaintext).unwrap() else { panic!() };
    let (keys, inner) = (message.session_keys(), message.message().clone());
    for point in low_order() {
        let weak = with_ratchet_key(&inner, point);
        let normal = encode(&forger.envelope(&Ciphertext::Normal(weak.clone())));
        forger.expect("a weak ratchet key", refused.clone(), |forger| forger.deliver(&normal));
        let message = PreKeyMessage::wrap(keys, weak);
        let first = encode(&forger.envelope(&Ciphertext::PreKey(message)));
        forger.expect("a weak ratchet key", refused.clone(), |forger| forger.deliver(&first));
    }
    let bytes = encode(&forger.envelope(&Ciphertext::PreKey(message)));
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
}

#[test]
fn a_point_of_low_order_in_a_key_is_refused_and_changes_nothing() {
    let mut forger = Forger::new();
    let good = forger.key(&group_session(0), 1);
    let refused = Outcome::Error(MessageError::Olm(PairwiseError::Syntax));
    for point in low_order() {
        let answers = Answers::OneTimeKey(PublicKey(point));
        let key = StreamKey { answers, ..good.clone() };
        forger.expect("a weak answer", refused.clone(), |forger| forger.send_key(key));
    }
    assert_eq!(forger.send_key(good), Outcome::Accepted);
    assert_eq!(forger.position(), Some(at(1, 0)));
}

/// With a signer of small order, a lenient check takes the same signature for many messages.
#[test]
fn nobody_signs_with_a_point_of_small_order() {
    let mut room = Room::with(1);
    let (a, publisher, stream) = (room.subscribers[0], room.stream.publisher, room.stream);
    let keys = room.invite.room_keys();
    let offered = room.net.offer(a, stream).content;
    let subscribe = Subscribe {
        name: String::new(),
        stream: stream.stream,
        curve25519: Identity::generate().curve25519(),
        one_time_key: Identity::generate().curve25519(),
        sequence: 1,
        claim: String::new(),
    };
    let unsubscribe = Unsubscribe { stream: stream.stream, sequence: 1 };
    let end = StreamEnd { stream: stream.stream };
    let withheld = StreamKeyWithheld {
        stream: stream.stream,
        answers: Answers::Request(0),
        code: WithheldCode::Ended,
        retry_after_ms: None,
    };
    let statements = [
        (a, false, Kind::StreamOffer, json(&offered)),
        (a, false, Kind::StreamEnd, json(&end)),
        (publisher, true, Kind::Subscribe, json(&subscribe)),
        (publisher, true, Kind::Unsubscribe, json(&unsubscribe)),
        (a, true, Kind::StreamKeyWithheld, json(&withheld)),
    ];
    let before = state(&mut room.net, stream);
    let sent = room.net.log.len();
    for sender in small_order().into_iter().map(DeviceId::from_bytes) {
        for r in small_order() {
            // S = 0, so that nothing but points of small order is left to compare.
            let mut signature = [0; 64];
            signature[..32].copy_from_slice(&r);
            let signature = Signature::from_bytes(signature);
            for (to, addressed, kind, payload) in &statements {
                let (room_id, recipient) = (keys.room(), addressed.then_some(*to));
                let form = SigningForm {
                    kind: kind.name(),
                    room: Some(&room_id),
                    recipient: recipient.as_ref(),
                    payload,
                };
                let proof = keys.admission_proof(&sender, &form.to_bytes());
                let (kind, payload, room_id) = (*kind, payload.clone(), keys.room());
                let message =
                    SignedMessage { kind, room: room_id, recipient, payload, signature, proof };
                let bytes = encode(&Envelope { sender, carrier: Carrier::Signed(message) });
                let errors = room.net.nodes[to].errors.len();
                room.net.deliver(*to, &bytes);
                let error = room.net.nodes[to].errors.get(errors);
                assert!(matches!(error, Some(MessageError::Signature(_))), "{kind:?}: {error:?}");
            }
        }
    }
    assert_eq!(state(&mut room.net, stream), before);
    assert_eq!(room.net.log.len(), sent);
    assert!(room.reads(a));
}

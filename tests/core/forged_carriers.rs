//! A right key in the wrong envelope: from others, under other sessions, cut, extended, altered.

use olmcast::{
    device::PairwiseError,
    endpoint::MessageError,
    primitives::{DeviceId, StreamId},
    protocol::{Carrier, Envelope, EnvelopeError, Kind, MAX_ENVELOPE, PublicKey, StreamKey},
};
use vodozemac::{
    Curve25519PublicKey,
    olm::{Account, OlmMessage as Ciphertext, PreKeyMessage, SessionKeys},
};

use crate::{
    forger::{Forger, Outcome, group_session, outbound},
    tools::{Signs, encode, signed},
};

const SESSION: Outcome = Outcome::Error(MessageError::Olm(PairwiseError::Session));
const SYNTAX: Outcome = Outcome::Error(MessageError::Olm(PairwiseError::Syntax));
const UNKNOWN_STREAM: Outcome = Outcome::Error(MessageError::UnknownStream);

/// A forger, and an honest key for its victim that has not been delivered.
fn with_a_key() -> (Forger, Vec<u8>, PreKeyMessage) {
    let mut forger = Forger::new();
    let session = group_session(0);
    forger.probes = vec![forger.frame(&session, 1)];
    let plaintext = forger.plaintext(forger.key(&session, 1));
    let Ciphertext::PreKey(message) = forger.olm.encrypt(&plaintext).unwrap() else { panic!() };
    (forger, plaintext, message)
}

fn envelope(forger: &Forger, message: PreKeyMessage) -> Vec<u8> {
    encode(&forger.envelope(&Ciphertext::PreKey(message)))
}

#[test]
fn a_key_from_a_co_subscriber_is_refused_and_costs_no_one_time_key() {
    let (mut forger, plaintext, honest) = with_a_key();
    // It has seen the victim's Subscribe on the way, and makes an Olm session of its own with it.
    let co_subscriber = Account::new();
    let mut theirs = outbound(&co_subscriber, &forger.asked);
    let Ciphertext::PreKey(message) = theirs.encrypt(&plaintext).unwrap() else { panic!() };

    let bytes = envelope(&forger, message.clone());
    forger.expect("as the publisher's", SESSION, |forger| forger.deliver(&bytes));
    let mut own = forger.envelope(&Ciphertext::PreKey(message.clone()));
    own.sender = co_subscriber.id();
    forger.expect("as its own", UNKNOWN_STREAM, |forger| forger.deliver(&encode(&own)));

    // It claims the publisher's identity key, or the publisher's session.
    let publishers = forger.olm.session_keys();
    for keys in [
        SessionKeys { identity_key: publishers.identity_key, ..message.session_keys() },
        SessionKeys { base_key: publishers.base_key, ..message.session_keys() },
        publishers,
    ] {
        let bytes = envelope(&forger, PreKeyMessage::wrap(keys, message.message().clone()));
        forger.expect("under other keys", SESSION, |forger| forger.deliver(&bytes));
    }
    let bytes = envelope(&forger, honest);
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
}

#[test]
fn a_key_from_a_co_subscriber_is_refused_by_whoever_has_one_already() {
    let (mut forger, _, honest) = with_a_key();
    let bytes = envelope(&forger, honest);
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
    let co_subscriber = Account::new();
    let session = group_session(0);
    let plaintext = forger.plaintext(StreamKey { share: 2, ..forger.key(&session, 2) });
    let mut theirs = outbound(&co_subscriber, &forger.asked);
    let Ciphertext::PreKey(message) = theirs.encrypt(&plaintext).unwrap() else { panic!() };
    let bytes = envelope(&forger, message.clone());
    forger.expect("under its own keys", SESSION, |forger| forger.deliver(&bytes));
    let keys = forger.olm.session_keys();
    let decryption = Outcome::Error(MessageError::Olm(PairwiseError::Decryption));
    let bytes = envelope(&forger, PreKeyMessage::wrap(keys, message.message().clone()));
    forger.expect("under the publisher's", decryption.clone(), |forger| forger.deliver(&bytes));
    let bytes = encode(&forger.envelope(&Ciphertext::Normal(message.message().clone())));
    forger.expect("as a normal message", decryption, |forger| forger.deliver(&bytes));
    assert_eq!(forger.send(&plaintext), Outcome::Accepted);
}

#[test]
fn a_first_message_made_with_an_old_one_time_key_is_refused() {
    let (mut forger, _, old) = with_a_key();
    forger.have_victim_ask_again();
    let bytes = envelope(&forger, old.clone());
    forger.expect("the old key", SESSION, |forger| forger.deliver(&bytes));
    let one_time_key = forger.asked.one_time_key.0;
    let keys = SessionKeys { one_time_key, ..old.session_keys() };
    let bytes = envelope(&forger, PreKeyMessage::wrap(keys, old.message().clone()));
    forger.expect("the old one renamed", SESSION, |forger| forger.deliver(&bytes));
    assert_eq!(forger.send_key(forger.key(&group_session(0), 1)), Outcome::Accepted);
}

#[test]
fn a_key_in_another_carrier_is_refused() {
    let (mut forger, plaintext, message) = with_a_key();
    let (sender, victim, stream) = (forger.stream.publisher, forger.victim, forger.stream.stream);
    let mut held = group_session(0);
    let ciphertext = message.to_bytes();
    let no_key = Outcome::Error(MessageError::NoKey);
    let content = Outcome::Error(MessageError::Content(Kind::StreamKey));
    let keys = forger.keys.clone();
    let in_megolm = |message: Vec<u8>| {
        encode(&Envelope { sender, carrier: Carrier::Megolm { stream, message } })
    };
    let signed = |forger: &Forger, payload: &[u8]| {
        encode(&signed(&forger.account, &keys, Some(victim), Kind::StreamKey, payload))
    };
    let mut all = |forger: &mut Forger| {
        for (what, expected, bytes) in [
            ("under Megolm", &no_key, in_megolm(held.encrypt(&plaintext).to_bytes())),
            ("in Megolm's place", &no_key, in_megolm(ciphertext.clone())),
            ("plain, in Megolm's place", &no_key, in_megolm(plaintext.clone())),
            ("signed", &content, signed(forger, &plaintext)),
            ("signed as it is under Olm", &content, signed(forger, &ciphertext)),
        ] {
            forger.expect(what, expected.clone(), |forger| forger.deliver(&bytes));
        }
    };
    all(&mut forger);
    let bytes = envelope(&forger, message.clone());
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
    all(&mut forger);
}

#[test]
fn a_key_under_the_session_held_is_no_key_when_megolm_carries_it() {
    let (mut forger, _, _) = with_a_key();
    let mut held = group_session(0);
    assert_eq!(forger.send_key(forger.key(&held, 1)), Outcome::Accepted);
    let plaintext = forger.plaintext(forger.key(&group_session(0), 2));
    let (sender, stream) = (forger.stream.publisher, forger.stream.stream);
    let message = held.encrypt(&plaintext).to_bytes();
    let bytes = encode(&Envelope { sender, carrier: Carrier::Megolm { stream, message } });
    let no_key = Outcome::Error(MessageError::NoKey);
    forger.expect("under Megolm", no_key, |forger| forger.deliver(&bytes));
    assert_eq!(forger.send(&plaintext), Outcome::Accepted);
}

#[test]
fn a_key_under_another_name_stream_direction_or_type_is_refused() {
    let (mut forger, _, message) = with_a_key();
    let right = forger.envelope(&Ciphertext::PreKey(message));
    let Carrier::Olm(carrier) = right.carrier.clone() else { panic!() };
    let other = Account::new().id();
    let misdirected = Outcome::Error(MessageError::Misdirected);
    let mut cases: Vec<(&str, Outcome, Envelope)> = Vec::new();
    let mut add = |what, expected: &Outcome, change: &dyn Fn(&mut Envelope, &mut _)| {
        let (mut envelope, mut carrier) = (right.clone(), carrier.clone());
        change(&mut envelope, &mut carrier);
        envelope.carrier = Carrier::Olm(carrier);
        cases.push((what, expected.clone(), envelope));
    };
    type Olm = olmcast::protocol::OlmCarrier;
    let old = Outcome::Error(MessageError::Old);
    let victim = forger.victim;
    add("another sender", &UNKNOWN_STREAM, &|e, _: &mut Olm| e.sender = other);
    add("the victim itself", &old, &|e, _: &mut Olm| e.sender = victim);
    add("another recipient", &misdirected, &|_, c: &mut Olm| c.recipient = other);
    add("another stream", &UNKNOWN_STREAM, &|_, c: &mut Olm| {
        c.stream = StreamId::from_bytes([6; 16]);
    });
    add("the other direction", &UNKNOWN_STREAM, &|_, c: &mut Olm| c.from_publisher = false);
    for message_type in 1..=255 {
        add("another type", &SYNTAX, &|_, c: &mut Olm| c.message_type = message_type);
    }
    for (what, expected, envelope) in cases {
        let bytes = encode(&envelope);
        forger.expect(what, expected, |forger| forger.deliver(&bytes));
    }
    assert_eq!(forger.deliver(&encode(&right)), Outcome::Accepted);
}

#[test]
fn a_normal_message_is_no_first_one_and_has_no_other_type() {
    let (mut forger, _, message) = with_a_key();
    let normal = message.message().to_bytes();
    let decryption = Outcome::Error(MessageError::Olm(PairwiseError::Decryption));
    let bytes = encode(&forger.envelope_of(1, normal.clone()));
    forger.expect("normal, without a session", decryption, |forger| forger.deliver(&bytes));
    for message_type in [0, 2, 255] {
        let bytes = encode(&forger.envelope_of(message_type, normal.clone()));
        forger.expect("another type", SYNTAX, |forger| forger.deliver(&bytes));
    }
    let bytes = envelope(&forger, message);
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
}

#[test]
fn a_first_message_whose_keys_are_others_is_refused() {
    let (mut forger, _, message) = with_a_key();
    let (keys, inner) = (message.session_keys(), message.message().clone());
    let other = Account::new().curve25519_key();
    let own: PublicKey = forger.asked.curve25519;
    for identity_key in [other, own.0, keys.base_key] {
        let keys = SessionKeys { identity_key, ..keys };
        let bytes = envelope(&forger, PreKeyMessage::wrap(keys, inner.clone()));
        forger.expect("identity key", SESSION, |forger| forger.deliver(&bytes));
    }
    for base_key in [other, own.0, keys.identity_key] {
        let keys = SessionKeys { base_key, ..keys };
        let bytes = envelope(&forger, PreKeyMessage::wrap(keys, inner.clone()));
        forger.expect("base key", SESSION, |forger| forger.deliver(&bytes));
    }
    for one_time_key in [other, own.0] {
        let keys = SessionKeys { one_time_key, ..keys };
        let bytes = envelope(&forger, PreKeyMessage::wrap(keys, inner.clone()));
        forger.expect("one-time key", SESSION, |forger| forger.deliver(&bytes));
    }
    let bytes = envelope(&forger, message);
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
}

/// The library ignores the top bit of a public key, but not in a session's id. The publisher's next
/// first messages, until it hears of us, would then be of a session that is not ours.
#[test]
fn a_first_message_whose_keys_are_written_otherwise_is_refused() {
    let (mut forger, plaintext, message) = with_a_key();
    let (keys, inner) = (message.session_keys(), message.message().clone());
    let turned = |key: Curve25519PublicKey| {
        let mut bytes = *key.as_bytes();
        bytes[31] ^= 0x80;
        Curve25519PublicKey::from_bytes(bytes)
    };
    for keys in [
        SessionKeys { identity_key: turned(keys.identity_key), ..keys },
        SessionKeys { base_key: turned(keys.base_key), ..keys },
        SessionKeys { one_time_key: turned(keys.one_time_key), ..keys },
    ] {
        let bytes = envelope(&forger, PreKeyMessage::wrap(keys, inner.clone()));
        forger.expect("turned", SYNTAX, |forger| forger.deliver(&bytes));
    }
    let bytes = envelope(&forger, message);
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
    forger.expect("its repeat", Outcome::Accepted, |forger| forger.send(&plaintext));
}

#[test]
fn a_key_cut_anywhere_extended_or_too_large_is_refused() {
    let (mut forger, plaintext, message) = with_a_key();
    let ciphertext = message.to_bytes();
    let refused = |forger: &mut Forger, what: &str, bytes: &[u8]| {
        let before = forger.state();
        let outcome = forger.deliver(bytes);
        assert!(matches!(outcome, Outcome::Error(_)), "{what}: {outcome:?}");
        assert_eq!(forger.state(), before, "{what}");
    };
    let right = envelope(&forger, message);
    for length in 0..right.len() {
        refused(&mut forger, &format!("cut to {length}"), &right[..length]);
    }
    for length in 0..ciphertext.len() {
        let bytes = encode(&forger.envelope_of(0, ciphertext[..length].to_vec()));
        refused(&mut forger, &format!("ciphertext cut to {length}"), &bytes);
    }
    // The last is a field that the format allows, and that no message has.
    let tails = [&[0][..], &[0; 8], &ciphertext, &[0x2a, 1, 7]];
    for tail in tails {
        refused(&mut forger, "extended", &[&right[..], tail].concat());
        let bytes = encode(&forger.envelope_of(0, [&ciphertext[..], tail].concat()));
        refused(&mut forger, &format!("ciphertext extended by {tail:02x?}"), &bytes);
    }
    let large = encode(&forger.envelope_of(0, [&ciphertext[..], &[0; MAX_ENVELOPE]].concat()));
    let too_large = Outcome::Error(MessageError::Envelope(EnvelopeError::TooLarge));
    forger.expect("too large", too_large, |forger| forger.deliver(&large));
    let largest = encode(&forger.envelope_of(0, [&ciphertext[..], &[0; 60_000]].concat()));
    refused(&mut forger, "large", &largest);
    assert_eq!(forger.deliver(&right), Outcome::Accepted);
    // Under a session that exists, too.
    let bytes = {
        let message = forger.olm.encrypt(&plaintext).unwrap();
        encode(&forger.envelope(&message))
    };
    for length in (0..bytes.len()).step_by(7) {
        refused(&mut forger, &format!("later, cut to {length}"), &bytes[..length]);
    }
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
}

#[test]
fn a_key_with_any_bit_of_its_envelope_turned_is_refused() {
    let (mut forger, _, message) = with_a_key();
    let right = envelope(&forger, message);
    // All bits of what stands before the ciphertext proper, and one of each byte of that.
    let head = right.len() - 380;
    for at in 0..right.len() {
        for bit in 0..8 {
            if at >= head && bit != at % 8 {
                continue;
            }
            let mut altered = right.clone();
            altered[at] ^= 1 << bit;
            let before = forger.state();
            let outcome = forger.deliver(&altered);
            assert!(matches!(outcome, Outcome::Error(_)), "bit {bit} of {at}: {outcome:?}");
            assert_eq!(forger.state(), before);
        }
    }
    assert_eq!(forger.deliver(&right), Outcome::Accepted);
}

/// The device that a message claims to be from must be the one that the session is with.
#[test]
fn a_key_in_the_name_of_nobody_is_refused() {
    let (mut forger, _, message) = with_a_key();
    let mut unsigned = forger.envelope(&Ciphertext::PreKey(message.clone()));
    for byte in [0, 1, 0xff] {
        unsigned.sender = DeviceId::from_bytes([byte; 32]);
        let bytes = encode(&unsigned);
        forger.expect("nobody", UNKNOWN_STREAM, |forger| forger.deliver(&bytes));
    }
    let bytes = envelope(&forger, message);
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
}

/// Before it looks at a MAC the library derives a key for each message that is skipped, up to 2,000.
#[test]
fn a_message_far_ahead_in_its_chain_is_refused_before_any_work_is_done_for_it() {
    const MOST: usize = 512;
    let far = Outcome::Error(MessageError::Olm(PairwiseError::Decryption));
    let mut forger = Forger::new();
    let plaintext = forger.plaintext(forger.key(&group_session(0), 1));
    let chain: Vec<_> = (0..=MOST + 1)
        .map(|_| {
            let message = forger.olm.encrypt(&plaintext).unwrap();
            encode(&forger.envelope(&message))
        })
        .collect();
    forger.expect("a first one", far.clone(), |forger| forger.deliver(&chain[MOST + 1]));
    assert_eq!(forger.deliver(&chain[MOST]), Outcome::Accepted);
    forger.expect("a later one", far, |forger| forger.deliver(&chain[MOST + 1]));
}

//! What a publisher with tools of its own can make a subscriber take for a key: contents.

use olmcast::{
    device::PairwiseError,
    endpoint::MessageError,
    primitives::{DeviceId, StreamId, StreamRef},
    protocol::{Answers, OfferHash, OlmMessage, OlmPlaintext, Place, PublicKey, StreamKey},
    sframe::CipherSuite,
};
use vodozemac::{
    megolm::{GroupSession, InboundGroupSession, SessionConfig},
    olm::Account,
};

use crate::{
    forger::{Forger, Outcome, at, group_session, session_key},
    network::invite,
    tools::Signs,
};

const SYNTAX: Outcome = Outcome::Error(MessageError::Olm(PairwiseError::Syntax));
const MISDIRECTED: Outcome = Outcome::Error(MessageError::Olm(PairwiseError::Misdirected));

/// Keys that are right but for one thing.
fn wrong_in_one_place(good: &StreamKey, session: &GroupSession) -> Vec<(&'static str, StreamKey)> {
    let stranger = PublicKey(Account::new().curve25519_key());
    let altered = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = session.session_key().to_bytes();
        change(&mut bytes);
        StreamKey { session_key: session_key(&bytes), ..good.clone() }
    };
    let position = |generation, step| StreamKey { position: at(generation, step), ..good.clone() };
    let answers = |answers| StreamKey { answers, ..good.clone() };
    let other = group_session(1).session_key().to_bytes();
    let inbound = InboundGroupSession::new(&session.session_key(), SessionConfig::default());
    let exported = inbound.export_at_first_known_index().to_bytes();
    vec![
        ("of another offer", StreamKey { offer: OfferHash::of(b"another"), ..good.clone() }),
        ("for somebody else's Subscribe", answers(Answers::OneTimeKey(stranger))),
        ("for a request that nobody made", answers(Answers::Request(0))),
        ("for a request of somebody else", answers(Answers::Request(u64::MAX))),
        ("a step before the session's", position(1, 0)),
        ("a step after the session's", position(1, 2)),
        ("the last step", position(1, 4095)),
        ("a session key of another version", altered(&|key| key[0] = 1)),
        ("a session key of a later version", altered(&|key| key[0] = 3)),
        ("another index", altered(&|key| key[4] = 2)),
        ("another index, far on", altered(&|key| key[1] = 0x80)),
        ("a ratchet altered at its start", altered(&|key| key[5] ^= 1)),
        ("a ratchet altered at its end", altered(&|key| key[132] ^= 0x80)),
        ("another session's ratchet", altered(&|key| key[5..133].copy_from_slice(&other[5..133]))),
        ("a session id altered", altered(&|key| key[140] ^= 1)),
        ("another session's id", altered(&|key| key[133..165].copy_from_slice(&other[133..165]))),
        ("a signature altered at its start", altered(&|key| key[165] ^= 1)),
        ("a signature altered at its end", altered(&|key| key[228] ^= 1)),
        ("another session's signature", altered(&|key| key[165..].copy_from_slice(&other[165..]))),
        ("no signature", altered(&|key| key[165..].fill(0))),
        ("an exported key", altered(&|key| *key = exported.clone())),
        (
            "an exported key under a session key's version",
            altered(&|key| {
                *key = exported.clone();
                key[0] = 2;
            }),
        ),
        ("nothing but zeros", altered(&|key| key.fill(0))),
        (
            "a session id of small order, all else to match",
            altered(&|key| {
                // The neutral point, for which signatures of zeros would be right if it were allowed.
                key[133..].fill(0);
                key[133] = 1;
                key[165] = 1;
            }),
        ),
    ]
}

#[test]
fn a_key_that_is_wrong_in_one_place_is_refused_and_changes_nothing() {
    // Once to whoever waits for its first key, and once to whoever has one.
    for holds_one in [false, true] {
        let mut forger = Forger::new();
        let held = group_session(0);
        if holds_one {
            assert_eq!(forger.send_key(forger.key(&held, 0)), Outcome::Accepted);
        }
        let session = group_session(1);
        let good = forger.key(&session, 1);
        forger.probes = vec![forger.frame(&held, 0), forger.frame(&session, 1)];
        let mut tried = 0;
        for (what, key) in wrong_in_one_place(&good, &session) {
            forger.expect(what, Outcome::Refused, |forger| forger.send_key(key));
            tried += 1;
        }
        assert!(tried >= 20);
        assert_eq!(forger.send_key(good), Outcome::Accepted, "and the right one is taken");
        assert_eq!(forger.position(), Some(at(1, 1)));
    }
}

#[test]
fn a_key_from_for_or_about_anything_else_is_refused_and_changes_nothing() {
    let mut forger = Forger::new();
    let session = group_session(0);
    let good = forger.key(&session, 1);
    forger.probes = vec![forger.frame(&session, 1)];
    let (us, room, stream) = (forger.victim, forger.keys.room(), forger.stream);
    let (publisher, other) = (stream.publisher, Account::new().id());
    let elsewhere = StreamRef { stream: StreamId::from_bytes([6; 16]), ..stream };
    let of_another = StreamRef { publisher: other, ..stream };
    let none = DeviceId::from_bytes([0; 32]);
    for (what, place) in [
        ("for another recipient", Place::new(room, stream, publisher, other)),
        ("from another sender", Place::new(room, stream, other, us)),
        ("from nobody", Place::new(room, stream, none, us)),
        ("turned round", Place::new(room, stream, us, publisher)),
        ("to its own sender", Place::new(room, stream, publisher, publisher)),
        ("about another stream", Place::new(room, elsewhere, publisher, us)),
        ("about another publisher's stream", Place::new(room, of_another, publisher, us)),
        ("in another room", Place::new(invite().room(), stream, publisher, us)),
    ] {
        let message = OlmMessage::StreamKey(good.clone());
        let plaintext = OlmPlaintext { place, message }.encode();
        forger.expect(what, MISDIRECTED, |forger| forger.send(&plaintext));
    }
    assert_eq!(forger.send_key(good), Outcome::Accepted);
}

#[test]
fn a_plaintext_that_says_what_no_key_says_is_refused_and_changes_nothing() {
    const KIND: usize = 32;
    const STEP: usize = 35;
    const SUITE: usize = 265;
    const ANSWERS: usize = 282;
    let mut forger = Forger::new();
    let session = group_session(1);
    let good = forger.plaintext(forger.key(&session, 1));
    forger.probes = vec![forger.frame(&session, 1)];
    assert_eq!((good[KIND], good[STEP], good[SUITE], good[ANSWERS]), (0, 1, 4, 0));
    assert_eq!(good.len(), 333);
    let with = |at: usize, bytes: &[u8]| [&good[..at], bytes, &good[at + 1..]].concat();
    let suites = [0, 1, 2, 3, 6, 7, 0x7f].map(|suite| with(SUITE, &[suite]));
    // A suite of two bytes: 260 and 65,535.
    let wide = [with(SUITE, &[0x84, 2]), with(SUITE, &[0xff, 0xff, 3])];
    let steps = [with(STEP, &[0x80, 0x20]), with(STEP, &[0xff, 0xff, 0xff, 0xff, 0x0f])];
    let generations = [with(STEP - 1, &[0xff, 0xff, 0xff, 0xff, 0x1f])];
    let kinds = [5, 6, 0x7f, 0x80, 0xff].map(|kind| with(KIND, &[kind]));
    let answers = [2, 0xff].map(|kind| with(ANSWERS, &[kind]));
    let shorter = [[&good[..100], &good[101..]].concat()];
    let all = [&suites[..], &wide, &steps, &generations, &kinds, &answers, &shorter].concat();
    assert!(all.len() >= 20);
    for plaintext in all {
        let what = format!("{plaintext:02x?}");
        forger.expect(&what, SYNTAX, |forger| forger.send(&plaintext));
    }
    // What another kind of message may say is none that a publisher sends.
    for kind in 1..=3 {
        let plaintext = with(KIND, &[kind]);
        forger.expect("another kind", MISDIRECTED, |forger| forger.send(&plaintext));
    }
    for length in 0..good.len() {
        forger.expect("cut", SYNTAX, |forger| forger.send(&good[..length]));
    }
    assert_eq!(forger.send(&good), Outcome::Accepted);
}

#[test]
fn a_key_that_answers_what_was_answered_or_given_up_is_refused() {
    let mut forger = Forger::new();
    let before = forger.asked.one_time_key;
    let [first, second, third] = [0, 0, 0].map(group_session);
    forger.probes = vec![forger.frame(&first, 1), forger.frame(&third, 3)];
    // The Subscribe of before, under the session that answers the one of now.
    forger.have_victim_ask_again();
    let old = |key: StreamKey| StreamKey { answers: Answers::OneTimeKey(before), ..key };
    let key = old(forger.key(&first, 1));
    forger.expect("an old Subscribe", Outcome::Refused, |forger| forger.send_key(key));
    assert_eq!(forger.send_key(forger.key(&first, 1)), Outcome::Accepted);

    // A request that is open is answered once.
    let unknown = forger.frame(&second, 2);
    assert!(forger.net.opens(forger.victim, forger.stream, &unknown).is_err());
    let before = forger.net.log.len();
    forger.net.run(500);
    let request = forger.heard(before).into_iter().find_map(|message| match message {
        OlmMessage::StreamKeyRequest(request) => Some(request),
        _ => None,
    });
    let request = request.unwrap();
    assert_eq!(request.held, Some(at(1, 0)));
    let answer = |key: StreamKey, id| StreamKey { answers: Answers::Request(id), ..key };
    let key = answer(forger.key(&second, 2), request.request ^ 1);
    forger.expect("another request", Outcome::Refused, |forger| forger.send_key(key));
    let key = answer(forger.key(&second, 2), request.request);
    assert_eq!(forger.send_key(key), Outcome::Accepted);
    let key = answer(forger.key(&third, 3), request.request);
    forger.expect("answered before", Outcome::Refused, |forger| forger.send_key(key));
    assert_eq!(forger.send_key(forger.key(&third, 3)), Outcome::Accepted);
}

#[test]
fn a_suite_that_the_publisher_chose_is_taken() {
    let mut forger = Forger::new();
    let session = group_session(0);
    let key = StreamKey { suite: CipherSuite::AesGcm256Sha512, ..forger.key(&session, 0) };
    assert_eq!(forger.send_key(key), Outcome::Accepted);
}

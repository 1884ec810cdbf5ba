//! What a publisher with tools of its own can make a subscriber take for a key: which generation
//! and step, and when.

use olmcast::{
    device::PairwiseError,
    endpoint::MessageError,
    primitives::{Codec, Generation, Step, StreamId},
    protocol::{Beacon, Carrier, Envelope},
};
use serde_json::json;
use vodozemac::megolm::GroupSession;

use crate::{
    forger::{Forger, Outcome, at, group_session, roster},
    network::VIDEO,
    tools::encode,
};

#[test]
fn a_generation_is_taken_once_and_only_forwards() {
    let mut forger = Forger::new();
    let [first, second] = [0, 0].map(group_session);
    assert_eq!(forger.send_key(forger.key(&first, 5)), Outcome::Accepted);
    forger.probes = vec![forger.frame(&first, 5), forger.frame(&second, 5)];
    for (what, session, generation) in [
        ("another session of the generation held", &second, 5),
        ("the session held as a later generation", &first, 6),
        ("the session held as an earlier generation", &first, 4),
        ("the session held as the last generation", &first, u32::MAX),
    ] {
        let key = forger.key(session, generation);
        forger.expect(what, Outcome::Refused, |forger| forger.send_key(key));
    }
    // The same again is no news, and a later generation is.
    let again = forger.key(&first, 5);
    forger.expect("the same", Outcome::Accepted, |forger| forger.send_key(again));
    assert_eq!(forger.send_key(forger.key(&second, 7)), Outcome::Accepted);
    assert_eq!((forger.hoard.sessions(), forger.position()), (2, Some(at(7, 0))));
    // One of before may come late, to a newcomer; the stream does not fall back to it.
    let late = group_session(0);
    assert_eq!(forger.send_key(forger.key(&late, 6)), Outcome::Accepted);
    assert_eq!((forger.hoard.sessions(), forger.position()), (3, Some(at(7, 0))));
    // Once they have expired they stay so, and their sessions do not come back as other ones.
    forger.net.run(5000);
    let other = [group_session(0), group_session(3)];
    let expired = [(&first, 5), (&late, 6), (&other[0], 4), (&other[1], 6), (&first, 8)];
    for (session, generation) in expired {
        let key = forger.key(session, generation);
        forger.expect("expired", Outcome::Refused, |forger| forger.send_key(key));
    }
    assert_eq!(forger.send_key(forger.key(&group_session(0), 8)), Outcome::Accepted);
}

#[test]
fn an_earlier_step_of_the_session_held_opens_nothing_of_before() {
    let mut forger = Forger::new();
    let mut session = group_session(3);
    let early = forger.key(&session, 1);
    let old = forger.frame(&session, 1);
    session.encrypt(b"on to step 4");
    assert_eq!(forger.send_key(forger.key(&session, 1)), Outcome::Accepted);
    forger.probes = vec![old.clone()];
    forger.expect("an earlier step", Outcome::Accepted, |forger| forger.send_key(early));
    assert!(forger.net.opens(forger.victim, forger.stream, &old).is_err());
    assert_eq!(forger.position(), Some(at(1, 4)));
}

#[test]
fn a_replayed_ciphertext_is_refused_and_the_same_plaintext_again_is_no_news() {
    let mut forger = Forger::new();
    let session = group_session(0);
    let plaintext = forger.plaintext(forger.key(&session, 1));
    let encrypted = forger.olm.encrypt(&plaintext).unwrap();
    let bytes = encode(&forger.envelope(&encrypted));
    assert_eq!(forger.deliver(&bytes), Outcome::Accepted);
    forger.probes = vec![forger.frame(&session, 1)];
    let replayed = Outcome::Error(MessageError::Olm(PairwiseError::Decryption));
    for wait in [0, 20, 5000] {
        forger.net.run(wait);
        forger.expect("the same bytes", replayed.clone(), |forger| forger.deliver(&bytes));
    }
    forger.expect("the same content", Outcome::Accepted, |forger| forger.send(&plaintext));
    // After the victim asked anew, neither means anything.
    forger.have_victim_ask_again();
    let foreign = Outcome::Error(MessageError::Olm(PairwiseError::Session));
    forger.expect("of before", foreign, |forger| forger.deliver(&bytes));
    forger.expect("of before", Outcome::Refused, |forger| forger.send(&plaintext));
    assert_eq!(forger.send_key(forger.key(&session, 1)), Outcome::Accepted);
}

#[test]
fn a_beacon_for_another_stream_generation_or_step_moves_nothing() {
    let mut forger = Forger::new();
    let mut session = group_session(0);
    assert_eq!(forger.send_key(forger.key(&session, 1)), Outcome::Accepted);
    let step = |step| Step::new(step).unwrap();
    let (stream, other) = (forger.stream.stream, StreamId::from_bytes([6; 16]));
    let no_key = Outcome::Error(MessageError::NoKey);
    // Each message takes the session one index on, and so must the step that it announces.
    let wrong = [
        Beacon { stream: other, generation: Generation(1), step: step(1), roster: roster(9) },
        Beacon { stream, generation: Generation(2), step: step(2), roster: roster(9) },
        Beacon { stream, generation: Generation(0), step: step(3), roster: roster(9) },
        Beacon { stream, generation: Generation(1), step: step(4095), roster: roster(9) },
        Beacon { stream, generation: Generation(1), step: step(4), roster: roster(9) },
        Beacon { stream, generation: Generation(1), step: step(0), roster: roster(9) },
    ];
    let sender = forger.stream.publisher;
    let beacon = |session: &mut GroupSession, plaintext: &[u8]| {
        let message = session.encrypt(plaintext).to_bytes();
        encode(&Envelope { sender, carrier: Carrier::Megolm { stream, message } })
    };
    for content in &wrong {
        let bytes = beacon(&mut session, &serde_json::to_vec(content).unwrap());
        let what = format!("{content:?}");
        forger.expect(&what, no_key.clone(), |forger| forger.deliver(&bytes));
    }
    let right = |session: &GroupSession| {
        let step = step(session.message_index() + 1);
        Beacon { stream, generation: Generation(1), step, roster: roster(9) }
    };
    for (name, value) in [
        ("stream", Some(json!(1))),
        ("stream", None),
        ("generation", Some(json!("1"))),
        ("step", Some(json!(-1))),
        ("step", Some(json!([]))),
        ("roster", Some(json!(null))),
        ("roster", Some(json!({ "version": 9, "holders": -1, "hash": "" }))),
        ("roster", None),
    ] {
        let mut content = serde_json::to_value(right(&session)).unwrap();
        match value {
            Some(value) => content[name] = value,
            None => drop(content.as_object_mut().unwrap().remove(name)),
        }
        let content = serde_json::to_vec(&content).unwrap();
        let bytes = beacon(&mut session, &content);
        let what = String::from_utf8_lossy(&content).into_owned();
        forger.expect(&what, no_key.clone(), |forger| forger.deliver(&bytes));
    }
    for content in [&b""[..], b"{}", b"null"] {
        let bytes = beacon(&mut session, content);
        forger.expect("nothing", no_key.clone(), |forger| forger.deliver(&bytes));
    }
    let index = session.message_index() + 1;
    let right = right(&session);
    let right = beacon(&mut session, &serde_json::to_vec(&right).unwrap());
    for length in 0..right.len() {
        let before = forger.state();
        let outcome = forger.deliver(&right[..length]);
        assert!(matches!(outcome, Outcome::Error(_)), "cut to {length}");
        assert_eq!(forger.state(), before);
    }
    // Nobody else can make one …
    let forged = Beacon { stream, generation: Generation(1), step: step(1), roster: roster(9) };
    let forged = beacon(&mut group_session(0), &serde_json::to_vec(&forged).unwrap());
    forger.expect("a stranger's", no_key, |forger| forger.deliver(&forged));
    // … and the right one says what it says once, however often it comes.
    forger.deliver(&right);
    assert_eq!(forger.position(), Some(at(1, index)));
    assert_eq!(forger.state().subscription.holders, Some(roster(9).holders));
    forger.expect("again", Outcome::Silent, |forger| forger.deliver(&right));
}

#[test]
fn a_frame_under_a_session_that_was_refused_opens_nowhere() {
    let mut forger = Forger::new();
    let [held, refused] = [0, 0].map(group_session);
    assert_eq!(forger.send_key(forger.key(&held, 5)), Outcome::Accepted);
    let key = forger.key(&refused, 5);
    forger.expect("a generation held", Outcome::Refused, |forger| forger.send_key(key));
    let wire = forger.frame(&refused, 5);
    assert!(forger.net.opens(forger.victim, forger.stream, &wire).is_err());
    assert!(forger.hoard.try_open(Codec::Vp8, VIDEO, &wire).is_none());
    let wire = forger.frame(&held, 5);
    assert!(forger.net.opens(forger.victim, forger.stream, &wire).is_ok(), "the tools are right");
}

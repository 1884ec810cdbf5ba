//! The answer to a `Renew`, wrong in one place: it keeps no subscription alive.

use olmcast::{
    device::PairwiseError,
    endpoint::{Event, MessageError, SubscriptionStatus},
    protocol::{
        Kind, OfferHash, OlmMessage, OlmPlaintext, Place, Renew, Renewed, StreamKeyAck,
        StreamKeyRequest,
    },
};
use vodozemac::olm::Account;

use crate::{
    forger::{Forger, Outcome, at, group_session, roster},
    network::invite,
    tools::{Signs, encode, signed},
};

fn olm_error(error: PairwiseError) -> MessageError {
    MessageError::Olm(error)
}

/// A subscriber whose `Renew` is on its way, and what its `Renewed` must say.
fn renewing() -> (Forger, Renewed) {
    let mut forger = Forger::new();
    assert_eq!(forger.send_key(forger.key(&group_session(0), 1)), Outcome::Accepted);
    let before = forger.net.log.len();
    forger.net.run(21_000);
    let renew = forger.heard(before).into_iter().find_map(|message| match message {
        OlmMessage::Renew(renew) => Some(renew),
        _ => None,
    });
    let Renew { nonce, ticket: 0 } = renew.unwrap() else { panic!() };
    let offer = forger.offer;
    (forger, Renewed { nonce, ticket: 9, position: at(1, 0), offer, roster: roster(1) })
}

fn stalls(forger: &Forger) -> bool {
    forger.net.events(forger.victim).any(|event| matches!(event, Event::Stalled { .. }))
}

#[test]
fn a_renewed_that_is_wrong_in_one_place_is_refused_and_keeps_nothing_alive() {
    let (mut forger, renewed) = renewing();
    let far = at(1, 3);
    for (what, wrong) in [
        ("another nonce", Renewed { nonce: renewed.nonce ^ 1, position: far, ..renewed.clone() }),
        ("no nonce", Renewed { nonce: 0, position: far, ..renewed.clone() }),
        (
            "another offer",
            Renewed { offer: OfferHash::of(b"another"), position: far, ..renewed.clone() },
        ),
    ] {
        let message = OlmMessage::Renewed(wrong);
        let plaintext = OlmPlaintext { place: forger.place(), message }.encode();
        forger.expect(what, Outcome::Silent, |forger| forger.send(&plaintext));
    }
    let (room, stream, us) = (forger.keys.room(), forger.stream, forger.victim);
    let (other, publisher) = (Account::new().id(), stream.publisher);
    let misdirected = Outcome::Error(olm_error(PairwiseError::Misdirected));
    let syntax = Outcome::Error(olm_error(PairwiseError::Syntax));
    for place in [
        Place::new(room, stream, other, us),
        Place::new(room, stream, publisher, other),
        Place::new(room, stream, us, publisher),
        Place::new(invite().room(), stream, publisher, us),
    ] {
        let message = OlmMessage::Renewed(renewed.clone());
        let plaintext = OlmPlaintext { place, message }.encode();
        forger.expect("elsewhere", misdirected.clone(), |forger| forger.send(&plaintext));
    }
    let message = OlmMessage::Renewed(renewed.clone());
    let right = OlmPlaintext { place: forger.place(), message }.encode();
    for length in 0..right.len() {
        forger.expect("cut", syntax.clone(), |forger| forger.send(&right[..length]));
    }
    for of_a_subscriber in [
        OlmMessage::Renew(Renew { nonce: renewed.nonce, ticket: 0 }),
        OlmMessage::StreamKeyAck(StreamKeyAck { share: 1, accepted: true }),
        OlmMessage::StreamKeyRequest(StreamKeyRequest { request: 1, held: None, key_id: 0 }),
    ] {
        let plaintext = OlmPlaintext { place: forger.place(), message: of_a_subscriber }.encode();
        forger.expect("a subscriber's", misdirected.clone(), |forger| forger.send(&plaintext));
    }
    let (keys, content) = (forger.keys.clone(), MessageError::Content(Kind::Renewed));
    let bytes = encode(&signed(&forger.account, &keys, Some(us), Kind::Renewed, &right));
    forger.expect("signed", Outcome::Error(content), |forger| forger.deliver(&bytes));
    forger.net.run(39_500);
    assert!(stalls(&forger), "none of that counted");
}

#[test]
fn a_renewed_counts_once_and_an_old_one_keeps_nothing_alive() {
    let (mut forger, renewed) = renewing();
    let message = OlmMessage::Renewed(renewed.clone());
    let right = OlmPlaintext { place: forger.place(), message }.encode();
    let encrypted = forger.olm.encrypt(&*right).unwrap();
    let bytes = encode(&forger.envelope(&encrypted));
    assert_eq!(forger.deliver(&bytes), Outcome::Silent);
    let replayed = Outcome::Error(olm_error(PairwiseError::Decryption));
    // The key came at 0 s, this at 21 s: without another it ends at 81 s.
    forger.net.run(58_000);
    assert!(!stalls(&forger), "the right one counted");
    forger.expect("the same bytes", replayed, |forger| forger.deliver(&bytes));
    forger.expect("its nonce once more", Outcome::Silent, |forger| forger.send(&right));
    forger.net.run(3000);
    assert!(stalls(&forger), "and no more than once");
    let subscription = forger.net.endpoint(forger.victim).subscription(forger.stream).unwrap();
    assert_eq!(subscription.status, SubscriptionStatus::Stalled);
}

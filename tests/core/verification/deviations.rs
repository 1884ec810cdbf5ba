//! An endpoint and a device that does not do as it should: nothing comes of it.

use olmcast::protocol::{
    VerificationDone, VerificationKey, VerificationMac, VerificationMessage as Message,
};
use vodozemac::sas::Sas;

use super::{
    foreign::{Foreign, Said, heard},
    *,
};

const ROLES: [bool; 2] = [false, true];

fn cancelled(reason: CancelReason) -> Option<VerificationState> {
    Some(VerificationState::Cancelled(reason))
}

/// A pair of which only the first is there, and the other side.
fn meet(is_initiator: bool) -> (Table, Foreign) {
    let mut table = Table::of(&["Alice"]);
    let foreign = Foreign::meet(&mut table, is_initiator);
    (table, foreign)
}

#[test]
fn an_independent_implementation_sees_the_same_string_and_verifies() {
    for role in ROLES {
        let (mut table, mut foreign) = meet(role);
        let (said, secret) = foreign.agree(&mut table);
        let (us, short) = (foreign.device(), table.short(table.a(), foreign.device()).unwrap());
        let theirs = said.short(&secret);
        assert_eq!(short.numbers(), <[u16; 3]>::from(theirs.decimals()));
        table.confirm(foreign.victim, us);
        let mac: VerificationMac =
            serde_json::from_slice(&heard(&table, us, KINDS[3]).unwrap()).unwrap();
        assert!(said.is_right(&secret, "mac", !role, mac.mac));
        foreign.say(&mut table, &foreign.mac(&said, &secret));
        let done: VerificationDone =
            serde_json::from_slice(&heard(&table, us, KINDS[4]).unwrap()).unwrap();
        assert!(said.is_right(&secret, "done", !role, done.mac));
        assert_eq!(foreign.state(&table), Some(VerificationState::Confirmed));
        foreign.say(&mut table, &foreign.done(&said, &secret));
        assert_eq!(foreign.state(&table), Some(VerificationState::Verified));
    }
}

type Alteration = (&'static str, fn(&mut Said));

/// What a proof covers, each with something else in its place.
fn alterations() -> Vec<Alteration> {
    vec![
        ("version", |said| said.version = 2),
        ("room", |said| said.room = olmcast::primitives::RoomId::from_name("other")),
        ("id", |said| said.id = olmcast::primitives::VerificationId::from_bytes([1; 16])),
        ("initiator's Ed25519", |said| said.initiator.device = DeviceId::from_bytes([1; 32])),
        ("initiator's Curve25519", |said| said.initiator.curve25519 = [9; 32]),
        ("initiator's name", |said| said.initiator.name.push('x')),
        ("accepter's Ed25519", |said| said.accepter.device = DeviceId::from_bytes([1; 32])),
        ("accepter's Curve25519", |said| said.accepter.curve25519 = [9; 32]),
        ("accepter's name", |said| said.accepter.name.push('x')),
        ("initiator's ephemeral key", |said| said.keys[0] = [9; 32]),
        ("accepter's ephemeral key", |said| said.keys[1] = [9; 32]),
        ("start", |said| said.start.push(b' ')),
        ("accept", |said| said.accept.push(b' ')),
        ("Curve25519 exchanged", |said| {
            std::mem::swap(&mut said.initiator.curve25519, &mut said.accepter.curve25519);
        }),
        ("names exchanged", |said| {
            std::mem::swap(&mut said.initiator.name, &mut said.accepter.name);
        }),
    ]
}

#[test]
fn a_proof_of_anything_else_fails_whatever_the_strings_were() {
    for role in ROLES {
        for (what, alter) in alterations() {
            for confirms_first in [false, true] {
                let (mut table, mut foreign) = meet(role);
                let (said, secret) = foreign.agree(&mut table);
                if confirms_first {
                    table.confirm(foreign.victim, foreign.device());
                }
                let mut other = said.clone();
                alter(&mut other);
                foreign.say(&mut table, &foreign.mac(&other, &secret));
                assert_eq!(foreign.state(&table), cancelled(CancelReason::KeysDiffer), "{what}");
            }
        }
    }
}

#[test]
fn a_last_message_that_the_other_side_cannot_have_made_fails() {
    for role in ROLES {
        for (what, alter) in alterations() {
            let (mut table, mut foreign) = meet(role);
            let (said, secret) = foreign.agree(&mut table);
            table.confirm(foreign.victim, foreign.device());
            foreign.say(&mut table, &foreign.mac(&said, &secret));
            let mut other = said.clone();
            alter(&mut other);
            foreign.say(&mut table, &foreign.done(&other, &secret));
            assert_eq!(foreign.state(&table), cancelled(CancelReason::KeysDiffer), "{what}");
            assert_eq!(table.trust(), [[]]);
        }
    }
}

#[test]
fn the_string_is_another_if_anything_is() {
    for role in ROLES {
        let (mut table, mut foreign) = meet(role);
        let (said, secret) = foreign.agree(&mut table);
        let numbers = table.short(table.a(), foreign.device()).unwrap().numbers();
        assert_eq!(numbers, <[u16; 3]>::from(said.short(&secret).decimals()));
        for (what, alter) in alterations() {
            let mut other = said.clone();
            alter(&mut other);
            assert_ne!(numbers, <[u16; 3]>::from(other.short(&secret).decimals()), "{what}");
        }
    }
}

#[test]
fn ones_own_proofs_and_those_for_another_purpose_prove_nothing() {
    for role in ROLES {
        for (purpose, by_us) in [("mac", false), ("done", true), ("done", false)] {
            let (mut table, mut foreign) = meet(role);
            let (said, secret) = foreign.agree(&mut table);
            let mac = said.mac(&secret, purpose, by_us == role);
            foreign.say(&mut table, &Message::Mac(VerificationMac { id: foreign.id, mac }));
            assert_eq!(foreign.state(&table), cancelled(CancelReason::KeysDiffer));
        }
        for (purpose, by_us) in [("mac", false), ("mac", true), ("done", false)] {
            let (mut table, mut foreign) = meet(role);
            let (said, secret) = foreign.agree(&mut table);
            table.confirm(foreign.victim, foreign.device());
            foreign.say(&mut table, &foreign.mac(&said, &secret));
            let mac = said.mac(&secret, purpose, by_us == role);
            foreign.say(&mut table, &Message::Done(VerificationDone { id: foreign.id, mac }));
            assert_eq!(foreign.state(&table), cancelled(CancelReason::KeysDiffer));
        }
    }
}

#[test]
fn a_key_that_was_not_committed_to_is_refused() {
    let (mut table, mut foreign) = meet(false);
    let hello = foreign.hello();
    foreign.greet(&mut table, &hello);
    // It has seen ours, and would like to have chosen.
    let key = olmcast::protocol::PublicKey(Sas::new().public_key());
    foreign.say(&mut table, &Message::Key(VerificationKey { id: foreign.id, key }));
    assert_eq!(foreign.state(&table), cancelled(CancelReason::Commitment));

    // A commitment under another start than ours.
    let (mut table, mut foreign) = meet(false);
    let Message::Accept(mut accept) = foreign.hello() else { panic!() };
    let Message::Key(key) = foreign.key() else { panic!() };
    accept.commitment = foreign::commitment(key.key, &[&foreign.start[..], b" "].concat());
    foreign.greet(&mut table, &Message::Accept(accept));
    foreign.say(&mut table, &Message::Key(key));
    assert_eq!(foreign.state(&table), cancelled(CancelReason::Commitment));
}

#[test]
fn our_key_is_not_shown_before_the_other_side_is_bound_to_its_own() {
    // As initiator: not before the commitment; as accepter: not before the other's key.
    let (mut table, mut foreign) = meet(false);
    table.run(5000);
    assert_eq!(heard(&table, foreign.device(), KINDS[2]), None);
    let hello = foreign.hello();
    foreign.greet(&mut table, &hello);
    assert!(heard(&table, foreign.device(), KINDS[2]).is_some());

    let (mut table, mut foreign) = meet(true);
    let hello = foreign.hello();
    foreign.greet(&mut table, &hello);
    table.run(5000);
    assert_eq!(heard(&table, foreign.device(), KINDS[2]), None);
    foreign.say(&mut table, &foreign.key());
    assert!(heard(&table, foreign.device(), KINDS[2]).is_some());
}

#[test]
fn who_contradicts_itself_fails() {
    for role in ROLES {
        for which in 0..3 {
            let (mut table, mut foreign) = meet(role);
            let (said, secret) = foreign.agree(&mut table);
            let mac = foreign.mac(&said, &secret);
            foreign.say(&mut table, &mac);
            let again = match (which, foreign.hello(), foreign.key(), mac) {
                (0, Message::Accept(mut accept), ..) => {
                    accept.name.push('x');
                    Message::Accept(accept)
                }
                // Another start under the same id is none of this verification's business.
                (0, ..) => continue,
                (1, _, Message::Key(mut key), _) => {
                    key.key = olmcast::protocol::PublicKey(Sas::new().public_key());
                    Message::Key(key)
                }
                (_, _, _, Message::Mac(mut mac)) => {
                    mac.mac[0] ^= 1;
                    Message::Mac(mac)
                }
                _ => panic!(),
            };
            foreign.say(&mut table, &again);
            assert_eq!(foreign.state(&table), cancelled(CancelReason::Tampered), "{which}");
        }
    }
}

#[test]
fn what_comes_out_of_order_never_verifies_and_what_nobody_can_say_yet_ends_it() {
    // Accept, Key, Mac, Done, in the order of the protocol and in every other.
    for role in ROLES {
        for order in permutations(&[0, 1, 2, 3]) {
            let (mut table, mut foreign) = meet(role);
            let (mut said, mut is_confirmed) = (None, false);
            for which in &order {
                match which {
                    0 => {
                        let hello = foreign.hello();
                        foreign.greet(&mut table, &hello);
                    }
                    1 => foreign.say(&mut table, &foreign.key()),
                    which => {
                        if said.is_none()
                            && foreign.state(&table).is_some()
                            && !foreign.accept.is_empty()
                            && heard(&table, foreign.device(), KINDS[2]).is_some()
                        {
                            said = Some(foreign.finish(&table));
                        }
                        let message = match &said {
                            Some((said, secret)) if *which == 2 => foreign.mac(said, secret),
                            Some((said, secret)) => foreign.done(said, secret),
                            None if *which == 2 => {
                                Message::Mac(VerificationMac { id: foreign.id, mac: [1; 32] })
                            }
                            None => {
                                Message::Done(VerificationDone { id: foreign.id, mac: [1; 32] })
                            }
                        };
                        foreign.say(&mut table, &message);
                    }
                }
                if !is_confirmed && table.short(foreign.victim, foreign.device()).is_some() {
                    is_confirmed = true;
                    table.confirm(foreign.victim, foreign.device());
                }
            }
            let is_in_order = order == [0, 1, 2, 3];
            let is_verified = foreign.state(&table) == Some(VerificationState::Verified);
            assert_eq!(is_verified, is_in_order, "{order:?} {:?}", foreign.state(&table));
            assert!(is_in_order || table.trust() == [[]]);
        }
    }
}

fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![vec![]];
    }
    let with = |first: usize| {
        let rest: Vec<_> = of.iter().copied().filter(|other| *other != first).collect();
        permutations(&rest).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    of.iter().flat_map(|first| with(*first)).collect()
}

#[test]
fn without_the_last_message_nobody_is_verified() {
    for role in ROLES {
        let (mut table, mut foreign) = meet(role);
        let (said, secret) = foreign.agree(&mut table);
        table.confirm(foreign.victim, foreign.device());
        foreign.say(&mut table, &foreign.mac(&said, &secret));
        table.run(MINUTE);
        assert_eq!(foreign.state(&table), Some(VerificationState::Confirmed));
        assert_eq!(table.trust(), [[]]);
        table.run(2 * MINUTE);
        assert_eq!(foreign.state(&table), cancelled(CancelReason::Timeout));
        // Nor does it help afterwards.
        foreign.say(&mut table, &foreign.done(&said, &secret));
        assert_eq!(table.trust(), [[]]);
    }
}

#[test]
fn without_our_user_nobody_is_verified() {
    for role in ROLES {
        let (mut table, mut foreign) = meet(role);
        let (said, secret) = foreign.agree(&mut table);
        foreign.say(&mut table, &foreign.mac(&said, &secret));
        assert!(table.short(foreign.victim, foreign.device()).is_some());
        foreign.say(&mut table, &foreign.done(&said, &secret));
        assert_eq!(foreign.state(&table), cancelled(CancelReason::Unexpected));
        assert_eq!(table.trust(), [[]]);
    }
}

#[test]
fn another_version_is_refused_and_said_so() {
    for role in ROLES {
        let (mut table, mut foreign) = meet(role);
        let hello = match foreign.hello() {
            Message::Start(start) => {
                Message::Start(olmcast::protocol::VerificationStart { version: 2, ..start })
            }
            Message::Accept(accept) => {
                Message::Accept(olmcast::protocol::VerificationAccept { version: 0, ..accept })
            }
            other => other,
        };
        foreign.greet(&mut table, &hello);
        let told = heard(&table, foreign.device(), Kind::VerificationCancel).unwrap();
        assert!(String::from_utf8(told).unwrap().contains("\"version\""));
        assert_eq!(
            foreign.state(&table),
            if role { None } else { cancelled(CancelReason::Version) }
        );
    }
}

#[test]
fn a_device_that_states_another_key_than_it_is_known_by_fails() {
    for role in ROLES {
        let (mut table, mut foreign) = meet(role);
        let (us, now) = (foreign.device(), table.time());
        let other = olmcast::protocol::PublicKey(Sas::new().public_key());
        let victim = foreign.victim;
        table.at(victim).pin(us, other, "Mallory", now);
        let before = table.trust();
        let hello = foreign.hello();
        foreign.greet(&mut table, &hello);
        assert_eq!(foreign.state(&table), cancelled(CancelReason::KeyChanged));
        assert_eq!(table.trust(), before);

        // Or is known by since it began.
        let (mut table, mut foreign) = meet(role);
        let (said, secret) = foreign.agree(&mut table);
        let (victim, us) = (foreign.victim, foreign.device());
        table.confirm(victim, us);
        foreign.say(&mut table, &foreign.mac(&said, &secret));
        table.at(victim).pin(us, other, "Mallory", now);
        foreign.say(&mut table, &foreign.done(&said, &secret));
        assert_eq!(foreign.state(&table), cancelled(CancelReason::KeyChanged));
    }
}

#[test]
fn messages_that_are_too_large_or_have_too_long_names_are_refused() {
    for role in ROLES {
        for padding in [0, 3000] {
            let (mut table, foreign) = meet(role);
            let hello = foreign.hello();
            let mut json: serde_json::Value = serde_json::from_slice(&hello.payload()).unwrap();
            if padding > 0 {
                json["more"] = "x".repeat(padding).into();
            } else {
                json["name"] = "x".repeat(129).into();
            }
            let payload = serde_json::to_vec(&json).unwrap();
            let keys = table.keys();
            let to = Some(foreign.victim);
            let envelope =
                crate::tools::signed(&foreign.account, &keys, to, hello.kind(), &payload);
            let bytes = crate::tools::encode(&envelope);
            table.deliver(foreign.victim, &bytes);
            let refused = MessageError::Content(hello.kind());
            assert_eq!(table.errors, [(foreign.victim, refused)]);
            let state = if role { None } else { cancelled(CancelReason::Tampered) };
            assert_eq!(foreign.state(&table), state);
        }
    }
}

//! To confirm is to confirm a name as well, so what speaks against the name is shown.

use olmcast::{
    device::{Distrust, TrustState},
    protocol::{PublicKey, VerificationAccept, VerificationMessage, VerificationStart},
};

use super::{foreign::Foreign, *};

/// What was shown of a device: its name, the one that it is known by, and what speaks against it.
fn shown(table: &Table, of: DeviceId) -> Vec<(String, Option<String>, Option<Distrust>)> {
    let shown = |(_, event): &(_, Event)| match event {
        Event::Verification { device, name, known, distrust, .. } if *device == of => {
            Some((name.clone(), known.as_ref().map(|known| known.name.clone()), *distrust))
        }
        _ => None,
    };
    table.shown.iter().filter_map(shown).collect()
}

#[test]
fn whoever_verifies_under_another_name_or_a_known_one_is_shown_so_all_along() {
    for is_known in [true, false] {
        let mut table = Table::of(&["Alice"]);
        let mut foreign = Foreign::meet(&mut table, true);
        let (alice, device, now) = (table.a(), foreign.device(), table.time());
        let key = PublicKey(foreign.account.curve25519_key());
        let friend = Identity::generate();
        table.at(alice).pin(friend.device(), friend.curve25519(), "mallory", now);
        if is_known {
            table.at(alice).pin(device, key, "Robert", now);
        }
        let (said, secret) = foreign.agree(&mut table);
        let name = "Mallory".to_owned();
        let known = is_known.then(|| "Robert".to_owned());
        let taken = Some(Distrust::NameTaken(friend.device()));
        let expected = (name.clone(), known, taken);
        // It asked, was accepted, and is compared.
        assert_eq!(shown(&table, device), [(); 3].map(|()| expected.clone()));
        let peer = table.at(alice).verification_peer(device).unwrap();
        assert_eq!((peer.name, peer.known.map(|k| k.name), peer.distrust), expected);
        table.confirm(alice, device);
        foreign.say(&mut table, &foreign.mac(&said, &secret));
        foreign.say(&mut table, &foreign.done(&said, &secret));
        // The user was warned, and both are called so now.
        let state = table.endpoints[&alice].memory().trust().state(&device);
        assert_eq!(state, TrustState::Verified);
        assert_eq!(shown(&table, device).last(), Some(&(name.clone(), Some(name), None)));
    }
}

#[test]
fn a_name_is_shown_on_one_line_whoever_asked() {
    for is_initiator in [true, false] {
        let mut table = Table::of(&["Alice"]);
        let mut foreign = Foreign::meet(&mut table, is_initiator);
        let hello = match foreign.hello() {
            VerificationMessage::Start(start) => {
                VerificationMessage::Start(VerificationStart { name: ROGUE.to_owned(), ..start })
            }
            VerificationMessage::Accept(accept) => {
                VerificationMessage::Accept(VerificationAccept { name: ROGUE.to_owned(), ..accept })
            }
            other => panic!("{other:?}"),
        };
        foreign.greet(&mut table, &hello);
        foreign.say(&mut table, &foreign.key());
        let (said, secret) = foreign.finish(&table);
        let device = foreign.device();
        assert_eq!(shown(&table, device).last().unwrap().0, "[2JBoss");
        // What is compared and proved is what it said, byte by byte.
        table.confirm(table.a(), device);
        foreign.say(&mut table, &foreign.mac(&said, &secret));
        foreign.say(&mut table, &foreign.done(&said, &secret));
        assert_eq!(foreign.state(&table), Some(VerificationState::Verified));
        assert_eq!(shown(&table, device).last().unwrap().1.as_deref(), Some("[2JBoss"));
    }
}

const ROGUE: &str = "\u{1b}[2J\nBoss\u{202e}";

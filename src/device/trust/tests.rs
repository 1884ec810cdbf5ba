use proptest::prelude::*;
use vodozemac::Curve25519PublicKey;

use super::*;

fn device(number: u32) -> DeviceId {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

fn key(byte: u8) -> PublicKey {
    PublicKey(Curve25519PublicKey::from_bytes([byte; 32]))
}

fn round_trip(store: &TrustStore) -> TrustStore {
    let json = serde_json::to_string(store).unwrap();
    let bytes = postcard::to_allocvec(store).unwrap();
    let read: TrustStore = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), json);
    serde_json::from_str(&json).unwrap()
}

#[test]
fn what_a_device_says_is_compared_with_what_is_known() {
    use Distrust::{Blocked, KeyChanged, NameTaken};
    use TrustState::{Pinned, Unknown, Verified};

    let mut trust = TrustStore::default();
    trust.pin(device(1), key(11), "Alice");
    trust.verify(device(2), key(12), "Bob");
    trust.verify(device(3), key(13), "Mallory");
    trust.block(device(3));
    trust.block(device(4));
    trust.pin(device(5), key(15), "");
    for (who, curve25519, name, expected) in [
        // As it was pinned, and under a free name or none.
        (1, 11, "Alice", Ok(Pinned)),
        (1, 11, "alice", Ok(Pinned)),
        (1, 11, "Alice at home", Ok(Pinned)),
        (1, 11, "", Ok(Pinned)),
        (2, 12, "Bob", Ok(Verified)),
        (2, 12, "Robert", Ok(Verified)),
        (5, 15, "Eve", Ok(Pinned)),
        (6, 16, "Carol", Ok(Unknown)),
        (6, 16, "", Ok(Unknown)),
        (6, 16, "\u{200b}", Ok(Unknown)),
        // Another key.
        (1, 12, "Alice", Err(KeyChanged)),
        (2, 11, "Bob", Err(KeyChanged)),
        (2, 11, "Alice", Err(KeyChanged)),
        // Another's name.
        (6, 16, "Alice", Err(NameTaken(device(1)))),
        (6, 11, "Alice", Err(NameTaken(device(1)))),
        (6, 16, "АIісе", Err(NameTaken(device(1)))),
        (6, 16, "bob ", Err(NameTaken(device(2)))),
        (1, 11, "Bob", Err(NameTaken(device(2)))),
        (2, 12, "Alice", Err(NameTaken(device(1)))),
        // Whoever is blocked is, and keeps its name from nobody.
        (3, 13, "Mallory", Err(Blocked)),
        (3, 99, "Alice", Err(Blocked)),
        (4, 14, "", Err(Blocked)),
        (6, 16, "Mallory", Ok(Unknown)),
    ] {
        let found = trust.check(&device(who), &key(curve25519), name);
        assert_eq!(found, expected, "{who} {curve25519} {name:?}");
        let keys = trust.check_keys(&device(who), &key(curve25519));
        match expected {
            Err(NameTaken(_)) => assert_eq!(keys, Ok(trust.state(&device(who)))),
            _ => assert_eq!(keys, expected),
        }
    }
}

#[test]
fn a_pin_binds_keys_and_name_and_what_is_said_later_does_not_change_it() {
    let mut trust = TrustStore::default();
    assert!(trust.see(device(1), key(11), "Alice"));
    let pinned = trust.get(&device(1)).cloned();
    for (curve25519, name) in [(11, "Alice"), (11, "Bob"), (12, "Alice"), (12, "Bob")] {
        assert!(!trust.see(device(1), key(curve25519), name));
        assert_eq!(trust.get(&device(1)).cloned(), pinned);
    }
    assert_eq!(trust.check(&device(1), &key(11), "Bob"), Ok(TrustState::Pinned));
    assert_eq!(trust.check(&device(2), &key(12), "Bob"), Ok(TrustState::Unknown), "it is free");
}

#[test]
fn a_name_that_is_taken_is_bound_to_nobody_who_was_only_seen() {
    let mut trust = TrustStore::default();
    trust.see(device(1), key(11), "Alice");
    assert!(trust.see(device(2), key(12), "AIice"));
    assert_eq!(trust.get(&device(2)).unwrap().name, "");
    let taken = Err(Distrust::NameTaken(device(1)));
    assert_eq!(trust.check(&device(2), &key(12), "Alice"), taken);
    assert!(!trust.see(device(2), key(12), "Alice"), "nor later");
    // A free one is, once.
    assert!(trust.see(device(2), key(12), "Bob"));
    assert!(!trust.see(device(2), key(12), "Carol"));
    assert_eq!(trust.get(&device(2)).unwrap().name, "Bob");
    // People who compared no name get none bound by and by, nor is a name bound to another key.
    trust.verify(device(3), key(13), "");
    assert!(!trust.see(device(3), key(13), "Dora"));
    trust.pin(device(4), key(14), "");
    assert!(!trust.see(device(4), key(15), "Dora"));
}

#[test]
fn several_devices_have_one_name_if_the_user_says_so() {
    let mut trust = TrustStore::default();
    trust.pin(device(1), key(11), "Alice");
    trust.verify(device(2), key(12), "alice");
    assert_eq!(trust.check(&device(1), &key(11), "Alice"), Ok(TrustState::Pinned));
    assert_eq!(trust.check(&device(2), &key(12), "ALICE"), Ok(TrustState::Verified));
    let taken = Err(Distrust::NameTaken(device(1)));
    assert_eq!(trust.check(&device(3), &key(13), "Alice"), taken);
    // The name is known as long as one of them is.
    assert!(trust.forget(&device(1)));
    let taken = Err(Distrust::NameTaken(device(2)));
    assert_eq!(trust.check(&device(3), &key(13), "Alice"), taken);
    assert!(trust.forget(&device(2)) && !trust.forget(&device(2)));
    assert_eq!(trust.check(&device(3), &key(13), "Alice"), Ok(TrustState::Unknown));
    assert!(trust.names.is_empty() && trust.seen == 0);
}

#[test]
fn whoever_is_accepted_is_pinned_as_what_it_says_and_verified_as_nothing_new() {
    use TrustState::{Pinned, Verified};

    let mut trust = TrustStore::default();
    trust.verify(device(1), key(11), "Alice");
    trust.verify(device(2), key(12), "Bob");
    let as_what = |trust: &TrustStore, number| {
        let known = trust.get(&device(number)).unwrap();
        (known.name.clone(), known.curve25519, known.state)
    };
    // A verified device keeps the name that was compared, and is asked about again.
    trust.accept(device(1), key(11), "Bob");
    assert_eq!(as_what(&trust, 1), ("Alice".to_owned(), Some(key(11)), Verified));
    let taken = Err(Distrust::NameTaken(device(2)));
    assert_eq!(trust.check(&device(1), &key(11), "Bob"), taken);
    // With another key it gets nobody's name, and is verified no more.
    trust.accept(device(1), key(19), "Bob");
    assert_eq!(as_what(&trust, 1), ("Alice".to_owned(), Some(key(19)), Pinned));
    trust.accept(device(2), key(18), "Robert");
    assert_eq!(as_what(&trust, 2), ("Robert".to_owned(), Some(key(18)), Pinned));
    // Whoever was not verified has the name now, since the user was asked about that.
    trust.accept(device(3), key(13), "Alice");
    assert_eq!(trust.check(&device(3), &key(13), "Alice"), Ok(Pinned));
    trust.accept(device(2), key(18), "Alice");
    assert_eq!(trust.check(&device(2), &key(18), "Alice"), Ok(Pinned));
}

#[test]
fn a_block_keeps_what_was_known_and_a_pin_lifts_it() {
    let mut trust = TrustStore::default();
    trust.pin(device(1), key(11), "Alice");
    trust.block(device(1));
    let known = trust.get(&device(1)).unwrap();
    assert_eq!((known.curve25519, &*known.name), (Some(key(11)), "Alice"));
    assert!(!trust.see(device(1), key(11), "Alice"));
    trust.pin(device(1), key(11), "Alice");
    assert_eq!(trust.check(&device(1), &key(11), "Alice"), Ok(TrustState::Pinned));
}

#[test]
fn many_devices_that_are_seen_push_out_nobody_and_decisions_have_no_limit() {
    let mut trust = TrustStore::default();
    trust.verify(device(0), key(1), "Alice");
    trust.block(device(1));
    assert!(trust.see(device(2), key(2), "a friend who was seen"));
    let count = u32::try_from(MAX_SEEN).unwrap();
    let sybils = 3..3 + 2 * count;
    let pinned = sybils.clone().filter(|n| trust.see(device(*n), key(3), &format!("number {n}")));
    assert_eq!(pinned.count(), MAX_SEEN - 1);
    trust = round_trip(&trust);
    let late = device(3 + 2 * count);
    assert!(!trust.see(late, key(9), "late"), "the newest is not pinned");
    assert_eq!(trust.state(&late), TrustState::Unknown);
    assert_eq!(trust.state(&device(0)), TrustState::Verified);
    assert_eq!(trust.state(&device(1)), TrustState::Blocked);
    for number in 2..2 + count {
        assert_eq!(trust.state(&device(number)), TrustState::Pinned);
    }
    // The user may pin as many as there are, and one who was seen makes room by that.
    for number in 10 * count..12 * count {
        trust.pin(device(number), key(3), "");
    }
    assert!(!trust.see(late, key(9), "late"));
    trust.pin(device(2), key(2), "a friend");
    assert!(trust.see(late, key(9), "late"));
    assert!(trust.forget(&device(5)) && trust.see(device(3 + count), key(9), ""));
    assert_eq!(trust.iter().filter(|known| !known.decided).count(), MAX_SEEN);
    assert_eq!(trust.iter().count(), 3 * MAX_SEEN + 3);
    // What is forgotten leaves nothing behind.
    let bears = trust.iter().flat_map(|known| looks(&known.name)).count();
    assert_eq!(trust.names.len(), bears);
}

#[test]
fn a_kept_name_is_one_line_of_bounded_length() {
    let mut trust = TrustStore::default();
    trust.pin(device(1), key(1), " \u{1b}[31mAl\u{202e}ice\n");
    assert_eq!(trust.get(&device(1)).unwrap().name, "[31mAlice");
    trust.verify(device(2), key(1), &"x".repeat(1000));
    assert_eq!(trust.get(&device(2)).unwrap().name.len(), 128);
}

#[derive(Clone, Copy, Debug)]
enum Change {
    See,
    Pin,
    Verify,
    Accept,
    Block,
    Forget,
}

proptest! {
    /// The indexes say what looking at all devices says, before and after it was kept.
    #[test]
    fn after_whatever_changes_the_store_is_the_same_when_it_is_read_again(
        changes in prop::collection::vec(
            (
                0_u32..6,
                1_u8..4,
                prop::sample::select(vec!["", "Alice", "AIice", "Bob", "Carol"]),
                prop::sample::select(vec![
                    Change::See, Change::Pin, Change::Verify, Change::Accept, Change::Block,
                    Change::Forget,
                ]),
            ),
            1..40,
        ),
    ) {
        let mut trust = TrustStore::default();
        for (number, byte, name, change) in changes {
            let (who, curve25519) = (device(number), key(byte));
            match change {
                Change::See => drop(trust.see(who, curve25519, name)),
                Change::Pin => trust.pin(who, curve25519, name),
                Change::Verify => trust.verify(who, curve25519, name),
                Change::Accept => trust.accept(who, curve25519, name),
                Change::Block => trust.block(who),
                Change::Forget => drop(trust.forget(&who)),
            }
            let again = round_trip(&trust);
            prop_assert_eq!(again.iter().collect::<Vec<_>>(), trust.iter().collect::<Vec<_>>());
            let seen = trust.iter().filter(|known| !known.decided).count();
            prop_assert_eq!((trust.seen, again.seen), (seen, seen));
            prop_assert_eq!(&again.names, &trust.names);
            for store in [&trust, &again] {
                for name in ["Alice", "Bob", "Carol", "Dora", ""] {
                    let bears = |known: &KnownDevice| {
                        known.state != TrustState::Blocked
                            && looks(&known.name).any(|look| looks(name).any(|l| l == look))
                    };
                    let is_taken = store.iter().any(bears);
                    let found = store.check(&device(99), &key(9), name);
                    prop_assert_eq!(found.is_err(), is_taken, "{} {:?}", name, found);
                }
            }
        }
    }
}

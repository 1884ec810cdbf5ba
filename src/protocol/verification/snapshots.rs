//! Every message, byte by byte: a change here is a change of the language, and of
//! [`VerificationStart::VERSION`].

use vodozemac::Curve25519PublicKey;

use super::*;

const ID: VerificationId = VerificationId::from_bytes([0x1D; 16]);

fn key() -> PublicKey {
    PublicKey(Curve25519PublicKey::from_bytes([9; 32]))
}

#[test]
fn what_two_devices_say_to_each_other() {
    let (key, name) = (key(), "Ada \"L\"".to_owned());
    let (start, accept) = (
        VerificationStart {
            id: ID,
            version: 1,
            curve25519: key,
            name: name.clone(),
            sequence: 1_800_000_000_000,
        },
        VerificationAccept {
            id: ID,
            version: 1,
            curve25519: key,
            name,
            sequence: 7,
            commitment: [0xC0; 32],
        },
    );
    let mac = [0xAC; 32];
    let cancel = VerificationCancel { id: ID, reason: CancelReason::NumbersDiffer };
    for (message, expected) in [
        (
            VerificationMessage::Start(start),
            r#"{"id":"HR0dHR0dHR0dHR0dHR0dHQ","version":1,"curve25519":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk","name":"Ada \"L\"","sequence":1800000000000}"#,
        ),
        (
            VerificationMessage::Accept(accept),
            r#"{"id":"HR0dHR0dHR0dHR0dHR0dHQ","version":1,"curve25519":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk","name":"Ada \"L\"","sequence":7,"commitment":"wMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA"}"#,
        ),
        (
            VerificationMessage::Key(VerificationKey { id: ID, key }),
            r#"{"id":"HR0dHR0dHR0dHR0dHR0dHQ","key":"CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk"}"#,
        ),
        (
            VerificationMessage::Mac(VerificationMac { id: ID, mac }),
            r#"{"id":"HR0dHR0dHR0dHR0dHR0dHQ","mac":"rKysrKysrKysrKysrKysrKysrKysrKysrKysrKysrKw"}"#,
        ),
        (
            VerificationMessage::Done(VerificationDone { id: ID, mac }),
            r#"{"id":"HR0dHR0dHR0dHR0dHR0dHQ","mac":"rKysrKysrKysrKysrKysrKysrKysrKysrKysrKysrKw"}"#,
        ),
        (
            VerificationMessage::Cancel(cancel),
            r#"{"id":"HR0dHR0dHR0dHR0dHR0dHQ","reason":"numbers_differ"}"#,
        ),
    ] {
        let payload = message.payload();
        assert_eq!(String::from_utf8(payload.clone()).unwrap(), expected);
        assert_eq!(VerificationMessage::read(message.kind(), &payload), Some(message));
    }
}

#[test]
fn every_reason_has_a_word_and_one_of_a_later_version_still_cancels() {
    use CancelReason::*;
    for (reason, word) in [
        (User, "user"),
        (Declined, "declined"),
        (Timeout, "timeout"),
        (NumbersDiffer, "numbers_differ"),
        (KeysDiffer, "keys_differ"),
        (Commitment, "commitment"),
        (Tampered, "tampered"),
        (Unexpected, "unexpected"),
        (KeyChanged, "key_changed"),
        (Busy, "busy"),
        (Version, "version"),
        (Unknown, "unknown"),
        (Other, "other"),
    ] {
        assert_eq!(serde_json::to_string(&reason).unwrap(), format!("\"{word}\""));
        assert_eq!(serde_json::from_str::<CancelReason>(&format!("\"{word}\"")).unwrap(), reason);
        assert!(!reason.to_string().is_empty());
    }
    assert_eq!(serde_json::from_str::<CancelReason>("\"bored\"").unwrap(), Other);
}

#[test]
fn the_longest_name_passes_however_it_is_escaped_and_a_longer_one_does_not() {
    let start = |name: String| {
        let start =
            VerificationStart { id: ID, version: 1, curve25519: key(), name, sequence: u64::MAX };
        VerificationMessage::Start(start)
    };
    for character in ["x", "\u{1}", "ü", "🦄"] {
        let longest = start(character.repeat(128 / character.len()));
        let payload = longest.payload();
        assert_eq!(VerificationMessage::read(longest.kind(), &payload), Some(longest.clone()));
        let longer = start(character.repeat(128 / character.len() + 1));
        assert_eq!(VerificationMessage::read(longer.kind(), &longer.payload()), None);
        // As another kind it is nothing.
        assert_eq!(VerificationMessage::read(Kind::VerificationKey, &payload), None);
        assert_eq!(VerificationMessage::read(Kind::Beacon, &payload), None);
    }
}

#[test]
fn a_hash_of_another_length_or_alphabet_is_refused() {
    let of = |mac: &str| {
        let json = format!(r#"{{"id":"HR0dHR0dHR0dHR0dHR0dHQ","mac":"{mac}"}}"#);
        VerificationMessage::read(Kind::VerificationMac, json.as_bytes())
    };
    let good = "rKysrKysrKysrKysrKysrKysrKysrKysrKysrKysrKw";
    assert!(of(good).is_some());
    for bad in ["", &good[1..], &format!("{good}A"), &format!("{good}="), &good.replace('w', "x")] {
        assert_eq!(of(bad), None, "{bad}");
    }
}

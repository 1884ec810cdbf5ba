//! 1,000 runs in which something on the way is changed, and none of which verifies anybody.
//!
//! A third of them has a carrier without any key; a third one that signs with the devices' real
//! keys, so that the short string and the proofs must hold alone; and a third one that has all of
//! that and speaks for each device with the other, with ephemeral keys and proofs of its own. The
//! users confirm exactly if both see the same.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use olmcast::{
    device::Signer,
    primitives::{RoomKeys, VerificationId},
    protocol::{PublicKey, SignedMessage},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use vodozemac::olm::Account;

use super::{between::Between, foreign::curve25519_of, *};
use crate::tools::{encode, signed};

const RUNS: u64 = 1000;

/// How a run begins.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Begins {
    First,
    Second,
    Both,
}

/// How a run ended.
struct Outcome {
    ends: [Option<VerificationState>; 2],
    /// Why it failed, as whoever noticed first has it.
    noticed: Option<CancelReason>,
    changed: usize,
    has_changed_trust: bool,
}

/// What becomes of a message: other bytes, none at all if they are empty, or nothing but delay.
type Change = Box<dyn FnMut(&Way<'_>) -> Option<Vec<u8>>>;

struct Attack {
    begins: Begins,
    name: String,
    change: Change,
}

/// A message on its way.
pub(super) struct Way<'a> {
    pub(super) from: DeviceId,
    pub(super) to: DeviceId,
    pub(super) bytes: &'a [u8],
    pub(super) signed: SignedMessage,
    pub(super) signers: &'a BTreeMap<DeviceId, Signer>,
    pub(super) keys: &'a RoomKeys,
}

impl Way<'_> {
    /// The same by the same, with other words.
    pub(super) fn again(&self, kind: Kind, keys: &RoomKeys, payload: &[u8]) -> Vec<u8> {
        encode(&signed(&self.signers[&self.from], keys, Some(self.to), kind, payload))
    }

    fn is_cancel(&self) -> bool {
        self.signed.kind == Kind::VerificationCancel
    }
}

fn elsewhere() -> RoomKeys {
    RoomKeys::without_invite(olmcast::primitives::RoomId::from_name("elsewhere"))
}

fn run(attack: Attack, is_known: bool) -> Outcome {
    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    for (who, whom) in [(a, b), (b, a)] {
        table.at(who).enter(elsewhere());
        if is_known {
            let (now, key) = (table.time(), curve25519_of(&mut table, whom));
            table.at(who).pin(whom, key, "known", now);
        }
    }
    let before = table.trust();
    let signers: BTreeMap<_, _> =
        table.devices.iter().map(|device| (*device, table.endpoints[device].signer())).collect();
    let changed = Rc::new(RefCell::new(0));
    let count = Rc::clone(&changed);
    let (keys, mut change) = (table.keys(), attack.change);
    table.carry = Box::new(move |from, to, bytes| {
        let Carrier::Signed(signed) = Envelope::decode(bytes).unwrap().carrier else { panic!() };
        let way = Way { from, to, bytes, signed, signers: &signers, keys: &keys };
        match change(&way) {
            Some(other) if other != bytes => {
                *count.borrow_mut() += 1;
                // Nothing instead of it: it is lost.
                if other.is_empty() { vec![] } else { vec![(LATENCY, other)] }
            }
            _ => vec![(LATENCY, bytes.to_vec())],
        }
    });
    if attack.begins != Begins::Second {
        table.verify(a, b);
    }
    if attack.begins != Begins::First {
        table.verify(b, a);
    }
    table.run_with(25 * MINUTE, Table::use_it);
    let reason = |(_, _, state): &(_, _, VerificationState)| match state {
        VerificationState::Cancelled(reason) => Some(*reason),
        _ => None,
    };
    Outcome {
        ends: table.ends(),
        noticed: table.states.iter().find_map(reason),
        changed: *changed.borrow(),
        has_changed_trust: table.trust() != before,
    }
}

/// Changes each message of a kind, by one of the sides if both say it, always in the same way.
fn only(
    kind: Kind,
    by: Option<DeviceIs>,
    mut change: impl FnMut(&Way<'_>) -> Option<Vec<u8>> + 'static,
) -> Change {
    Box::new(move |way| {
        let is_first = way.from < way.to;
        let is_by = by.is_none_or(|by| (by == DeviceIs::First) == is_first);
        if way.signed.kind == kind && is_by { change(way) } else { None }
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum DeviceIs {
    First,
    Second,
}

/// Which kind, and by whom, so that it does occur.
fn target(rng: &mut StdRng) -> (Kind, Option<DeviceIs>) {
    let kind = KINDS[rng.random_range(0..KINDS.len())];
    let any = if rng.random() { DeviceIs::First } else { DeviceIs::Second };
    (
        kind,
        match kind {
            // Of two that cross, one does not count; of the answers, there is but one.
            Kind::VerificationStart | Kind::VerificationAccept => None,
            _ => {
                let _ = begins;
                Some(any)
            }
        },
    )
}

/// A carrier without any key.
fn carrier(rng: &mut StdRng, begins: Begins) -> Attack {
    let (kind, by) = target(rng);
    let (at, mask) = (rng.random::<f64>(), 1_u8 << rng.random_range(0..8));
    let which = rng.random_range(0..9);
    let place = move |bytes: &[u8]| (at * bytes.len() as f64) as usize;
    let change = move |way: &Way<'_>| {
        let mut bytes = way.bytes.to_vec();
        let mut message = way.signed.clone();
        let mut envelope = Envelope::decode(way.bytes).unwrap();
        match which {
            0..3 => bytes[place(way.bytes)] ^= mask,
            3 => {
                let at = place(&message.payload);
                message.payload[at] ^= mask;
            }
            4 => message.payload.truncate(place(&way.signed.payload)),
            5 => message.signature = olmcast::primitives::Signature::from_bytes([mask; 64]),
            6 => message.proof = None,
            7 => message.recipient = None,
            _ => {
                message.payload = [&way.signed.payload[..], b" "].concat();
            }
        }
        if which >= 3 {
            envelope.carrier = Carrier::Signed(message);
            bytes = encode(&envelope);
        }
        Some(bytes)
    };
    let name = format!("carrier {which} {kind:?} {by:?} {at} {mask}");
    Attack { begins, name, change: only(kind, by, change) }
}

/// Another value in the place of one field.
fn other(field: &str, value: &Value, key: PublicKey) -> Value {
    match (field, value) {
        ("version", _) => json!(2),
        ("sequence", value) => json!(value.as_u64().unwrap() + 1),
        ("name", value) => json!(format!("{}x", value.as_str().unwrap())),
        ("id", _) => serde_json::to_value(VerificationId::from_bytes([3; 16])).unwrap(),
        // A key, a commitment or a proof: 32 bytes.
        _ => serde_json::to_value(key).unwrap(),
    }
}

fn fields(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::VerificationStart => &["id", "version", "curve25519", "name", "sequence", "more"],
        Kind::VerificationAccept => {
            &["id", "version", "curve25519", "name", "sequence", "commitment", "more"]
        }
        Kind::VerificationKey => &["id", "key"],
        _ => &["id", "mac"],
    }
}

/// A carrier that signs with the devices' own keys.
fn signer(rng: &mut StdRng, begins: Begins) -> (Attack, &'static [CancelReason]) {
    use CancelReason::*;
    let (kind, by) = target(rng);
    let fields = fields(kind);
    let field = fields[rng.random_range(0..fields.len())];
    let key = PublicKey(Account::new().curve25519_key());
    let swap = move |way: &Way<'_>| {
        let mut json: Value = serde_json::from_slice(&way.signed.payload).unwrap();
        if field == "more" {
            json["more"] = json!(1);
        } else {
            json[field] = other(field, &json[field].clone(), key);
        }
        let payload = serde_json::to_vec(&json).unwrap();
        Some(way.again(way.signed.kind, way.keys, &payload))
    };
    let name = |what: &str| format!("signer {what} {kind:?} {by:?}");
    let attack = |what: &str, change| Attack { begins, name: name(what), change };
    let is_started = kind == Kind::VerificationStart;
    match rng.random_range(0..10) {
        // To another room, this kind of message or all of them.
        0 => (
            attack(
                "room",
                only(kind, by, |way| {
                    Some(way.again(way.signed.kind, &elsewhere(), &way.signed.payload))
                }),
            ),
            &[Timeout, Unknown, NumbersDiffer],
        ),
        1 => (
            attack(
                "all to another room",
                Box::new(move |way| {
                    // For one of the two, all of it happens elsewhere.
                    let to_second = way.from < way.to;
                    let keys = if to_second { elsewhere() } else { way.keys.clone() };
                    Some(way.again(way.signed.kind, &keys, &way.signed.payload))
                }),
            ),
            &[NumbersDiffer, Timeout, Unknown],
        ),
        2 => {
            let offset = rng.random_range(1..KINDS.len());
            let at = KINDS.iter().position(|other| *other == kind).unwrap();
            let as_kind = KINDS[(at + offset) % KINDS.len()];
            let change =
                only(kind, by, move |way| Some(way.again(as_kind, way.keys, &way.signed.payload)));
            (attack("kind", change), &[Tampered, Unexpected, Timeout])
        }
        // What the sender had said before in its place.
        3 => {
            let mut said: BTreeMap<DeviceId, Vec<u8>> = BTreeMap::new();
            let change = move |way: &Way<'_>| {
                let is_first = way.from < way.to;
                let is_by = by.is_none_or(|by| (by == DeviceIs::First) == is_first);
                if way.signed.kind == kind && is_by {
                    return Some(said.get(&way.from).cloned().unwrap_or_default());
                }
                if !way.is_cancel() {
                    said.insert(way.from, way.bytes.to_vec());
                }
                None
            };
            (attack("order", Box::new(change)), &[Timeout])
        }
        // What the other has said, in its name.
        4 if !is_started => {
            let mut said: BTreeMap<DeviceId, Vec<u8>> = BTreeMap::new();
            let change = move |way: &Way<'_>| {
                if way.signed.kind != kind {
                    return None;
                }
                said.insert(way.from, way.signed.payload.clone());
                let is_first = way.from < way.to;
                let is_by = by.is_none_or(|by| (by == DeviceIs::First) == is_first);
                if !is_by {
                    return None;
                }
                let reflected = said.get(&way.to).map(|said| way.again(kind, way.keys, said));
                Some(reflected.unwrap_or_default())
            };
            (
                attack("reflection", Box::new(change)),
                &[Commitment, KeysDiffer, NumbersDiffer, Timeout],
            )
        }
        _ => {
            let expected: &[CancelReason] = match (kind, field) {
                (_, "id") => &[Timeout, Unknown],
                (_, "version") => &[Version],
                (Kind::VerificationStart, _) | (_, "commitment") => &[Commitment],
                (Kind::VerificationAccept, _) => &[NumbersDiffer],
                // Whichever of the two it is: the accepter is bound to its own.
                (Kind::VerificationKey, _) => &[Commitment, NumbersDiffer],
                _ => &[KeysDiffer],
            };
            (attack(field, only(kind, by, swap)), expected)
        }
    }
}

fn begins(rng: &mut StdRng) -> Begins {
    [Begins::First, Begins::Second, Begins::Both][rng.random_range(0..3)]
}

#[test]
fn of_1000_runs_that_somebody_changes_none_verifies_anybody() {
    let mut caught: BTreeMap<(u64, CancelReason), u64> = BTreeMap::new();
    for seed in 0..RUNS {
        let mut rng = StdRng::seed_from_u64(seed);
        let begins = begins(&mut rng);
        let (attack, expected): (_, &[CancelReason]) = match seed % 3 {
            0 => (carrier(&mut rng, begins), &[CancelReason::Tampered, CancelReason::Timeout]),
            1 => signer(&mut rng, begins),
            _ => {
                let own = rng.random::<bool>().then(|| PublicKey(Account::new().curve25519_key()));
                let mut between = None;
                let change = Box::new(move |way: &Way<'_>| {
                    let between = between.get_or_insert_with(|| Between::new(way.keys.room(), own));
                    between.change(way)
                });
                let name = format!("between, own key: {}", own.is_some());
                (Attack { begins, name, change }, &[CancelReason::NumbersDiffer])
            }
        };
        let name = format!("{seed}: {:?} {}", attack.begins, attack.name);
        let outcome = run(attack, rng.random());
        assert!(outcome.changed > 0, "{name}: nothing was changed");
        assert!(!outcome.has_changed_trust, "{name}: somebody is trusted");
        for end in outcome.ends.iter().flatten() {
            assert!(matches!(end, VerificationState::Cancelled(_)), "{name}: {end:?}");
        }
        let reason = outcome.noticed.unwrap_or_else(|| panic!("{name}: nobody noticed"));
        let is_known = reason == CancelReason::KeyChanged;
        assert!(is_known || expected.contains(&reason), "{name}: {reason:?}");
        *caught.entry((seed % 3, reason)).or_default() += 1;
    }
    use CancelReason::*;
    for (way, reason, least) in [
        (0, Tampered, 200),
        (0, Timeout, 10),
        (1, Commitment, 20),
        (1, NumbersDiffer, 20),
        (1, KeysDiffer, 20),
        (1, Version, 5),
        (1, Tampered, 10),
        (1, Timeout, 50),
        (1, Unknown, 5),
        (1, KeyChanged, 1),
        (2, NumbersDiffer, 100),
        (2, KeyChanged, 20),
    ] {
        let count = caught.get(&(way, reason)).copied().unwrap_or(0);
        assert!(count >= least, "{way} {reason:?}: {count} of {caught:?}");
    }
}

#[test]
fn without_a_change_the_same_runs_verify() {
    for seed in 0..30 {
        let begins = begins(&mut StdRng::seed_from_u64(seed));
        let attack = Attack { begins, name: String::new(), change: Box::new(|_| None) };
        let outcome = run(attack, seed % 2 == 0);
        assert_eq!(outcome.ends, [(); 2].map(|()| Some(VerificationState::Verified)));
        assert!(outcome.has_changed_trust && outcome.changed == 0);
    }
}

/// So it is the comparison that somebody in between fails at, and not a mistake of its own.
#[test]
fn users_who_confirm_without_comparing_are_fooled_by_somebody_in_between() {
    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    let signers: BTreeMap<_, _> =
        table.devices.iter().map(|device| (*device, table.endpoints[device].signer())).collect();
    let (keys, own) = (table.keys(), PublicKey(Account::new().curve25519_key()));
    let mut between = Between::new(keys.room(), Some(own));
    table.carry = Box::new(move |from, to, bytes| {
        let Carrier::Signed(signed) = Envelope::decode(bytes).unwrap().carrier else { panic!() };
        let way = Way { from, to, bytes, signed, signers: &signers, keys: &keys };
        let bytes = between.change(&way).unwrap_or_else(|| bytes.to_vec());
        if bytes.is_empty() { vec![] } else { vec![(LATENCY, bytes)] }
    });
    table.compare();
    assert_ne!(table.short(a, b), table.short(b, a));
    table.confirm(a, b);
    table.confirm(b, a);
    table.run(MINUTE);
    table.verified();
    let known = |by: DeviceId, of: DeviceId| {
        table.endpoints[&by].memory().trust().get(&of).unwrap().curve25519
    };
    assert_eq!([known(a, b), known(b, a)], [Some(own); 2]);
}

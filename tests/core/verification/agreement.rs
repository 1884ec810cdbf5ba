//! Honest devices agree, whoever starts and whatever the network loses.

use olmcast::endpoint::VerificationState;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;

#[test]
fn both_sides_see_the_same_and_are_verified_once_both_users_have_confirmed() {
    for swapped in [false, true] {
        let mut table = Table::pair();
        if swapped {
            table.devices.reverse();
        }
        table.compare();
        let (a, b) = (table.a(), table.b());
        let (ours, theirs) = (table.short(a, b).unwrap(), table.short(b, a).unwrap());
        assert_eq!(ours, theirs);
        assert_eq!((ours.emojis(), ours.numbers()), (theirs.emojis(), theirs.numbers()));
        table.confirm(a, b);
        table.run(MINUTE);
        assert_eq!(table.state(a, b), Some(VerificationState::Confirmed));
        assert_eq!(table.trust(), [[], []]);
        table.confirm(b, a);
        table.run(100);
        table.verified();
        assert!(table.errors.is_empty(), "{:?}", table.errors);
    }
}

#[test]
fn what_is_verified_are_the_keys_that_olm_uses_and_the_names() {
    let mut table = Table::pair();
    let keys: Vec<_> = table.devices.clone().iter().map(|d| keys_of(table.at(*d))).collect();
    table.compare();
    table.run_with(1000, Table::use_it);
    let [a, b] = [table.a(), table.b()];
    let (knows_b, knows_a) = (known(&table, a, b), known(&table, b, a));
    assert_eq!((knows_b.curve25519, &*knows_b.name), (Some(keys[1]), "Bob"));
    assert_eq!((knows_a.curve25519, &*knows_a.name), (Some(keys[0]), "Alice"));
    assert_eq!(knows_a.state, olmcast::device::TrustState::Verified);
}

/// The key that an endpoint has others encrypt to, as its published keys have it.
fn keys_of(endpoint: &mut Endpoint) -> olmcast::protocol::PublicKey {
    endpoint.keys_upload(0, Timestamp::default()).device_keys.unwrap().curve25519
}

fn known(table: &Table, by: DeviceId, device: DeviceId) -> KnownDevice {
    table.endpoints[&by].memory().trust().get(&device).unwrap().clone()
}

#[test]
fn each_verification_has_another_string() {
    let mut seen = std::collections::BTreeSet::new();
    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    for _ in 0..5 {
        table.compare();
        assert!(seen.insert(table.short(a, b).unwrap().numbers()));
        table.cancel(a, b);
        table.run(MINUTE);
    }
}

#[test]
fn when_both_start_at_once_one_verification_comes_of_it_and_nobody_is_asked() {
    for delays in [(20, 20), (20, 900), (900, 20), (3000, 3000)] {
        let mut table = Table::pair();
        let (a, b) = (table.a(), table.b());
        table.carry = Box::new(move |from, _, bytes| {
            vec![(if from == a { delays.0 } else { delays.1 }, bytes.to_vec())]
        });
        table.verify(a, b);
        table.verify(b, a);
        table.run(30_000);
        assert_eq!(table.short(a, b), table.short(b, a), "{delays:?}");
        assert!(table.short(a, b).is_some(), "{delays:?} {:?}", table.ends());
        table.run_with(30_000, Table::use_it);
        table.verified();
        let asked = |(_, _, state): &_| *state == VerificationState::Requested;
        assert!(!table.states.iter().any(asked), "{delays:?}");
        assert_eq!(table.states.len(), 8, "waiting, comparing, confirmed, verified");
        // Nor does the start that did not count come up later.
        table.run(15 * MINUTE);
        table.verified();
    }
}

#[test]
fn a_network_that_loses_repeats_and_reorders_only_takes_longer() {
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut table = Table::pair();
        let loss = rng.random_range(0.0..0.5);
        let both = rng.random::<bool>();
        table.carry = Box::new(move |_, _, bytes| {
            let copies = if rng.random_bool(loss) { 0 } else { rng.random_range(1..4) };
            (0..copies).map(|_| (rng.random_range(5..3000), bytes.to_vec())).collect()
        });
        let (a, b) = (table.a(), table.b());
        table.verify(a, b);
        if both {
            table.verify(b, a);
        }
        table.run_with(9 * MINUTE, Table::use_it);
        table.verified();
        // What is still under way, and what was, changes nothing.
        let (said, trust) = (table.log.clone(), table.trust());
        table.run(15 * MINUTE);
        for (_, to, bytes) in &said {
            table.deliver(*to, bytes);
        }
        table.run(MINUTE);
        table.verified();
        assert_eq!(table.trust(), trust);
    }
}

#[test]
fn a_device_that_comes_minutes_later_is_still_asked() {
    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    table.carry = Box::new(|_, _, _| vec![]);
    table.verify(a, b);
    table.run(8 * MINUTE);
    assert_eq!(table.state(a, b), Some(VerificationState::Waiting));
    table.carry = faithful();
    table.run_with(MINUTE, Table::use_it);
    table.verified();
}

#[test]
fn who_has_lost_the_last_message_is_told_again_and_a_lone_side_falls_silent() {
    let mut table = Table::pair();
    table.compare();
    let a = table.a();
    let mut lost = 0;
    table.carry = Box::new(move |from, _, bytes| {
        let is_lost = from == a && kind_of(bytes) == Some(Kind::VerificationDone) && lost < 5;
        lost += u64::from(is_lost);
        if is_lost { vec![] } else { vec![(LATENCY, bytes.to_vec())] }
    });
    table.run_with(MINUTE, Table::use_it);
    table.verified();
    let said = table.log.len();
    table.run(20 * MINUTE);
    assert_eq!(table.log.len(), said, "somebody goes on talking");
}

#[test]
fn users_may_take_their_time_to_compare_but_not_for_ever() {
    let mut table = Table::pair();
    table.compare();
    table.run(9 * MINUTE);
    assert!(table.ends().iter().flatten().all(|s| matches!(s, VerificationState::Comparing(_))));
    table.run_with(1000, Table::use_it);
    table.verified();

    let mut table = Table::pair();
    table.compare();
    let (a, b) = (table.a(), table.b());
    table.confirm(a, b);
    table.run(11 * MINUTE);
    table.failed(CancelReason::Timeout);
    assert_eq!(table.at(b).confirm_verification(a, Timestamp::default()).ok(), None);
}

//! Strangers who ask again and again, and what that must not do to others' verifications.

use olmcast::{
    device::TrustState,
    primitives::VerificationId,
    protocol::{VerificationCancel, VerificationMessage, VerificationStart},
};
use vodozemac::olm::Account;

use super::{foreign::say, *};
use crate::tools::Signs;

/// Somebody asks to be verified, under a name.
fn start(table: &mut Table, account: &Account, number: u64, name: &str) -> VerificationId {
    let id = VerificationId::from_bytes(std::array::from_fn(|at| (number >> at) as u8));
    let start = VerificationStart {
        id,
        version: 1,
        curve25519: olmcast::protocol::PublicKey(account.curve25519_key()),
        name: name.to_owned(),
        sequence: table.now + number,
    };
    let victim = table.a();
    let bytes = say(table, account, victim, &VerificationMessage::Start(start));
    table.deliver(victim, &bytes);
    id
}

fn cancel(table: &mut Table, account: &Account, id: VerificationId) {
    let cancel = VerificationCancel { id, reason: CancelReason::User };
    let victim = table.a();
    let bytes = say(table, account, victim, &VerificationMessage::Cancel(cancel));
    table.deliver(victim, &bytes);
}

fn told(table: &Table, whom: DeviceId) -> usize {
    table.states.iter().filter(|(by, about, _)| (*by, *about) == (table.a(), whom)).count()
}

#[test]
fn strangers_who_come_and_go_do_not_make_a_failure_elsewhere_go_unnoticed() {
    let mut table = Table::pair();
    table.compare();
    table.run_with(1000, Table::use_it);
    table.verified();
    let (a, b) = (table.a(), table.b());
    let late = foreign::cancel(&table, a, b);
    for _ in 0..100 {
        let stranger = Account::new();
        let id = start(&mut table, &stranger, 1, "");
        cancel(&mut table, &stranger, id);
        assert_eq!(table.state(a, stranger.id()), None, "it is gone");
    }
    // Those whom our user declines are remembered, but not instead of what matters.
    for _ in 0..100 {
        let stranger = Account::new();
        start(&mut table, &stranger, 1, "");
        table.cancel(a, stranger.id());
    }
    table.deliver(a, &late);
    let failed = VerificationState::Cancelled(CancelReason::KeysDiffer);
    assert_eq!(table.state(a, b), Some(failed));
    assert_eq!(table.endpoints[&a].memory().trust().state(&b), TrustState::Unknown);
}

#[test]
fn whoever_asks_and_takes_it_back_again_and_again_is_seldom_shown() {
    let mut table = Table::of(&["Alice"]);
    let mallory = Account::new();
    for number in 1..=100 {
        let id = start(&mut table, &mallory, number, "");
        cancel(&mut table, &mallory, id);
        table.run(100);
    }
    assert!((2..=8).contains(&told(&table, mallory.id())), "{}", told(&table, mallory.id()));
    table.run(MINUTE);
    start(&mut table, &mallory, 101, "");
    let asks = Some(VerificationState::Requested);
    assert_eq!(table.state(table.a(), mallory.id()), asks, "later it is heard");
}

#[test]
fn whoever_begins_anew_again_and_again_is_shown_when_that_is_news_and_seldom() {
    let mut table = Table::of(&["Alice"]);
    let mallory = Account::new();
    for number in 1..=100 {
        start(&mut table, &mallory, number, "the same");
    }
    assert_eq!(told(&table, mallory.id()), 1);
    for number in 101..=200 {
        start(&mut table, &mallory, number, &format!("another {number}"));
    }
    assert!(told(&table, mallory.id()) <= 4, "{}", told(&table, mallory.id()));
}

#[test]
fn a_late_failure_does_not_undo_what_the_user_decided_since_even_if_it_is_the_same() {
    for decision in ["mark verified", "forget and mark"] {
        let mut table = Table::pair();
        table.compare();
        table.run_with(1000, Table::use_it);
        let (a, b, now) = (table.a(), table.b(), table.time());
        let key = foreign::curve25519_of(&mut table, b);
        let name = table.endpoints[&a].memory().trust().get(&b).unwrap().name.clone();
        if decision == "forget and mark" {
            assert!(table.at(a).forget(b, now));
        }
        table.at(a).mark_verified(b, key, &name, now);
        let cancel = foreign::cancel(&table, a, b);
        table.deliver(a, &cancel);
        let state = table.endpoints[&a].memory().trust().state(&b);
        assert_eq!(state, TrustState::Verified, "{decision}");
    }
}

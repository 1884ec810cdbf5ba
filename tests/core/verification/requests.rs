//! Who may ask, and how often.

use olmcast::{
    endpoint::EndpointError,
    primitives::RoomId,
    protocol::{VerificationMessage, VerificationStart},
};

use super::{foreign::Foreign, *};

#[test]
fn nobody_verifies_itself_a_blocked_device_or_somebody_twice() {
    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    let (room, now) = (table.invite.room(), table.time());
    assert_eq!(table.at(a).verify(room, a, now), Err(EndpointError::OwnDevice));
    let elsewhere = RoomId::from_name("elsewhere");
    assert_eq!(table.at(a).verify(elsewhere, b, now), Err(EndpointError::UnknownRoom));
    table.verify(a, b);
    assert_eq!(table.at(a).verify(room, b, now), Err(EndpointError::AlreadyVerifying));
    assert_eq!(table.at(a).confirm_verification(b, now), Err(EndpointError::NotVerifying));
    assert_eq!(table.at(a).reject_verification(b, now), Err(EndpointError::NotVerifying));
    table.at(a).block(b, now);
    assert_eq!(table.at(a).verify(room, b, now), Err(EndpointError::Blocked));
}

#[test]
fn a_blocked_device_and_one_without_the_invite_are_not_heard() {
    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    let now = table.time();
    table.at(b).block(a, now);
    table.verify(a, b);
    table.run(100);
    assert_eq!(table.errors, [(b, MessageError::Blocked)]);
    assert_eq!(table.state(b, a), None);

    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    // It knows the room, and not its secret.
    let room = table.invite.room();
    table.at(a).enter(RoomKeys::without_invite(room));
    table.verify(a, b);
    table.run(100);
    assert_eq!(table.errors, [(b, MessageError::NoInvite)]);
    assert_eq!(table.state(b, a), None);
}

#[test]
fn blocking_a_device_ends_its_verification() {
    let mut table = Table::pair();
    table.compare();
    let (a, b) = (table.a(), table.b());
    let now = table.time();
    table.at(a).block(b, now);
    table.flush(a);
    table.run(100);
    table.failed(CancelReason::Declined);
    let known = table.trust().concat();
    assert_eq!((known.len(), known[0].state), (1, olmcast::device::TrustState::Blocked));
}

#[test]
fn only_so_many_strangers_may_wait_and_one_who_is_known_still_may() {
    let mut table = Table::of(&[""; 20]);
    let asked = table.a();
    let askers: Vec<_> = table.devices[1..18].to_vec();
    let friend = table.devices[18];
    for asker in &askers {
        table.verify(*asker, asked);
        table.run(30);
    }
    let state = |table: &Table, asker| table.state(asker, asked).unwrap();
    let busy = VerificationState::Cancelled(CancelReason::Busy);
    assert!(askers[..16].iter().all(|asker| state(&table, *asker) == VerificationState::Waiting));
    table.run(100);
    assert_eq!(state(&table, askers[16]), busy);
    let (now, key) = (table.time(), foreign::curve25519_of(&mut table, friend));
    table.at(asked).pin(friend, key, "friend", now);
    table.verify(friend, asked);
    table.run(100);
    assert_eq!(table.state(asked, friend), Some(VerificationState::Requested));
    // There is room again when one is answered.
    table.cancel(asked, askers[0]);
    table.verify(askers[16], asked);
    table.run(100);
    assert_eq!(table.state(asked, askers[16]), Some(VerificationState::Requested));
}

#[test]
fn whoever_was_declined_is_not_shown_again_at_once_but_is_after_a_while() {
    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    table.verify(a, b);
    table.run(100);
    table.cancel(b, a);
    table.run(100);
    table.verify(a, b);
    table.run(20_000);
    assert_eq!(table.state(b, a), Some(VerificationState::Cancelled(CancelReason::Declined)));
    table.run(20_000);
    assert_eq!(table.state(b, a), Some(VerificationState::Requested));
}

#[test]
fn a_device_that_has_lost_its_memory_is_heard_again_when_the_other_has_noticed() {
    let mut table = Table::of(&["Alice"]);
    let mut foreign = Foreign::meet(&mut table, true);
    foreign.agree(&mut table);
    let VerificationMessage::Start(start) = foreign.hello() else { panic!() };
    let sequence = start.sequence + 1;
    let again = VerificationMessage::Start(VerificationStart { sequence, ..start });
    foreign.say(&mut table, &again);
    assert!(table.short(foreign.victim, foreign.device()).is_some(), "what is under way goes on");
    table.run(2 * MINUTE);
    let timeout = VerificationState::Cancelled(CancelReason::Timeout);
    assert_eq!(foreign.state(&table), Some(timeout));
    foreign.say(&mut table, &again);
    assert_eq!(foreign.state(&table), Some(VerificationState::Requested));
}

#[test]
fn a_start_that_replaces_another_is_shown_and_an_older_one_is_not() {
    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    table.carry = Box::new(|_, _, _| vec![]);
    table.verify(a, b);
    table.cancel(a, b);
    table.now += 1000;
    table.verify(a, b);
    let starts: Vec<_> = table
        .log
        .iter()
        .filter(|(_, _, bytes)| kind_of(bytes) == Some(Kind::VerificationStart))
        .map(|(_, _, bytes)| bytes.clone())
        .collect();
    let [old, new] = &starts[..] else { panic!() };
    table.deliver(b, old);
    table.deliver(b, new);
    table.deliver(b, old);
    assert_eq!(table.errors, [(b, MessageError::Old)]);
    table.carry = faithful();
    table.run_with(10_000, Table::use_it);
    table.verified();
}

#[test]
fn a_request_that_its_sender_takes_back_is_gone() {
    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    table.verify(a, b);
    table.run(100);
    table.cancel(a, b);
    table.run(100);
    let cancelled = VerificationState::Cancelled(CancelReason::User);
    assert_eq!(table.ends(), [Some(cancelled.clone()), None]);
    assert_eq!(table.states.last(), Some(&(b, a, cancelled)), "it is told");
    let (room, now) = (table.invite.room(), table.time());
    // It is a new one that this begins.
    table.at(b).verify(room, a, now).unwrap();
    table.flush(b);
    assert_eq!(table.state(b, a), Some(VerificationState::Waiting));
}

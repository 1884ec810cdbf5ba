//! How a verification fails: for each reason, on both sides, and without trusting anybody more.

use olmcast::{endpoint::EndpointError, primitives::Signature};

use super::*;

/// Brings a pair to one of the points where something can happen.
fn at_step(step: usize) -> Table {
    let mut table = Table::pair();
    let (a, b) = (table.a(), table.b());
    table.verify(a, b);
    if step >= 1 {
        table.run(100);
    }
    if step >= 2 {
        table.verify(b, a);
    }
    if step >= 3 {
        table.run(100);
    }
    if step >= 4 {
        table.confirm(a, b);
    }
    if step >= 5 {
        table.run(100);
    }
    table
}

#[test]
fn either_user_can_cancel_at_every_step_and_both_sides_end() {
    for step in 0..6 {
        for is_first in [true, false] {
            let mut table = at_step(step);
            let (a, b) = (table.a(), table.b());
            let (who, whom) = if is_first { (a, b) } else { (b, a) };
            let now = table.time();
            if table.state(who, whom).is_none() {
                let cancelled = table.at(who).cancel_verification(whom, now);
                assert_eq!(cancelled, Err(EndpointError::NotVerifying));
                continue;
            }
            let declines = table.state(who, whom) == Some(VerificationState::Requested);
            table.cancel(who, whom);
            table.run(1000);
            let reason = if declines { CancelReason::Declined } else { CancelReason::User };
            assert_eq!(table.state(who, whom), Some(VerificationState::Cancelled(reason)));
            // If it was cancelled before the other had heard of it, there may be nothing there.
            if step > 0 {
                table.failed(reason);
            }
            table.run(20 * MINUTE);
            assert_eq!(table.trust(), [[], []], "step {step}");
            assert_eq!(
                table.at(who).confirm_verification(whom, now),
                Err(EndpointError::NotVerifying)
            );
            assert_eq!(
                table.at(who).cancel_verification(whom, now),
                Err(EndpointError::NotVerifying)
            );
        }
    }
}

#[test]
fn if_one_user_sees_other_numbers_both_sides_end() {
    for other_has_confirmed in [false, true] {
        let mut table = Table::pair();
        table.compare();
        let (a, b) = (table.a(), table.b());
        if other_has_confirmed {
            table.confirm(a, b);
            table.run(100);
        }
        table.reject(b, a);
        table.run(100);
        table.failed(CancelReason::NumbersDiffer);
        assert_eq!(table.trust(), [[], []]);
    }
}

#[test]
fn nobody_who_is_away_is_waited_for_longer_than_ten_minutes() {
    let mut table = Table::pair();
    table.carry = Box::new(|_, _, _| vec![]);
    let (a, b) = (table.a(), table.b());
    table.verify(a, b);
    table.run(10 * MINUTE - 1);
    assert_eq!(table.state(a, b), Some(VerificationState::Waiting));
    table.run(1);
    assert_eq!(table.state(a, b), Some(VerificationState::Cancelled(CancelReason::Timeout)));
    assert!(table.at(a).poll_timeout().is_none(), "it goes on");
    // Not more than a message each 8 s.
    assert!(table.log.len() < 90, "{}", table.log.len());
}

#[test]
fn whoever_falls_silent_at_any_step_is_waited_for_two_minutes() {
    for step in 1..6 {
        let mut table = at_step(step);
        let (a, b) = (table.a(), table.b());
        // The one who asked has not heard of the other yet.
        let who = if step == 1 { b } else { a };
        table.run(100);
        let whom = if who == a { b } else { a };
        table.carry = Box::new(
            move |_, to, bytes| {
                if to == who { vec![] } else { vec![(LATENCY, bytes.to_vec())] }
            },
        );
        table.run(2 * MINUTE - 9000);
        assert!(!table.state(who, whom).unwrap().is_over(), "step {step}");
        table.run(9000);
        let timeout = Some(VerificationState::Cancelled(CancelReason::Timeout));
        assert_eq!(table.state(who, whom), timeout, "step {step}");
        assert_eq!(table.state(whom, who), timeout, "it is told");
        assert_eq!(table.trust(), [[], []]);
    }
}

/// A message that arrives in a device's name, whoever made it.
fn forged(bytes: &[u8]) -> Vec<u8> {
    let mut envelope = Envelope::decode(bytes).unwrap();
    let Carrier::Signed(signed) = &mut envelope.carrier else { panic!() };
    signed.signature = Signature::from_bytes([7; 64]);
    envelope.encode().unwrap()
}

#[test]
fn a_forged_message_ends_it_on_both_sides_at_every_step() {
    for step in 0..6 {
        for is_first in [true, false] {
            let mut table = at_step(step);
            let (a, b) = (table.a(), table.b());
            table.run(100);
            let (from, to) = if is_first { (a, b) } else { (b, a) };
            // A cancel that the other never said.
            let cancel = foreign::cancel(&table, to, from);
            table.deliver(to, &forged(&cancel));
            table.run(200);
            if step == 0 && from == b {
                assert_eq!(
                    table.state(a, b),
                    Some(VerificationState::Cancelled(CancelReason::Tampered))
                );
            } else {
                table.failed(CancelReason::Tampered);
            }
            assert_eq!(table.trust(), [[], []]);
        }
    }
}

#[test]
fn forged_messages_do_nothing_where_nothing_is_under_way() {
    let mut table = Table::pair();
    table.compare();
    let (a, b) = (table.a(), table.b());
    let said = table.log.clone();
    table.cancel(a, b);
    table.run(11 * MINUTE);
    let (states, ends) = (table.states.len(), table.ends());
    for (_, to, bytes) in said {
        table.deliver(to, &forged(&bytes));
    }
    assert_eq!((table.states.len(), table.ends()), (states, ends));
}

#[test]
fn what_one_side_takes_back_the_other_takes_back_even_after_it_was_verified() {
    for was_known in [false, true] {
        let mut table = Table::pair();
        let (a, b) = (table.a(), table.b());
        if was_known {
            let (now, key) = (table.time(), foreign::curve25519_of(&mut table, b));
            table.at(a).pin(b, key, "Bobby", now);
        }
        let before = table.trust();
        table.compare();
        // From the first's last message on, the second hears nothing that is right.
        table.carry = Box::new(move |from, _, bytes| {
            let is_done = from == a && kind_of(bytes) == Some(Kind::VerificationDone);
            vec![(LATENCY, if is_done { forged(bytes) } else { bytes.to_vec() })]
        });
        let mut was_verified = false;
        table.run_with(1000, |table| {
            table.use_it();
            was_verified |= table.state(a, b) == Some(VerificationState::Verified);
        });
        assert!(was_verified);
        table.failed(CancelReason::Tampered);
        assert_eq!(table.trust(), before);
        let told = |state: &VerificationState| {
            table.states.iter().filter(|(by, _, told)| (*by, told) == (a, state)).count()
        };
        assert_eq!(told(&VerificationState::Verified), 1);
        assert_eq!(told(&VerificationState::Cancelled(CancelReason::Tampered)), 1);
    }
}

#[test]
fn a_forged_message_after_the_end_takes_it_back_on_both_sides_while_it_could_still_matter() {
    for late in [false, true] {
        let mut table = Table::pair();
        let (a, b) = (table.a(), table.b());
        table.compare();
        table.run_with(1000, Table::use_it);
        table.verified();
        let trust = table.trust();
        table.run(if late { 12 * MINUTE } else { MINUTE });
        let cancel = foreign::cancel(&table, a, b);
        table.deliver(a, &forged(&cancel));
        table.run(100);
        if late {
            table.verified();
            assert_eq!(table.trust(), trust);
        } else {
            table.failed(CancelReason::Tampered);
            assert_eq!(table.trust(), [[], []]);
        }
    }
}

#[test]
fn after_twelve_minutes_and_after_a_decision_of_the_user_nothing_is_taken_back() {
    for late in [false, true] {
        let mut table = Table::pair();
        let (a, b) = (table.a(), table.b());
        table.compare();
        table.run_with(1000, Table::use_it);
        table.verified();
        let cancel = foreign::cancel(&table, a, b);
        if late {
            table.run(12 * MINUTE);
        } else {
            let (now, key) = (table.time(), foreign::curve25519_of(&mut table, b));
            table.at(a).pin(b, key, "somebody", now);
        }
        let before = table.trust();
        table.deliver(a, &cancel);
        assert_eq!(table.trust(), before);
        if late {
            assert_eq!(table.state(a, b), Some(VerificationState::Verified));
        }
    }
}

#[test]
fn a_whole_verification_said_again_later_does_nothing() {
    for (is_verified, pause) in [(true, 0), (true, 11), (false, 0), (false, 11)] {
        let mut table = Table::pair();
        let (a, b) = (table.a(), table.b());
        table.compare();
        if is_verified {
            table.run_with(1000, Table::use_it);
        } else {
            table.reject(a, b);
            table.run(1000);
        }
        table.run(pause * MINUTE);
        let said: Vec<_> = table.log.clone();
        let (states, ends, trust) = (table.states.len(), table.ends(), table.trust());
        for _ in 0..2 {
            for (_, to, bytes) in &said {
                table.deliver(*to, bytes);
            }
            table.run(MINUTE);
        }
        assert_eq!((table.states.len(), table.ends(), table.trust()), (states, ends, trust));

        // Nor does it within the next one.
        table.compare();
        for (_, to, bytes) in &said {
            table.deliver(*to, bytes);
        }
        table.run_with(1000, Table::use_it);
        table.verified();
    }
}

#[test]
fn ones_own_messages_sent_back_do_nothing() {
    let mut table = Table::pair();
    let back = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let said = std::rc::Rc::clone(&back);
    table.carry = Box::new(move |from, _, bytes| {
        said.borrow_mut().push((from, bytes.to_vec()));
        vec![(LATENCY, bytes.to_vec())]
    });
    let a = table.a();
    let b = table.b();
    table.verify(a, b);
    table.run_with(1000, |table| {
        for (from, bytes) in back.take() {
            // As it was, and as if it were the other's.
            table.deliver(from, &bytes);
            assert_eq!(table.errors.pop(), Some((from, MessageError::Misdirected)));
        }
        table.use_it();
    });
    table.verified();
}

#[test]
fn somebody_in_between_with_a_device_of_its_own_shows_other_strings_on_both_ends() {
    let mut table = Table::of(&["Alice", "Bob", "Alice"]);
    let [a, b, m] = table.devices[..] else { panic!() };
    let (room, now) = (table.invite.room(), table.time());
    table.at(m).set_name("Alice");
    table.verify(a, m);
    table.verify(m, b);
    table.run(100);
    table.at(m).verify(room, a, now).unwrap();
    table.flush(m);
    table.verify(b, m);
    table.run(1000);
    let (ours, theirs) = (table.short(a, m).unwrap(), table.short(b, m).unwrap());
    assert_ne!(ours.emojis(), theirs.emojis());
    assert_ne!(ours.numbers(), theirs.numbers());
}

//! The simulator's checker sees what it is there for: each test shows it something bad, and
//! something like it that is not.

use std::rc::Rc;

use olmcast::{
    media,
    primitives::{Codec, Generation, Position, Step, TrackId},
    sframe::{Counter, Header},
};

use crate::simulator::{Checker, Cutover, Frame, Opener, Violation, What};

const PUBLISHER: usize = 0;
const SOMEBODY: usize = 1;

fn position(generation: u32, step: u32) -> Position {
    Position { generation: Generation(generation), step: Step::new(step).unwrap() }
}

/// A frame whose counter is the time.
fn frame(at: u64, position: Position) -> Rc<Frame> {
    let header = Header { key_id: media::key_id(position), counter: Counter(at) };
    let (publisher, track, codec) = (PUBLISHER, TrackId(0), Codec::Vp8);
    Rc::new(Frame { at, publisher, track, codec, header, position, wire: Vec::new() })
}

/// Somebody who opens what this is true of.
fn opens(what: impl Fn(&Frame) -> bool + 'static) -> Opener {
    Rc::new(what)
}

/// A frame every 100 ms, each at the position that is given for its time.
fn frames(checker: &mut Checker, times: std::ops::Range<u64>, at: impl Fn(u64) -> Position) {
    for time in times.step_by(100) {
        checker.encrypted(&frame(time, at(time)));
        checker.look(time);
    }
}

fn end(mut checker: Checker) -> (Vec<What>, Vec<Cutover>) {
    let (violations, cutovers, _) = checker.finish(60_000);
    (violations.into_iter().map(|Violation { what, .. }| what).collect(), cutovers)
}

/// Somebody with the key of generation 0 leaves at 1000, and the publisher switches at `switch`.
fn leave(kick: bool, switch: u64) -> (Vec<What>, Vec<Cutover>) {
    let mut checker = Checker::default();
    let generation = |at| position(u32::from(at >= switch), 0);
    frames(&mut checker, 0..1_000, generation);
    let opener = opens(|frame| frame.position.generation.0 == 0);
    checker.left(1_000, PUBLISHER, SOMEBODY, kick, opener);
    frames(&mut checker, 1_000..9_000, generation);
    end(checker)
}

#[test]
fn a_nonce_that_is_used_twice() {
    let mut checker = Checker::default();
    checker.encrypted(&frame(1, position(0, 0)));
    checker.encrypted(&frame(2, position(0, 0)));
    checker.encrypted(&frame(2, position(0, 1)));
    assert_eq!(end(checker).0, []);

    let mut checker = Checker::default();
    checker.encrypted(&frame(1, position(0, 0)));
    checker.encrypted(&frame(1, position(0, 0)));
    assert_eq!(end(checker).0, [What::NonceRepeated]);
}

#[test]
fn a_switch_that_comes_too_late() {
    assert_eq!(leave(false, 3_000), (vec![], vec![Cutover { kick: false, after: 2_000 }]));
    assert_eq!(leave(true, 2_000), (vec![], vec![Cutover { kick: true, after: 1_000 }]));
    // The last frame before the switch is the one that tells.
    let late = |kick, after| vec![What::LeaverOpened { kick, after }];
    assert_eq!(leave(false, 3_200).0, late(false, 2_100));
    assert_eq!(leave(true, 2_200).0, late(true, 1_100));
}

#[test]
fn a_switch_that_never_comes() {
    let (violations, cutovers) = leave(false, u64::MAX);
    assert!(matches!(violations[..], [What::LeaverOpened { kick: false, .. }, ..]));
    assert_eq!(cutovers, []);
}

#[test]
fn a_leaver_that_can_read_again() {
    let mut checker = Checker::default();
    let generation = |at| position(u32::from(at >= 2_000) + u32::from(at >= 9_000), 0);
    frames(&mut checker, 0..1_000, generation);
    checker.left(
        1_000,
        PUBLISHER,
        SOMEBODY,
        false,
        opens(|frame| frame.position.generation.0 != 1),
    );
    frames(&mut checker, 1_000..9_500, generation);
    checker.sample_leavers(9_500);
    assert!(matches!(end(checker).0[..], [What::LeaverOpened { .. }, ..]));
}

#[test]
fn a_newcomer_that_reads_what_was_before() {
    for (opens_from, bad) in [(position(0, 3), false), (position(0, 2), true)] {
        let mut checker = Checker::default();
        let step = |at: u64| position(0, u32::try_from(at / 1_000).unwrap());
        frames(&mut checker, 0..3_000, step);
        let encrypted = checker.encrypted_by(PUBLISHER);
        let opener = opens(move |frame| frame.position >= opens_from);
        checker.joined(3_000, PUBLISHER, SOMEBODY, encrypted, opener);
        frames(&mut checker, 3_000..7_000, step);
        let found = end(checker).0;
        assert_eq!(!found.is_empty(), bad);
        assert!(found.iter().all(|what| matches!(what, What::JoinerOpenedPast { before: 100 })));
    }
}

#[test]
fn a_member_that_comes_back_may_read_what_it_was_there_for_and_not_what_was_between() {
    for (reads_between, bad) in [(false, false), (true, true)] {
        let mut checker = Checker::default();
        let generation = |at: u64| position(u32::try_from(at / 2_000).unwrap(), 0);
        let opener = opens(move |frame| frame.position.generation.0 != 1 || reads_between);
        checker.joined(0, PUBLISHER, SOMEBODY, 0, Rc::clone(&opener));
        frames(&mut checker, 0..1_000, generation);
        checker.left(1_000, PUBLISHER, SOMEBODY, false, opens(|f| f.position.generation.0 == 0));
        frames(&mut checker, 1_000..4_000, generation);
        let encrypted = checker.encrypted_by(PUBLISHER);
        checker.joined(4_000, PUBLISHER, SOMEBODY, encrypted, opener);
        frames(&mut checker, 4_000..9_000, generation);
        assert_eq!(!end(checker).0.is_empty(), bad);
    }
}

#[test]
fn a_holder_that_gets_no_key_for_ten_seconds() {
    let mut checker = Checker::default();
    checker.opened(0, SOMEBODY);
    checker.waits(10_000, SOMEBODY, false);
    assert_eq!(end(checker).0, []);

    let mut checker = Checker::default();
    checker.opened(0, SOMEBODY);
    checker.waits(5_000, SOMEBODY, true);
    checker.waits(15_000, SOMEBODY, false);
    assert_eq!(end(checker).0, [], "it could not be reached at first");

    let mut checker = Checker::default();
    checker.opened(0, SOMEBODY);
    checker.waits(10_001, SOMEBODY, false);
    checker.waits(12_000, SOMEBODY, false);
    assert_eq!(end(checker).0, [What::Stalled], "once for each time");
}

#[test]
fn a_position_that_falls() {
    let (earlier, later) = (position(1, 4), position(2, 0));
    let fell = What::PositionFell { from: later, to: earlier };
    let mut checker = Checker::default();
    checker.encrypted(&frame(1, later));
    checker.encrypted(&frame(2, earlier));
    assert_eq!(end(checker).0, std::slice::from_ref(&fell));

    let mut checker = Checker::default();
    checker.moved(1, SOMEBODY, PUBLISHER, later);
    checker.moved(2, SOMEBODY, PUBLISHER, earlier);
    assert_eq!(end(checker).0, [fell]);

    let mut checker = Checker::default();
    checker.moved(1, SOMEBODY, PUBLISHER, earlier);
    checker.moved(2, SOMEBODY, PUBLISHER, position(1, 3));
    checker.moved(3, SOMEBODY, PUBLISHER, later);
    assert_eq!(end(checker).0, [], "a subscriber may be told of steps in any order");
}

#[test]
fn a_frame_that_does_not_open_although_its_key_was_given() {
    let lost = |given: Position, frame_at: Position, later: Option<(u64, Position)>| {
        let mut checker = Checker::default();
        checker.key_received(0, SOMEBODY, PUBLISHER, given);
        if let Some((at, to)) = later {
            match to.generation == given.generation {
                true => checker.advanced(at, SOMEBODY, PUBLISHER, to),
                false => checker.key_received(at, SOMEBODY, PUBLISHER, to),
            }
        }
        checker.not_opened(5_000, SOMEBODY, &frame(4_950, frame_at), "");
        !end(checker).0.is_empty()
    };
    assert!(lost(position(0, 1), position(0, 1), None));
    assert!(lost(position(0, 1), position(0, 2), None));
    assert!(lost(position(0, 1), position(0, 1), Some((3_001, position(0, 2)))));
    assert!(lost(position(0, 1), position(0, 1), Some((1_001, position(1, 0)))));
    assert!(!lost(position(0, 1), position(0, 0), None), "it was before its step");
    assert!(!lost(position(0, 1), position(1, 0), None), "it has no such key");
    assert!(!lost(position(0, 1), position(0, 1), Some((3_000, position(0, 2)))), "retired");
    assert!(!lost(position(0, 1), position(0, 1), Some((1_000, position(1, 0)))), "retired");
}

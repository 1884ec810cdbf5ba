use std::{
    collections::BTreeSet,
    sync::{
        // The tests' own sharing is not under test: loom's would only multiply the executions.
        Arc,
        atomic::{AtomicUsize, Ordering as StdOrdering},
    },
};

use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};
use olmcast::primitives::{Generation, Step};

use super::slot::{InstallRefused, Seen, Slot};
use crate::{
    check, check_bounded,
    primitives::Position,
    sframe::{EncryptError, Key},
};

const fn step(step: u32) -> Position {
    Position { generation: Generation(0), step: Step::new(step).unwrap() }
}

fn put(slot: &Slot<Key>, position: Position) -> Result<(), InstallRefused> {
    slot.put(position, || Key::new(position))
}

fn slot_at(position: Position) -> Arc<Slot<Key>> {
    let slot = Slot::new();
    put(&slot, position).unwrap();
    Arc::new(slot)
}

/// One handle: what an encryptor has of its slot.
struct Handle {
    slot: Arc<Slot<Key>>,
    seen: Seen<Key>,
}

impl Handle {
    fn new(slot: &Arc<Slot<Key>>) -> Self {
        Self { slot: Arc::clone(slot), seen: Seen::nothing() }
    }

    fn encrypt(&mut self) -> Result<(Position, u64), EncryptError> {
        self.seen.key(&self.slot).map(Key::encrypt)
    }

    fn position(&mut self) -> Result<Position, EncryptError> {
        self.seen.key(&self.slot).map(|key| key.position)
    }
}

/// Frames of one thread, each under a handle's current key.
fn frames(slot: &Arc<Slot<Key>>, count: usize) -> Vec<(Position, u64)> {
    let mut handle = Handle::new(slot);
    let frames: Vec<_> = (0..count).map(|_| handle.encrypt().unwrap()).collect();
    assert!(frames.is_sorted(), "a handle went back: {frames:?}");
    frames
}

/// No pair twice, and no counter left out.
fn assert_unique(frames: &[(Position, u64)]) {
    let unique: BTreeSet<_> = frames.iter().copied().collect();
    assert_eq!(unique.len(), frames.len(), "a nonce twice: {frames:?}");
    for &(position, counter) in &unique {
        assert!(counter == 0 || unique.contains(&(position, counter - 1)), "{frames:?}");
    }
}

/// Two threads encrypt while a third installs one step after the other.
fn encrypt_while_stepping(frames_each: usize, steps: u32) {
    let slot = slot_at(step(0));
    let threads = [(); 2].map(|()| {
        let slot = Arc::clone(&slot);
        thread::spawn(move || frames(&slot, frames_each))
    });
    for next in 1..=steps {
        put(&slot, step(next)).unwrap();
    }
    let mut all = threads.map(|thread| thread.join().unwrap()).concat();
    all.extend(frames(&slot, 1));
    assert_eq!(all.last().unwrap().0, step(steps));
    assert_unique(&all);
}

#[test]
fn two_encrypting_threads_and_a_step_repeat_no_nonce() {
    check("two encrypt, one steps", 4000, || encrypt_while_stepping(1, 1));
}

#[test]
fn two_threads_that_encrypt_twice_and_two_steps_repeat_no_nonce() {
    let model = || encrypt_while_stepping(2, 2);
    check_bounded("two encrypt twice, one steps twice, 3 preemptions", Some(3), 2000, model);
}

/// Another thread changes the slot and then says so; whoever has heard it must find the change.
fn after_change<T: PartialEq + std::fmt::Debug>(
    slot: &Arc<Slot<Key>>,
    change: impl FnOnce(&Slot<Key>) + 'static,
    ask: impl Fn(&mut Handle) -> T,
    before: &T,
    after: &T,
) {
    let mut handle = Handle::new(slot);
    assert_eq!(ask(&mut handle), *before);
    let done = Arc::new(AtomicBool::new(false));
    let (slot, done_there) = (Arc::clone(slot), Arc::clone(&done));
    let thread = thread::spawn(move || {
        change(&slot);
        done_there.store(true, Ordering::Release);
    });
    for _ in 0..2 {
        let is_done = done.load(Ordering::Acquire);
        let asked = ask(&mut handle);
        assert!(asked == *after || (asked == *before && !is_done), "{asked:?}, done: {is_done}");
    }
    thread.join().unwrap();
    assert_eq!(ask(&mut handle), *after, "after the join");
}

#[test]
fn a_frame_that_begins_after_an_install_uses_the_new_key() {
    check("after an install", 20, || {
        let slot = slot_at(step(0));
        let change = |slot: &Slot<Key>| put(slot, step(1)).unwrap();
        after_change(&slot, change, Handle::position, &Ok(step(0)), &Ok(step(1)));
    });
}

#[test]
fn a_frame_that_begins_after_the_first_install_finds_a_key() {
    check("after the first install", 20, || {
        let slot = Arc::new(Slot::new());
        let change = |slot: &Slot<Key>| put(slot, step(3)).unwrap();
        let before = Err(EncryptError::NotReady);
        after_change(&slot, change, Handle::position, &before, &Ok(step(3)));
    });
}

#[test]
fn a_frame_that_begins_after_a_pause_is_refused() {
    check("after a pause", 20, || {
        let slot = slot_at(step(0));
        let change = |slot: &Slot<Key>| slot.pause(true);
        let after = Err(EncryptError::Paused);
        after_change(&slot, change, Handle::position, &Ok(step(0)), &after);
    });
}

#[test]
fn a_frame_that_begins_after_closing_is_refused_for_good() {
    check("after closing", 20, || {
        let slot = slot_at(step(0));
        let after = Err(EncryptError::Paused);
        after_change(&slot, Slot::close, Handle::position, &Ok(step(0)), &after);
        assert_eq!(put(&slot, step(1)), Err(InstallRefused));
        slot.pause(false);
        assert_eq!(Handle::new(&slot).position(), after);
    });
}

#[test]
fn resuming_brings_back_the_same_key_and_its_counter_goes_on() {
    check("after a resume", 20, || {
        let slot = slot_at(step(0));
        assert_eq!(Handle::new(&slot).encrypt(), Ok((step(0), 0)));
        slot.pause(true);
        let change = |slot: &Slot<Key>| slot.pause(false);
        let before = Err(EncryptError::Paused);
        after_change(&slot, change, Handle::position, &before, &Ok(step(0)));
        assert_eq!(Handle::new(&slot).encrypt(), Ok((step(0), 1)));
    });
}

#[test]
fn an_install_lifts_no_pause() {
    check("an install races a pause", 50, || {
        let slot = slot_at(step(0));
        let mut handle = Handle::new(&slot);
        let threads = [
            {
                let slot = Arc::clone(&slot);
                thread::spawn(move || slot.pause(true))
            },
            {
                let slot = Arc::clone(&slot);
                thread::spawn(move || put(&slot, step(1)).unwrap())
            },
        ];
        let meanwhile = handle.position();
        let allowed = [Ok(step(0)), Ok(step(1)), Err(EncryptError::Paused)];
        assert!(allowed.contains(&meanwhile), "{meanwhile:?}");
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(handle.position(), Err(EncryptError::Paused));
        slot.pause(false);
        assert_eq!(handle.position(), Ok(step(1)));
    });
}

/// Two threads install; how many keys were made, and who was let.
fn race(slot: &Arc<Slot<Key>>, positions: [Position; 2]) -> ([bool; 2], usize) {
    let made = Arc::new(AtomicUsize::new(0));
    let installed = positions
        .map(|position| {
            let (slot, made) = (Arc::clone(slot), Arc::clone(&made));
            thread::spawn(move || {
                let make = || {
                    made.fetch_add(1, StdOrdering::Relaxed);
                    Key::new(position)
                };
                slot.put(position, make).is_ok()
            })
        })
        .map(|thread| thread.join().unwrap());
    (installed, made.load(StdOrdering::Relaxed))
}

#[test]
fn of_two_racing_installs_the_later_position_stays_and_no_other_key_is_made() {
    check("two installs", 6, || {
        let slot = slot_at(step(0));
        let ([earlier, later], made) = race(&slot, [step(1), step(2)]);
        assert!(later, "nothing stands against the later one");
        assert_eq!(made, 1 + usize::from(earlier));
        assert_eq!(Handle::new(&slot).position(), Ok(step(2)));
    });
}

#[test]
fn of_two_racing_installs_of_one_position_one_is_refused_and_one_key_is_made() {
    check("two installs of one position", 5, || {
        let slot = slot_at(step(0));
        let (installed, made) = race(&slot, [step(1), step(1)]);
        assert_eq!(installed.iter().filter(|&&is_ok| is_ok).count(), 1);
        assert_eq!(made, 1);
        assert_eq!(frames(&slot, 2), [(step(1), 0), (step(1), 1)]);
    });
}

#[test]
fn a_handle_sees_no_position_go_back_while_installs_race() {
    check("a handle among two installs", 400, || {
        let slot = slot_at(step(0));
        let watcher = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || frames(&slot, 2))
        };
        let (_, made) = race(&slot, [step(1), step(2)]);
        assert!((1..=2).contains(&made));
        let mut all = watcher.join().unwrap();
        all.extend(frames(&slot, 1));
        assert_eq!(all.last().unwrap().0, step(2));
        assert_unique(&all);
    });
}

#[test]
fn a_key_is_gone_once_every_handle_has_seen_the_next() {
    /// Counts itself out.
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, StdOrdering::Relaxed);
        }
    }
    check("keys are dropped", 100, || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let slot = Arc::new(Slot::new());
        let make = |dropped: &Arc<AtomicUsize>| Dropped(Arc::clone(dropped));
        slot.put(step(0), || make(&dropped)).unwrap();
        let handles = [(); 2].map(|()| {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                let mut seen = Seen::nothing();
                assert!(seen.key(&slot).is_ok());
                seen
            })
        });
        slot.put(step(1), || make(&dropped)).unwrap();
        let mut handles = handles.map(|handle| handle.join().unwrap());
        for seen in &mut handles {
            assert!(seen.key(&slot).is_ok());
        }
        assert_eq!(dropped.load(StdOrdering::Relaxed), 1);
    });
}

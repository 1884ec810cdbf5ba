use std::sync::{Arc, atomic::Ordering::Relaxed};

use loom::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::{
    sync::CONTENDED,
    track_key::{Opener, TrackKey},
};
use crate::{
    check,
    sframe::{Counter, DecryptError, OpenKey},
};

type Opened = Option<Result<(), DecryptError>>;

fn key() -> Arc<TrackKey> {
    Arc::new(TrackKey::new(Opener::new(OpenKey)))
}

/// A frame that is authentic. Opening takes a while, in which others may come.
fn open(key: &TrackKey, counter: u64) -> Opened {
    key.open(Counter(counter), &mut |_| {
        thread::yield_now();
        Ok(())
    })
}

#[test]
fn of_two_decryptors_of_a_track_one_opens_a_frame() {
    check("one frame, two decryptors", 3, || {
        let key = key();
        let other = Arc::clone(&key);
        let other = thread::spawn(move || open(&other, 5));
        let results = [open(&key, 5), other.join().unwrap()];
        let opened = results.iter().filter(|result| **result == Some(Ok(()))).count();
        assert_eq!(opened, 1, "{results:?}");
        assert!(results.contains(&Some(Err(DecryptError::Replayed))), "{results:?}");
        assert_eq!(key.opened(), 1);
    });
    assert!(CONTENDED.load(Relaxed) > 0, "nobody ever waited");
}

#[test]
fn two_decryptors_of_a_track_open_different_frames_and_each_is_counted() {
    check("two frames, two decryptors", 6, || {
        // As the ring keeps a key that was derived for a frame: that frame has been opened.
        let mut opener = Opener::new(OpenKey);
        opener.open(Counter(3), &mut |_| Ok(())).unwrap();
        let key = Arc::new(TrackKey::new(opener));
        let other = Arc::clone(&key);
        let other = thread::spawn(move || [5, 6].map(|counter| open(&other, counter)));
        let results = [7, 4].map(|counter| open(&key, counter));
        assert_eq!([results, other.join().unwrap()], [[Some(Ok(())); 2]; 2]);
        assert_eq!(key.opened(), 5);
        assert_eq!(open(&key, 3), Some(Err(DecryptError::Replayed)));
        assert_eq!(open(&key, 4), Some(Err(DecryptError::Replayed)));
    });
}

#[test]
fn a_frame_that_is_not_authentic_takes_no_place_from_one_that_is() {
    check("a forgery races a frame", 3, || {
        let key = key();
        let other = Arc::clone(&key);
        let forged = thread::spawn(move || {
            other.open(Counter(5), &mut |_| {
                thread::yield_now();
                Err(DecryptError::Authentication)
            })
        });
        assert_eq!(open(&key, 5), Some(Ok(())));
        let refused = [DecryptError::Authentication, DecryptError::Replayed];
        assert!(refused.map(|error| Some(Err(error))).contains(&forged.join().unwrap()));
        assert_eq!(key.opened(), 1);
    });
}

#[test]
fn nothing_opens_after_a_wipe_has_returned() {
    check("a wipe", 30, || {
        let key = key();
        let wiped = Arc::new(AtomicBool::new(false));
        let (there, wiped_there) = (Arc::clone(&key), Arc::clone(&wiped));
        let wiping = thread::spawn(move || {
            let opened = there.wipe();
            wiped_there.store(true, Ordering::Release);
            opened
        });
        let results = [5, 6].map(|counter| {
            let was_wiped = wiped.load(Ordering::Acquire);
            let result = open(&key, counter);
            assert!(result.is_none() || !was_wiped, "opened after the wipe");
            result
        });
        assert!(results[0].is_some() || results[1].is_none(), "a wiped key came back");
        let counted = wiping.join().unwrap();
        // Whoever wipes is told of every frame that was opened.
        assert_eq!(counted, results.iter().flatten().count() as u64);
        assert_eq!(open(&key, 7), None);
    });
}

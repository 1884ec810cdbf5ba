//! What those who were there can open, with every key that they were ever sent.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::ensure;
use tokio::time::Instant;

use super::tally::{Was, Way};
use crate::live::camera::{CODEC, Frame, INTERVAL, TRACK};

/// Every frame this close to a coming or going is tried, and further away one of so many.
const CLOSE: Duration = Duration::from_secs(5);
const ONE_OF: u64 = 10;
/// No frame later than this must open: what was promised, and a little for the frame's interval
/// and a busy machine.
const LEAVE_BOUND: Duration = Duration::from_millis(2000 + 250);
const KICK_BOUND: Duration = Duration::from_millis(1000 + 250);

/// What was found.
#[derive(Default)]
pub(super) struct Evidence {
    pub(super) leaver_opened: u64,
    pub(super) joiner_opened_past: u64,
    pub(super) leaves: Vec<Duration>,
    pub(super) kicks: Vec<Duration>,
    /// Frames tried.
    pub(super) tried: u64,
}

/// Tries everything, on all cores.
pub(super) fn gather(was: &[Was], frames: &[Arc<Frame>]) -> anyhow::Result<Evidence> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Evidence::default();
        while let Some(was) = was.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.judge(was, frames)?;
        }
        Ok::<_, anyhow::Error>(found)
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let mut all = Evidence::default();
        for thread in threads {
            let found = thread.join().map_err(|_| anyhow::anyhow!("a thread gave up"))??;
            all.add(found);
        }
        Ok(all)
    })
}

impl Evidence {
    fn add(&mut self, other: Self) {
        self.leaver_opened += other.leaver_opened;
        self.joiner_opened_past += other.joiner_opened_past;
        self.leaves.extend(other.leaves);
        self.kicks.extend(other.kicks);
        self.tried += other.tried;
    }

    fn judge(&mut self, was: &Was, frames: &[Arc<Frame>]) -> anyhow::Result<()> {
        // Who was never sent a key has nothing to try.
        let Some(first) = was.first else { return Ok(()) };
        let is_past = |frame: &Frame| frame.sent < was.asked || frame.position < first;
        let mut theirs = frames.iter().filter(|frame| !is_past(frame) && frame.sent < was.until);
        let meant = theirs.next_back();
        ensure!(
            meant.is_none_or(|frame| self.opens(was, frame)),
            "a hoard does not open what its owner watched: what it cannot open proves nothing"
        );
        for frame in frames.iter().filter(|frame| is_past(frame) && chosen(frame, was.asked)) {
            self.joiner_opened_past += u64::from(self.opens(was, frame));
        }
        let bound = match was.way {
            Way::Stayed => return Ok(()),
            Way::Kicked => KICK_BOUND,
            Way::Unsubscribed | Way::CutOff => LEAVE_BOUND,
        };
        let later = frames.iter().filter(|frame| frame.sent >= was.left);
        let mut shut_out = None;
        for frame in later.filter(|frame| chosen(frame, was.left)) {
            if !self.opens(was, frame) {
                shut_out.get_or_insert(frame.sent);
            } else if shut_out.is_some() || frame.sent - was.left > bound {
                self.leaver_opened += 1;
            }
        }
        let end = frames.last().map_or(was.left, |frame| frame.sent + INTERVAL);
        let time = shut_out.unwrap_or(end).saturating_duration_since(was.left);
        if was.way == Way::Kicked {
            self.kicks.push(time)
        } else {
            self.leaves.push(time)
        }
        Ok(())
    }

    fn opens(&mut self, was: &Was, frame: &Frame) -> bool {
        self.tried += 1;
        was.hoard.try_open(CODEC, TRACK, &frame.wire).is_some()
    }
}

fn chosen(frame: &Frame, moment: Instant) -> bool {
    let away = frame.sent.max(moment) - frame.sent.min(moment);
    away < CLOSE || frame.number.is_multiple_of(ONE_OF)
}

/// Frames encrypted under a key and nonce that another one had, as anybody on the way can see.
pub(super) fn duplicate_nonces(frames: &[Arc<Frame>]) -> u64 {
    let mut seen = HashSet::new();
    let again = |frame: &&Arc<Frame>| !seen.insert((frame.header.key_id, frame.header.counter));
    frames.iter().filter(again).count() as u64
}

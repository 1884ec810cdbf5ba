use std::{
    ops::{Add, Sub},
    time::Duration,
};

use olmcast::{
    client::Traffic,
    endpoint::Hoard,
    primitives::{DeviceId, Position},
};
use tokio::time::Instant;

use crate::live::viewer::Watched;

/// A subscriber without a usable key for this long counts as stalled for good.
const STALL: Duration = Duration::from_secs(10);
/// How often a subscriber renews its lease: a message, and an answer.
const RENEWAL: Duration = Duration::from_secs(20);

/// How somebody left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Unsubscribed,
    Kicked,
    CutOff,
    /// It was there to the end.
    Stayed,
}

/// Somebody who was there.
pub(super) struct Was {
    pub(super) device: DeviceId,
    pub(super) hoard: Hoard,
    pub(super) asked: Instant,
    pub(super) first: Option<Position>,
    pub(super) way: Way,
    /// When it stopped watching.
    pub(super) until: Instant,
    /// When the publisher knew that it left.
    pub(super) left: Instant,
}

/// Messages, and their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) messages: f64,
    pub(super) bytes: f64,
}

impl Add<Traffic> for Sent {
    type Output = Self;
    fn add(self, traffic: Traffic) -> Self {
        let (messages, bytes) = (traffic.messages as f64, traffic.bytes as f64);
        Self { messages: self.messages + messages, bytes: self.bytes + bytes }
    }
}

impl Sub for Sent {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self { messages: self.messages - other.messages, bytes: self.bytes - other.bytes }
    }
}

/// What is known of all who were there.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) was: Vec<Was>,
    pub(super) by_cut_off: Sent,
    pub(super) sent_in_all: Sent,
    pub(super) stalls: u64,
    pub(super) lost: u64,
    pub(super) opened: u64,
    pub(super) given_up: u64,
    /// Messages that renewed leases.
    pub(super) renewals: f64,
    pub(super) notes: Vec<String>,
}

impl Tally {
    /// A device is cut off now, and sends no more.
    pub(super) fn cut_off(&mut self, traffic: Traffic) {
        self.by_cut_off = self.by_cut_off + traffic;
    }

    /// Somebody stopped watching.
    pub(super) fn note(&mut self, was: Was, watched: &Watched) {
        let seen = &watched.seen;
        self.opened += seen.opened;
        self.lost += seen.lost;
        self.given_up += seen.given_up;
        let (first, last) = seen.span.unwrap_or((was.until, was.asked));
        let began = if seen.span.is_some() { first - was.asked } else { Duration::ZERO };
        let longest = seen.longest_gap.max(began).max(was.until.saturating_duration_since(last));
        if longest > STALL {
            self.stalls += 1;
        }
        if let Some(over) = &watched.over {
            // It was thrown out, or never let in, though nobody wanted that.
            self.stalls += 1;
            self.notes.push(format!("a subscriber saw no more: {over}"));
        }
        let there = was.until.saturating_duration_since(was.asked).as_secs() / RENEWAL.as_secs();
        self.renewals += 2.0 * there as f64;
        self.was.push(was);
    }
}

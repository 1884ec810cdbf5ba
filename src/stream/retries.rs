use std::time::Duration;

use super::Effects;
use crate::primitives::Timestamp;

/// Waits between repeats of what is not answered. Dense for 8 s, in which nobody who can be
/// reached may stay without a key: when each tenth message is lost, nine tries are all lost once
/// in 10^9. With waits that double from the start it would be five tries, once in 10^5.
const WAITS_MS: [u64; 10] = [500, 1000, 1000, 1000, 1000, 1000, 1000, 2000, 4000, 8000];

/// When something that is not answered is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Retry {
    attempts: usize,
    at: Timestamp,
}

impl Retry {
    /// Nothing was sent yet; it is due.
    pub(super) fn now(now: Timestamp) -> Self {
        Self { attempts: 0, at: now }
    }

    pub(super) fn at(self) -> Timestamp {
        self.at
    }

    pub(super) fn is_due(self, now: Timestamp) -> bool {
        self.at <= now
    }

    /// How often it was sent.
    pub(super) fn attempts(self) -> usize {
        self.attempts
    }

    /// It was sent now: the last wait repeats, ± 20 %, so that many do not send in step.
    pub(super) fn sent(&mut self, fx: &mut Effects<'_>) {
        let wait = WAITS_MS[self.attempts.min(WAITS_MS.len() - 1)];
        self.attempts += 1;
        self.at = fx.now + fx.jitter(Duration::from_millis(wait));
    }

    /// The other side said when to try again.
    pub(super) fn wait(&mut self, wait: Duration, now: Timestamp) {
        self.at = now + wait;
    }

    /// The other side is there: what was sent before was lost, and it is tried anew.
    pub(super) fn restart(&mut self, now: Timestamp) {
        *self = Self { attempts: 0, at: self.at.min(now + Duration::from_millis(100)) };
    }
}

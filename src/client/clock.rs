use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::primitives::Timestamp;

/// The wall clock, read once and then advanced by the monotonic clock: a step of the wall clock
/// moves no timer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    wall: Timestamp,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), wall: Timestamp::from(SystemTime::now()) }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.wall + self.started.elapsed()
    }

    /// When `timestamp` will be. At least a millisecond ahead, which is as fine as it counts.
    pub(super) fn instant(&self, timestamp: Timestamp) -> Instant {
        let wait = timestamp.since(self.wall).saturating_sub(self.started.elapsed());
        Instant::now() + wait.max(Duration::from_millis(1))
    }
}

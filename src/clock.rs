//! Floor 6: the one clock of this process, for what is above the sans-IO wall.
//!
//! The wall clock, read once and then advanced by the monotonic clock, so that a step of the wall
//! clock moves no timer. One for all: an encryptor must not take a deadline for passed that its
//! endpoint, by a clock of its own, still has before it.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime},
};

use crate::primitives::Timestamp;

struct Clock {
    started: Instant,
    wall: Timestamp,
}

static CLOCK: OnceLock<Clock> = OnceLock::new();

fn clock() -> &'static Clock {
    CLOCK.get_or_init(|| Clock { started: Instant::now(), wall: SystemTime::now().into() })
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    at(Instant::now())
}

/// The time at an instant; of one before the clock was first read, that of its first reading.
pub(crate) fn at(instant: Instant) -> Timestamp {
    let Clock { started, wall } = clock();
    *wall + instant.saturating_duration_since(*started)
}

/// How long it is until `timestamp`. At least a millisecond, which is as fine as it counts.
#[cfg(feature = "client")]
pub(crate) fn until(timestamp: Timestamp) -> std::time::Duration {
    timestamp.since(now()).max(std::time::Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_counts_with_the_monotonic_clock() {
        let before = Timestamp::from(SystemTime::now());
        let (first, start) = (now(), Instant::now());
        assert!(first.since(before) < Duration::from_secs(60));
        let later = at(start + Duration::from_secs(5));
        assert!(later.since(at(start)) >= Duration::from_millis(4999));
        assert!(at(start - Duration::from_secs(1000)) <= first);
    }
}

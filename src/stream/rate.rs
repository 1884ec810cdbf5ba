use std::time::Duration;

use crate::primitives::Timestamp;

/// At most one in `interval` in the long run, and `burst` at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    pub(crate) interval: Duration,
    pub(crate) burst: u32,
}

/// What is left of a [`Quota`]: the generic cell rate algorithm, whose state is one time.
///
/// (The libraries for this ask a clock of their own; here time is an argument.)
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RateLimit {
    /// When all that was taken will have been made up for.
    settled: Timestamp,
}

impl RateLimit {
    /// Takes one.
    ///
    /// # Errors
    /// How long to wait until there is one.
    pub(crate) fn take(&mut self, quota: Quota, now: Timestamp) -> Result<(), Duration> {
        let ahead = self.settled.since(now);
        let allowed = quota.interval * quota.burst.saturating_sub(1);
        if ahead > allowed {
            return Err(ahead - allowed);
        }
        self.settled = self.settled.max(now) + quota.interval;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUOTA: Quota = Quota { interval: Duration::from_secs(2), burst: 3 };

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000 + ms)
    }

    #[test]
    fn a_burst_passes_and_then_one_an_interval() {
        let mut limit = RateLimit::default();
        for _ in 0..3 {
            assert_eq!(limit.take(QUOTA, at(0)), Ok(()));
        }
        assert_eq!(limit.take(QUOTA, at(0)), Err(Duration::from_secs(2)));
        assert_eq!(limit.take(QUOTA, at(1500)), Err(Duration::from_millis(500)));
        assert_eq!(limit.take(QUOTA, at(2000)), Ok(()));
        assert_eq!(limit.take(QUOTA, at(2000)), Err(Duration::from_secs(2)));
    }

    proptest! {
        #[test]
        fn no_pattern_of_asking_gets_more_and_the_wait_it_names_suffices(
            waits in proptest::collection::vec(0_u64..3000, 1..200),
        ) {
            let mut limit = RateLimit::default();
            let (mut now, mut taken) = (0, Vec::new());
            for wait in waits {
                now += wait;
                match limit.take(QUOTA, at(now)) {
                    Ok(()) => taken.push(now),
                    Err(wait) => {
                        let later = now + u64::try_from(wait.as_millis()).unwrap();
                        prop_assert!(limit.clone().take(QUOTA, at(later)).is_ok());
                        prop_assert!(limit.clone().take(QUOTA, at(later - 1)).is_err());
                    }
                }
                let recent = taken.iter().filter(|at| now - **at < 10_000).count();
                prop_assert!(recent <= 5 + 3, "{recent} in 10 s");
            }
        }
    }
}

use std::time::Duration;

use super::Effects;
use crate::primitives::Timestamp;

/// Waits between repeats of what is not answered. Dense for 8 s, in which nobody who can be
/// reached may stay without a key: when each tenth message is lost, nine tries are all lost once
/// in 10^9. With waits that double from the start it would be five tries, once in 10^5.
const WAITS_MS: [u64; 10] = [500, 1000, 1000, 1000, 1000, 1000, 1000, 2000, 4000, 8000];

/// When something that is not answered is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retry {
    attempts: usize,
    at: Timestamp,
}

impl Retry {
    /// Nothing was sent yet; it is due.
    pub(crate) fn now(now: Timestamp) -> Self {
        Self { attempts: 0, at: now }
    }

    pub(crate) fn at(self) -> Timestamp {
        self.at
    }

    pub(crate) fn is_due(self, now: Timestamp) -> bool {
        self.at <= now
    }

    /// How often it was sent.
    pub(crate) fn attempts(self) -> usize {
        self.attempts
    }

    /// It was sent now: the last wait repeats, ± 20 %, so that many do not send in step.
    pub(crate) fn sent(&mut self, fx: &mut Effects<'_>) {
        let wait = WAITS_MS[self.attempts.min(WAITS_MS.len() - 1)];
        self.attempts += 1;
        self.at = fx.now + fx.jitter(Duration::from_millis(wait));
    }

    /// The other side said when to try again.
    pub(crate) fn wait(&mut self, wait: Duration, now: Timestamp) {
        self.at = now + wait;
    }

    /// The other side is there: what was sent before was lost, and it is tried anew.
    pub(crate) fn restart(&mut self, now: Timestamp) {
        *self = Self { attempts: 0, at: self.at.min(now + Duration::from_millis(100)) };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::device::Identity;

    #[derive(Clone, Copy, Debug)]
    enum Happens {
        Passes(u64),
        Wait(u64),
        Restart,
    }

    fn anything() -> impl Strategy<Value = Happens> {
        prop_oneof![
            6 => (0_u64..12_000).prop_map(Happens::Passes),
            1 => (500_u64..30_000).prop_map(Happens::Wait),
            1 => Just(Happens::Restart),
        ]
    }

    proptest! {
        #[test]
        fn it_is_sent_as_often_as_planned_and_a_sign_of_life_only_makes_it_sooner(
            events in prop::collection::vec(anything(), 1..60),
        ) {
            let identity = Identity::generate();
            let (mut rng, mut outputs) = (StdRng::from_seed([1; 32]), VecDeque::new());
            let mut now = Timestamp::from_unix_millis(1_000_000);
            let mut retry = Retry::now(now);
            let mut sent = 0;
            for what in events {
                match what {
                    Happens::Passes(ms) => now = now + Duration::from_millis(ms),
                    Happens::Wait(ms) => {
                        retry.wait(Duration::from_millis(ms), now);
                        prop_assert_eq!(retry.at(), now + Duration::from_millis(ms));
                    }
                    Happens::Restart => {
                        let before = retry.at();
                        retry.restart(now);
                        prop_assert!(retry.at() <= before, "later than without it");
                        prop_assert!(retry.at() <= now + Duration::from_millis(100));
                        sent = 0;
                    }
                }
                prop_assert_eq!(retry.is_due(now), retry.at() <= now);
                if retry.is_due(now) {
                    let (identity, rng, outputs) = (&identity, &mut rng, &mut outputs);
                    retry.sent(&mut Effects { identity, rng, outputs, now });
                    let planned = match sent {
                        0 => 500,
                        1..=6 => 1000,
                        7 => 2000,
                        8 => 4000,
                        _ => 8000,
                    };
                    let wait = retry.at().since(now).as_millis();
                    prop_assert!((planned * 8 / 10..=planned * 12 / 10).contains(&wait), "{wait}");
                    sent += 1;
                }
                prop_assert_eq!(retry.attempts(), sent);
            }
        }
    }
}

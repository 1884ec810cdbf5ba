use std::{collections::HashMap, time::Duration};

use super::{
    LeaveReason,
    rate::{Quota, RateLimit},
};
use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::PublicKey,
};

/// Devices remembered for one stream's life.
const MAX_VISITORS: usize = 1 << 17;
/// A device that left may come back so long after it was last let in; each time doubles it, since
/// each of its leaves costs all holders a new generation.
const BACK_OFF: Duration = Duration::from_secs(5);
/// The longest that it gets.
const MAX_BACK_OFF: Duration = Duration::from_secs(320);
/// A holder may start over as often as it may ask for a key.
const STARTS_OVER: Quota = Quota { interval: Duration::from_secs(2), burst: 3 };
/// How often a device is told that it was removed.
const REMINDERS: Quota = Quota { interval: Duration::from_secs(1), burst: 2 };

/// What a stream remembers of each device that it ever considered.
#[derive(Debug, Default)]
pub(super) struct Visitors(HashMap<DeviceId, Visitor>);

/// One device that was let in, or at least considered.
#[derive(Debug, Default)]
pub(super) struct Visitor {
    /// The last sequence: an old message says nothing.
    sequence: u64,
    let_in: Option<Timestamp>,
    back_off: Duration,
    starts_over: RateLimit,
    removed: Option<Removed>,
    reminders: RateLimit,
}

/// How a device's last subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    /// The one-time key by which it had come.
    pub(super) one_time_key: PublicKey,
    pub(super) reason: LeaveReason,
}

impl Visitors {
    /// Sequences of a device only grow; an old `Subscribe` or `Unsubscribe` replayed says nothing.
    pub(super) fn is_news(&self, device: DeviceId, sequence: u64) -> bool {
        self.0.get(&device).is_none_or(|visitor| sequence > visitor.sequence)
    }

    pub(super) fn knows(&self, device: DeviceId) -> bool {
        self.0.contains_key(&device)
    }

    /// Remembers that a device said something. False if too many are remembered already.
    pub(super) fn note(&mut self, device: DeviceId, sequence: u64) -> bool {
        if self.0.len() >= MAX_VISITORS && !self.knows(device) {
            return false;
        }
        let visitor = self.0.entry(device).or_default();
        visitor.sequence = visitor.sequence.max(sequence);
        true
    }

    /// Lets a device in that asked with this sequence, unless it was let in too often lately. Its
    /// question is remembered only then: the same may come again, should the answer be lost.
    ///
    /// # Errors
    /// How long it must wait.
    pub(super) fn let_in(
        &mut self,
        device: DeviceId,
        sequence: u64,
        is_holder: bool,
        now: Timestamp,
    ) -> Result<(), Duration> {
        if self.0.len() >= MAX_VISITORS && !self.knows(device) {
            return Err(MAX_BACK_OFF);
        }
        let visitor = self.0.entry(device).or_default();
        if is_holder {
            // Nobody has left, so nothing but our own work is at stake.
            visitor.starts_over.take(STARTS_OVER, now)?;
            visitor.sequence = visitor.sequence.max(sequence);
            return Ok(());
        }
        if let Some(before) = visitor.let_in {
            let stayed = now.since(before);
            if stayed < visitor.back_off {
                return Err(visitor.back_off - stayed);
            }
            let rested = stayed >= visitor.back_off * 4;
            visitor.back_off =
                if rested { BACK_OFF } else { (visitor.back_off * 2).min(MAX_BACK_OFF) };
        } else {
            visitor.back_off = BACK_OFF;
        }
        visitor.sequence = visitor.sequence.max(sequence);
        visitor.let_in = Some(now);
        visitor.removed = None;
        Ok(())
    }

    pub(super) fn removed(&mut self, device: DeviceId, removed: Removed) {
        if let Some(visitor) = self.0.get_mut(&device) {
            visitor.removed = Some(removed);
        }
    }

    /// How a device was removed, if it must be told again: it goes on as if it had not heard.
    pub(super) fn reminder(&mut self, device: DeviceId, now: Timestamp) -> Option<Removed> {
        let visitor = self.0.get_mut(&device)?;
        let removed = visitor.removed?;
        visitor.reminders.take(REMINDERS, now).is_ok().then_some(removed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000 + seconds * 1000)
    }

    fn device(byte: u8) -> DeviceId {
        DeviceId::from_bytes([byte; 32])
    }

    #[test]
    fn each_return_doubles_the_wait_and_a_long_stay_forgives() {
        let mut visitors = Visitors::default();
        let (a, left) = (device(1), Duration::from_secs);
        let mut let_in = |seconds| visitors.let_in(a, seconds, false, at(seconds));
        assert_eq!(let_in(0), Ok(()));
        assert_eq!(let_in(4), Err(left(1)));
        assert_eq!(let_in(5), Ok(()));
        assert_eq!(let_in(10), Err(left(5)));
        assert_eq!(let_in(15), Ok(()));
        assert_eq!(let_in(34), Err(left(1)));
        // 20 s now; after four times as long it is as if nothing had been.
        assert_eq!(let_in(95), Ok(()));
        assert_eq!(let_in(100), Ok(()));
        assert_eq!(visitors.let_in(device(2), 1, false, at(100)), Ok(()));
    }

    #[test]
    fn the_wait_does_not_grow_for_ever() {
        let mut visitors = Visitors::default();
        let mut now = 0;
        for _ in 0..20 {
            if let Err(wait) = visitors.let_in(device(1), now, false, at(now)) {
                assert!(wait <= MAX_BACK_OFF);
                now += wait.as_secs();
                assert_eq!(visitors.let_in(device(1), now, false, at(now)), Ok(()));
            }
            now += 1;
        }
    }

    #[test]
    fn a_device_is_reminded_of_its_removal_now_and_then() {
        let mut visitors = Visitors::default();
        let (a, key) = (device(1), vodozemac::Curve25519PublicKey::from_bytes([9; 32]));
        let removed = Removed { one_time_key: PublicKey(key), reason: LeaveReason::Gone };
        visitors.removed(a, removed);
        assert_eq!(visitors.reminder(a, at(0)), None, "never seen");
        visitors.let_in(a, 0, false, at(0)).unwrap();
        assert_eq!(visitors.reminder(a, at(0)), None, "not removed");
        visitors.removed(a, removed);
        let told = |visitors: &mut Visitors, now| {
            (0..10).filter(|_| visitors.reminder(a, at(now)).is_some()).count()
        };
        assert_eq!(told(&mut visitors, 1), 2);
        assert_eq!(told(&mut visitors, 2), 1);
        visitors.let_in(a, 5, false, at(5)).unwrap();
        assert_eq!(visitors.reminder(a, at(10)), None, "it is back");
    }

    proptest! {
        #[test]
        fn no_pattern_of_coming_and_going_is_let_in_more_often_and_the_wait_it_names_suffices(
            visits in prop::collection::vec((0_u64..40_000, prop::bool::weighted(0.2)), 1..80),
        ) {
            let (mut visitors, a) = (Visitors::default(), device(1));
            let (mut now, mut sequence) = (Timestamp::from_unix_millis(1_000_000), 0);
            // When it was last let in, and how long after that it may come again.
            let mut model: Option<(Timestamp, u64)> = None;
            for (wait, is_holder) in visits {
                now = now + Duration::from_millis(wait);
                sequence += 1;
                prop_assert!(visitors.is_news(a, sequence));
                let before = visitors.0.get(&a).map(|visitor| visitor.let_in);
                let result = visitors.let_in(a, sequence, is_holder, now);
                let at = before.flatten();
                if is_holder {
                    // Starting over is no return: it neither needs patience nor costs any.
                    prop_assert_eq!(visitors.0[&a].let_in, at);
                    prop_assert!(result.is_ok() != visitors.is_news(a, sequence));
                    continue;
                }
                let stayed = model.map(|(before, _)| now.since(before).as_millis() as u64);
                let back_off = model.map_or(0, |(_, back_off)| back_off);
                match result {
                    Ok(()) => {
                        prop_assert!(stayed.is_none_or(|stayed| stayed >= back_off), "too soon");
                        let is_forgiven = stayed.is_none_or(|stayed| stayed >= 4 * back_off);
                        let next = if is_forgiven { 5000 } else { (2 * back_off).min(320_000) };
                        model = Some((now, next));
                        prop_assert!(!visitors.is_news(a, sequence), "the same lets it in twice");
                    }
                    Err(wait) => {
                        let wait = wait.as_millis() as u64;
                        prop_assert_eq!(stayed.unwrap() + wait, back_off);
                        prop_assert!(wait > 0);
                        prop_assert!(visitors.is_news(a, sequence), "it may say it again");
                    }
                }
            }
        }

        #[test]
        fn what_is_old_stays_old_in_whatever_order_messages_come(
            messages in prop::collection::vec((0_u8..3, 0_u64..50, any::<bool>()), 1..80),
        ) {
            let mut visitors = Visitors::default();
            let mut highest = [None; 3];
            for (byte, sequence, leaves) in messages {
                let last = &mut highest[usize::from(byte)];
                let is_news = visitors.is_news(device(byte), sequence);
                prop_assert_eq!(is_news, last.is_none_or(|last| sequence > last));
                // Days apart, so that nobody has to wait.
                let now = at(1_000_000 * sequence);
                if leaves {
                    prop_assert!(visitors.note(device(byte), sequence));
                    *last = (*last).max(Some(sequence));
                } else if is_news && visitors.let_in(device(byte), sequence, false, now).is_ok() {
                    *last = Some(sequence);
                } else if last.is_none() && visitors.knows(device(byte)) {
                    *last = Some(0);
                }
            }
        }
    }
}

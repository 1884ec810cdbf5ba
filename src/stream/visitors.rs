use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::rate::{Quota, RateLimit};
use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::{PublicKey, WithheldCode},
};

/// Devices remembered at a time, holders included.
const MAX_VISITORS: usize = 1 << 16;
/// How many are looked at to find one that can be forgotten.
const FORGET_AMONG: usize = 16;
/// A device that left may come back so long after it was last let in; if it left by itself, each
/// time doubles that, since each of its leaves costs all holders a new generation. And so does each
/// time that the user did not want it, from then on.
const BACK_OFF: Duration = Duration::from_secs(5);
/// The longest that it gets.
const MAX_BACK_OFF: Duration = Duration::from_secs(320);
/// A holder may start over as often as it may ask for a key.
const STARTS_OVER: Quota = Quota { interval: Duration::from_secs(2), burst: 3 };
/// How often a device is told that it was removed.
const REMINDERS: Quota = Quota { interval: Duration::from_secs(1), burst: 2 };

/// What a stream remembers of the devices that it ever considered.
///
/// Of those who are no holders the oldest are forgotten when there are too many. An old `Subscribe`
/// of such a one could then be replayed; it would be let in, as its invite allows, and hear nothing
/// of it.
#[derive(Debug, Default)]
pub(super) struct Visitors {
    visitors: BTreeMap<DeviceId, Visitor>,
    /// In the order in which they came.
    order: VecDeque<DeviceId>,
}

/// One device that was let in, or at least considered.
#[derive(Debug, Default)]
struct Visitor {
    /// The last sequence: an old message says nothing.
    sequence: u64,
    is_here: bool,
    let_in: Option<Timestamp>,
    back_off: Duration,
    starts_over: RateLimit,
    // Boxed, since most never are.
    removed: Option<Box<Removed>>,
    reminders: RateLimit,
}

/// How a device's last subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removed {
    /// The one-time key by which it had come.
    pub(super) one_time_key: PublicKey,
    /// What it is told, and when it may ask again.
    pub(super) answer: Option<(WithheldCode, Option<Duration>)>,
    /// Whether each return costs it more time: it left of its own will, or is not wanted.
    pub(super) backs_off: bool,
}

impl Visitors {
    /// Sequences of a device only grow; an old `Subscribe` or `Unsubscribe` replayed says nothing.
    pub(super) fn is_news(&self, device: DeviceId, sequence: u64) -> bool {
        self.visitors.get(&device).is_none_or(|visitor| sequence > visitor.sequence)
    }

    pub(super) fn knows(&self, device: DeviceId) -> bool {
        self.visitors.contains_key(&device)
    }

    /// Remembers that a device said something. False if all that are remembered are holders.
    pub(super) fn note(&mut self, device: DeviceId, sequence: u64) -> bool {
        if !self.knows(device) {
            if self.visitors.len() >= MAX_VISITORS && !self.forget_one() {
                return false;
            }
            self.order.push_back(device);
        }
        let visitor = self.visitors.entry(device).or_default();
        visitor.sequence = visitor.sequence.max(sequence);
        true
    }

    fn forget_one(&mut self) -> bool {
        for _ in 0..FORGET_AMONG {
            let Some(device) = self.order.pop_front() else { return false };
            if self.visitors.get(&device).is_some_and(|visitor| visitor.is_here) {
                self.order.push_back(device);
            } else {
                self.visitors.remove(&device);
                return true;
            }
        }
        false
    }

    /// Whether a device may come in, as far as it did not come and go too often.
    ///
    /// # Errors
    /// How long it must wait.
    pub(super) fn may_come(&mut self, device: DeviceId, now: Timestamp) -> Result<(), Duration> {
        let Some(visitor) = self.visitors.get_mut(&device) else { return Ok(()) };
        if visitor.is_here {
            // Nobody has left, so nothing but our own work is at stake.
            return visitor.starts_over.take(STARTS_OVER, now);
        }
        let stayed = visitor.let_in.map_or(visitor.back_off, |let_in| now.since(let_in));
        if stayed < visitor.back_off { Err(visitor.back_off - stayed) } else { Ok(()) }
    }

    /// A device asked with this sequence and is let in, or put to the application. Its question is
    /// remembered only now: the same may come again, should the answer be lost. False if there is
    /// no room for it.
    pub(super) fn let_in(&mut self, device: DeviceId, sequence: u64, now: Timestamp) -> bool {
        if !self.note(device, sequence) {
            return false;
        }
        let visitor = self.visitors.entry(device).or_default();
        if visitor.is_here {
            return true;
        }
        let stayed = visitor.let_in.map(|let_in| now.since(let_in));
        let has_rested = stayed.is_none_or(|stayed| stayed >= visitor.back_off * 4);
        let must_back_off = visitor.removed.as_ref().is_some_and(|removed| removed.backs_off);
        if has_rested {
            visitor.back_off = BACK_OFF;
        } else if must_back_off {
            visitor.back_off = (visitor.back_off * 2).min(MAX_BACK_OFF);
        }
        visitor.is_here = true;
        visitor.let_in = Some(now);
        visitor.removed = None;
        true
    }

    /// A device is no holder any more, or was refused.
    pub(super) fn removed(&mut self, device: DeviceId, removed: Removed) {
        if let Some(visitor) = self.visitors.get_mut(&device) {
            visitor.is_here = false;
            visitor.removed = Some(Box::new(removed));
        }
    }

    /// The application does not want a device: that may not be asked about much sooner than one that
    /// comes and goes.
    pub(super) fn refused(
        &mut self,
        device: DeviceId,
        one_time_key: PublicKey,
        code: WithheldCode,
        now: Timestamp,
    ) {
        // The waiting begins with the answer, however long that took.
        if let Some(visitor) = self.visitors.get_mut(&device) {
            visitor.let_in = Some(now);
        }
        let answer = Some((code, None));
        self.removed(device, Removed { one_time_key, answer, backs_off: true });
    }

    /// A device that waits for the application's answer waits no more.
    pub(super) fn left(&mut self, device: DeviceId) {
        if let Some(visitor) = self.visitors.get_mut(&device) {
            visitor.is_here = false;
        }
    }

    /// How a device was removed, if it must be told again: it goes on as if it had not heard, or
    /// asks anew (`asked`) what was answered.
    pub(super) fn reminder(
        &mut self,
        device: DeviceId,
        asked: Option<PublicKey>,
        now: Timestamp,
    ) -> Option<Removed> {
        let visitor = self.visitors.get_mut(&device)?;
        let removed = *visitor.removed.as_deref().filter(|removed| removed.answer.is_some())?;
        let is_meant = asked.is_none_or(|one_time_key| one_time_key == removed.one_time_key);
        (is_meant && visitor.reminders.take(REMINDERS, now).is_ok()).then_some(removed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000 + seconds * 1000)
    }

    fn device(number: u32) -> DeviceId {
        let mut bytes = [7; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        DeviceId::from_bytes(bytes)
    }

    fn removed(backs_off: bool) -> Removed {
        let one_time_key = PublicKey(vodozemac::Curve25519PublicKey::from_bytes([9; 32]));
        let answer = (!backs_off).then_some((WithheldCode::Removed, None));
        Removed { one_time_key, answer, backs_off }
    }

    /// Asks to be let in, and leaves again at once if it is.
    fn come_and_go(visitors: &mut Visitors, backs_off: bool, seconds: u64) -> Result<(), u64> {
        let (a, now) = (device(1), at(seconds));
        visitors.may_come(a, now).map_err(|wait| wait.as_secs())?;
        assert!(visitors.let_in(a, seconds, now));
        visitors.removed(a, removed(backs_off));
        Ok(())
    }

    #[test]
    fn each_return_doubles_the_wait_and_a_long_stay_forgives() {
        let mut visitors = Visitors::default();
        let mut come_and_go = |seconds| come_and_go(&mut visitors, true, seconds);
        assert_eq!(come_and_go(0), Ok(()));
        assert_eq!(come_and_go(4), Err(1));
        assert_eq!(come_and_go(5), Ok(()));
        assert_eq!(come_and_go(10), Err(5));
        assert_eq!(come_and_go(15), Ok(()));
        assert_eq!(come_and_go(34), Err(1));
        // 20 s now; after four times as long it is as if nothing had been.
        assert_eq!(come_and_go(95), Ok(()));
        assert_eq!(come_and_go(100), Ok(()));
        assert_eq!(visitors.may_come(device(2), at(100)), Ok(()));
    }

    #[test]
    fn the_wait_does_not_grow_for_ever() {
        let (mut visitors, mut now) = (Visitors::default(), 0);
        let mut longest = 0;
        for _ in 0..20 {
            if let Err(wait) = come_and_go(&mut visitors, true, now) {
                longest = longest.max(wait);
                now += wait;
                assert_eq!(come_and_go(&mut visitors, true, now), Ok(()));
            }
            now += 1;
        }
        assert!((319..=320).contains(&longest), "{longest}");
    }

    #[test]
    fn whoever_was_only_unreachable_waits_no_longer_each_time() {
        let mut visitors = Visitors::default();
        for round in 0..20 {
            assert_eq!(come_and_go(&mut visitors, false, round * 5), Ok(()));
        }
        assert_eq!(come_and_go(&mut visitors, false, 96), Err(4));
    }

    #[test]
    fn a_device_is_reminded_of_its_removal_now_and_then() {
        let (mut visitors, a) = (Visitors::default(), device(1));
        visitors.removed(a, removed(false));
        assert_eq!(visitors.reminder(a, None, at(0)), None, "never seen");
        visitors.let_in(a, 1, at(0));
        assert_eq!(visitors.reminder(a, None, at(0)), None, "not removed");
        visitors.removed(a, removed(false));
        let other = PublicKey(vodozemac::Curve25519PublicKey::from_bytes([8; 32]));
        let told = |visitors: &mut Visitors, asked, now| {
            (0..10).filter(|_| visitors.reminder(a, asked, at(now)).is_some()).count()
        };
        assert_eq!(told(&mut visitors, Some(other), 1), 0, "not what it was told");
        assert_eq!(told(&mut visitors, None, 1), 2);
        assert_eq!(told(&mut visitors, Some(removed(false).one_time_key), 2), 1);
        visitors.let_in(a, 2, at(5));
        assert_eq!(visitors.reminder(a, None, at(10)), None, "it is back");
        visitors.removed(a, removed(true));
        assert_eq!(visitors.reminder(a, None, at(20)), None, "it knows");
    }

    #[test]
    fn strangers_push_out_one_another_and_no_holder() {
        let (mut visitors, holder) = (Visitors::default(), device(u32::MAX));
        assert!(visitors.let_in(holder, 5, at(0)));
        for number in 0..2 * MAX_VISITORS {
            assert!(visitors.note(device(u32::try_from(number).unwrap()), 1));
        }
        assert_eq!(visitors.visitors.len(), MAX_VISITORS);
        assert_eq!(visitors.order.len(), MAX_VISITORS);
        assert!(!visitors.is_news(holder, 5));
        assert!(visitors.is_news(device(0), 1), "forgotten");
    }

    proptest! {
        #[test]
        fn no_pattern_of_coming_and_going_is_let_in_more_often_and_the_wait_it_names_suffices(
            visits in prop::collection::vec((0_u64..40_000, any::<bool>()), 1..80),
        ) {
            let (mut visitors, a) = (Visitors::default(), device(1));
            let (mut now, mut sequence) = (Timestamp::from_unix_millis(1_000_000), 0);
            // When it was last let in, how long after that it may come again, and how it left.
            let mut model: Option<(Timestamp, u64, bool)> = None;
            for (wait, backs_off) in visits {
                now = now + Duration::from_millis(wait);
                sequence += 1;
                prop_assert!(visitors.is_news(a, sequence));
                let stayed = model.map(|(before, ..)| now.since(before).as_millis() as u64);
                let back_off = model.map_or(0, |(_, back_off, _)| back_off);
                match visitors.may_come(a, now) {
                    Ok(()) => {
                        prop_assert!(stayed.is_none_or(|stayed| stayed >= back_off), "too soon");
                        prop_assert!(visitors.let_in(a, sequence, now));
                        prop_assert!(!visitors.is_news(a, sequence), "the same lets it in twice");
                        visitors.removed(a, removed(backs_off));
                        let is_forgiven = stayed.is_none_or(|stayed| stayed >= 4 * back_off);
                        let next = match model {
                            Some((.., true)) if !is_forgiven => (2 * back_off).min(320_000),
                            Some(_) if !is_forgiven => back_off,
                            _ => 5000,
                        };
                        model = Some((now, next, backs_off));
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
            messages in prop::collection::vec((0_u32..3, 0_u64..50, any::<bool>()), 1..80),
        ) {
            let (mut visitors, mut highest) = (Visitors::default(), [None; 3]);
            for (number, sequence, leaves) in messages {
                let last = &mut highest[number as usize];
                let is_news = visitors.is_news(device(number), sequence);
                prop_assert_eq!(is_news, last.is_none_or(|last| sequence > last));
                let noted = match leaves {
                    true => visitors.note(device(number), sequence),
                    false => visitors.let_in(device(number), sequence, at(sequence)),
                };
                prop_assert!(noted);
                *last = (*last).max(Some(sequence));
            }
        }
    }
}

use std::collections::{BTreeMap, BTreeSet};

use super::holder::Holder;
use crate::primitives::{DeviceId, Timestamp};

/// Holders are numbered in the order in which they came.
type Number = u64;

/// The holders of a stream.
///
/// With thousands of them, nothing that one holder does may look at all others. So the roster
/// keeps count: who is due next, and how many have not answered yet. Every change of a holder goes
/// through [`update`](Self::update) or [`update_all`](Self::update_all). In the order in which they
/// came, so that a simulation replays.
#[derive(Debug, Default)]
pub(super) struct Roster {
    // Boxed, since a tree keeps many places free.
    holders: BTreeMap<Number, Box<Holder>>,
    numbers: BTreeMap<DeviceId, Number>,
    due: BTreeSet<(Timestamp, Number)>,
    /// Those who have not answered the pending generation.
    unanswered: usize,
    next: Number,
}

impl Roster {
    pub(super) fn get(&self, device: DeviceId) -> Option<&Holder> {
        self.holders.get(self.numbers.get(&device)?).map(Box::as_ref)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Holder> {
        self.holders.values().map(Box::as_ref)
    }

    /// Puts a holder at the end; it must not be there already.
    pub(super) fn insert(&mut self, holder: Holder) {
        let number = self.next;
        self.next += 1;
        self.due.insert((holder.poll_timeout(), number));
        self.unanswered += usize::from(!holder.has_answered_pending());
        self.numbers.insert(holder.device, number);
        self.holders.insert(number, Box::new(holder));
    }

    pub(super) fn remove(&mut self, device: DeviceId) -> Option<Holder> {
        let number = self.numbers.remove(&device)?;
        let holder = self.holders.remove(&number)?;
        self.due.remove(&(holder.poll_timeout(), number));
        self.unanswered -= usize::from(!holder.has_answered_pending());
        Some(*holder)
    }

    /// Changes one holder.
    pub(super) fn update<T>(
        &mut self,
        device: DeviceId,
        change: impl FnOnce(&mut Holder) -> T,
    ) -> Option<T> {
        let &number = self.numbers.get(&device)?;
        let holder = self.holders.get_mut(&number)?;
        let (due, answered) = (holder.poll_timeout(), holder.has_answered_pending());
        let result = change(holder);
        let (due_now, answered_now) = (holder.poll_timeout(), holder.has_answered_pending());
        if due != due_now {
            self.due.remove(&(due, number));
            self.due.insert((due_now, number));
        }
        self.unanswered += usize::from(answered && !answered_now);
        self.unanswered -= usize::from(!answered && answered_now);
        Some(result)
    }

    /// Changes all holders.
    pub(super) fn update_all(&mut self, mut change: impl FnMut(&mut Holder)) {
        self.holders.values_mut().for_each(|holder| change(holder));
        self.due = self.holders.iter().map(|(&number, h)| (h.poll_timeout(), number)).collect();
        self.unanswered = self.iter().filter(|holder| !holder.has_answered_pending()).count();
    }

    /// When something must be done about one of them.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The first `most` of those about whom something must be done now.
    pub(super) fn due(&self, now: Timestamp, most: usize) -> Vec<DeviceId> {
        let due = self.due.iter().take_while(|(at, _)| *at <= now).take(most);
        due.filter_map(|(_, number)| Some(self.holders.get(number)?.device)).collect()
    }

    /// Whether nobody need be waited for: all have the pending generation, or refuse to.
    pub(super) fn all_have_answered(&self) -> bool {
        self.unanswered == 0
    }
}

#[cfg(test)]
mod tests;

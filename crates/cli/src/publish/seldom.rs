//! What others could have said as often as they like.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// The same is said again after this at the earliest.
const PAUSE: Duration = Duration::from_secs(30);
/// More than so much in that time nobody reads.
const MOST: usize = 1024;

/// When each thing was said last.
pub(super) struct Seldom<T>(HashMap<T, Instant>);

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Seldom<T> {
    /// Whether this is to be said now.
    pub(super) fn is_news(&mut self, what: T, now: Instant) -> bool {
        let is_recent = |said: &Instant| now.saturating_duration_since(*said) < PAUSE;
        if self.0.get(&what).is_some_and(is_recent) {
            return false;
        }
        if self.0.len() >= MOST {
            self.0.retain(|_, said| is_recent(said));
        }
        let has_room = self.0.len() < MOST;
        if has_room {
            self.0.insert(what, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_in_a_while_and_other_things_meanwhile() {
        let (mut seldom, now) = (Seldom::default(), Instant::now());
        assert!(seldom.is_news("Ada", now));
        assert!(seldom.is_news("Bob", now));
        assert!(!seldom.is_news("Ada", now));
        assert!(!seldom.is_news("Ada", now + PAUSE - Duration::from_millis(1)));
        assert!(seldom.is_news("Ada", now + PAUSE));
        assert!(!seldom.is_news("Ada", now + PAUSE));
    }

    #[test]
    fn a_flood_of_different_things_takes_no_more_room() {
        let (mut seldom, now) = (Seldom::default(), Instant::now());
        let said = (0..10 * MOST).filter(|number| seldom.is_news(*number, now)).count();
        assert_eq!((said, seldom.0.len()), (MOST, MOST));
        assert!(seldom.is_news(10 * MOST, now + PAUSE));
        assert_eq!(seldom.0.len(), 1);
    }
}

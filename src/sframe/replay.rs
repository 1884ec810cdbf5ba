use super::{Counter, DecryptError, MAX_FRAMES_PER_KEY};

const WORDS: usize = 16;

/// A sliding window over the counters of one key: which frames were opened already.
///
/// In two halves, so that a forged frame can move nothing: [`screen`](Self::screen) before the
/// tag is checked only reads, [`record`](Self::record) after it writes.
#[derive(Clone, Debug, Default)]
pub struct ReplayWindow {
    /// One more than the highest counter recorded; 0 while there is none.
    end: u64,
    /// Bit `counter % WIDTH` is set if `counter`, inside the window, was recorded.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// How far a frame may lag behind the newest one and still be accepted, in frames.
    pub const WIDTH: u64 = 64 * WORDS as u64;

    /// Whether a frame with this counter may still be opened.
    ///
    /// # Errors
    /// [`DecryptError::Replayed`] if it was recorded already or lies behind the window,
    /// [`DecryptError::Limit`] from [`MAX_FRAMES_PER_KEY`] on, which no sender reaches.
    #[inline]
    pub fn screen(&self, counter: Counter) -> Result<(), DecryptError> {
        if counter.0 >= MAX_FRAMES_PER_KEY {
            return Err(DecryptError::Limit);
        }
        let behind = self.end.saturating_sub(counter.0);
        if behind == 0 {
            return Ok(());
        }
        let (word, bit) = Self::place(counter.0);
        if behind > Self::WIDTH || self.seen[word] & bit != 0 {
            return Err(DecryptError::Replayed);
        }
        Ok(())
    }

    /// Records a frame whose tag was right.
    ///
    /// # Errors
    /// [`DecryptError::Replayed`] if another thread recorded the same frame since it was
    /// screened; the second copy must not be given out. [`DecryptError::Limit`] as above.
    #[inline]
    pub fn record(&mut self, counter: Counter) -> Result<(), DecryptError> {
        self.screen(counter)?;
        if counter.0 >= self.end {
            let fresh = counter.0 - self.end + 1;
            if fresh >= Self::WIDTH {
                self.seen = [0; WORDS];
            } else {
                for skipped in self.end..counter.0 {
                    let (word, bit) = Self::place(skipped);
                    self.seen[word] &= !bit;
                }
            }
            self.end = counter.0 + 1;
        }
        let (word, bit) = Self::place(counter.0);
        self.seen[word] |= bit;
        Ok(())
    }

    #[inline]
    fn place(counter: u64) -> (usize, u64) {
        let index = counter % Self::WIDTH;
        ((index / 64) as usize, 1 << (index % 64))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_window_agrees_with_a_plain_set() {
        let mut state = 1_u64;
        let (mut window, mut set, mut newest) = (ReplayWindow::default(), HashSet::new(), 0_u64);
        for round in 0..200_000 {
            if round % 2_000 == 0 {
                (window, set, newest) = (ReplayWindow::default(), HashSet::new(), 0);
            }
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let jump = match state >> 60 {
                0 => (state >> 33) % 5000,
                _ => (state >> 33) % 40,
            };
            let counter = (newest + jump).saturating_sub((state >> 20) % 1100);
            let expected = !set.contains(&counter) && counter + ReplayWindow::WIDTH > newest;
            assert_eq!(window.screen(Counter(counter)).is_ok(), expected || set.is_empty());
            if window.record(Counter(counter)).is_ok() {
                set.insert(counter);
                newest = newest.max(counter);
            }
        }
    }

    #[test]
    fn screening_moves_nothing() {
        let mut window = ReplayWindow::default();
        window.record(Counter(5)).unwrap();
        assert!(window.screen(Counter(1 << 19)).is_ok());
        assert!(window.screen(Counter(4)).is_ok());
        assert_eq!(window.screen(Counter(5)), Err(DecryptError::Replayed));
    }

    #[test]
    fn a_counter_that_no_sender_reaches_is_refused_and_moves_nothing() {
        let mut window = ReplayWindow::default();
        window.record(Counter(MAX_FRAMES_PER_KEY - 1)).unwrap();
        for counter in [MAX_FRAMES_PER_KEY, u64::MAX] {
            assert_eq!(window.screen(Counter(counter)), Err(DecryptError::Limit));
            assert_eq!(window.record(Counter(counter)), Err(DecryptError::Limit));
        }
        assert_eq!(window.record(Counter(MAX_FRAMES_PER_KEY - 2)), Ok(()));
    }
}

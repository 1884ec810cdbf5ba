use super::{Counter, DecryptError, MAX_FRAMES_PER_KEY};

const WORDS: usize = 16;

/// A sliding window over the counters of one key: which frames were opened already.
///
/// In two halves, so that a forged frame can move nothing: before the tag is checked the window
/// is only read, after it the counter is recorded. [`accept`](Self::accept) is both.
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

    /// Opens a frame with this counter, if it may still be opened, and records it if it could be.
    ///
    /// # Errors
    /// [`DecryptError::Replayed`] if it was recorded already or lies behind the window,
    /// [`DecryptError::Limit`] from [`MAX_FRAMES_PER_KEY`] on, which no sender reaches; `open` is
    /// not called then. What `open` returns otherwise; the window is then as it was.
    #[inline(always)] // Around a call that is not: it keeps the counter's place in registers.
    pub fn accept(
        &mut self,
        counter: Counter,
        open: impl FnOnce() -> Result<(), DecryptError>,
    ) -> Result<(), DecryptError> {
        self.screen(counter)?;
        open()?;
        self.record(counter);
        Ok(())
    }

    #[inline]
    fn screen(&self, counter: Counter) -> Result<(), DecryptError> {
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

    /// For a counter that was screened.
    #[inline]
    fn record(&mut self, counter: Counter) {
        if counter.0 >= self.end {
            if counter.0 - self.end + 1 >= Self::WIDTH {
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
            if window.accept(Counter(counter), || Ok(())).is_ok() {
                set.insert(counter);
                newest = newest.max(counter);
            }
        }
    }

    #[test]
    fn a_frame_that_cannot_be_opened_moves_nothing() {
        let mut window = ReplayWindow::default();
        window.accept(Counter(5), || Ok(())).unwrap();
        let forged = Err(DecryptError::Authentication);
        assert_eq!(window.accept(Counter(1 << 19), || forged), forged);
        assert_eq!(window.accept(Counter(4), || forged), forged);
        let unasked = || panic!("a replay is not opened");
        assert_eq!(window.accept(Counter(5), unasked), Err(DecryptError::Replayed));
        assert_eq!(window.accept(Counter(4), || Ok(())), Ok(()));
    }

    #[test]
    fn a_counter_that_no_sender_reaches_is_refused_and_moves_nothing() {
        let mut window = ReplayWindow::default();
        window.accept(Counter(MAX_FRAMES_PER_KEY - 1), || Ok(())).unwrap();
        for counter in [MAX_FRAMES_PER_KEY, u64::MAX] {
            assert_eq!(window.accept(Counter(counter), || Ok(())), Err(DecryptError::Limit));
        }
        assert_eq!(window.accept(Counter(MAX_FRAMES_PER_KEY - 2), || Ok(())), Ok(()));
    }
}

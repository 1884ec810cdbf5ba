use std::time::{Duration, Instant};

/// A step from one frame to the next that is longer than this is no step.
const LONGEST_STEP: Duration = Duration::from_secs(10);

/// Where in a recording its frames are, from their RTP timestamps.
///
/// Those wrap around, and begin anew when the publisher connects to the relay again. Where they
/// do not go on, the time that has passed says where the recording does.
pub(super) struct Timeline {
    clock_rate: u32,
    start: Option<Instant>,
    last: u32,
    position: u64,
}

impl Timeline {
    pub(super) fn new(clock_rate: u32) -> Self {
        Self { clock_rate, start: None, last: 0, position: 0 }
    }

    /// The position of a frame that arrived now, in ticks of the clock since the first. It grows
    /// with every frame.
    pub(super) fn place(&mut self, rtp_timestamp: u32, now: Instant) -> u64 {
        if let Some(start) = self.start {
            let step = u64::from(rtp_timestamp.wrapping_sub(self.last));
            let passed = self.ticks(now.saturating_duration_since(start));
            self.position = if (1..=self.ticks(LONGEST_STEP)).contains(&step) {
                self.position + step
            } else {
                passed.max(self.position + 1)
            };
        } else {
            self.start = Some(now);
        }
        self.last = rtp_timestamp;
        self.position
    }

    fn ticks(&self, time: Duration) -> u64 {
        let ticks = time.as_nanos() * u128::from(self.clock_rate) / 1_000_000_000;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_goes_on_across_a_wrap_and_a_new_beginning() {
        let mut timeline = Timeline::new(1000);
        let start = Instant::now();
        let mut at = |timestamp, ms| timeline.place(timestamp, start + Duration::from_millis(ms));
        assert_eq!(at(u32::MAX - 49, 0), 0);
        assert_eq!(at(u32::MAX, 60), 49);
        assert_eq!(at(50, 90), 100);
        // The publisher connected again after 5 s.
        assert_eq!(at(0, 5000), 5000);
        assert_eq!(at(50, 5050), 5050);
        // A timestamp that stands still.
        assert_eq!(at(50, 5040), 5051);
    }
}

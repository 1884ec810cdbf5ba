use std::time::Duration;

/// Times that were measured.
#[derive(Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The time in milliseconds, to a hundredth, that so many of a hundred do not exceed; 0 if
    /// there is none.
    pub(crate) fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let index = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        rounded(self.0.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3))
    }
}

impl Extend<Duration> for Times {
    fn extend<T: IntoIterator<Item = Duration>>(&mut self, times: T) {
        self.0.extend(times);
    }
}

/// To a hundredth.
pub(crate) fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let mut times = Times::default();
        assert_eq!(times.percentile(99), 0.0);
        times.extend((1..=100).rev().map(Duration::from_millis));
        assert_eq!((times.percentile(50), times.percentile(99)), (50.0, 99.0));
        assert_eq!((times.percentile(0), times.percentile(100)), (1.0, 100.0));
        times.add(Duration::from_micros(100_004));
        assert_eq!(times.percentile(100), 100.0);
    }
}

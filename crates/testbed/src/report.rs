use std::time::Duration;

use serde::Serialize;

/// What churn did, simulated or live.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Runs.
    pub(crate) seeds: u64,
    /// Subscribers that could be reached and had no key for more than 10 s.
    pub(crate) permanent_stalls: u64,
    /// Frames from after the switch that somebody opened who had left.
    pub(crate) leaver_opened: u64,
    /// Frames from before its step that a joiner opened.
    pub(crate) joiner_opened_past: u64,
    /// Frames encrypted under a (key, nonce) pair that was used before.
    pub(crate) duplicate_nonces: u64,
    /// Frames that did not open although their key was there.
    pub(crate) frames_lost_after_key: u64,
    /// From a leave or kick, as the publisher knew of it, to the frame that shuts the leaver out.
    pub(crate) cutover_ms: Cutovers,
    /// Messages of both sides for one join.
    pub(crate) messages_per_join: f64,
    /// Messages of both sides for one leave.
    pub(crate) messages_per_leave: f64,
    /// Their bytes.
    pub(crate) bytes_per_leave: f64,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Cutovers {
    pub(crate) leave: Percentiles,
    pub(crate) kick: Percentiles,
}

/// In milliseconds.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Percentiles {
    pub(crate) fn of(times: &mut [Duration]) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let last = times.len().saturating_sub(1);
            let index = (last as f64 * share).ceil() as usize;
            times.get(index).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        };
        Self { p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

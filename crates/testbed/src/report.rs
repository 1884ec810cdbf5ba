use std::{fmt, time::Duration};

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
    /// From a leave or kick, as the publisher knew of it, to the first frame that the leaver cannot
    /// open with all that it was ever sent.
    pub(crate) cutover_ms: Cutovers,
    /// Messages of both sides for one join: asking, the key, its ack, retries, and one beacon for
    /// those who joined together.
    pub(crate) messages_per_join: f64,
    /// Messages of both sides for one leave, not for each holder: keys of the next generation to
    /// all who stay, their acks, retries.
    pub(crate) messages_per_leave: f64,
    /// Their bytes.
    pub(crate) bytes_per_leave: f64,
    /// Devices that were sent a key.
    pub(crate) joins: u64,
    /// Devices that were removed.
    pub(crate) leaves: u64,
    /// What only a simulation can see.
    #[serde(flatten)]
    pub(crate) simulated: Option<Simulated>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Simulated {
    /// A generation, or at a publisher a step, that came after a later one.
    pub(crate) generations_fallen: u64,
    /// The longest that a subscriber who could be reached opened nothing.
    pub(crate) longest_wait_ms: u64,
    /// The time in which publishers encrypted nothing, over all runs, since somebody who had left
    /// could have read it.
    pub(crate) paused_ms: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let must_be_0 = [
            ("permanent stalls", self.permanent_stalls),
            ("frames a leaver opened", self.leaver_opened),
            ("joiners that opened the past", self.joiner_opened_past),
            ("nonces used twice", self.duplicate_nonces),
            ("frames lost although the key was there", self.frames_lost_after_key),
        ];
        let fallen =
            |simulated: &Simulated| ("generations that fell", simulated.generations_fallen);
        let fallen = self.simulated.as_ref().map(fallen);
        writeln!(f, "{} runs, {} joins, {} leaves", self.seeds, self.joins, self.leaves)?;
        for (name, count) in must_be_0.into_iter().chain(fallen) {
            writeln!(f, "  {name:<40} {count:>10}{}", if count == 0 { "" } else { "  !" })?;
        }
        for (name, times) in [("leave", &self.cutover_ms.leave), ("kick", &self.cutover_ms.kick)] {
            let Percentiles { p50, p99, max } = times;
            let name = format!("cut-over of a {name}, ms");
            writeln!(f, "  {name:<40} {p50:>10} p50 {p99:>6} p99 {max:>6} max")?;
        }
        writeln!(f, "  {:<40} {:>10.1}", "messages per join", self.messages_per_join)?;
        writeln!(f, "  {:<40} {:>10.1}", "messages per leave", self.messages_per_leave)?;
        writeln!(f, "  {:<40} {:>10.0}", "bytes per leave", self.bytes_per_leave)?;
        if let Some(Simulated { longest_wait_ms, paused_ms, .. }) = self.simulated {
            writeln!(f, "  {:<40} {longest_wait_ms:>10}", "longest wait of a subscriber, ms")?;
            writeln!(f, "  {:<40} {paused_ms:>10}", "paused, ms over all runs")?;
        }
        Ok(())
    }
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

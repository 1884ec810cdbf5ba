use std::fmt;

use serde::Serialize;

use crate::harness::store::StoreKind;

/// What the service carried.
#[derive(Serialize)]
pub(super) struct Report {
    pub(super) store: StoreKind,
    pub(super) claims_per_s: f64,
    /// One-time keys that were in more than one answer.
    pub(super) claims_duplicated: u64,
    pub(super) mail_per_s: f64,
    /// Messages that were accepted and never received.
    pub(super) mail_lost: u64,
    pub(super) mail_p50_ms: f64,
    pub(super) mail_p99_ms: f64,
    /// From the first packet to `Entered`, if all devices come at once.
    pub(super) join_storm_p99_ms: f64,
    /// Of the service, with all devices connected.
    pub(super) rss_mb: f64,
    /// What the store does without a service, with as much in flight.
    pub(super) raw_store_ops_per_s: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = |rate: f64| match self.raw_store_ops_per_s {
            0.0 => String::new(),
            raw => format!("{:>8.2} of the raw store", rate / raw),
        };
        let must_be_0 = |count: u64| if count == 0 { "" } else { "   MUST BE 0" };
        writeln!(f, "a key service with the store {}", self.store.name())?;
        let mut line = |name: &str, value: f64, note: &str| {
            let note = note.trim_end();
            writeln!(f, "  {name:<36} {value:>12}{}{note}", if note.is_empty() { "" } else { " " })
        };
        line("claims a second", self.claims_per_s, &share(self.claims_per_s))?;
        line(
            "one-time keys handed out twice",
            self.claims_duplicated as f64,
            must_be_0(self.claims_duplicated),
        )?;
        line("messages a second", self.mail_per_s, &share(self.mail_per_s))?;
        line("messages lost", self.mail_lost as f64, must_be_0(self.mail_lost))?;
        line("a message's way, ms, p50", self.mail_p50_ms, "")?;
        line("a message's way, ms, p99", self.mail_p99_ms, "")?;
        line("join storm, ms, p99", self.join_storm_p99_ms, "")?;
        line("memory of the service, MB", self.rss_mb, "")?;
        line("raw store, operations a second", self.raw_store_ops_per_s, "")
    }
}

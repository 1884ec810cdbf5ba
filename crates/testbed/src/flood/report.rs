use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::Serialize;
use tokio::time::sleep;

use super::honest::Honest;
use crate::harness::{service::Service, store::StoreKind, times::rounded};

/// How often it is looked how large the service is.
const LOOK: Duration = Duration::from_millis(50);

/// How many times as long as without an attack something may take.
const BOUND: f64 = 2.0;

/// What honest devices noticed in one phase, and what it cost the service.
#[derive(Serialize)]
pub(super) struct Phase {
    name: String,
    mail_p99_ms: f64,
    connect_p99_ms: f64,
    /// Messages that were accepted and never came.
    mail_lost: u64,
    /// Honest connections that did not come about.
    connects_failed: u64,
    pub(super) rss_before_mb: f64,
    rss_peak_mb: f64,
    /// What the attacker did, and what it was told.
    pub(super) did: BTreeMap<String, u64>,
}

impl Phase {
    pub(super) async fn measure(
        name: &str,
        honest: &mut Honest,
        service: &Service,
        duration: Duration,
    ) -> anyhow::Result<Self> {
        let before = service.process.resident()?;
        let peak = Arc::new(AtomicU64::new(before));
        let look = async {
            loop {
                peak.fetch_max(service.process.resident()?, Ordering::Relaxed);
                sleep(LOOK).await;
            }
            #[allow(unreachable_code, reason = "it names the error's type")]
            Ok::<(), anyhow::Error>(())
        };
        let mut noticed = tokio::select! {
            noticed = honest.notice(duration) => noticed?,
            failed = look => return Err(failed.err().unwrap_or_else(|| anyhow::anyhow!("no end"))),
        };
        Ok(Self {
            name: name.to_owned(),
            mail_p99_ms: noticed.mail.times.percentile(99),
            connect_p99_ms: noticed.connects.percentile(99),
            mail_lost: noticed.mail.lost(),
            connects_failed: noticed.failed,
            rss_before_mb: before as f64 / 1e6,
            rss_peak_mb: peak.load(Ordering::Relaxed) as f64 / 1e6,
            did: BTreeMap::new(),
        })
    }
}

/// All phases.
#[derive(Serialize)]
pub(super) struct Report {
    store: StoreKind,
    idle: Phase,
    busy: Phase,
    attacks: Vec<Phase>,
    /// The largest of all attacks: a p99 over the busy one.
    worst_mail_ratio: f64,
    worst_connect_ratio: f64,
}

impl Report {
    pub(super) fn new(store: StoreKind, idle: Phase, busy: Phase, attacks: Vec<Phase>) -> Self {
        let worst = |time: fn(&Phase) -> f64| {
            let times = attacks.iter().map(time);
            rounded(times.fold(0.0, f64::max) / time(&busy))
        };
        let worst_mail_ratio = worst(|phase| phase.mail_p99_ms);
        let worst_connect_ratio = worst(|phase| phase.connect_p99_ms);
        Self { store, idle, busy, attacks, worst_mail_ratio, worst_connect_ratio }
    }

    /// What did not hold.
    pub(super) fn broken(&self, memory: f64) -> Vec<String> {
        let mut broken = Vec::new();
        for (what, ratio) in
            [("mail", self.worst_mail_ratio), ("connecting", self.worst_connect_ratio)]
        {
            if ratio > BOUND {
                broken.push(format!("{what} takes {ratio} times as long, bound {BOUND}"));
            }
        }
        for phase in [&self.idle, &self.busy].into_iter().chain(&self.attacks) {
            let Phase { name, mail_lost, connects_failed, .. } = phase;
            if mail_lost + connects_failed > 0 {
                broken.push(format!(
                    "{name}: {mail_lost} honest messages lost, {connects_failed} honest devices \
                     not connected"
                ));
            }
            let grown = phase.rss_peak_mb - phase.rss_before_mb;
            if grown > memory {
                broken.push(format!("{name}: the service grew by {grown:.0} MB, bound {memory}"));
            }
        }
        broken
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:>12} {:>7} {:>12} {:>7} {:>8} {:>8}",
            "", "mail p99 ms", "ratio", "connect p99", "ratio", "MB", "peak MB"
        )?;
        for phase in [&self.idle, &self.busy].into_iter().chain(&self.attacks) {
            let ratio = |time: fn(&Phase) -> f64| time(phase) / time(&self.busy);
            writeln!(
                f,
                "{:<10} {:>12} {:>7.2} {:>12} {:>7.2} {:>8.0} {:>8.0}",
                phase.name,
                phase.mail_p99_ms,
                ratio(|phase| phase.mail_p99_ms),
                phase.connect_p99_ms,
                ratio(|phase| phase.connect_p99_ms),
                phase.rss_before_mb,
                phase.rss_peak_mb,
            )?;
        }
        for phase in &self.attacks {
            writeln!(f, "\n{}", phase.name)?;
            for (what, count) in &phase.did {
                writeln!(f, "  {what:<48} {count:>10}")?;
            }
        }
        Ok(())
    }
}

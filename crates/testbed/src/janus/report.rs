use std::time::Duration;

use olmcast::primitives::Codec;
use serde::Serialize;

use super::{
    case::{Case, spelled},
    subscriber::Seen,
};
use crate::report::Percentiles;

/// The picture may stand still for so many seconds, by the loss on each of the two ways. At 10 per
/// cent about every second key frame is incomplete, and requests for one are lost as well.
const RECOVERY: [(u32, u64); 3] = [(0, 1), (2, 4), (10, 10)];
/// Of what is sent this share must come, in per cent, by the loss on each of the two ways. Lost
/// video is sent again, and a frame is lost if it takes longer than the receiver waits; lost audio
/// is not, so that 96 and 81 of 100 packets are left.
const VIDEO_ARRIVES: [(u32, u64); 3] = [(0, 100), (2, 95), (10, 75)];
const AUDIO_ARRIVES: [(u32, u64); 3] = [(0, 100), (2, 91), (10, 70)];
/// Where Janus changes the layer, a frame may be skipped or come in both.
const A_SWITCH: u64 = 5;
/// Frames of each layer that must come, far fewer than are sent while it is asked for.
pub(super) const OF_EACH_LAYER: u64 = 10;

/// What happened in a case.
pub(super) struct Outcome {
    pub(super) sent: u64,
    pub(super) dropped: u64,
    pub(super) seen: Seen,
    pub(super) broken_for: Option<Duration>,
    pub(super) switches_failed: u64,
}

/// One case, as it is printed.
#[derive(Serialize)]
pub(super) struct Report {
    case: String,
    codec: String,
    layers: usize,
    loss_pct: u32,
    /// Frames, in all layers together.
    sent: u64,
    /// Frames that the subscriber put together.
    received: u64,
    /// Frames that it decrypted.
    opened: u64,
    /// Frames decrypted that are not equal to one of those sent.
    mismatched: u64,
    /// Frames decrypted of each layer, from the highest on.
    by_layer: Vec<u64>,
    /// Packets lost on both ways.
    dropped: u64,
    key_frames_asked: u64,
    /// From the last frame before a loss to the key frame that ended it; none without a loss.
    recovery_ms_p99: Option<u64>,
    /// The longest of those, and of one that had not ended when the case did.
    longest_freeze_ms: Option<u64>,
    #[serde(skip)]
    broken: Vec<String>,
}

impl Report {
    pub(super) fn new(case: Case, outcome: Outcome) -> Self {
        let Outcome { sent, dropped, seen, broken_for, switches_failed } = outcome;
        let mut recoveries = seen.recoveries;
        let longest = recoveries.iter().copied().chain(broken_for).max();
        let longest_freeze_ms = longest.and_then(|freeze| u64::try_from(freeze.as_millis()).ok());
        let p99 = Percentiles::of(&mut recoveries).p99;
        let mut report = Self {
            case: case.name(),
            codec: spelled(case.codec),
            layers: case.layers,
            loss_pct: case.loss_pct,
            sent,
            received: seen.stats.received,
            opened: seen.stats.opened,
            mismatched: seen.mismatched,
            by_layer: seen.by_layer,
            dropped,
            key_frames_asked: seen.stats.key_frames_asked,
            recovery_ms_p99: (!recoveries.is_empty()).then_some(p99),
            longest_freeze_ms,
            broken: Vec::new(),
        };
        report.broken = report.judge(broken_for, switches_failed);
        report
    }

    /// What does not hold.
    pub(super) fn broken(&self) -> &[String] {
        &self.broken
    }

    fn judge(&self, broken_for: Option<Duration>, switches_failed: u64) -> Vec<String> {
        let Self { sent, received, opened, mismatched, .. } = *self;
        let mut broken = Vec::new();
        let mut must = |holds: bool, what: String| {
            if !holds {
                broken.push(what);
            }
        };
        must(received > 0, "nothing was received".to_owned());
        must(
            opened == received,
            format!("{} frames did not open", received.saturating_sub(opened)),
        );
        must(mismatched == 0, format!("{mismatched} opened frames are not what was sent"));
        let arrives =
            if self.codec == spelled(Codec::Opus) { AUDIO_ARRIVES } else { VIDEO_ARRIVES };
        let share = by_loss(arrives, self.loss_pct);
        let of_each = sent / self.layers.max(1) as u64;
        let switches = if self.layers > 1 { A_SWITCH * self.layers as u64 } else { 0 };
        let least = share.map_or(0, |share| of_each * share / 100).saturating_sub(switches);
        must(received >= least, format!("{received} of {of_each} frames came, {least} must"));
        for (layer, count) in self.by_layer.iter().enumerate() {
            let name = format!("layer {layer} from the top");
            must(*count >= OF_EACH_LAYER, format!("{name} was relayed with {count} frames"));
        }
        must(switches_failed == 0, format!("{switches_failed} times another layer came"));
        let recovery = self.recovery_ms_p99.map(Duration::from_millis);
        let slowest = recovery.max(broken_for).unwrap_or_default();
        let most = Duration::from_secs(by_loss(RECOVERY, self.loss_pct).unwrap_or_default());
        must(slowest <= most, format!("a loss was not recovered for {slowest:?}"));
        broken
    }

    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let recovery = self.recovery_ms_p99.map_or("–".to_owned(), |ms| ms.to_string());
        println!(
            "{:<10} {:>6} {:>8} {:>6} {:>10} {:>7} {:>5} {:>8}  {}",
            self.case,
            self.sent,
            self.received,
            self.opened,
            self.mismatched,
            self.dropped,
            self.key_frames_asked,
            recovery,
            if self.broken.is_empty() { "" } else { "!" },
        );
        Ok(())
    }

    pub(super) fn print_head() {
        println!(
            "{:<10} {:>6} {:>8} {:>6} {:>10} {:>7} {:>5} {:>8}",
            "case", "sent", "received", "opened", "mismatched", "dropped", "asked", "recovery"
        );
    }
}

/// What holds for this loss; that of the next greater one, if it is not in the list.
fn by_loss(bounds: [(u32, u64); 3], loss_pct: u32) -> Option<u64> {
    bounds.into_iter().find(|(loss, _)| *loss >= loss_pct).map(|(_, bound)| bound)
}

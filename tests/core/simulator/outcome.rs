use super::{
    Ms, Violation, What,
    checker::{Cutover, Defect},
    traffic::Traffic,
};

/// What became of one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    /// The same for every run of a seed.
    pub(crate) trace: u64,
    /// What happened to the watched node.
    pub(crate) lines: Vec<String>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) cutovers: Vec<Cutover>,
    pub(crate) traffic: Traffic,
    pub(crate) joins: u64,
    pub(crate) leaves: u64,
    /// Frames encrypted and sent.
    pub(crate) frames: u64,
    /// Frames that were not encrypted, since somebody who left could have read them.
    pub(crate) paused: u64,
    /// The time between two frames.
    pub(crate) frame_every: Ms,
    /// Frames opened, over all subscribers.
    pub(crate) opened: u64,
    /// The longest that a subscriber who could be reached was without a key.
    pub(crate) longest_wait: Ms,
}

impl Outcome {
    pub(crate) fn count(&self, defect: Defect) -> u64 {
        self.violations.iter().filter(|violation| violation.what.defect() == defect).count() as u64
    }

    /// The violations, one a line, with the seed.
    pub(crate) fn describe(&self) -> String {
        let lines = self.violations.iter().map(|Violation { at, node, what }| {
            format!("  {:>6} ms  node {node:>3}  {what}\n", at)
        });
        format!("seed {}: {} violations\n{}", self.seed, self.violations.len(), {
            let lines: Vec<_> = lines.collect();
            match lines.len() {
                0..=20 => lines.concat(),
                more => format!("{}  and {} more\n", lines[..20].concat(), more - 20),
            }
        })
    }

    pub(crate) fn found(&self, what: impl Fn(&What) -> bool) -> bool {
        self.violations.iter().any(|violation| what(&violation.what))
    }
}

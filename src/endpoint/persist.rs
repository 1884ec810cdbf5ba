//! What the device has to remember is handed out to be kept.
//!
//! A decision of the user (to kick, block, pin, verify, forget, reopen or rename) comes before all
//! that follows from it. That a device was admitted or seen is gathered for half a second, since
//! hundreds may come at once.

use std::time::Duration;

use super::{Endpoint, Output};
use crate::{device::SealError, primitives::Timestamp};

/// How long admissions are gathered.
const GATHER: Duration = Duration::from_millis(500);

/// What was handed out so far.
#[derive(Debug, Default)]
pub(super) struct Persist {
    changes: u64,
    decisions: u64,
    renamed: bool,
    /// When changes that are no decisions are handed out.
    due: Option<Timestamp>,
    failed: Option<SealError>,
}

impl Persist {
    pub(super) fn renamed(&mut self) {
        self.renamed = true;
    }
}

impl Endpoint {
    /// Has [`Output::Persist`] come next if anything is not yet kept, without gathering more: for
    /// whoever is about to drop this endpoint.
    pub fn persist(&mut self) {
        if self.has_changes() {
            self.hand_out();
        }
    }

    /// Why the last attempt to seal what has to be kept failed; it is tried again.
    #[cfg(feature = "client")]
    pub(crate) fn persist_failure(&self) -> Option<SealError> {
        self.persist.failed
    }

    /// To be called before outputs are given to the application.
    pub(super) fn persist_decisions(&mut self) {
        if self.identity.can_be_sealed()
            && (self.persist.renamed || self.persist.decisions != self.memory.decisions())
        {
            self.hand_out();
        }
    }

    /// Time has passed.
    pub(super) fn persist_gathered(&mut self, now: Timestamp) {
        if self.has_changes() && now >= *self.persist.due.get_or_insert(now + GATHER) {
            self.persist.due = Some(now + GATHER);
            self.hand_out();
        }
    }

    /// When changes have to be looked at: at once, if they were not seen yet.
    pub(super) fn persist_timeout(&self) -> Option<Timestamp> {
        self.has_changes().then(|| self.persist.due.unwrap_or_default())
    }

    fn has_changes(&self) -> bool {
        self.identity.can_be_sealed()
            && (self.persist.renamed || self.persist.changes != self.memory.changes())
    }

    fn hand_out(&mut self) {
        match self.identity.sealed_with(&self.memory) {
            Ok(sealed) => {
                // What was not fetched yet is old.
                self.outputs.retain(|output| !matches!(output, Output::Persist { .. }));
                self.outputs.push_front(Output::Persist { sealed });
                let (changes, decisions) = (self.memory.changes(), self.memory.decisions());
                self.persist = Persist { changes, decisions, ..Persist::default() };
            }
            Err(error) => {
                if self.persist.failed != Some(error) {
                    tracing::error!(%error, "what this device remembers cannot be kept");
                }
                self.persist.failed = Some(error);
            }
        }
    }
}

#[cfg(test)]
mod tests;

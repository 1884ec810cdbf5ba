use std::collections::BTreeMap;

use crate::simulator::{Ms, NodeId};

/// Whoever is without a key for longer than this will hardly get one any more.
const STALL: Ms = 10_000;

struct Wait {
    since: Ms,
    stalled: bool,
}

/// Since when each subscriber has opened nothing although it could be reached.
#[derive(Default)]
pub(super) struct Liveness {
    waits: BTreeMap<NodeId, Wait>,
    longest: Ms,
}

impl Liveness {
    /// A frame was opened.
    pub(super) fn served(&mut self, at: Ms, node: NodeId) {
        let wait = self.waits.entry(node).or_insert(Wait { since: at, stalled: false });
        self.longest = self.longest.max(at.saturating_sub(wait.since));
        *wait = Wait { since: at, stalled: false };
    }

    /// Looks at one subscriber; true once for each stall.
    pub(super) fn waits(&mut self, at: Ms, node: NodeId, excused: bool) -> bool {
        let wait = self.waits.entry(node).or_insert(Wait { since: at, stalled: false });
        if excused {
            *wait = Wait { since: at, stalled: false };
            return false;
        }
        let waited = at.saturating_sub(wait.since);
        self.longest = self.longest.max(waited);
        let stalls = waited > STALL && !wait.stalled;
        wait.stalled |= stalls;
        stalls
    }

    pub(super) const fn longest(&self) -> Ms {
        self.longest
    }
}

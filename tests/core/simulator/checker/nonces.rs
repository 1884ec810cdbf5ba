use std::collections::BTreeSet;

use olmcast::primitives::TrackId;

use crate::simulator::{NodeId, frames::Frame};

/// Every (publisher, track, KID, CTR) so far. A publisher has one stream, a restarted one is
/// another node.
#[derive(Default)]
pub(super) struct Nonces(BTreeSet<(NodeId, TrackId, u64, u64)>);

impl Nonces {
    /// Whether a frame repeats one.
    pub(super) fn encrypted(&mut self, frame: &Frame) -> bool {
        let header = frame.header;
        !self.0.insert((frame.publisher, frame.track, header.key_id.0, header.counter.0))
    }
}

use std::collections::BTreeMap;

use olmcast::primitives::Position;

use super::What;
use crate::simulator::NodeId;

/// The last position that each node showed of each publisher's stream.
#[derive(Default)]
pub(super) struct Positions(BTreeMap<(NodeId, NodeId), Position>);

impl Positions {
    /// A node shows a position: a publisher's only grow, a subscriber's generations never fall.
    pub(super) fn moved(&mut self, node: NodeId, publisher: NodeId, to: Position) -> Option<What> {
        let last = self.0.entry((node, publisher)).or_insert(to);
        let from = *last;
        *last = from.max(to);
        let fell = if node == publisher { to < from } else { to.generation < from.generation };
        fell.then_some(What::PositionFell { from, to })
    }
}

use std::collections::BTreeMap;

use olmcast::primitives::{Generation, Position, Step};

use crate::simulator::{Ms, NodeId, frames::Frame};

/// How long a step may be read after a later one was announced …
const STEP_RETENTION: Ms = 2_000;
/// … and a generation after the key of a later one came.
const GENERATION_RETENTION: Ms = 4_000;

/// A generation whose key a subscriber was given.
struct Given {
    generation: Generation,
    first: Step,
    at: Ms,
    /// Later steps, and when it heard of them.
    heard: Vec<(Ms, Step)>,
}

/// Which keys each subscriber was given, from which publisher.
#[derive(Default)]
pub(super) struct Delivery(BTreeMap<(NodeId, NodeId), Vec<Given>>);

impl Delivery {
    pub(super) fn key_received(
        &mut self,
        at: Ms,
        node: NodeId,
        publisher: NodeId,
        position: Position,
    ) {
        let Position { generation, step } = position;
        let given = Given { generation, first: step, at, heard: Vec::new() };
        self.0.entry((node, publisher)).or_default().push(given);
    }

    pub(super) fn advanced(&mut self, at: Ms, node: NodeId, publisher: NodeId, to: Position) {
        let given = self.0.entry((node, publisher)).or_default();
        if let Some(given) = given.iter_mut().find(|given| given.generation == to.generation) {
            given.heard.push((at, to.step));
        }
    }

    pub(super) fn forget(&mut self, node: NodeId, publisher: NodeId) {
        self.0.remove(&(node, publisher));
    }

    /// Whether a node has what it takes to open a frame now.
    pub(super) fn should_open(&self, now: Ms, node: NodeId, frame: &Frame) -> bool {
        let Some(given) = self.0.get(&(node, frame.publisher)) else { return false };
        let Position { generation, step } = frame.position;
        let Some(key) = given.iter().find(|given| given.generation == generation) else {
            return false;
        };
        let is_retired = key.heard.iter().any(|&(at, s)| s > step && at + STEP_RETENTION <= now)
            || given
                .iter()
                .any(|key| key.generation > generation && key.at + GENERATION_RETENTION <= now);
        key.first <= step && !is_retired
    }
}

use super::{Ms, NodeId};

/// What happened: a hash over all of it, and in words what concerns one node.
///
/// The hash (FNV-1a) takes in kinds, nodes, times and lengths, but no bytes of a message, since
/// keys differ from run to run.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    hash: u64,
    watched: Option<NodeId>,
    lines: Vec<String>,
}

impl Trace {
    pub(super) const fn new(watched: Option<NodeId>) -> Self {
        Self { hash: 0xCBF2_9CE4_8422_2325, watched, lines: Vec::new() }
    }

    pub(super) fn add(&mut self, at: Ms, kind: &str, nodes: [NodeId; 2], numbers: &[u64]) {
        let ids = nodes.map(|node| node as u64);
        let all = [at].into_iter().chain(ids).chain(numbers.iter().copied());
        let all = all.flat_map(u64::to_be_bytes);
        for byte in kind.bytes().chain([0]).chain(all) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        if self.watched.is_some_and(|watched| nodes.contains(&watched)) {
            let [one, other] = nodes;
            self.lines.push(format!("{at:>6}  {one:>3} {other:>3}  {kind} {numbers:?}"));
        }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use super::{Violation, What};
use crate::simulator::{Ms, NodeId, frames::Frame};

/// Whether somebody opens a frame with everything it ever was sent.
pub(crate) type Opener = Rc<dyn Fn(&Frame) -> bool>;

/// A frame that is encrypted later than this after a leave does not open for the leaver.
pub(crate) const LEAVE_LIMIT: Ms = 2_000;
/// The same for a kick.
pub(crate) const KICK_LIMIT: Ms = 1_000;
/// A leaver is tried when what was on its way to it has arrived.
const ARRIVAL: Ms = 1_500;

/// How long somebody who left could read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cutover {
    pub(crate) kick: bool,
    pub(crate) after: Ms,
}

struct Leaver {
    publisher: NodeId,
    node: NodeId,
    kick: bool,
    at: Ms,
    /// The first of the stream's frames that was encrypted after it left.
    since: usize,
    opener: Opener,
}

impl Leaver {
    fn limit(&self) -> Ms {
        self.at + if self.kick { KICK_LIMIT } else { LEAVE_LIMIT }
    }
}

/// A newcomer, and frames from before its step.
struct Joiner {
    node: NodeId,
    at: Ms,
    past: Vec<Rc<Frame>>,
    opener: Opener,
}

/// Who may open what.
#[derive(Default)]
pub(super) struct Secrecy {
    /// All frames of each publisher.
    frames: BTreeMap<NodeId, Vec<Rc<Frame>>>,
    /// When each publisher kept silent, so that nobody who left could read on.
    pauses: BTreeMap<NodeId, Vec<Ms>>,
    members: BTreeSet<(NodeId, NodeId)>,
    leaving: Vec<Leaver>,
    /// Those who were tried, and the first of the stream's frames from which on they are shut out.
    gone: Vec<(Leaver, usize)>,
    next_sample: usize,
    /// The first frame that each former member could not open.
    shut_out_at: BTreeMap<(NodeId, NodeId), usize>,
    joiners: Vec<Joiner>,
    cutovers: Vec<Cutover>,
}

impl Secrecy {
    pub(super) fn encrypted(&mut self, frame: &Rc<Frame>) {
        self.frames.entry(frame.publisher).or_default().push(Rc::clone(frame));
    }

    pub(super) fn paused(&mut self, at: Ms, publisher: NodeId) {
        self.pauses.entry(publisher).or_default().push(at);
    }

    /// How many frames a publisher has encrypted.
    pub(super) fn encrypted_by(&self, publisher: NodeId) -> usize {
        self.frames.get(&publisher).map_or(0, Vec::len)
    }

    /// `encrypted`: how many frames there were when it was not in yet.
    pub(super) fn joined(
        &mut self,
        at: Ms,
        publisher: NodeId,
        node: NodeId,
        encrypted: usize,
        opener: Opener,
        violations: &mut Vec<Violation>,
    ) {
        // Who comes back is judged by what was encrypted until now.
        let back = |leaver: &mut Leaver| leaver.publisher == publisher && leaver.node == node;
        let returned: Vec<_> = self.leaving.extract_if(.., |leaver| back(leaver)).collect();
        for leaver in returned {
            self.judge(at, leaver, violations);
        }
        self.gone.retain_mut(|(leaver, _)| !back(leaver));
        let shut_out_at = self.shut_out_at.remove(&(publisher, node));
        let is_new = self.members.insert((publisher, node));
        let from = match (is_new, shut_out_at) {
            (false, _) => return,
            (true, from) => from.unwrap_or(0),
        };
        let frames = self.frames.get(&publisher).and_then(|frames| frames.get(from..encrypted));
        let mut past: Vec<Rc<Frame>> = Vec::new();
        for frame in frames.unwrap_or_default().iter().rev() {
            if past.last().is_none_or(|last| last.position != frame.position) {
                past.push(Rc::clone(frame));
            }
            if past.len() == 2 {
                break;
            }
        }
        self.joiners.push(Joiner { node, at, past, opener });
    }

    pub(super) fn left(
        &mut self,
        at: Ms,
        publisher: NodeId,
        node: NodeId,
        kick: bool,
        opener: Opener,
    ) {
        self.members.remove(&(publisher, node));
        let since = self.encrypted_by(publisher);
        // Until it is shown from when on it is shut out, nothing counts as the past for it.
        self.shut_out_at.insert((publisher, node), since);
        self.leaving.push(Leaver { publisher, node, kick, at, since, opener });
    }

    pub(super) fn look(&mut self, now: Ms, violations: &mut Vec<Violation>) {
        let due: Vec<_> =
            self.leaving.extract_if(.., |leaver| leaver.limit() + ARRIVAL <= now).collect();
        for leaver in due {
            self.judge(now, leaver, violations);
        }
        let due: Vec<_> =
            self.joiners.extract_if(.., |joiner| joiner.at + 2 * ARRIVAL <= now).collect();
        for joiner in due {
            if let Some(frame) = joiner.past.iter().find(|frame| (joiner.opener)(frame)) {
                let what = What::JoinerOpenedPast { before: joiner.at - frame.at };
                violations.push(Violation { at: now, node: joiner.node, what });
            }
        }
    }

    /// Tries the frames since somebody left, from the last one back to the last that opens. Frames
    /// of one key share their fate, so one of each is tried.
    fn judge(&mut self, now: Ms, leaver: Leaver, violations: &mut Vec<Violation>) {
        let frames = self.frames.get(&leaver.publisher).map_or(&[][..], Vec::as_slice);
        let mut end = frames.len();
        while end > leaver.since && !(leaver.opener)(&frames[end - 1]) {
            let position = frames[end - 1].position;
            while end > leaver.since && frames[end - 1].position == position {
                end -= 1;
            }
        }
        let opened = frames[leaver.since..end].last();
        if let Some(last) = opened {
            if last.at > leaver.limit() {
                violations.push(opened_by(&leaver, now, last));
            }
            let pauses = self.pauses.get(&leaver.publisher).into_iter().flatten();
            let pause = pauses.copied().find(|at| *at > last.at);
            let first = frames.get(end).map(|frame| frame.at).into_iter().chain(pause).min();
            if let Some(first) = first {
                self.cutovers.push(Cutover { kick: leaver.kick, after: first - leaver.at });
            }
        }
        self.shut_out_at.insert((leaver.publisher, leaver.node), end);
        self.gone.push((leaver, end));
    }

    /// Tries the newest frame with some of those who are shut out, in turn.
    pub(super) fn sample(&mut self, now: Ms, count: usize, violations: &mut Vec<Violation>) {
        for _ in 0..count.min(self.gone.len()) {
            self.next_sample = (self.next_sample + 1) % self.gone.len();
            let (leaver, end) = &self.gone[self.next_sample];
            let frames = self.frames.get(&leaver.publisher).and_then(|frames| frames.get(*end..));
            let newest = frames.and_then(<[_]>::last);
            if let Some(frame) = newest.filter(|frame| (leaver.opener)(frame)) {
                violations.push(opened_by(leaver, now, frame));
            }
        }
    }

    pub(super) fn finish(&mut self, now: Ms, violations: &mut Vec<Violation>) {
        self.look(Ms::MAX / 2, violations);
        self.sample(now, self.gone.len(), violations);
    }

    pub(super) fn take_cutovers(&mut self) -> Vec<Cutover> {
        std::mem::take(&mut self.cutovers)
    }
}

fn opened_by(leaver: &Leaver, at: Ms, frame: &Frame) -> Violation {
    let after = frame.at.saturating_sub(leaver.at);
    Violation { at, node: leaver.node, what: What::LeaverOpened { kick: leaver.kick, after } }
}

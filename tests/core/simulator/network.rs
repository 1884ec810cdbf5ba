//! Messages on their way: from outputs to inputs.

use std::rc::Rc;

use olmcast::{
    endpoint::{Event, LeaveReason, Output, Recipient},
    primitives::DeviceId,
    protocol::Kind,
};
use rand::RngExt;

use super::{
    NodeId,
    checker::{KICK_LIMIT, LEAVE_LIMIT},
    node::Role,
    traffic::{Cause, Seen},
    world::{Action, World},
};

/// One copy of a message.
pub(super) struct Flight {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) bytes: Rc<[u8]>,
    pub(super) cause: Cause,
    /// The service that carries it; what is in flight dies with it.
    pub(super) service: u32,
}

impl World {
    /// Carries out what a node's endpoint wants. `reply_to`: why the message was sent that it
    /// has just taken in; `None` after a timeout or a command.
    pub(super) fn flush(&mut self, id: NodeId, reply_to: Option<Cause>) {
        let node = &mut self.nodes[id];
        let outputs: Vec<_> = std::iter::from_fn(|| node.endpoint.poll_output()).collect();
        let joined: Vec<DeviceId> = outputs.iter().filter_map(joined).collect();
        let mut first = joined.clone();
        let minted = self.is_mint(id, &outputs);
        let encrypted = self.checker.encrypted_by(id);
        // Looked at last: an endpoint is already further than its events.
        let changed = outputs.iter().any(|output| {
            matches!(output, Output::Event(Event::HolderLeft { .. } | Event::Rotated { .. }))
        });
        for output in outputs {
            match output {
                Output::Send { to, bytes } => {
                    let seen = Seen::of(&bytes, self.nodes[id].is_publisher());
                    let cause = match to {
                        Recipient::Device(to) if self.nodes[id].is_publisher() => {
                            let is_first = first.iter().position(|device| *device == to);
                            let is_first = is_first.filter(|_| seen == Seen::StreamKey);
                            let news = is_first.map(|at| first.swap_remove(at)).is_some();
                            let later = !news && joined.contains(&to);
                            self.cause_at_publisher(id, to, seen, news, minted || later)
                        }
                        Recipient::Device(_) => cause_at_subscriber(seen, reply_to),
                        _ if seen == Seen::Beacon => Cause::Join,
                        _ => Cause::Upkeep,
                    };
                    let receiver = match to {
                        Recipient::Device(to) => self.name(to),
                        _ => None,
                    };
                    let nodes = [id, receiver.unwrap_or(NodeId::MAX)];
                    self.trace.add(self.now, seen.sent(), nodes, &[bytes.len() as u64]);
                    self.outcome.traffic.count(cause, bytes.len());
                    self.send(id, to, bytes.into(), cause);
                }
                Output::Event(event) => self.handle_event(id, event, encrypted),
                _ => {}
            }
        }
        if changed {
            self.probe(id);
            self.checker.sample_leavers(self.now);
        }
        self.set_timer(id);
    }

    /// Whether a publisher hands out a new generation: several of those who have the one before
    /// are sent a key at once.
    fn is_mint(&self, id: NodeId, outputs: &[Output]) -> bool {
        let Role::Publisher(publisher) = &self.nodes[id].role else { return false };
        let settled = |output: &&Output| match output {
            Output::Send { to: Recipient::Device(to), bytes } => {
                self.name(*to).is_some_and(|to| publisher.settled.contains(&to))
                    && Seen::of(bytes, true) == Seen::StreamKey
            }
            _ => false,
        };
        outputs.iter().filter(settled).count() > publisher.settled.len() / 2
    }

    fn cause_at_publisher(
        &self,
        id: NodeId,
        to: DeviceId,
        seen: Seen,
        first: bool,
        of_next: bool,
    ) -> Cause {
        let Role::Publisher(publisher) = &self.nodes[id].role else { return Cause::Upkeep };
        let settled = self.name(to).is_some_and(|to| publisher.settled.contains(&to));
        match seen {
            Seen::StreamKey if first => Cause::Join,
            Seen::StreamKey if settled || of_next => Cause::Leave,
            Seen::StreamKey => Cause::Join,
            Seen::Signed(Kind::StreamKeyWithheld) if settled => Cause::Leave,
            Seen::Signed(Kind::StreamKeyWithheld) => Cause::Join,
            _ => Cause::Upkeep,
        }
    }

    fn send(&mut self, from: NodeId, to: Recipient, bytes: Rc<[u8]>, cause: Cause) {
        match to {
            Recipient::Device(to) => {
                if let Some(to) = self.name(to) {
                    self.put(from, to, bytes, cause);
                }
            }
            Recipient::Room(_) => {
                let reaches = self.service.up && self.nodes[from].attached;
                for to in (0..self.nodes.len()).filter(|to| reaches && *to != from) {
                    if self.nodes[to].alive && self.nodes[to].attached {
                        self.put(from, to, Rc::clone(&bytes), cause);
                    }
                }
            }
            Recipient::RoomState(_, stream) => self.set_state(from, stream, bytes),
            Recipient::EndRoomState(_, stream) => self.service.clear_state(from, stream),
        }
    }

    /// Lets the network have its way with a message.
    pub(super) fn put(&mut self, from: NodeId, to: NodeId, bytes: Rc<[u8]>, cause: Cause) {
        if !self.service.up || !self.nodes[from].attached {
            // As the client does: what the service has not taken over is sent once more.
            return self.nodes[from].outbox.push((self.now, to, bytes, cause));
        }
        if self.rng.random_bool(self.scenario.loss) {
            self.trace.add(self.now, "lost", [from, to], &[]);
            return;
        }
        let copies = 1 + u32::from(self.rng.random_bool(self.scenario.duplicates));
        for _ in 0..copies {
            let mut delay = self.rng.random_range(self.scenario.delay.0..=self.scenario.delay.1);
            if self.rng.random_bool(self.scenario.reorder) {
                delay += self.rng.random_range(0..=self.scenario.reorder_by);
            }
            let service = self.service.epoch;
            let bytes = Rc::clone(&bytes);
            let flight = Flight { from, to, bytes, cause, service };
            self.after(delay, Action::Deliver(flight));
        }
    }

    pub(super) fn deliver(&mut self, flight: Flight) {
        let (now, to) = (self.now, flight.to);
        let node = &mut self.nodes[to];
        if !node.alive || !node.attached || flight.service != self.service.epoch {
            return;
        }
        if node.starved_until > now {
            let until = node.starved_until;
            return self.at(until, Action::Deliver(flight));
        }
        let time = node.time(now);
        let taken = node.endpoint.handle_message(&flight.bytes, time).is_ok();
        let length = flight.bytes.len() as u64;
        let kind = if taken { "took" } else { "refused" };
        self.trace.add(now, kind, [flight.from, to], &[length]);
        self.flush(to, Some(flight.cause));
    }

    fn handle_event(&mut self, id: NodeId, event: Event, encrypted: usize) {
        let name = match &event {
            Event::HolderJoined { .. } => "joined",
            Event::HolderLeft { .. } => "left",
            Event::KeyConfirmed { .. } => "confirmed",
            Event::Refused { .. } => "was refused",
            Event::Stepped { .. } => "stepped",
            Event::Rotated { .. } => "rotated",
            Event::KeyReceived { .. } => "received a key",
            Event::Advanced { .. } => "advanced",
            Event::Withheld { retrying: true, .. } => "is to try later",
            Event::Withheld { .. } => "is to try no more",
            _ => "event",
        };
        let other = match &event {
            Event::HolderJoined { device, .. }
            | Event::HolderLeft { device, .. }
            | Event::KeyConfirmed { device, .. }
            | Event::Refused { device, .. } => self.name(*device),
            _ => None,
        };
        self.trace.add(self.now, name, [id, other.unwrap_or(id)], &[]);
        match event {
            Event::HolderJoined { device, .. } => {
                let Some(node) = self.name(device) else { return };
                self.outcome.joins += 1;
                let opener = self.opener(node);
                self.checker.joined(self.now, id, node, encrypted, opener);
                if let Some(publisher) = self.nodes[id].publisher() {
                    publisher.settled.remove(&node);
                    publisher.admitted.insert(node);
                }
            }
            Event::KeyConfirmed { device, .. } => {
                let node = self.name(device);
                if let (Some(node), Some(publisher)) = (node, self.nodes[id].publisher()) {
                    publisher.settled.insert(node);
                }
            }
            Event::HolderLeft { device, reason, .. } => {
                let Some(node) = self.name(device) else { return };
                self.outcome.leaves += 1;
                let opener = self.opener(node);
                let kick = reason == LeaveReason::Kicked;
                // Shows a pause that begins at the deadline, which no event tells of.
                let limit = if kick { KICK_LIMIT } else { LEAVE_LIMIT };
                self.after(limit + 1, Action::Probe(id));
                self.checker.left(self.now, id, node, kick, opener);
                if let Some(publisher) = self.nodes[id].publisher() {
                    publisher.settled.remove(&node);
                }
            }
            Event::Stepped { position, .. } | Event::Rotated { position, .. } => {
                self.checker.moved(self.now, id, id, position);
            }
            other => self.handle_subscriber_event(id, other),
        }
    }
}

fn joined(output: &Output) -> Option<DeviceId> {
    match output {
        Output::Event(Event::HolderJoined { device, .. }) => Some(*device),
        _ => None,
    }
}

fn cause_at_subscriber(seen: Seen, reply_to: Option<Cause>) -> Cause {
    match (seen, reply_to) {
        (Seen::Signed(Kind::Unsubscribe) | Seen::Request, _) => Cause::Leave,
        (Seen::Signed(_), _) => Cause::Join,
        // An ack goes with the key that it confirms.
        (Seen::Short, Some(cause)) => cause,
        _ => Cause::Upkeep,
    }
}

//! An honest key service: what it keeps, and what it tells about who is there.

use std::rc::Rc;

use olmcast::primitives::StreamId;
use rand::RngExt;

use super::{
    Ms, NodeId,
    network::Flight,
    node::Role,
    traffic::Cause,
    world::{Action, World},
};

/// How long it takes the service to notice that a connection is gone.
const NOTICE: std::ops::RangeInclusive<Ms> = 100..=2_000;

/// How long a client keeps what it could not send.
const KEPT: Ms = 60_000;

pub(super) struct Service {
    pub(super) up: bool,
    /// Counts its starts.
    pub(super) epoch: u32,
    /// What is offered, in the order in which it was said.
    state: Vec<(NodeId, StreamId, Rc<[u8]>)>,
}

impl Default for Service {
    fn default() -> Self {
        Self { up: true, epoch: 0, state: Vec::new() }
    }
}

impl Service {
    pub(super) fn clear_state(&mut self, from: NodeId, stream: StreamId) {
        self.state.retain(|(node, kept, _)| (*node, *kept) != (from, stream));
    }
}

impl World {
    /// A node connects: it enters the room, says again what it offers, and is told what is
    /// offered and who is there.
    pub(super) fn attach(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        if !self.service.up || !node.alive || node.cuts > 0 || node.attached {
            return;
        }
        node.attached = true;
        node.connection += 1;
        self.trace.add(self.now, "connects", [id, id], &[]);
        for index in 0..self.service.state.len() {
            let (from, _, bytes) = self.service.state[index].clone();
            if from != id {
                self.tell(from, id, bytes);
            }
        }
        self.tell_presence(id, true);
        self.tell_roster(id);
        let node = &mut self.nodes[id];
        for (since, to, bytes, cause) in std::mem::take(&mut node.outbox) {
            if since + KEPT > self.now {
                self.put(id, to, bytes, cause);
            }
        }
        let node = &self.nodes[id];
        if let Role::Publisher(publisher) = &node.role
            && let Some(offer) = node.endpoint.offer(publisher.stream)
        {
            let stream = publisher.stream;
            self.set_state(id, stream, offer.into());
        }
    }

    /// A node's connection breaks; the service notices later.
    pub(super) fn detach(&mut self, id: NodeId) {
        if !std::mem::take(&mut self.nodes[id].attached) {
            return;
        }
        let connection = self.nodes[id].connection;
        let delay = self.rng.random_range(NOTICE);
        self.after(delay, Action::Notice(id, connection));
    }

    pub(super) fn notice(&mut self, id: NodeId, connection: u32) {
        if !self.service.up || self.nodes[id].connection != connection || self.nodes[id].attached {
            return;
        }
        self.service.state.retain(|(from, ..)| *from != id);
        self.tell_presence(id, false);
    }

    /// The service dies: what it knew and carried is gone, and all connections with it.
    pub(super) fn stop_service(&mut self) {
        self.service = Service { up: false, epoch: self.service.epoch + 1, state: Vec::new() };
        for node in &mut self.nodes {
            node.attached = false;
        }
    }

    /// It is back, and everybody connects again in their own time.
    pub(super) fn start_service(&mut self) {
        self.service.up = true;
        for id in 0..self.nodes.len() {
            if self.nodes[id].alive {
                let delay = self.rng.random_range(50..1_000);
                self.after(delay, Action::Attach(id));
            }
        }
    }

    pub(super) fn set_state(&mut self, from: NodeId, stream: StreamId, bytes: Rc<[u8]>) {
        if !self.service.up || !self.nodes[from].attached {
            return;
        }
        self.service.clear_state(from, stream);
        self.service.state.push((from, stream, Rc::clone(&bytes)));
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            if self.nodes[to].alive && self.nodes[to].attached {
                self.tell(from, to, Rc::clone(&bytes));
            }
        }
    }

    fn tell(&mut self, from: NodeId, to: NodeId, bytes: Rc<[u8]>) {
        let service = self.service.epoch;
        let flight = Flight { from, to, bytes, cause: Cause::Upkeep, service };
        let delay = self.rng.random_range(self.scenario.delay.0..=self.scenario.delay.1);
        self.after(delay, Action::Deliver(flight));
    }

    /// Tells that a node came or went.
    fn tell_presence(&mut self, of: NodeId, present: bool) {
        for to in 0..self.nodes.len() {
            if self.concerns(to, of) && self.nodes[to].attached {
                let delay = self.rng.random_range(self.scenario.delay.0..=self.scenario.delay.1);
                self.after(delay, Action::Presence { to, of, present });
            }
        }
    }

    /// A node that connected learns who is there, and from that who is not any more.
    fn tell_roster(&mut self, to: NodeId) {
        for of in 0..self.nodes.len() {
            let present = self.nodes[of].alive && self.nodes[of].attached;
            if self.concerns(to, of) && (present || self.nodes[to].present.contains(&of)) {
                self.handle_presence(to, of, present);
            }
        }
    }

    /// Subscribers and publishers have to do with each other, and not among themselves.
    fn concerns(&self, to: NodeId, of: NodeId) -> bool {
        self.nodes[to].is_publisher() != self.nodes[of].is_publisher()
    }

    pub(super) fn handle_presence(&mut self, to: NodeId, of: NodeId, present: bool) {
        let (now, device) = (self.now, self.nodes[of].endpoint.device());
        let node = &mut self.nodes[to];
        if !node.alive || !node.attached {
            return;
        }
        if node.starved_until > now {
            let until = node.starved_until;
            return self.at(until, Action::Presence { to, of, present });
        }
        let time = node.time(now);
        let changed = if present { node.present.insert(of) } else { node.present.remove(&of) };
        if !changed {
            return;
        }
        self.trace.add(now, "presence", [of, to], &[present.into()]);
        if present {
            node.endpoint.handle_peer_back(device, time);
        } else {
            node.endpoint.handle_peer_gone(device, time);
        }
        self.flush(to, None);
        self.follow(to);
    }
}

//! Who comes and who goes.

use rand::{RngExt, seq::IndexedRandom};

use super::{
    Ms, NodeId,
    faults::Fault,
    node::Role,
    scenario::WARM_UP,
    world::{Action, World},
};

/// Who left may come back after this long, and once only: a publisher makes those wait who come
/// and go all the time.
const REST: Ms = 2_000;

impl World {
    pub(super) fn churn(&mut self) {
        if self.now + self.scenario.churn_every < WARM_UP + self.scenario.churn {
            self.after(self.scenario.churn_every, Action::Churn);
        }
        let watching = self.subscribers(|world, id| world.nodes[id].wants());
        let target = self.scenario.subscribers;
        let join = match watching.len() {
            few if few * 10 < target * 9 => true,
            many if many * 10 > target * 11 => false,
            _ => self.rng.random_bool(0.5),
        };
        if join { self.join() } else { self.leave(&watching) }
    }

    /// The last part of the churn, in which there are kicks.
    fn kicks(&self) -> bool {
        self.scenario.kicks && self.now >= WARM_UP + self.scenario.churn * 6 / 10
    }

    fn join(&mut self) {
        if !self.kicks() {
            self.start_subscriber();
            return;
        }
        // A kick closes the room: only who was in it before may come.
        let now = self.now;
        let back = self.subscribers(|world, id| {
            matches!(&world.nodes[id].role, Role::Subscriber(subscriber)
                if !subscriber.wants
                    && !subscriber.kicked
                    && !subscriber.rejoined
                    && !subscriber.offers.is_empty()
                    && world.nodes[id].attached
                    && subscriber.left_at + REST <= now)
        });
        let Some(&id) = back.choose(&mut self.rng) else { return };
        if let Some(subscriber) = self.nodes[id].subscriber() {
            subscriber.wants = true;
            subscriber.rejoined = true;
        }
        self.subscribe(id);
    }

    fn leave(&mut self, watching: &[NodeId]) {
        let Some(&id) = watching.choose(&mut self.rng) else { return };
        let way = self.rng.random_range(0..100);
        let now = self.now;
        if let Some(subscriber) = self.nodes[id].subscriber() {
            subscriber.left_at = now;
        }
        match way {
            0..35 if self.kicks() => self.kick(id),
            0..60 => {
                self.unsubscribe(id);
            }
            60..80 => {
                self.crash(id);
                if !self.kicks() && self.rng.random_bool(0.5) {
                    let delay = self.rng.random_range(500..3_000);
                    self.after(delay, Action::Fault(Fault::SubscriberRestart));
                }
            }
            _ => {
                self.cut_off(id);
                if self.rng.random_bool(0.5) {
                    let delay = self.rng.random_range(1_000..9_000);
                    self.after(delay, Action::Fault(Fault::Heal(vec![id])));
                }
            }
        }
    }

    fn kick(&mut self, id: NodeId) {
        let device = self.nodes[id].endpoint.device();
        let node = &mut self.nodes[self.publisher];
        let time = node.time(self.now);
        let Some(stream) = node.publisher().map(|publisher| publisher.stream) else { return };
        if !node.alive || node.starved_until > self.now {
            return;
        }
        // Whoever never got there is no holder, and is not kicked.
        let kicked = node.endpoint.kick(stream, device, time).is_ok();
        if let Some(publisher) = node.publisher() {
            publisher.kicked |= kicked;
        }
        self.flush(self.publisher, None);
        if kicked && let Some(subscriber) = self.nodes[id].subscriber() {
            subscriber.wants = false;
            subscriber.kicked = true;
        }
    }

    fn subscribers(&self, chosen: impl Fn(&Self, NodeId) -> bool) -> Vec<NodeId> {
        (0..self.nodes.len()).filter(|id| self.nodes[*id].alive && chosen(self, *id)).collect()
    }
}

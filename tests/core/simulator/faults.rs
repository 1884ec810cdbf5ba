//! What goes wrong besides the network: partitions, crashes, starvation.

use rand::RngExt;

use super::{
    NodeId,
    node::Role,
    scenario::WARM_UP,
    world::{Action, World},
};

pub(super) enum Fault {
    Partition,
    Heal(Vec<NodeId>),
    PublisherCrash,
    PublisherRestart,
    SubscriberRestart,
    ServiceCrash,
    ServiceRestart,
    Starvation,
}

impl World {
    /// Draws when faults happen: during the churn.
    pub(super) fn plan_faults(&mut self) {
        let scenario = self.scenario.clone();
        let mut plan = |count: u32, fault: fn() -> Fault| {
            for _ in 0..count {
                let at = WARM_UP + self.rng.random_range(0..scenario.churn.max(1));
                self.at(at, Action::Fault(fault()));
            }
        };
        plan(scenario.partitions, || Fault::Partition);
        plan(scenario.publisher_crashes, || Fault::PublisherCrash);
        plan(scenario.service_crashes, || Fault::ServiceCrash);
        plan(scenario.starvations, || Fault::Starvation);
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Partition => self.partition(),
            Fault::Heal(nodes) => nodes.into_iter().for_each(|id| self.reconnect(id)),
            Fault::PublisherCrash => {
                let id = self.publisher;
                if !self.nodes[id].alive {
                    return;
                }
                self.crash(id);
                let delay = self.rng.random_range(200..4_000);
                self.after(delay, Action::Fault(Fault::PublisherRestart));
            }
            Fault::PublisherRestart => {
                let id = self.start_publisher();
                self.trace.add(self.now, "publisher restarted", [id, id], &[]);
            }
            Fault::SubscriberRestart => {
                self.start_subscriber();
            }
            Fault::ServiceCrash => {
                if !self.service.up {
                    return;
                }
                self.trace.add(self.now, "service crashes", [NodeId::MAX; 2], &[]);
                self.stop_service();
                let delay = self.rng.random_range(200..4_000);
                self.after(delay, Action::Fault(Fault::ServiceRestart));
            }
            Fault::ServiceRestart => self.start_service(),
            Fault::Starvation => self.starve(),
        }
    }

    /// A process dies, with all that it knew.
    pub(super) fn crash(&mut self, id: NodeId) {
        self.trace.add(self.now, "crashes", [id, id], &[]);
        self.nodes[id].alive = false;
        // What it was encrypting with and decrypting with dies as well.
        match &mut self.nodes[id].role {
            Role::Publisher(publisher) => publisher.encryptors.clear(),
            Role::Subscriber(subscriber) => {
                subscriber.wants = false;
                subscriber.watching = None;
            }
        }
        self.detach(id);
    }

    /// Cuts a node off from everything.
    pub(super) fn cut_off(&mut self, id: NodeId) {
        self.trace.add(self.now, "is cut off", [id, id], &[]);
        self.nodes[id].cuts += 1;
        self.detach(id);
    }

    fn reconnect(&mut self, id: NodeId) {
        self.nodes[id].cuts = self.nodes[id].cuts.saturating_sub(1);
        let delay = self.rng.random_range(50..600);
        self.after(delay, Action::Attach(id));
    }

    /// One node to a third of all, at times the publisher with them.
    fn partition(&mut self) {
        let share = self.rng.random_range(0.0..0.33);
        let mut behind: Vec<_> = (0..self.nodes.len())
            .filter(|id| self.nodes[*id].alive && *id != self.publisher)
            .collect();
        behind.retain(|_| self.rng.random_bool(share));
        if self.rng.random_bool(0.2) {
            behind.push(self.publisher);
        }
        for &id in &behind {
            self.cut_off(id);
        }
        let delay = self.rng.random_range(1_000..9_000);
        self.after(delay, Action::Fault(Fault::Heal(behind)));
    }

    fn starve(&mut self) {
        let publisher = self.scenario.starve_publisher && self.rng.random_bool(0.5);
        let id =
            if publisher { self.publisher } else { self.rng.random_range(0..self.nodes.len()) };
        if id == self.publisher && !publisher {
            return;
        }
        let until = self.now + self.rng.random_range(500..5_000);
        self.trace.add(self.now, "starves", [id, id], &[until]);
        self.nodes[id].starved_until = until;
    }
}

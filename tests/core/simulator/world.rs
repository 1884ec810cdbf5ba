use std::collections::{BTreeMap, BTreeSet};

use olmcast::{
    device::Identity,
    endpoint::{Endpoint, Publish},
    primitives::{Codec, DeviceId, Invite, RoomId, RoomKeys, StreamId},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    Ms, NodeId, Outcome, Scenario,
    checker::Checker,
    faults::Fault,
    network::Flight,
    node::{Node, Publisher, Role, Subscriber},
    scenario::WARM_UP,
    service::Service,
    trace::Trace,
};

/// The label that publishers offer and subscribers follow.
pub(super) const LABEL: &str = "camera";
/// How often the checker looks, besides at what happens.
const LOOK_EVERY: Ms = 250;

/// Something that is to happen.
pub(super) enum Action {
    Deliver(Flight),
    /// A node's timer.
    Timer(NodeId),
    /// A publisher encrypts its next frame.
    Frame(NodeId),
    /// A publisher encrypts a frame for the checker.
    Probe(NodeId),
    /// A frame, by its number, arrives at all subscribers.
    Media(usize),
    /// A subscriber tries again what it holds.
    Retry(NodeId),
    /// A node connects to the service.
    Attach(NodeId),
    /// The service notices that a connection is gone.
    Notice(NodeId, u32),
    Presence {
        to: NodeId,
        of: NodeId,
        present: bool,
    },
    Subscribe(NodeId),
    Churn,
    Fault(Fault),
    Look,
}

/// All there is, and what happens next.
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) rng: StdRng,
    pub(super) now: Ms,
    pub(super) nodes: Vec<Node>,
    pub(super) service: Service,
    pub(super) publisher: NodeId,
    pub(super) checker: Checker,
    pub(super) trace: Trace,
    pub(super) outcome: Outcome,
    pub(super) room: RoomId,
    /// Subscribers that hold frames whose key is not there yet.
    pub(super) holding: BTreeSet<NodeId>,
    pub(super) sent: Vec<std::rc::Rc<super::frames::Frame>>,
    keys: RoomKeys,
    names: BTreeMap<DeviceId, NodeId>,
    queue: BTreeMap<(Ms, u64), Action>,
    queued: u64,
}

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario) -> Self {
        // Another one each time, which makes no difference. Should the system give no random
        // bytes, nobody can publish, and the run says so.
        let invite = Invite::generate("simulation");
        let keys = invite.map_or_else(
            |_| RoomKeys::without_invite(RoomId::from_name("simulation")),
            |invite| invite.room_keys(),
        );
        let room = keys.room();
        Self {
            rng: StdRng::seed_from_u64(seed),
            now: 0,
            nodes: Vec::new(),
            service: Service::default(),
            publisher: 0,
            checker: Checker::default(),
            trace: Trace::new(scenario.watched),
            outcome: Outcome { seed, frame_every: scenario.frame_every, ..Outcome::default() },
            room,
            holding: BTreeSet::new(),
            sent: Vec::new(),
            keys,
            names: BTreeMap::new(),
            queue: BTreeMap::new(),
            queued: 0,
            scenario,
        }
    }

    pub(super) fn run(mut self) -> Outcome {
        self.start_publisher();
        for _ in 0..self.scenario.subscribers {
            self.start_subscriber();
        }
        self.plan_faults();
        if self.scenario.churn_every > 0 {
            self.at(WARM_UP, Action::Churn);
        }
        self.at(LOOK_EVERY, Action::Look);
        let end = self.scenario.duration();
        while let Some(((at, _), action)) = self.queue.pop_first() {
            if at > end {
                break;
            }
            self.now = at;
            self.act(action);
        }
        self.now = end;
        let (violations, cutovers, longest_wait) = self.checker.finish(end);
        let trace = self.trace.hash();
        let lines = self.trace.into_lines();
        Outcome { trace, lines, violations, cutovers, longest_wait, ..self.outcome }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Deliver(flight) => self.deliver(flight),
            Action::Timer(node) => self.handle_timer(node),
            Action::Frame(node) => self.tick(node),
            Action::Probe(node) => self.probe(node),
            Action::Media(frame) => self.handle_media(frame),
            Action::Retry(node) => self.retry_held(node),
            Action::Attach(node) => self.attach(node),
            Action::Notice(node, connection) => self.notice(node, connection),
            Action::Presence { to, of, present } => self.handle_presence(to, of, present),
            Action::Subscribe(node) => self.subscribe(node),
            Action::Churn => self.churn(),
            Action::Fault(fault) => self.fault(fault),
            Action::Look => self.look(),
        }
    }

    /// Something is to happen later.
    pub(super) fn after(&mut self, delay: Ms, action: Action) {
        self.at(self.now + delay, action);
    }

    pub(super) fn at(&mut self, at: Ms, action: Action) {
        self.queued += 1;
        self.queue.insert((at, self.queued), action);
    }

    pub(super) fn start_publisher(&mut self) -> NodeId {
        let mut endpoint = self.endpoint();
        let skew = self.skew();
        let id = self.nodes.len();
        endpoint.enter(self.keys.clone());
        let publisher = Publisher {
            // Replaced below: to publish takes the time, which is the node's own.
            stream: StreamId::from_bytes([0; 16]),
            encryptors: Vec::new(),
            ticks: 0,
            settled: BTreeSet::new(),
            admitted: BTreeSet::new(),
            kicked: false,
        };
        let mut node = Node::new(endpoint, skew, Role::Publisher(publisher));
        let publish = Publish::new(LABEL).with_invite().track(Codec::Vp8).track(Codec::Opus);
        let time = node.time(self.now);
        if let Ok(stream) = node.endpoint.publish(self.room, publish, time) {
            let tracks = node.endpoint.tracks(stream).to_vec();
            let encryptors = tracks.iter().filter_map(|track| {
                Some((track.id, track.codec, node.endpoint.encryptor(stream, track.id)?))
            });
            let encryptors = encryptors.collect();
            if let Some(publisher) = node.publisher() {
                publisher.stream = stream;
                publisher.encryptors = encryptors;
            }
        }
        self.names.insert(node.endpoint.device(), id);
        self.nodes.push(node);
        self.publisher = id;
        self.attach(id);
        self.flush(id, None);
        self.after(0, Action::Frame(id));
        id
    }

    pub(super) fn start_subscriber(&mut self) -> NodeId {
        let mut endpoint = self.endpoint();
        let skew = self.skew();
        let id = self.nodes.len();
        endpoint.enter(self.keys.clone());
        let subscriber = Subscriber {
            hoard: endpoint.hoard_keys(),
            wants: true,
            kicked: false,
            rejoined: false,
            left_at: 0,
            offers: Vec::new(),
            watching: None,
        };
        let node = Node::new(endpoint, skew, Role::Subscriber(subscriber));
        self.names.insert(node.endpoint.device(), id);
        self.nodes.push(node);
        let delay = self.rng.random_range(1..100);
        self.after(delay, Action::Attach(id));
        id
    }

    fn endpoint(&mut self) -> Endpoint {
        Endpoint::with_seed(Identity::generate(), self.rng.random())
    }

    /// From 0 to twice the greatest error: only differences count.
    fn skew(&mut self) -> u64 {
        self.rng.random_range(0..=2 * self.scenario.skew)
    }

    pub(super) fn name(&self, device: DeviceId) -> Option<NodeId> {
        self.names.get(&device).copied()
    }

    fn handle_timer(&mut self, id: NodeId) {
        let now = self.now;
        let node = &mut self.nodes[id];
        if node.due.is_none_or(|due| due > now) {
            return;
        }
        node.due = None;
        if !node.alive {
            return;
        }
        if node.starved_until > now {
            return self.set_timer(id);
        }
        let time = node.time(now);
        if node.endpoint.poll_timeout().is_some_and(|at| at <= time) {
            node.endpoint.handle_timeout(time);
            self.flush(id, None);
        } else {
            self.set_timer(id);
        }
    }

    /// Has the node's timer go off when its endpoint wants it.
    pub(super) fn set_timer(&mut self, id: NodeId) {
        let node = &mut self.nodes[id];
        let Some(at) = node.endpoint.poll_timeout() else { return };
        // An endpoint whose timer is due for ever must not stop the clock.
        let least = if node.due.is_none() { self.now } else { 0 };
        let at = node.virtual_time(at).max(least).max(node.starved_until);
        if node.due.is_none_or(|due| at < due) {
            node.due = Some(at);
            self.at(at, Action::Timer(id));
        }
    }

    fn look(&mut self) {
        self.checker.look(self.now);
        let publisher = &self.nodes[self.publisher];
        let served = self.service.up
            && publisher.alive
            && publisher.attached
            && publisher.starved_until <= self.now;
        for id in 0..self.nodes.len() {
            let node = &self.nodes[id];
            if node.alive && !node.is_publisher() {
                let reached = served && node.attached && node.starved_until <= self.now;
                self.checker.waits(self.now, id, !reached || !node.wants());
            }
        }
        self.after(LOOK_EVERY, Action::Look);
    }
}

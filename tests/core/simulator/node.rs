use std::{collections::BTreeSet, rc::Rc};

use olmcast::{
    endpoint::{Endpoint, Hoard, Offer},
    media::{FrameDecryptor, FrameEncryptor, HoldQueue},
    primitives::{Codec, StreamId, StreamRef, Timestamp, TrackId},
};

use super::{Ms, NodeId, frames::Frame, traffic::Cause};

/// When the virtual clock begins, as the endpoints see it.
const START: u64 = 1_800_000_000_000;

/// A process: its endpoint, its clock, its connection, and the application above.
pub(super) struct Node {
    pub(super) endpoint: Endpoint,
    /// How much its clock is ahead, in milliseconds; all clocks start at least this much later.
    skew: u64,
    /// False once the process has died.
    pub(super) alive: bool,
    /// Partitions that it is behind.
    pub(super) cuts: u32,
    /// Whether it is connected to the service.
    pub(super) attached: bool,
    /// Counts its connections.
    pub(super) connection: u32,
    /// Its endpoint is not called before.
    pub(super) starved_until: Ms,
    /// When its timer is set for.
    pub(super) due: Option<Ms>,
    /// Who is there, as the service told it.
    pub(super) present: BTreeSet<NodeId>,
    pub(super) role: Role,
    /// What it has to send when it is connected again, and since when.
    pub(super) outbox: Vec<(Ms, NodeId, Rc<[u8]>, Cause)>,
}

pub(super) enum Role {
    Publisher(Publisher),
    Subscriber(Subscriber),
}

pub(super) struct Publisher {
    pub(super) stream: StreamId,
    pub(super) encryptors: Vec<(TrackId, Codec, FrameEncryptor)>,
    pub(super) ticks: u64,
    /// Who confirmed a key since they joined last: what they are sent now is because of leaves.
    pub(super) settled: BTreeSet<NodeId>,
    /// Whom it ever gave a key.
    pub(super) admitted: BTreeSet<NodeId>,
    /// Whether it has kicked somebody.
    pub(super) kicked: bool,
}

pub(super) struct Subscriber {
    pub(super) hoard: Hoard,
    /// Whether its user wants the stream, and nobody has thrown it out.
    pub(super) wants: bool,
    pub(super) kicked: bool,
    pub(super) rejoined: bool,
    pub(super) left_at: Ms,
    /// What is offered under the label, in the order in which it was heard.
    pub(super) offers: Vec<Offer>,
    pub(super) watching: Option<Watching>,
}

pub(super) struct Watching {
    pub(super) stream: StreamRef,
    pub(super) tracks: Vec<WatchedTrack>,
}

pub(super) struct WatchedTrack {
    pub(super) id: TrackId,
    pub(super) decryptor: FrameDecryptor,
    pub(super) held: HoldQueue<Rc<Frame>>,
}

impl Node {
    pub(super) fn new(endpoint: Endpoint, skew: u64, role: Role) -> Self {
        Self {
            endpoint,
            skew,
            alive: true,
            cuts: 0,
            attached: false,
            connection: 0,
            starved_until: 0,
            due: None,
            present: BTreeSet::new(),
            outbox: Vec::new(),
            role,
        }
    }

    pub(super) fn time(&self, now: Ms) -> Timestamp {
        Timestamp::from_unix_millis(START + self.skew + now)
    }

    /// The virtual time that this node calls `at`.
    pub(super) fn virtual_time(&self, at: Timestamp) -> Ms {
        at.unix_millis().saturating_sub(START + self.skew)
    }

    pub(super) fn publisher(&mut self) -> Option<&mut Publisher> {
        match &mut self.role {
            Role::Publisher(publisher) => Some(publisher),
            Role::Subscriber(_) => None,
        }
    }

    pub(super) fn subscriber(&mut self) -> Option<&mut Subscriber> {
        match &mut self.role {
            Role::Subscriber(subscriber) => Some(subscriber),
            Role::Publisher(_) => None,
        }
    }

    pub(super) fn is_publisher(&self) -> bool {
        matches!(self.role, Role::Publisher(_))
    }

    pub(super) fn wants(&self) -> bool {
        matches!(&self.role, Role::Subscriber(subscriber) if subscriber.wants)
    }
}

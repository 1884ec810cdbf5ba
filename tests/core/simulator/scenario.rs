use super::{Ms, NodeId};

/// What a run is made of. Probabilities are from 0 to 1.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// Subscribers that join at once in the beginning; churn keeps their number about the same.
    pub(crate) subscribers: usize,
    /// The share of messages that are lost.
    pub(crate) loss: f64,
    /// The share of messages that arrive twice.
    pub(crate) duplicates: f64,
    /// How long messages take, drawn evenly.
    pub(crate) delay: (Ms, Ms),
    /// The share of messages that are held up, so that later ones overtake them …
    pub(crate) reorder: f64,
    /// … for up to this long.
    pub(crate) reorder_by: Ms,
    /// Each node's clock is up to this much wrong.
    pub(crate) skew: Ms,
    /// A join or a leave this often; 0 for none.
    pub(crate) churn_every: Ms,
    /// How long there is churn, and how long faults begin.
    pub(crate) churn: Ms,
    /// How long it runs on without either: long enough for a stall to show.
    pub(crate) settle: Ms,
    /// The time between two frames.
    pub(crate) frame_every: Ms,
    /// Whether some leaves are kicks, in the last part of the churn: a kick closes the room to
    /// devices that were not in it before.
    pub(crate) kicks: bool,
    /// How often some nodes are cut off together for 1 to 9 s.
    pub(crate) partitions: u32,
    /// How often the publisher dies and a new process offers the same label.
    pub(crate) publisher_crashes: u32,
    /// How often the service dies, with whatever is in flight and what it kept.
    pub(crate) service_crashes: u32,
    /// How often a node's endpoint gets neither messages nor timeouts for 0.5 to 5 s.
    pub(crate) starvations: u32,
    /// Whether starvation hits the publisher every other time.
    pub(crate) starve_publisher: bool,
    /// The node whose doings are written down.
    pub(crate) watched: Option<NodeId>,
}

/// When churn and faults begin: everybody has had time to join.
pub(crate) const WARM_UP: Ms = 3_000;

impl Scenario {
    /// Churn over a bad network, and nothing worse.
    pub(crate) fn churn(subscribers: usize) -> Self {
        Self {
            subscribers,
            loss: 0.1,
            duplicates: 0.05,
            delay: (10, 60),
            reorder: 0.1,
            reorder_by: 400,
            skew: 30_000,
            churn_every: 200,
            churn: 12_000,
            settle: 13_000,
            frame_every: 100,
            kicks: true,
            partitions: 0,
            publisher_crashes: 0,
            service_crashes: 0,
            starvations: 0,
            starve_publisher: false,
            watched: None,
        }
    }

    pub(crate) fn duration(&self) -> Ms {
        WARM_UP + self.churn + self.settle
    }
}

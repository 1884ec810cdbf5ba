//! How the nodes of one service hear of each other. A service of one node has no bus: what happens
//! is applied to its rooms at once. With one, a change is proposed to all nodes and applied on each
//! when it comes back, in the same order everywhere.

use std::sync::Weak;

use async_trait::async_trait;

use super::store::StoreError;
use crate::{
    primitives::{DeviceId, RoomId, StreamId, Timestamp},
    protocol::service::Payload,
};

/// Something that changes a room for everybody in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RoomChange {
    Enter {
        room: RoomId,
        device: DeviceId,
    },
    Leave {
        room: RoomId,
        device: DeviceId,
    },
    SetState {
        room: RoomId,
        device: DeviceId,
        stream: StreamId,
        bytes: Payload,
    },
    /// With the publisher's signed end, or none if the service drops the state by itself.
    ClearState {
        room: RoomId,
        device: DeviceId,
        stream: StreamId,
        bytes: Option<Payload>,
    },
}

impl RoomChange {
    /// Whose change it is.
    pub(super) fn device(&self) -> DeviceId {
        match self {
            Self::Enter { device, .. }
            | Self::Leave { device, .. }
            | Self::SetState { device, .. }
            | Self::ClearState { device, .. } => *device,
        }
    }
}

/// What comes over the bus from all nodes, this one included.
#[cfg_attr(not(feature = "nats"), allow(dead_code, reason = "the one bus there is"))]
pub(super) trait BusEvents: Send + Sync + 'static {
    /// A change, to be applied now.
    fn apply(&self, change: RoomChange);
    /// Somebody on another node told the whole room something.
    fn broadcast(&self, room: RoomId, from: DeviceId, bytes: Payload);
    /// A device has connected to another node at that time; an older connection to this one is over.
    fn attached_elsewhere(&self, device: DeviceId, at: Timestamp);
}

/// The contract; see the module.
#[async_trait]
pub(super) trait Bus: Send + Sync + 'static {
    /// Reads who is where by now, tells `events`, and goes on telling it. Events come in order and
    /// one after another; `events` must not wait for the bus in them.
    async fn start(&self, events: Weak<dyn BusEvents>) -> Result<(), StoreError>;
    /// Proposes a change. Returns when this node has applied it.
    async fn propose(&self, change: RoomChange) -> Result<(), StoreError>;
    /// Passes a broadcast on to the other nodes; it may be lost.
    async fn broadcast(&self, room: RoomId, from: DeviceId, bytes: Payload);
    /// Tells the other nodes that a device has connected here at that time.
    async fn attached(&self, device: DeviceId, at: Timestamp) -> Result<(), StoreError>;
    /// Says that this node goes, and ends. Let devices leave before, or they count as gone only by
    /// this. Close the bus before the store.
    async fn close(&self);
}

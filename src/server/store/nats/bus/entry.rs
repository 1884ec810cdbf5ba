use serde::{Deserialize, Serialize};

use super::super::layout::Layout;
use crate::{
    primitives::{DeviceId, RoomId, StreamId, Timestamp},
    protocol::service::Payload,
};

/// A node of the service, drawn at random when it starts.
pub(super) type Node = [u8; 16];

/// What an entry of the rooms' stream is about: its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    Presence(RoomId, DeviceId),
    State(RoomId, DeviceId, StreamId),
}

/// What it says, and which node says it. What is over is said as well, and deleted later: a
/// message that is only deleted is heard of by nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) node: Node,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Value {
    Present,
    Gone,
    Set(Payload),
    Cleared(Option<Payload>),
}

impl Key {
    pub(super) fn subject(&self, layout: &Layout) -> String {
        let rooms = layout.rooms();
        match self {
            Self::Presence(room, device) => format!("{rooms}.p.{room}.{device}"),
            Self::State(room, device, stream) => format!("{rooms}.s.{room}.{device}.{stream}"),
        }
    }

    pub(super) fn of_subject(layout: &Layout, subject: &str) -> Option<Self> {
        let mut tokens = subject.strip_prefix(&layout.rooms())?.strip_prefix('.')?.split('.');
        let kind = tokens.next()?;
        let (room, device) = (tokens.next()?.parse().ok()?, tokens.next()?.parse().ok()?);
        let key = match kind {
            "p" => Self::Presence(room, device),
            "s" => Self::State(room, device, tokens.next()?.parse().ok()?),
            _ => return None,
        };
        tokens.next().is_none().then_some(key)
    }
}

/// What nodes tell each other without storing it. It may be lost.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) node: Node,
    pub(super) what: What,
}

#[derive(Serialize, Deserialize)]
pub(super) enum What {
    /// The node is there; said every two seconds.
    Alive,
    /// The node goes, and whoever is still connected to it.
    Bye,
    Broadcast(RoomId, DeviceId, Payload),
    /// A device has connected to it, and when.
    Attached(DeviceId, Timestamp),
}

use std::collections::{HashMap, HashSet};

use crate::{
    primitives::{DeviceId, RoomId, StreamId},
    protocol::service::Payload,
};

/// What this node wants the stream to say: who is connected to it, in which rooms, with what state.
/// Whatever is lost on the way, or taken back by nodes that thought this one gone, is said again.
#[derive(Default)]
pub(super) struct Own {
    places: HashMap<(RoomId, DeviceId), HashMap<StreamId, Payload>>,
    /// What is being said and was not heard yet. Until then the stream may say that a device is on
    /// the node that it comes from.
    entering: HashSet<(RoomId, DeviceId)>,
}

impl Own {
    pub(super) fn enter(&mut self, room: RoomId, device: DeviceId) {
        self.places.entry((room, device)).or_default();
        self.entering.insert((room, device));
    }

    /// That it enters was heard.
    pub(super) fn entered(&mut self, room: RoomId, device: DeviceId) {
        self.entering.remove(&(room, device));
    }

    /// The stream says that it is on another node.
    pub(super) fn went_over(&mut self, room: RoomId, device: DeviceId) {
        if !self.entering.contains(&(room, device)) {
            self.leave(room, device);
        }
    }

    pub(super) fn leave(&mut self, room: RoomId, device: DeviceId) {
        self.entering.remove(&(room, device));
        self.places.remove(&(room, device));
    }

    pub(super) fn set(&mut self, room: RoomId, device: DeviceId, stream: StreamId, bytes: Payload) {
        if let Some(state) = self.places.get_mut(&(room, device)) {
            state.insert(stream, bytes);
        }
    }

    pub(super) fn clear(&mut self, room: RoomId, device: DeviceId, stream: StreamId) {
        if let Some(state) = self.places.get_mut(&(room, device)) {
            state.remove(&stream);
        }
    }

    pub(super) fn is_here(&self, room: RoomId, device: DeviceId) -> bool {
        self.places.contains_key(&(room, device))
    }

    pub(super) fn places(&self) -> impl Iterator<Item = (RoomId, DeviceId)> {
        self.places.keys().copied()
    }

    pub(super) fn state(&self, room: RoomId, device: DeviceId) -> Vec<(StreamId, Payload)> {
        let state = self.places.get(&(room, device)).into_iter().flatten();
        state.map(|(stream, bytes)| (*stream, bytes.clone())).collect()
    }
}

use std::collections::HashMap;

use crate::{
    primitives::{DeviceId, RoomId, StreamId},
    protocol::service::Payload,
};

/// What this node wants the stream to say: who is connected to it, in which rooms, with what state.
/// Whatever is lost on the way, or taken back by nodes that thought this one gone, is said again.
#[derive(Default)]
pub(super) struct Own(HashMap<(RoomId, DeviceId), HashMap<StreamId, Payload>>);

impl Own {
    pub(super) fn enter(&mut self, room: RoomId, device: DeviceId) {
        self.0.entry((room, device)).or_default();
    }

    pub(super) fn leave(&mut self, room: RoomId, device: DeviceId) {
        self.0.remove(&(room, device));
    }

    pub(super) fn set(&mut self, room: RoomId, device: DeviceId, stream: StreamId, bytes: Payload) {
        if let Some(state) = self.0.get_mut(&(room, device)) {
            state.insert(stream, bytes);
        }
    }

    pub(super) fn clear(&mut self, room: RoomId, device: DeviceId, stream: StreamId) {
        if let Some(state) = self.0.get_mut(&(room, device)) {
            state.remove(&stream);
        }
    }

    pub(super) fn is_here(&self, room: RoomId, device: DeviceId) -> bool {
        self.0.contains_key(&(room, device))
    }

    pub(super) fn places(&self) -> impl Iterator<Item = (RoomId, DeviceId)> {
        self.0.keys().copied()
    }

    pub(super) fn state(&self, room: RoomId, device: DeviceId) -> Vec<(StreamId, Payload)> {
        let state = self.0.get(&(room, device)).into_iter().flatten();
        state.map(|(stream, bytes)| (*stream, bytes.clone())).collect()
    }
}

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Instant,
};

use indexmap::IndexSet;

use crate::{
    primitives::{DeviceId, RoomId, StreamId},
    protocol::service::{Payload, RefusalCode, RoomState},
    server::Limits,
};

/// What a device is told when it enters: the others, in the order of their coming.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Entry {
    pub(in crate::server) roster: Vec<DeviceId>,
    pub(in crate::server) state: Vec<RoomState>,
}

/// A stream that was dropped because its device stayed away.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::server) struct Dropped {
    pub(in crate::server) room: RoomId,
    pub(in crate::server) device: DeviceId,
    pub(in crate::server) stream: StreamId,
}

#[derive(Default)]
struct Room {
    present: IndexSet<DeviceId>,
    /// Who left, and until when it still counts as an acquaintance.
    left: HashMap<DeviceId, Instant>,
    state: BTreeMap<(DeviceId, StreamId), Stored>,
}

struct Stored {
    bytes: Payload,
    /// Set while the device that published it is away, and until it says it again: a process
    /// that was started anew does not know the streams of the old one.
    expires: Option<Instant>,
}

/// Who is in which room, and what they publish there.
#[derive(Default)]
pub(in crate::server) struct Rooms {
    rooms: HashMap<RoomId, Room>,
    /// The rooms each device is present in.
    places: HashMap<DeviceId, HashSet<RoomId>>,
}

impl Rooms {
    /// Lets a device in whose door signature was checked. True if it was not there before.
    pub(in crate::server) fn enter(
        &mut self,
        room: RoomId,
        device: DeviceId,
        limits: &Limits,
    ) -> Result<bool, RefusalCode> {
        if self.is_present(&room, &device) {
            return Ok(false);
        }
        if self.places.get(&device).map_or(0, HashSet::len) >= limits.rooms_per_device {
            return Err(RefusalCode::QuotaExceeded);
        }
        if self.rooms.get(&room).map_or(0, |room| room.present.len()) >= limits.room_members {
            return Err(RefusalCode::RoomFull);
        }
        let members = self.rooms.entry(room).or_default();
        members.left.remove(&device);
        members.present.insert(device);
        self.places.entry(device).or_default().insert(room);
        Ok(true)
    }

    /// What `device` may know of a room it is in.
    pub(in crate::server) fn entry(&self, room: &RoomId, device: &DeviceId) -> Option<Entry> {
        let room = self.rooms.get(room)?;
        room.present.get(device)?;
        let state = room.state.iter().map(|(&(device, stream), stored)| RoomState {
            device,
            stream,
            bytes: stored.bytes.clone(),
        });
        Some(Entry {
            roster: room.present.iter().filter(|other| *other != device).copied().collect(),
            state: state.filter(|state| state.device != *device).collect(),
        })
    }

    /// Takes a device out of a room. False if it was not there.
    pub(in crate::server) fn leave(
        &mut self,
        room: &RoomId,
        device: &DeviceId,
        limits: &Limits,
        now: Instant,
    ) -> bool {
        let Some(members) = self.rooms.get_mut(room) else { return false };
        // The order of coming is kept: a roster is at most some thousand entries long.
        if !members.present.shift_remove(device) {
            return false;
        }
        members.left.insert(*device, now + limits.acquaintance);
        let streams = (*device, StreamId::from_bytes([0; 16]))..=(*device, LAST_STREAM);
        for (_, stored) in members.state.range_mut(streams) {
            stored.expires = Some(now + limits.state_grace);
        }
        if let Some(places) = self.places.get_mut(device) {
            places.remove(room);
            if places.is_empty() {
                self.places.remove(device);
            }
        }
        true
    }

    /// The rooms a device is in.
    pub(in crate::server) fn places(&self, device: &DeviceId) -> Vec<RoomId> {
        self.places.get(device).into_iter().flatten().copied().collect()
    }

    /// The devices in a room.
    pub(in crate::server) fn present(&self, room: &RoomId) -> impl Iterator<Item = &DeviceId> {
        self.rooms.get(room).into_iter().flat_map(|room| &room.present)
    }

    /// Whether a device is in a room.
    pub(in crate::server) fn is_present(&self, room: &RoomId, device: &DeviceId) -> bool {
        self.rooms.get(room).is_some_and(|room| room.present.contains(device))
    }

    /// Whether `sender` is in a room that `recipient` is in, or has been until recently.
    pub(in crate::server) fn acquainted(&self, sender: &DeviceId, recipient: &DeviceId) -> bool {
        let rooms = self.places.get(sender).into_iter().flatten();
        let mut rooms = rooms.filter_map(|room| self.rooms.get(room));
        rooms.any(|room| room.present.contains(recipient) || room.left.contains_key(recipient))
    }

    /// Sets a stream's state. False if it was exactly this already.
    pub(in crate::server) fn set_state(
        &mut self,
        room: &RoomId,
        device: DeviceId,
        stream: StreamId,
        bytes: Payload,
        limits: &Limits,
    ) -> Result<bool, RefusalCode> {
        let members = self.rooms.get_mut(room).ok_or(RefusalCode::NotInRoom)?;
        if !members.present.contains(&device) {
            return Err(RefusalCode::NotInRoom);
        }
        if bytes.len() > limits.room_payload {
            return Err(RefusalCode::TooLarge);
        }
        if let Some(stored) = members.state.get_mut(&(device, stream)) {
            stored.expires = None;
            let changed = stored.bytes != bytes;
            stored.bytes = bytes;
            return Ok(changed);
        }
        let streams = (device, StreamId::from_bytes([0; 16]))..=(device, LAST_STREAM);
        // What an earlier process of the device left behind counts for little, so that a restart
        // does not find its places taken.
        let (mut live, mut all) = (0, 0);
        for (_, stored) in members.state.range(streams) {
            live += usize::from(stored.expires.is_none());
            all += 1;
        }
        if live >= limits.streams_per_device || all >= 4 * limits.streams_per_device {
            return Err(RefusalCode::QuotaExceeded);
        }
        members.state.insert((device, stream), Stored { bytes, expires: None });
        Ok(true)
    }

    /// Removes a stream's state, if there is any.
    pub(in crate::server) fn clear_state(
        &mut self,
        room: &RoomId,
        device: DeviceId,
        stream: StreamId,
    ) -> Result<(), RefusalCode> {
        let members = self.rooms.get_mut(room).ok_or(RefusalCode::NotInRoom)?;
        if !members.present.contains(&device) {
            return Err(RefusalCode::NotInRoom);
        }
        members.state.remove(&(device, stream));
        Ok(())
    }

    /// Drops the state of devices that stayed away, and forgets acquaintances and empty rooms.
    pub(in crate::server) fn expire(&mut self, now: Instant) -> Vec<Dropped> {
        let mut dropped = Vec::new();
        self.rooms.retain(|&room, members| {
            members.left.retain(|_, until| *until > now);
            members.state.retain(|&(device, stream), stored| {
                let keep = stored.expires.is_none_or(|expires| expires > now);
                if !keep {
                    dropped.push(Dropped { room, device, stream });
                }
                keep
            });
            !(members.present.is_empty() && members.left.is_empty() && members.state.is_empty())
        });
        dropped
    }
}

const LAST_STREAM: StreamId = StreamId::from_bytes([0xFF; 16]);

#[cfg(test)]
mod tests;

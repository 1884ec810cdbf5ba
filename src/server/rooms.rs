use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Instant,
};

use indexmap::IndexSet;

use super::Limits;
use crate::{
    primitives::{DeviceId, RoomId, StreamId},
    protocol::service::{Payload, RefusalCode, RoomState},
};

/// What a device is told when it enters: the others, in the order of their coming.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) roster: Vec<DeviceId>,
    pub(super) state: Vec<RoomState>,
}

/// A stream that was dropped because its device stayed away.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) room: RoomId,
    pub(super) device: DeviceId,
    pub(super) stream: StreamId,
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
///
/// Of several nodes each has the same picture. What a device asks for is checked first (`may_…`)
/// and then, when all nodes are told, done; it is done even if the check would fail by then.
#[derive(Default)]
pub(super) struct Rooms {
    rooms: HashMap<RoomId, Room>,
    /// The rooms each device is present in.
    places: HashMap<DeviceId, HashSet<RoomId>>,
}

impl Rooms {
    /// Whether there is a place for a device in whose door signature was checked.
    pub(super) fn may_enter(
        &self,
        room: &RoomId,
        device: &DeviceId,
        limits: &Limits,
    ) -> Result<(), RefusalCode> {
        if self.is_present(room, device) {
            return Ok(());
        }
        if self.places.get(device).map_or(0, HashSet::len) >= limits.rooms_per_device {
            return Err(RefusalCode::QuotaExceeded);
        }
        if self.rooms.get(room).map_or(0, |room| room.present.len()) >= limits.room_members {
            return Err(RefusalCode::RoomFull);
        }
        Ok(())
    }

    /// Lets a device in. True if it was not there before.
    pub(super) fn enter(&mut self, room: RoomId, device: DeviceId) -> bool {
        let members = self.rooms.entry(room).or_default();
        members.left.remove(&device);
        self.places.entry(device).or_default().insert(room);
        members.present.insert(device)
    }

    /// What `device` may know of a room it is in.
    pub(super) fn entry(&self, room: &RoomId, device: &DeviceId) -> Option<Entry> {
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
    pub(super) fn leave(
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
    pub(super) fn places(&self, device: &DeviceId) -> Vec<RoomId> {
        self.places.get(device).into_iter().flatten().copied().collect()
    }

    /// The devices in a room.
    pub(super) fn present(&self, room: &RoomId) -> impl Iterator<Item = &DeviceId> {
        self.rooms.get(room).into_iter().flat_map(|room| &room.present)
    }

    /// Whether a device is in a room.
    pub(super) fn is_present(&self, room: &RoomId, device: &DeviceId) -> bool {
        self.rooms.get(room).is_some_and(|room| room.present.contains(device))
    }

    /// Whether `sender` is in a room that `recipient` is in, or has been until recently.
    pub(super) fn acquainted(&self, sender: &DeviceId, recipient: &DeviceId) -> bool {
        let rooms = self.places.get(sender).into_iter().flatten();
        let mut rooms = rooms.filter_map(|room| self.rooms.get(room));
        rooms.any(|room| room.present.contains(recipient) || room.left.contains_key(recipient))
    }

    /// Whether a device may say this of a stream of its own.
    pub(super) fn may_set_state(
        &self,
        room: &RoomId,
        device: DeviceId,
        stream: StreamId,
        bytes: &Payload,
        limits: &Limits,
    ) -> Result<(), RefusalCode> {
        let members = self.members(room, &device)?;
        if bytes.len() > limits.room_payload {
            return Err(RefusalCode::TooLarge);
        }
        if members.state.contains_key(&(device, stream)) {
            return Ok(());
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
        Ok(())
    }

    /// Sets a stream's state. False if it was exactly this already.
    pub(super) fn set_state(
        &mut self,
        room: RoomId,
        device: DeviceId,
        stream: StreamId,
        bytes: Payload,
    ) -> bool {
        let members = self.rooms.entry(room).or_default();
        let stored = Stored { bytes: bytes.clone(), expires: None };
        let before = members.state.insert((device, stream), stored);
        before.is_none_or(|before| before.bytes != bytes)
    }

    /// Whether a device may take a stream back.
    pub(super) fn may_clear_state(
        &self,
        room: &RoomId,
        device: &DeviceId,
    ) -> Result<(), RefusalCode> {
        self.members(room, device).map(|_| ())
    }

    /// Removes a stream's state, if there is any.
    pub(super) fn clear_state(&mut self, room: &RoomId, device: DeviceId, stream: StreamId) {
        if let Some(members) = self.rooms.get_mut(room) {
            members.state.remove(&(device, stream));
        }
    }

    fn members(&self, room: &RoomId, device: &DeviceId) -> Result<&Room, RefusalCode> {
        let members = self.rooms.get(room).ok_or(RefusalCode::NotInRoom)?;
        members.present.get(device).ok_or(RefusalCode::NotInRoom)?;
        Ok(members)
    }

    /// Drops the state of devices that stayed away, and forgets acquaintances and empty rooms.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Dropped> {
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

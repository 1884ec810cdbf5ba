use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map},
    ops::RangeInclusive,
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

/// What [`Rooms::expire`] came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expired {
    pub(super) dropped: Vec<Dropped>,
    /// Whether more may be due.
    pub(super) more: bool,
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
    /// What the state costs.
    bytes: usize,
}

/// Who left is remembered for so many devices for each room that there may be.
const LEAVERS: usize = 4;

/// What a stream costs besides its payload.
pub(super) const KEEPING: usize = 160;

struct Stored {
    bytes: Payload,
    /// Set while the device that published it is away, and until it says it again: a process
    /// that was started anew does not know the streams of the old one.
    expires: Option<Instant>,
}

impl Stored {
    fn cost(&self) -> usize {
        cost(&self.bytes)
    }
}

fn cost(bytes: &Payload) -> usize {
    bytes.len() + KEEPING
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
    /// Everybody in a room's `left`, by when that is over.
    leavers: BTreeSet<(Instant, RoomId, DeviceId)>,
    /// Every state with an `expires`, by that.
    stale: BTreeSet<(Instant, RoomId, DeviceId, StreamId)>,
    /// What all state costs.
    bytes: usize,
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
        match self.rooms.get(room) {
            Some(room) if room.present.len() >= limits.room_members => Err(RefusalCode::RoomFull),
            None if self.rooms.len() >= limits.rooms => Err(RefusalCode::QuotaExceeded),
            _ => Ok(()),
        }
    }

    /// Lets a device in. True if it was not there before.
    pub(super) fn enter(&mut self, room: RoomId, device: DeviceId) -> bool {
        let members = self.rooms.entry(room).or_default();
        if let Some(until) = members.left.remove(&device) {
            self.leavers.remove(&(until, room, device));
        }
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
        let until = now + limits.acquaintance;
        members.left.insert(*device, until);
        self.leavers.insert((until, *room, *device));
        let until = now + limits.state_grace;
        for (&(_, stream), stored) in members.state.range_mut(streams(*device)) {
            if let Some(before) = stored.expires.replace(until) {
                self.stale.remove(&(before, *room, *device, stream));
            }
            self.stale.insert((until, *room, *device, stream));
        }
        if let Some(places) = self.places.get_mut(device) {
            places.remove(room);
            if places.is_empty() {
                self.places.remove(device);
            }
        }
        if self.leavers.len() > limits.rooms.saturating_mul(LEAVERS) {
            self.forget_leaver(None);
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
        let before = members.state.get(&(device, stream)).map(Stored::cost);
        let more = cost(bytes).saturating_sub(before.unwrap_or(0));
        if more > 0
            && (members.bytes + more > limits.room_state_bytes
                || self.bytes + more > limits.state_bytes)
        {
            return Err(RefusalCode::QuotaExceeded);
        }
        if before.is_some() {
            return Ok(());
        }
        // What an earlier process of the device left behind counts for little, so that a restart
        // does not find its places taken.
        let (mut live, mut all) = (0, 0);
        for (_, stored) in members.state.range(streams(device)) {
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
        limits: &Limits,
        now: Instant,
    ) -> bool {
        let members = self.rooms.entry(room).or_default();
        // By the time all nodes are told, the device may have gone; then nobody else ends it.
        let is_away = !members.present.contains(&device);
        let expires = is_away.then(|| now + limits.state_grace);
        self.stale.extend(expires.map(|until| (until, room, device, stream)));
        let stored = Stored { bytes: bytes.clone(), expires };
        (members.bytes, self.bytes) = (members.bytes + stored.cost(), self.bytes + stored.cost());
        let Some(before) = members.state.insert((device, stream), stored) else { return true };
        (members.bytes, self.bytes) = (members.bytes - before.cost(), self.bytes - before.cost());
        if let Some(before) = before.expires.filter(|before| Some(*before) != expires) {
            self.stale.remove(&(before, room, device, stream));
        }
        before.bytes != bytes
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
        let hash_map::Entry::Occupied(mut members) = self.rooms.entry(*room) else { return };
        let Some(stored) = members.get_mut().state.remove(&(device, stream)) else { return };
        members.get_mut().bytes -= stored.cost();
        self.bytes -= stored.cost();
        if let Some(expires) = stored.expires {
            self.stale.remove(&(expires, *room, device, stream));
        }
        if members.get().is_over() {
            members.remove();
        }
    }

    fn members(&self, room: &RoomId, device: &DeviceId) -> Result<&Room, RefusalCode> {
        let members = self.rooms.get(room).ok_or(RefusalCode::NotInRoom)?;
        members.present.get(device).ok_or(RefusalCode::NotInRoom)?;
        Ok(members)
    }

    /// Drops the state of devices that stayed away, at most so many streams, and forgets as many
    /// acquaintances, and with them empty rooms. Looks at nothing that is not due.
    pub(super) fn expire(&mut self, now: Instant, at_most: usize) -> Expired {
        let (mut dropped, mut more) = (Vec::new(), false);
        while let Some(&(expires, room, device, stream)) = self.stale.first()
            && expires <= now
        {
            if dropped.len() == at_most {
                more = true;
                break;
            }
            self.clear_state(&room, device, stream);
            dropped.push(Dropped { room, device, stream });
        }
        let forgotten = (0..at_most).take_while(|_| self.forget_leaver(Some(now))).count();
        Expired { dropped, more: more || forgotten == at_most }
    }

    /// Forgets who left first, if that is due by `by`. False if there was nobody.
    fn forget_leaver(&mut self, by: Option<Instant>) -> bool {
        let due = |until: Instant| by.is_none_or(|by| until <= by);
        let Some(&(until, room, device)) = self.leavers.first() else { return false };
        if !due(until) {
            return false;
        }
        self.leavers.pop_first();
        if let hash_map::Entry::Occupied(mut members) = self.rooms.entry(room) {
            members.get_mut().left.remove(&device);
            if members.get().is_over() {
                members.remove();
            }
        }
        true
    }
}

impl Room {
    /// Whether nobody need remember it.
    fn is_over(&self) -> bool {
        self.present.is_empty() && self.left.is_empty() && self.state.is_empty()
    }
}

/// All streams of a device, as keys of a room's state.
fn streams(device: DeviceId) -> RangeInclusive<(DeviceId, StreamId)> {
    (device, StreamId::from_bytes([0; 16]))..=(device, StreamId::from_bytes([0xFF; 16]))
}

#[cfg(test)]
mod tests;

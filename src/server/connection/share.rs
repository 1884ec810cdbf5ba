use std::collections::{HashMap, hash_map::Entry};

use crate::{
    primitives::{RoomId, StreamId},
    protocol::service::RefusalCode,
    server::{
        addresses::{Address, Addresses, Held},
        rooms::KEEPING,
    },
};

/// What a connection takes of its address's share: the rooms it is in, and what it said in them.
/// It is given back with the connection; what a room remembers beyond it, it does not for long.
#[derive(Default)]
pub(super) struct Share(HashMap<RoomId, Room>);

struct Room {
    _place: Held,
    streams: HashMap<StreamId, Stream>,
}

/// The most that was said of a stream. Saying less gives nothing back, since that may be refused,
/// and then there might be no room for what was said before.
struct Stream {
    bytes: usize,
    held: Held,
}

impl Share {
    /// A place in a room that this connection is not in yet.
    pub(super) fn entering(
        &self,
        room: RoomId,
        addresses: &Addresses,
        address: Address,
    ) -> Result<Option<Held>, RefusalCode> {
        if self.0.contains_key(&room) {
            return Ok(None);
        }
        addresses.room(address).map(Some).ok_or(RefusalCode::QuotaExceeded)
    }

    pub(super) fn entered(&mut self, room: RoomId, place: Option<Held>) {
        if let Some(place) = place {
            self.0.insert(room, Room { _place: place, streams: HashMap::new() });
        }
    }

    pub(super) fn left(&mut self, room: &RoomId) {
        self.0.remove(room);
    }

    /// What more is needed to say so many bytes of a stream. Nothing is needed where it will be
    /// refused anyway.
    pub(super) fn saying(
        &self,
        (room, stream): (RoomId, StreamId),
        bytes: usize,
        addresses: &Addresses,
        address: Address,
    ) -> Result<Option<Held>, RefusalCode> {
        let Some(room) = self.0.get(&room) else { return Ok(None) };
        let before = room.streams.get(&stream).map_or(0, |stream| stream.bytes);
        match (bytes + KEEPING).checked_sub(before) {
            None | Some(0) => Ok(None),
            Some(more) => {
                addresses.state(address, more).map(Some).ok_or(RefusalCode::QuotaExceeded)
            }
        }
    }

    pub(super) fn said(
        &mut self,
        (room, stream): (RoomId, StreamId),
        bytes: usize,
        more: Option<Held>,
    ) {
        let (Some(room), Some(more)) = (self.0.get_mut(&room), more) else { return };
        let bytes = bytes + KEEPING;
        match room.streams.entry(stream) {
            Entry::Vacant(entry) => drop(entry.insert_entry(Stream { bytes, held: more })),
            Entry::Occupied(mut entry) => {
                entry.get_mut().bytes = bytes;
                entry.get_mut().held.add(more);
            }
        }
    }

    pub(super) fn cleared(&mut self, (room, stream): (RoomId, StreamId)) {
        if let Some(room) = self.0.get_mut(&room) {
            room.streams.remove(&stream);
        }
    }
}

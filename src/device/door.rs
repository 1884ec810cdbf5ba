use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::primitives::{DeviceId, RoomId};

/// Which rooms this device closed, and who was admitted in each.
///
/// A kick closes the room's door: whoever was removed still has the invite and could come back
/// as a new device. From then on only devices admitted before may subscribe.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Doors(BTreeMap<RoomId, Door>);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Door {
    closed: bool,
    admitted: BTreeSet<DeviceId>,
}

impl Doors {
    /// Whether a room's door is closed to a device.
    pub(crate) fn is_closed_to(&self, room: RoomId, device: DeviceId) -> bool {
        self.0.get(&room).is_some_and(|door| door.closed && !door.admitted.contains(&device))
    }

    /// Whether a device was ever let into one of our rooms.
    pub(crate) fn knows(&self, device: DeviceId) -> bool {
        self.0.values().any(|door| door.admitted.contains(&device))
    }

    /// True if that is news.
    pub(crate) fn admitted(&mut self, room: RoomId, device: DeviceId) -> bool {
        self.0.entry(room).or_default().admitted.insert(device)
    }

    /// Closes a room.
    pub(crate) fn close(&mut self, room: RoomId) {
        self.0.entry(room).or_default().closed = true;
    }

    /// Shuts a device out: every room that it was in is closed behind it, since it has their invites.
    pub(crate) fn shut_out(&mut self, device: DeviceId) {
        for door in self.0.values_mut() {
            door.closed |= door.admitted.remove(&device);
        }
    }

    /// Opens a room again. False if it was open.
    pub(crate) fn reopen(&mut self, room: RoomId) -> bool {
        self.0.get_mut(&room).is_some_and(|door| std::mem::take(&mut door.closed))
    }

    /// The rooms that are closed.
    pub fn closed(&self) -> impl Iterator<Item = RoomId> {
        self.0.iter().filter(|(_, door)| door.closed).map(|(room, _)| *room)
    }
}

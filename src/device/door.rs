use std::collections::{BTreeMap, BTreeSet};

use crate::{
    primitives::{DeviceId, RoomId},
    protocol::WithheldCode,
};

/// Whom this device shuts out, and which rooms it closed.
///
/// A kick closes the room's door: whoever was removed still has the invite and could come back
/// as a new device. From then on only devices admitted before may subscribe.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    blocked: BTreeSet<DeviceId>,
    rooms: BTreeMap<RoomId, Door>,
}

#[derive(Debug, Default)]
struct Door {
    closed: bool,
    admitted: BTreeSet<DeviceId>,
}

impl Doors {
    /// Whether a device may be considered at all.
    pub(crate) fn check(&self, room: RoomId, device: DeviceId) -> Result<(), WithheldCode> {
        if self.blocked.contains(&device) {
            return Err(WithheldCode::Blocked);
        }
        match self.rooms.get(&room) {
            Some(door) if door.closed && !door.admitted.contains(&device) => {
                Err(WithheldCode::Closed)
            }
            _ => Ok(()),
        }
    }

    /// Whether a device was ever let into one of our rooms.
    pub(crate) fn knows(&self, device: DeviceId) -> bool {
        self.rooms.values().any(|door| door.admitted.contains(&device))
    }

    pub(crate) fn admitted(&mut self, room: RoomId, device: DeviceId) {
        self.rooms.entry(room).or_default().admitted.insert(device);
    }

    /// Bars a device for good and closes behind it the room it is kicked out of, and every other
    /// one that it was in: it has their invites too.
    pub(crate) fn kick(&mut self, room: RoomId, device: DeviceId) {
        self.blocked.insert(device);
        self.rooms.entry(room).or_default().closed = true;
        for door in self.rooms.values_mut() {
            door.closed |= door.admitted.remove(&device);
        }
    }
}

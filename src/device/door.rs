use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::primitives::{DeviceId, RoomId};

/// Admissions that are remembered, over all rooms. When there are more, the oldest are forgotten:
/// should their rooms be closed, those devices are not let in again. That a room is closed is never
/// forgotten.
const MAX_ADMITTED: usize = 1 << 16;
/// How many are forgotten together, since all are gone through for it.
const FORGOTTEN_AT_ONCE: usize = MAX_ADMITTED / 16;

/// Which rooms this device closed, and who was admitted in each.
///
/// A kick closes the room's door: whoever was removed still has the invite and could come back
/// as a new device. From then on only devices admitted before may subscribe, and those that the user
/// [decided](super::KnownDevice::decided) about or that a policy names one by one.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Doors {
    rooms: BTreeMap<RoomId, Door>,
    /// The number of the next admission, and how many are remembered.
    #[serde(skip)]
    next: u64,
    #[serde(skip)]
    count: usize,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Door {
    closed: bool,
    /// Who was admitted, and the admission's number.
    admitted: BTreeMap<DeviceId, u64>,
}

impl Doors {
    /// Whether a room's door is closed to a device.
    pub(crate) fn is_closed_to(&self, room: RoomId, device: DeviceId) -> bool {
        let door = self.rooms.get(&room);
        door.is_some_and(|door| door.closed && !door.admitted.contains_key(&device))
    }

    /// Whether a device was ever let into one of our rooms.
    pub(crate) fn knows(&self, device: DeviceId) -> bool {
        self.rooms.values().any(|door| door.admitted.contains_key(&device))
    }

    /// A device was let into a room. True if it had not been before.
    pub(crate) fn admitted(&mut self, room: RoomId, device: DeviceId) -> bool {
        let number = self.next;
        self.next += 1;
        let before = self.rooms.entry(room).or_default().admitted.insert(device, number);
        self.count += usize::from(before.is_none());
        if self.count > MAX_ADMITTED {
            self.forget_oldest();
        }
        before.is_none()
    }

    fn forget_oldest(&mut self) {
        let doors = self.rooms.values();
        let mut numbers: Vec<_> = doors.flat_map(|door| door.admitted.values().copied()).collect();
        let (_, first_kept, _) = numbers.select_nth_unstable(FORGOTTEN_AT_ONCE);
        let first_kept = *first_kept;
        self.rooms.retain(|_, door| {
            door.admitted.retain(|_, number| *number >= first_kept);
            door.closed || !door.admitted.is_empty()
        });
        self.count -= FORGOTTEN_AT_ONCE;
    }

    /// Closes a room. True if it was open.
    pub(crate) fn close(&mut self, room: RoomId) -> bool {
        !std::mem::replace(&mut self.rooms.entry(room).or_default().closed, true)
    }

    /// Shuts a device out: every room that it was in is closed behind it, since it has their invites.
    pub(crate) fn shut_out(&mut self, device: DeviceId) {
        for door in self.rooms.values_mut() {
            if door.admitted.remove(&device).is_some() {
                self.count -= 1;
                door.closed = true;
            }
        }
    }

    /// Opens a room again. False if it was open.
    pub(crate) fn reopen(&mut self, room: RoomId) -> bool {
        let Some(door) = self.rooms.get_mut(&room) else { return false };
        let was_closed = std::mem::take(&mut door.closed);
        if door.admitted.is_empty() {
            self.rooms.remove(&room);
        }
        was_closed
    }

    /// The rooms that are closed.
    pub fn closed(&self) -> impl Iterator<Item = RoomId> {
        self.rooms.iter().filter(|(_, door)| door.closed).map(|(room, _)| *room)
    }
}

impl<'de> Deserialize<'de> for Doors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Kept {
            rooms: BTreeMap<RoomId, Door>,
        }
        let Kept { rooms } = Kept::deserialize(deserializer)?;
        let mut doors = Self::default();
        let mut admissions = Vec::new();
        for (room, Door { closed, admitted }) in rooms {
            if closed {
                doors.close(room);
            }
            admissions.extend(admitted.into_iter().map(|(device, number)| (number, room, device)));
        }
        admissions.sort_unstable();
        for (_, room, device) in admissions {
            doors.admitted(room, device);
        }
        Ok(doors)
    }
}

#[cfg(test)]
mod tests;

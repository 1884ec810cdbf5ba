use serde::{Deserialize, Serialize};

use super::{Doors, TrustStore};
use crate::{
    primitives::{DeviceId, RoomId},
    protocol::PublicKey,
};

/// What a device remembers of others for longer than it runs: whom it knows, whom it shuts out.
///
/// None of it can lead to a key being used again, should an old copy be restored; but what was
/// decided since is lost then.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    trust: TrustStore,
    doors: Doors,
    /// Counts the changes, so that each is kept once.
    #[serde(skip)]
    changes: u64,
    /// Those of them that the user made.
    #[serde(skip)]
    decisions: u64,
    /// Who was pinned because it was seen, since that was last asked for.
    #[serde(skip)]
    pinned: Vec<DeviceId>,
}

impl Memory {
    /// The devices that are known.
    pub fn trust(&self) -> &TrustStore {
        &self.trust
    }

    /// The rooms that are closed.
    pub fn doors(&self) -> &Doors {
        &self.doors
    }

    /// Grows with each change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Grows with each decision of the user.
    pub(crate) fn decisions(&self) -> u64 {
        self.decisions
    }

    /// A decision of the user about devices.
    pub fn decide<T>(&mut self, decide: impl FnOnce(&mut TrustStore) -> T) -> T {
        self.decided();
        decide(&mut self.trust)
    }

    /// A device was let into a room: it is pinned if it was not known.
    pub(crate) fn admitted(
        &mut self,
        room: RoomId,
        device: DeviceId,
        curve25519: PublicKey,
        name: &str,
    ) {
        let is_new = self.doors.admitted(room, device);
        let before = self.changes;
        self.seen(device, curve25519, name);
        if is_new {
            self.changes = before + 1;
        }
    }

    /// A device proved to be the publisher of a stream that we hold: it is pinned if it was not known.
    pub(crate) fn seen(&mut self, device: DeviceId, curve25519: PublicKey, name: &str) {
        if self.trust.see(device, curve25519, name) {
            self.changes += 1;
            self.pinned.push(device);
        }
    }

    /// Who was pinned because it was seen, since this was last asked for.
    pub(crate) fn take_pinned(&mut self) -> Vec<DeviceId> {
        std::mem::take(&mut self.pinned)
    }

    /// Blocks a device, and closes behind it every room that it was in: it has their invites.
    pub fn block(&mut self, device: DeviceId) {
        self.decide(|trust| trust.block(device));
        self.doors.shut_out(device);
    }

    /// Blocks a device that is kicked out of a room, which is closed whether it was in there or not.
    pub(crate) fn kick(&mut self, room: RoomId, device: DeviceId) {
        self.block(device);
        self.doors.close(room);
    }

    /// Closes a room.
    pub(crate) fn close(&mut self, room: RoomId) {
        if self.doors.close(room) {
            self.decided();
        }
    }

    /// Opens a room again to whoever has its invite. False if it was open.
    pub fn reopen(&mut self, room: RoomId) -> bool {
        let was_closed = self.doors.reopen(room);
        if was_closed {
            self.decided();
        }
        was_closed
    }

    fn decided(&mut self) {
        self.changes += 1;
        self.decisions += 1;
    }
}

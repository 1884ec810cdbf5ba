//! What the user decides about devices, and what follows for the streams.

use super::{Admission, Ended, Endpoint, EndpointError, effects};
use crate::{
    device::{Memory, TrustState},
    primitives::{DeviceId, RoomId, StreamId, Timestamp},
    protocol::PublicKey,
};

impl Endpoint {
    /// Whom this device knows, and whom it shuts out.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Calls this device so from now on, to people; 128 bytes of it at most. Streams that are
    /// published already keep the name that they were offered under.
    pub fn set_name(&mut self, name: impl Into<String>) {
        self.identity.set_name(name);
        self.persist.renamed();
    }

    /// Pins a device: it is trusted to have these keys and this name, even if others have that name,
    /// too. Whatever was known of it before is replaced, a verification as well as a block.
    pub fn pin(&mut self, device: DeviceId, curve25519: PublicKey, name: &str, now: Timestamp) {
        self.memory.decide(|trust| trust.pin(device, curve25519, name));
        self.review(now);
    }

    /// Takes a device for verified, after people have compared its keys and its name by other means
    /// than [`verify`](Self::verify).
    pub fn mark_verified(
        &mut self,
        device: DeviceId,
        curve25519: PublicKey,
        name: &str,
        now: Timestamp,
    ) {
        self.memory.decide(|trust| trust.verify(device, curve25519, name));
        self.review(now);
    }

    /// Blocks a device. It is removed from all streams of ours as by a [`kick`](Self::kick), streams
    /// of its own that are subscribed to end, and every room that we admitted it in is closed to
    /// devices that were not admitted before.
    pub fn block(&mut self, device: DeviceId, now: Timestamp) {
        self.memory.block(device);
        self.shut_out(device, now);
    }

    /// Forgets a device, blocked, pinned or verified. False if it was not known. Rooms that were
    /// closed because of it stay closed.
    pub fn forget(&mut self, device: DeviceId, now: Timestamp) -> bool {
        let known = self.memory.trust().state(&device) != TrustState::Unknown;
        if known {
            self.memory.decide(|trust| trust.forget(&device));
            self.review(now);
        }
        known
    }

    /// Opens a room again that was closed by a kick or a block, to whoever has its invite: for rooms
    /// whose invite the application makes, after it made a new one. False if it was open.
    pub fn reopen(&mut self, room: RoomId) -> bool {
        self.memory.reopen(room)
    }

    /// Changes who is admitted to a stream of ours. Holders who may not be any more are removed.
    ///
    /// # Errors
    /// [`EndpointError::UnknownStream`], [`EndpointError::NoInvite`].
    pub fn set_admission(
        &mut self,
        stream: StreamId,
        admission: Admission,
        now: Timestamp,
    ) -> Result<(), EndpointError> {
        let publication = self.publications.get_mut(&stream).ok_or(EndpointError::UnknownStream)?;
        if admission == Admission::Invite && !publication.room_keys().has_invite() {
            return Err(EndpointError::NoInvite);
        }
        publication.set_admission(admission);
        self.review(now);
        Ok(())
    }

    /// What is known of devices has changed.
    pub(super) fn review(&mut self, now: Timestamp) {
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        for publication in self.publications.values_mut() {
            publication.review(&mut fx, &mut self.memory);
        }
    }

    /// A device was blocked.
    pub(super) fn shut_out(&mut self, device: DeviceId, now: Timestamp) {
        self.end_verification(device, now);
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        for publication in self.publications.values_mut() {
            publication.kick(&mut fx, device);
        }
        let streams: Vec<_> = self.subscriptions.keys().copied().collect();
        for stream in streams.into_iter().filter(|stream| stream.publisher == device) {
            self.close_subscription(stream, Ended::Blocked, now);
        }
    }
}

//! What the user decides about devices, and what follows for the streams.

use std::collections::BTreeSet;

use super::{Admission, Ended, Endpoint, EndpointError, Event, Output, effects};
use crate::{
    device::{Memory, TrustState},
    primitives::{DeviceId, RoomId, StreamId, StreamRef, Timestamp},
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
        self.verifications.decided(device);
        self.review(Some(device), now);
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
        self.verifications.decided(device);
        self.review(Some(device), now);
    }

    /// Blocks a device. It is removed from all streams of ours as by a [`kick`](Self::kick), streams
    /// of its own end for us, and every room in which we admitted it, or in which it asks to be
    /// admitted, is closed to devices that were not admitted before.
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
            self.verifications.decided(device);
            self.review(Some(device), now);
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
        self.review(None, now);
        Ok(())
    }

    /// What is known of devices has changed, of one perhaps; or who is admitted. All streams are
    /// gone through, which is for decisions of people only.
    pub(super) fn review(&mut self, device: Option<DeviceId>, now: Timestamp) {
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        for publication in self.publications.values_mut() {
            publication.review(&mut fx, &mut self.memory, device);
        }
        let of_another_key: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|(stream, subscription)| {
                let key = &subscription.offer().curve25519;
                self.memory.trust().check_keys(&stream.publisher, key).is_err()
            })
            .map(|(stream, _)| *stream)
            .collect();
        for stream in of_another_key {
            self.give_up(stream, Ended::Distrusted, now);
        }
        self.review_pinned(now);
    }

    /// Devices were pinned because they came in, or because they have a stream that we hold: whoever
    /// asks under the name of one of them is another one.
    pub(super) fn review_pinned(&mut self, now: Timestamp) {
        loop {
            let pinned = self.memory.take_pinned();
            if pinned.is_empty() {
                return;
            }
            let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
            for publication in self.publications.values_mut().filter(|p| p.is_asked()) {
                publication.review_namesakes(&mut fx, &mut self.memory, &pinned);
            }
        }
    }

    /// A device was blocked.
    pub(super) fn shut_out(&mut self, device: DeviceId, now: Timestamp) {
        self.verifications.decided(device);
        self.end_verification(device, now);
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        for publication in self.publications.values_mut() {
            if publication.is_held_by(device) || publication.is_asked_by(device) {
                self.memory.close(publication.room_keys().room());
            }
            publication.kick(&mut fx, device);
        }
        let offered = self.offers.forget_all_of(device);
        let held = self.subscriptions.keys().copied().filter(|stream| stream.publisher == device);
        for stream in held.chain(offered).collect::<BTreeSet<_>>() {
            self.give_up(stream, Ended::Blocked, now);
        }
    }

    /// Ends a stream of somebody else for us, and tells its publisher if it was subscribed to.
    pub(super) fn give_up(&mut self, stream: StreamRef, reason: Ended, now: Timestamp) {
        // It fails if there is only an offer.
        let _ = self.unsubscribe(stream, now);
        self.outputs.push_back(Output::Event(Event::Ended { stream, reason }));
    }
}

//! Verifying devices, with [`sas`](crate::device::sas): who may ask, what is repeated until when, and
//! what comes of it.
//!
//! * **Repeated**: whoever is not done repeats what the other side may lack, after 0.5 s, then each
//!   second, from 8 s on less and less, at last every 8 s. That also says that it is still there.
//!   Repetitions are the same bytes, and so are told from messages that contradict earlier ones.
//! * **Time-outs**: 10 minutes in all, and 2 minutes without a word of the other side once it has
//!   spoken. Before that it may be away: its mailbox is asked again and again.
//! * **Both at once**: when two starts cross, the smaller device id's counts, and nobody is asked again.
//! * **The last message** may be lost whatever one does. A device counts as verified here when its
//!   proof was right, our user confirmed and its `VerificationDone` came; if the other side then says
//!   that it failed there, until 12 minutes after the beginning, what was known before is restored.
//! * **Tampering**: a message in the name of somebody who is being verified, with a wrong signature or
//!   content, is not dropped but ends it on both sides. Somebody on the way who changes things is what
//!   people verify for.

mod ended;
mod requests;
mod running;
mod transaction;

use super::{Endpoint, EndpointError, MessageError, VerificationState, effects, inbox};
use crate::{
    device::{Distrust, KnownDevice, Memory, TrustState},
    primitives::{DeviceId, RoomId, RoomKeys, Timestamp},
    protocol::{CancelReason, PublicKey, SignedMessage, VerificationMessage},
};
pub(super) use running::Verifications;

/// Whom a verification is with: what a device says of itself, and what speaks against that.
///
/// Who confirms the emojis confirms the name as well: from then on the device is known by it. So a user
/// interface shows both names if they differ, and warns of a name that is another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationPeer {
    /// What the device calls itself; empty until it has said so.
    pub name: String,
    /// As what it is known by now, if it is.
    pub known: Option<KnownDevice>,
    /// What speaks against it, by its key or its name, once it has said them.
    pub distrust: Option<Distrust>,
}

impl VerificationPeer {
    fn of(memory: &Memory, device: DeviceId, key: Option<PublicKey>, name: &str) -> Self {
        let trust = memory.trust();
        let distrust = key.and_then(|key| trust.check(&device, &key, name).err());
        Self { name: name.to_owned(), known: trust.get(&device).cloned(), distrust }
    }
}

impl Endpoint {
    /// Asks a device to verify each other, in a room that both are in; or takes part, if it was the
    /// other who asked ([`VerificationState::Requested`]), in whichever room that was. How it goes on,
    /// [`Event::Verification`](super::Event::Verification) tells.
    ///
    /// # Errors
    /// [`EndpointError::UnknownRoom`], [`EndpointError::OwnDevice`], [`EndpointError::Blocked`],
    /// [`EndpointError::AlreadyVerifying`].
    pub fn verify(
        &mut self,
        room: RoomId,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<(), EndpointError> {
        if device == self.device() {
            return Err(EndpointError::OwnDevice);
        }
        if self.memory.trust().state(&device) == TrustState::Blocked {
            return Err(EndpointError::Blocked);
        }
        let keys = self.rooms.get(&room).ok_or(EndpointError::UnknownRoom)?;
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        self.verifications.verify(&mut fx, &self.memory, keys, device)
    }

    /// Our user says that the other side shows the same emojis or numbers.
    ///
    /// # Errors
    /// [`EndpointError::NotVerifying`] if there is nothing to compare with this device.
    pub fn confirm_verification(
        &mut self,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<(), EndpointError> {
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        self.verifications.confirm(&mut fx, &self.memory, device)
    }

    /// Our user says that the other side shows other emojis or numbers.
    ///
    /// # Errors
    /// [`EndpointError::NotVerifying`] if there is nothing to compare with this device.
    pub fn reject_verification(
        &mut self,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<(), EndpointError> {
        if !matches!(self.verification(device), Some(VerificationState::Comparing(_))) {
            return Err(EndpointError::NotVerifying);
        }
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        self.verifications.fail(&mut fx, &self.memory, device, CancelReason::NumbersDiffer);
        Ok(())
    }

    /// Our user does not want to go on, or declines what the other asked for.
    ///
    /// # Errors
    /// [`EndpointError::NotVerifying`] if no verification of this device is under way.
    pub fn cancel_verification(
        &mut self,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<(), EndpointError> {
        let reason = match self.verification(device) {
            Some(VerificationState::Requested) => CancelReason::Declined,
            Some(state) if !state.is_over() => CancelReason::User,
            _ => return Err(EndpointError::NotVerifying),
        };
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        self.verifications.fail(&mut fx, &self.memory, device, reason);
        Ok(())
    }

    /// How far the verification of a device is, or how the last one ended.
    pub fn verification(&self, device: DeviceId) -> Option<VerificationState> {
        self.verifications.state(device)
    }

    /// Whom the verification of a device is with: show it with what is to be compared, since that
    /// confirms the name as well.
    pub fn verification_peer(&self, device: DeviceId) -> Option<VerificationPeer> {
        self.verifications.peer(&self.memory, device)
    }

    /// Which verification of a device that is: each [`verify`](Self::verify) has a number of its own,
    /// so that a later one is not taken for the one before. 0 if only the other side has asked.
    pub fn verification_number(&self, device: DeviceId) -> Option<u64> {
        self.verifications.number(device)
    }

    /// The device was blocked.
    pub(super) fn end_verification(&mut self, device: DeviceId, now: Timestamp) {
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        self.verifications.fail(&mut fx, &self.memory, device, CancelReason::Declined);
    }

    pub(super) fn handle_verification(
        &mut self,
        sender: DeviceId,
        signed: &SignedMessage,
        now: Timestamp,
    ) -> Result<(), MessageError> {
        if self.memory.trust().state(&sender) == TrustState::Blocked {
            return Err(MessageError::Blocked);
        }
        let before = self.memory.changes();
        let read = self.read_verification(sender, signed);
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        let (verifications, memory) = (&mut self.verifications, &mut self.memory);
        let taken = match read {
            Ok((keys, message)) => {
                verifications.take(&mut fx, memory, &keys, sender, message, &signed.payload)
            }
            Err(error) => {
                if error != MessageError::UnknownRoom(signed.room) {
                    verifications.tampered(&mut fx, memory, sender);
                }
                Err(error)
            }
        };
        if self.memory.changes() != before {
            self.review(Some(sender), now);
        }
        taken
    }

    /// Checks a message of a verification: for us, signed, of one of our rooms, by somebody with its
    /// invite.
    fn read_verification(
        &self,
        sender: DeviceId,
        signed: &SignedMessage,
    ) -> Result<(RoomKeys, VerificationMessage), MessageError> {
        self.for_us(sender, signed)?;
        let room = signed.room;
        let keys = self.rooms.get(&room).ok_or(MessageError::UnknownRoom(room))?;
        if !inbox::has_invite(keys, sender, signed) {
            return Err(MessageError::NoInvite);
        }
        let message = VerificationMessage::read(signed.kind, &signed.payload);
        Ok((keys.clone(), message.ok_or(MessageError::Content(signed.kind))?))
    }
}

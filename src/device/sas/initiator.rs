use std::fmt;

use subtle::ConstantTimeEq;
use vodozemac::sas::Sas;

use super::{
    Comparing, Party, ephemeral,
    terms::{Terms, commitment},
};
use crate::{
    primitives::{DeviceId, RoomId, VerificationId},
    protocol::{
        CancelReason, PublicKey, VerificationAccept, VerificationKey, VerificationMessage,
        VerificationStart,
    },
};

/// We have asked.
pub(crate) struct Started {
    room: RoomId,
    id: VerificationId,
    us: Party,
    peer: DeviceId,
    start: Vec<u8>,
}

impl Started {
    /// The payload to send is its [`payload`](Self::payload).
    pub(crate) fn new(
        room: RoomId,
        id: VerificationId,
        us: Party,
        peer: DeviceId,
        sequence: u64,
    ) -> Self {
        let start = VerificationStart {
            id,
            version: VerificationStart::VERSION,
            curve25519: us.curve25519,
            name: us.name.clone(),
            sequence,
        };
        let start = VerificationMessage::Start(start).payload();
        Self { room, id, us, peer, start }
    }

    /// What was said.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.start
    }

    /// Takes what was said for something else, to see that this is noticed.
    #[cfg(test)]
    pub(super) fn see(&mut self, room: RoomId, us: Party, peer: DeviceId) {
        (self.room, self.us, self.peer) = (room, us, peer);
    }

    /// The other side takes part; `payload` is what its answer was read from.
    pub(crate) fn accepted(self, accept: VerificationAccept, payload: &[u8]) -> KeySent {
        let VerificationAccept { curve25519, name, commitment, .. } = accept;
        let accepter = Party { device: self.peer, curve25519, name };
        let terms = Terms {
            room: self.room,
            id: self.id,
            initiator: self.us,
            accepter,
            start: self.start,
            accept: payload.to_vec(),
        };
        KeySent { terms, sas: ephemeral(), commitment }
    }
}

/// We have shown our ephemeral key, and the other side is bound to its own.
pub(crate) struct KeySent {
    terms: Terms,
    sas: Sas,
    commitment: [u8; 32],
}

impl KeySent {
    /// Our ephemeral key.
    pub(crate) fn our_key(&self) -> VerificationKey {
        VerificationKey { id: self.terms.id, key: PublicKey(self.sas.public_key()) }
    }

    /// The other's ephemeral key.
    ///
    /// # Errors
    /// [`CancelReason::Commitment`] if it is not the one that it committed to, or if it answered
    /// another start than ours.
    pub(crate) fn key(self, theirs: &VerificationKey) -> Result<Comparing, CancelReason> {
        let expected = commitment(theirs.key, &self.terms.start);
        if !bool::from(expected.ct_eq(&self.commitment)) {
            return Err(CancelReason::Commitment);
        }
        Comparing::new(self.terms, self.sas, theirs.key, true)
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started").finish_non_exhaustive()
    }
}

impl fmt::Debug for KeySent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySent").finish_non_exhaustive()
    }
}

use std::fmt;

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

/// Another device asks, and our user has not answered.
pub(crate) struct Requested {
    room: RoomId,
    id: VerificationId,
    peer: Party,
    start: Vec<u8>,
}

impl Requested {
    /// `payload` is what the start was read from.
    pub(crate) fn new(
        room: RoomId,
        peer: DeviceId,
        start: VerificationStart,
        payload: &[u8],
    ) -> Self {
        let VerificationStart { id, curve25519, name, .. } = start;
        let peer = Party { device: peer, curve25519, name };
        Self { room, id, peer, start: payload.to_vec() }
    }

    /// Our user takes part: we commit to an ephemeral key, which nobody has seen. The payload to send
    /// is its [`payload`](Accepted::payload).
    pub(crate) fn accept(self, us: Party, sequence: u64) -> Accepted {
        let sas = ephemeral();
        let accept = VerificationAccept {
            id: self.id,
            version: VerificationStart::VERSION,
            curve25519: us.curve25519,
            name: us.name.clone(),
            sequence,
            commitment: commitment(PublicKey(sas.public_key()), &self.start),
        };
        let accept = VerificationMessage::Accept(accept).payload();
        let terms = Terms {
            room: self.room,
            id: self.id,
            initiator: self.peer,
            accepter: us,
            start: self.start,
            accept,
        };
        Accepted { terms, sas }
    }
}

/// We are bound to our ephemeral key and wait for the other's.
pub(crate) struct Accepted {
    terms: Terms,
    sas: Sas,
}

impl Accepted {
    /// What was said.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.terms.accept
    }

    /// The other's ephemeral key is here: now ours may be shown.
    ///
    /// # Errors
    /// [`CancelReason::Tampered`] if no secret can be agreed on with it.
    pub(crate) fn key(
        self,
        theirs: &VerificationKey,
    ) -> Result<(Comparing, VerificationKey), CancelReason> {
        let ours = VerificationKey { id: self.terms.id, key: PublicKey(self.sas.public_key()) };
        Ok((Comparing::new(self.terms, self.sas, theirs.key, false)?, ours))
    }
}

impl fmt::Debug for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requested").finish_non_exhaustive()
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").finish_non_exhaustive()
    }
}

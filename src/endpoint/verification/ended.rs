use super::transaction::{LIFE, SILENCE, Transaction};
use crate::{
    device::{KnownDevice, Memory, VerificationState, sas::VerifiedPeer},
    primitives::{RoomId, RoomKeys, Timestamp, VerificationId},
    protocol::{Kind, PublicKey, VerificationMessage},
};

/// A verification that is over, for as long as the other side may not know it.
pub(super) struct Ended {
    pub(super) keys: RoomKeys,
    pub(super) id: VerificationId,
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) curve25519: Option<PublicKey>,
    pub(super) state: VerificationState,
    pub(super) at: Timestamp,
    began: Timestamp,
    heard: Vec<(Kind, Vec<u8>)>,
    /// What the other side is told if it goes on.
    pub(super) reply: Option<Vec<u8>>,
    /// What was known of the device before, and what is because of this.
    trust: Option<(Option<KnownDevice>, KnownDevice)>,
}

impl Ended {
    pub(super) fn new(
        transaction: Transaction,
        now: Timestamp,
        state: VerificationState,
        reply: Option<Vec<u8>>,
    ) -> Self {
        Self {
            keys: transaction.keys.clone(),
            id: transaction.id,
            number: transaction.number,
            name: transaction.name.clone(),
            curve25519: transaction.curve25519,
            state,
            at: now,
            began: transaction.began,
            heard: transaction.into_heard(),
            reply,
            trust: None,
        }
    }

    /// It succeeded: the device is verified from here on.
    pub(super) fn verified(
        transaction: Transaction,
        now: Timestamp,
        memory: &mut Memory,
        peer: &VerifiedPeer,
    ) -> Self {
        let done = transaction.last_said();
        let mut ended = Self::new(transaction, now, VerificationState::Verified, done);
        let VerifiedPeer { device, curve25519, name } = peer;
        let before = memory.trust().get(device).cloned();
        memory.decide(|trust| trust.verify(*device, *curve25519, name));
        ended.trust = memory.trust().get(device).cloned().map(|after| (before, after));
        ended
    }

    pub(super) fn is_verified(&self) -> bool {
        self.state == VerificationState::Verified
    }

    /// Whether it succeeded, and can still turn out to have failed. The other side may have begun later
    /// and need some time to say so.
    pub(super) fn can_be_taken_back(&self, now: Timestamp) -> bool {
        self.is_verified() && now.since(self.began) < LIFE + SILENCE
    }

    /// The user has decided about the device since, perhaps the same: that is not taken back.
    pub(super) fn decided(&mut self) {
        self.trust = None;
    }

    /// Restores what was known of the device before, unless the user has decided otherwise since.
    pub(super) fn take_back(&mut self, memory: &mut Memory) {
        let Some((before, after)) = self.trust.take() else { return };
        if memory.trust().get(&after.device) != Some(&after) {
            return;
        }
        memory.decide(|trust| match before {
            Some(before) => trust.put(before),
            None => drop(trust.forget(&after.device)),
        });
    }

    pub(super) fn is_of(&self, room: RoomId, id: VerificationId) -> bool {
        (self.keys.room(), self.id) == (room, id)
    }

    /// Whether the other side says something else than it said before.
    pub(super) fn contradicts(&self, message: &VerificationMessage, payload: &[u8]) -> bool {
        let kind = message.kind();
        self.heard.iter().any(|(said, bytes)| *said == kind && bytes != payload)
    }

    /// Whether the other side's message says that it does not know yet how it ended.
    pub(super) fn is_asked_for_reply(&self, message: &VerificationMessage) -> bool {
        match message {
            VerificationMessage::Cancel(_) => false,
            // Whoever is done as well says only that, and needs no answer.
            VerificationMessage::Mac(_) => true,
            _ => !self.is_verified(),
        }
    }

    pub(super) fn has_heard(&self, kind: Kind, payload: &[u8]) -> bool {
        self.heard.iter().any(|(said, bytes)| *said == kind && bytes == payload)
    }
}

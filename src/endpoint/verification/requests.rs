//! Who may ask to be verified, and how often.

use std::time::Duration;

use super::{
    running::{Verifications, refuse},
    transaction::{Transaction, keeps_its_key},
};
use crate::{
    device::{Memory, TrustState, VerificationState},
    endpoint::MessageError,
    primitives::{DeviceId, RoomKeys, Timestamp},
    protocol::{CancelReason, Kind, VerificationStart},
    stream::{Effects, Quota},
};

/// Devices that we do not know, and that may wait for our user's answer at once.
const MAX_STRANGERS: usize = 16;
/// Devices that may wait for our user's answer at once, known or not.
const MAX_REQUESTS: usize = 64;
/// Devices of which we remember the last start.
const MAX_SEEN: usize = 1024;
/// So long after our user declined, the same device is not shown to ask again.
const DECLINED: Duration = Duration::from_secs(30);
/// How often one device is shown to ask that was not declined: it may take that back, and ask anew.
const SHOWN: Quota = Quota { interval: DECLINED, burst: 3 };

impl Verifications {
    /// A device asks to be verified.
    pub(super) fn requested(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &Memory,
        keys: &RoomKeys,
        peer: DeviceId,
        start: VerificationStart,
        payload: &[u8],
    ) -> Result<(), MessageError> {
        if start.version != VerificationStart::VERSION {
            refuse(fx, keys, peer, start.id, CancelReason::Version);
            return Err(MessageError::Content(Kind::VerificationStart));
        }
        let (id, sequence) = (start.id, start.sequence);
        if self.seen.get(&peer).is_some_and(|seen| sequence <= seen.sequence) {
            return Err(MessageError::Old);
        }
        let keeps_its_key = keeps_its_key(memory, peer, start.curve25519);
        let mut requested = Transaction::requested(fx.now, keys, peer, start, payload);
        let is_pestering = self.is_pestering(peer, fx.now);
        let is_crowded = self.is_crowded(memory, peer);
        let next_sequence = self.next_sequence(fx.now);
        let mut is_shown = false;
        match self.running.get_mut(&peer) {
            // Both have asked: one of the two starts counts, on both sides the same.
            Some(ours) if ours.is_unanswered() => {
                if fx.identity.device() < peer {
                    ours.crossed = Some(id);
                    self.note(peer, sequence);
                    return Ok(());
                }
                requested.number = ours.number;
                if keeps_its_key.is_ok() {
                    requested.accept(fx, next_sequence);
                }
            }
            // It has begun anew before we answered.
            Some(running) if running.state() == VerificationState::Requested => {
                is_shown = running.asks_like(&requested);
            }
            // It may have lost what is under way. Its start is repeated until that is over.
            Some(_) => return Err(MessageError::Old),
            None if is_pestering => return Err(MessageError::Old),
            None if is_crowded => {
                refuse(fx, keys, peer, id, CancelReason::Busy);
                return Ok(());
            }
            None => {}
        }
        let was_asked = requested.number == 0;
        if was_asked && !is_shown && !self.may_be_shown(peer, fx.now) {
            return Err(MessageError::Old);
        }
        self.note(peer, sequence);
        self.running.insert(peer, requested);
        match keeps_its_key {
            Err(reason) => self.fail(fx, memory, peer, reason),
            Ok(()) if was_asked && !is_shown => self.tell(fx, memory, peer),
            Ok(()) => {}
        }
        Ok(())
    }

    /// Whether our user was not shown all too often that this device asks. What is not shown now is
    /// not noted, so that it is when its sender repeats it.
    fn may_be_shown(&mut self, peer: DeviceId, now: Timestamp) -> bool {
        let mut shown = self.seen.get(&peer).map(|seen| seen.shown).unwrap_or_default();
        let may_be = shown.take(SHOWN, now).is_ok();
        if may_be {
            self.note(peer, 0);
            self.seen.entry(peer).and_modify(|seen| seen.shown = shown);
        }
        may_be
    }

    /// Whether our user has just declined a device.
    fn is_pestering(&self, peer: DeviceId, now: Timestamp) -> bool {
        self.ended.get(&peer).is_some_and(|ended| {
            ended.state == VerificationState::Cancelled(CancelReason::Declined)
                && ended.reply.is_some()
                && now.since(ended.at) < DECLINED
        })
    }

    /// Whether our user is asked by so many that one more has no place.
    fn is_crowded(&self, memory: &Memory, peer: DeviceId) -> bool {
        let is_stranger = |peer: &DeviceId| memory.trust().state(peer) == TrustState::Unknown;
        let asking = |(_, running): &(&DeviceId, &Transaction)| running.number == 0;
        let asking = || self.running.iter().filter(asking).map(|(peer, _)| peer);
        let strangers = asking().filter(|peer| is_stranger(peer)).count();
        asking().count() >= MAX_REQUESTS || is_stranger(&peer) && strangers >= MAX_STRANGERS
    }

    /// max(last + 1, unix ms): grows even if the clock does not, and after a restart as well.
    pub(super) fn next_sequence(&mut self, now: Timestamp) -> u64 {
        self.sequence = now.unix_millis().max(self.sequence.saturating_add(1));
        self.sequence
    }

    /// Remembers the sequence of a device's start, if it is greater than the one before.
    pub(super) fn note(&mut self, peer: DeviceId, sequence: u64) {
        let mut seen = self.seen.shift_remove(&peer).unwrap_or_default();
        if self.seen.len() >= MAX_SEEN {
            self.seen.shift_remove_index(0);
        }
        seen.sequence = seen.sequence.max(sequence);
        self.seen.insert(peer, seen);
    }
}

use std::time::Duration;

use indexmap::IndexMap;
use rand::RngExt;

use super::{
    ended::Ended,
    transaction::{Progress, Transaction, envelope, keeps_its_key, send},
};
use crate::{
    device::{Memory, TrustState, VerificationState},
    endpoint::{EndpointError, MessageError},
    primitives::{DeviceId, RoomKeys, Timestamp, VerificationId},
    protocol::{CancelReason, Kind, VerificationCancel, VerificationMessage, VerificationStart},
    stream::{Effects, Event},
};

/// Devices that we do not know, and that may wait for our user's answer at once.
const MAX_STRANGERS: usize = 16;
/// Devices that may wait for our user's answer at once, known or not.
const MAX_REQUESTS: usize = 64;
/// Verifications that are over and remembered.
const MAX_ENDED: usize = 64;
/// Devices of which we remember the last start.
const MAX_SEEN: usize = 1024;
/// So long after our user declined, the same device is not shown to ask again.
const DECLINED: Duration = Duration::from_secs(30);

/// The verifications of an endpoint, one for each device at most.
#[derive(Default)]
pub(crate) struct Verifications {
    running: IndexMap<DeviceId, Transaction>,
    /// The last one with each device.
    ended: IndexMap<DeviceId, Ended>,
    /// The sequence of each device's last start.
    seen: IndexMap<DeviceId, u64>,
    /// That of ours.
    sequence: u64,
    /// How often `verify` was called.
    count: u64,
}

impl Verifications {
    pub(super) fn state(&self, device: DeviceId) -> Option<VerificationState> {
        let running = self.running.get(&device).map(Transaction::state);
        running.or_else(|| self.ended.get(&device).map(|ended| ended.state.clone()))
    }

    pub(super) fn number(&self, device: DeviceId) -> Option<u64> {
        let running = self.running.get(&device).map(|running| running.number);
        running.or_else(|| self.ended.get(&device).map(|ended| ended.number))
    }

    pub(in crate::endpoint) fn poll_timeout(&self) -> Option<Timestamp> {
        self.running.values().map(Transaction::poll_timeout).min()
    }

    pub(in crate::endpoint) fn handle_timeout(&mut self, fx: &mut Effects<'_>) {
        let is_late = |(_, running): &(&DeviceId, &Transaction)| running.deadline() <= fx.now;
        let late: Vec<_> = self.running.iter().filter(is_late).map(|(peer, _)| *peer).collect();
        for peer in late {
            self.fail(fx, peer, CancelReason::Timeout);
        }
        self.running.values_mut().for_each(|running| running.repeat(fx));
    }

    pub(in crate::endpoint) fn retry_soon(&mut self, now: Timestamp) {
        self.running.values_mut().for_each(|running| running.retry_soon(now));
    }

    pub(super) fn verify(
        &mut self,
        fx: &mut Effects<'_>,
        keys: &RoomKeys,
        peer: DeviceId,
    ) -> Result<(), EndpointError> {
        if let Some(running) = self.running.get_mut(&peer) {
            if !running.accept(fx) {
                return Err(EndpointError::AlreadyVerifying);
            }
        } else {
            self.sequence = fx.now.unix_millis().max(self.sequence.saturating_add(1));
            let id = VerificationId::from_bytes(fx.rng.random());
            let started = Transaction::start(fx, keys, peer, id, self.sequence);
            self.running.insert(peer, started);
        }
        self.count += 1;
        if let Some(running) = self.running.get_mut(&peer) {
            running.number = self.count;
        }
        self.tell(fx, peer);
        Ok(())
    }

    pub(super) fn confirm(
        &mut self,
        fx: &mut Effects<'_>,
        peer: DeviceId,
    ) -> Result<(), EndpointError> {
        let running = self.running.get_mut(&peer).ok_or(EndpointError::NotVerifying)?;
        match running.confirm(fx).ok_or(EndpointError::NotVerifying)? {
            Ok(()) => self.tell(fx, peer),
            Err(reason) => self.fail(fx, peer, reason),
        }
        Ok(())
    }

    /// Ends what is under way with a device, if something is, and tells it why.
    pub(in crate::endpoint) fn fail(
        &mut self,
        fx: &mut Effects<'_>,
        peer: DeviceId,
        reason: CancelReason,
    ) {
        let Some(running) = self.running.shift_remove(&peer) else { return };
        if let Some(crossed) = running.crossed.filter(|_| running.is_unanswered()) {
            refuse(fx, &running.keys, peer, crossed, reason);
        }
        let bytes = refuse(fx, &running.keys, peer, running.id, reason);
        let state = VerificationState::Cancelled(reason);
        self.end(fx, peer, Ended::new(running, fx.now, state, Some(bytes)));
    }

    /// A message of a device, signed by it and for us.
    ///
    /// # Errors
    /// Why it was not taken. What was under way may have failed because of it.
    pub(super) fn take(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &mut Memory,
        keys: &RoomKeys,
        peer: DeviceId,
        message: VerificationMessage,
        payload: &[u8],
    ) -> Result<(), MessageError> {
        let (room, id, kind) = (keys.room(), message.id(), message.kind());
        // Another start under the same id is another verification.
        let is_start = kind == Kind::VerificationStart;
        if let Some(running) = self.running.get(&peer)
            && running.is_of(room, id)
            && (!is_start || running.has_heard(kind, payload))
        {
            return self.advance(fx, memory, peer, message, payload);
        }
        if let Some(ended) = self.ended.get(&peer)
            && ended.is_of(room, id)
            && (!is_start || ended.has_heard(kind, payload))
        {
            return self.late(fx, memory, peer, &message, payload);
        }
        match message {
            VerificationMessage::Start(start) => {
                self.requested(fx, memory, keys, peer, start, payload)
            }
            VerificationMessage::Done(_) | VerificationMessage::Cancel(_) => Err(MessageError::Old),
            // It goes on with something that we have forgotten, or never knew.
            _ => {
                refuse(fx, keys, peer, id, CancelReason::Unknown);
                Err(MessageError::Old)
            }
        }
    }

    fn advance(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &mut Memory,
        peer: DeviceId,
        message: VerificationMessage,
        payload: &[u8],
    ) -> Result<(), MessageError> {
        let Some(running) = self.running.get_mut(&peer) else { return Err(MessageError::Old) };
        let kind = message.kind();
        let progress = running.take(fx, memory, message, payload).and_then(|progress| {
            // What is known of it may have changed meanwhile.
            if let Progress::Verified(verified) = &progress {
                keeps_its_key(memory, peer, verified.curve25519)?;
            }
            Ok(progress)
        });
        match progress {
            Ok(Progress::None) => {}
            Ok(Progress::State) => self.tell(fx, peer),
            Ok(Progress::Given(reason)) => {
                if let Some(running) = self.running.shift_remove(&peer) {
                    let state = VerificationState::Cancelled(reason);
                    self.end(fx, peer, Ended::new(running, fx.now, state, None));
                }
            }
            Ok(Progress::Verified(verified)) => {
                if let Some(running) = self.running.shift_remove(&peer) {
                    self.end(fx, peer, Ended::verified(running, fx.now, memory, &verified));
                }
            }
            Err(reason) => {
                self.fail(fx, peer, reason);
                return Err(MessageError::Content(kind));
            }
        }
        Ok(())
    }

    /// A message of a verification that is over here.
    fn late(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &mut Memory,
        peer: DeviceId,
        message: &VerificationMessage,
        payload: &[u8],
    ) -> Result<(), MessageError> {
        let Some(ended) = self.ended.get(&peer) else { return Err(MessageError::Old) };
        if let VerificationMessage::Cancel(cancel) = message {
            return self.take_back(fx, memory, peer, cancel.reason, Tell::Nobody);
        }
        if ended.contradicts(message, payload) {
            return self.take_back(fx, memory, peer, CancelReason::Tampered, Tell::Peer);
        }
        match &ended.reply {
            Some(reply) if ended.is_asked_for_reply(message) => {
                send(fx, peer, reply.clone());
                Ok(())
            }
            _ => Err(MessageError::Old),
        }
    }

    /// A message in the name of a device is not what that device would have sent.
    pub(super) fn tampered(&mut self, fx: &mut Effects<'_>, memory: &mut Memory, peer: DeviceId) {
        self.fail(fx, peer, CancelReason::Tampered);
        // It is not worth more for having come late.
        let _ = self.take_back(fx, memory, peer, CancelReason::Tampered, Tell::Peer);
    }

    /// What had succeeded here has failed after all.
    fn take_back(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &mut Memory,
        peer: DeviceId,
        reason: CancelReason,
        tell: Tell,
    ) -> Result<(), MessageError> {
        let ended = self.ended.get_mut(&peer).filter(|ended| ended.can_be_taken_back(fx.now));
        let ended = ended.ok_or(MessageError::Old)?;
        ended.take_back(memory);
        ended.state = VerificationState::Cancelled(reason);
        ended.reply = match tell {
            Tell::Peer => Some(refuse(fx, &ended.keys, peer, ended.id, reason)),
            Tell::Nobody => None,
        };
        self.tell(fx, peer);
        Ok(())
    }

    /// A device asks to be verified.
    fn requested(
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
        if self.seen.get(&peer).is_some_and(|seen| sequence <= *seen) {
            return Err(MessageError::Old);
        }
        let keeps_its_key = keeps_its_key(memory, peer, start.curve25519);
        let mut requested = Transaction::requested(fx.now, keys, peer, start, payload);
        let is_pestering = self.is_pestering(peer, fx.now);
        let is_crowded = self.is_crowded(memory, peer);
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
                    requested.accept(fx);
                }
            }
            // It has begun anew before we answered.
            Some(running) if running.state() == VerificationState::Requested => {}
            // It may have lost what is under way. Its start is repeated until that is over.
            Some(_) => return Err(MessageError::Old),
            None if is_pestering => return Err(MessageError::Old),
            None if is_crowded => {
                refuse(fx, keys, peer, id, CancelReason::Busy);
                return Ok(());
            }
            None => {}
        }
        self.note(peer, sequence);
        let was_asked = requested.number == 0;
        self.running.insert(peer, requested);
        match keeps_its_key {
            Err(reason) => self.fail(fx, peer, reason),
            Ok(()) if was_asked => self.tell(fx, peer),
            Ok(()) => {}
        }
        Ok(())
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

    fn note(&mut self, peer: DeviceId, sequence: u64) {
        self.seen.shift_remove(&peer);
        if self.seen.len() >= MAX_SEEN {
            self.seen.shift_remove_index(0);
        }
        self.seen.insert(peer, sequence);
    }

    fn end(&mut self, fx: &mut Effects<'_>, peer: DeviceId, ended: Ended) {
        self.ended.shift_remove(&peer);
        if self.ended.len() >= MAX_ENDED {
            self.ended.shift_remove_index(0);
        }
        self.ended.insert(peer, ended);
        self.tell(fx, peer);
    }

    fn tell(&self, fx: &mut Effects<'_>, device: DeviceId) {
        let Some(state) = self.state(device) else { return };
        let running = self.running.get(&device).map(|running| &running.name);
        let name = running.or_else(|| self.ended.get(&device).map(|ended| &ended.name));
        let name = name.cloned().unwrap_or_default();
        fx.event(Event::Verification { device, name, state });
    }
}

/// Whether the other side is told.
enum Tell {
    Peer,
    Nobody,
}

/// Says that a verification has failed, and gives back in which words.
fn refuse(
    fx: &mut Effects<'_>,
    keys: &RoomKeys,
    peer: DeviceId,
    id: VerificationId,
    reason: CancelReason,
) -> Vec<u8> {
    let cancel = VerificationMessage::Cancel(VerificationCancel { id, reason });
    let bytes = envelope(fx, keys, peer, &cancel);
    send(fx, peer, bytes.clone());
    bytes
}

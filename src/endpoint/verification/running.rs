use indexmap::IndexMap;
use rand::RngExt;

use super::{
    VerificationPeer,
    ended::Ended,
    transaction::{Progress, Transaction, envelope, keeps_its_key, send},
};
use crate::{
    device::{Memory, VerificationState},
    endpoint::{EndpointError, MessageError},
    primitives::{DeviceId, RoomKeys, Timestamp, VerificationId},
    protocol::{CancelReason, Kind, VerificationCancel, VerificationMessage},
    stream::{Effects, Event, RateLimit},
};

/// Verifications that are over and remembered.
const MAX_ENDED: usize = 64;

/// The verifications of an endpoint, one for each device at most.
#[derive(Default)]
pub(crate) struct Verifications {
    pub(super) running: IndexMap<DeviceId, Transaction>,
    /// The last one with each device.
    pub(super) ended: IndexMap<DeviceId, Ended>,
    /// What is remembered of each device's starts.
    pub(super) seen: IndexMap<DeviceId, Seen>,
    /// That of ours.
    pub(super) sequence: u64,
    /// How often `verify` was called.
    count: u64,
}

/// What is remembered of a device's starts.
#[derive(Default)]
pub(super) struct Seen {
    /// That of the last.
    pub(super) sequence: u64,
    /// How often our user was shown that it asks.
    pub(super) shown: RateLimit,
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

    pub(in crate::endpoint) fn handle_timeout(&mut self, fx: &mut Effects<'_>, memory: &Memory) {
        let is_late = |(_, running): &(&DeviceId, &Transaction)| running.deadline() <= fx.now;
        let late: Vec<_> = self.running.iter().filter(is_late).map(|(peer, _)| *peer).collect();
        for peer in late {
            self.fail(fx, memory, peer, CancelReason::Timeout);
        }
        self.running.values_mut().for_each(|running| running.repeat(fx));
    }

    pub(in crate::endpoint) fn retry_soon(&mut self, now: Timestamp) {
        self.running.values_mut().for_each(|running| running.retry_soon(now));
    }

    pub(super) fn verify(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &Memory,
        keys: &RoomKeys,
        peer: DeviceId,
    ) -> Result<(), EndpointError> {
        let sequence = self.next_sequence(fx.now);
        if let Some(running) = self.running.get_mut(&peer) {
            if !running.accept(fx, sequence) {
                return Err(EndpointError::AlreadyVerifying);
            }
        } else {
            let id = VerificationId::from_bytes(fx.rng.random());
            let started = Transaction::start(fx, keys, peer, id, sequence);
            self.running.insert(peer, started);
        }
        self.count += 1;
        if let Some(running) = self.running.get_mut(&peer) {
            running.number = self.count;
        }
        self.tell(fx, memory, peer);
        Ok(())
    }

    pub(super) fn confirm(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &Memory,
        peer: DeviceId,
    ) -> Result<(), EndpointError> {
        let running = self.running.get_mut(&peer).ok_or(EndpointError::NotVerifying)?;
        match running.confirm(fx).ok_or(EndpointError::NotVerifying)? {
            Ok(()) => self.tell(fx, memory, peer),
            Err(reason) => self.fail(fx, memory, peer, reason),
        }
        Ok(())
    }

    /// Ends what is under way with a device, if something is, and tells it why.
    pub(in crate::endpoint) fn fail(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &Memory,
        peer: DeviceId,
        reason: CancelReason,
    ) {
        let Some(running) = self.running.shift_remove(&peer) else { return };
        if let Some(crossed) = running.crossed.filter(|_| running.is_unanswered()) {
            refuse(fx, &running.keys, peer, crossed, reason);
        }
        let bytes = refuse(fx, &running.keys, peer, running.id, reason);
        let state = VerificationState::Cancelled(reason);
        self.end(fx, memory, peer, Ended::new(running, fx.now, state, Some(bytes)));
    }

    /// The user has decided about a device by other means.
    pub(in crate::endpoint) fn decided(&mut self, peer: DeviceId) {
        if let Some(ended) = self.ended.get_mut(&peer) {
            ended.decided();
        }
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
        let void = match &message {
            VerificationMessage::Accept(accept) if running.is_unanswered() => accept.sequence,
            _ => 0,
        };
        let progress = running.take(fx, memory, message, payload).and_then(|progress| {
            // What is known of it may have changed meanwhile.
            if let Progress::Verified(verified) = &progress {
                keeps_its_key(memory, peer, verified.curve25519)?;
            }
            Ok(progress)
        });
        if void > 0 && progress.is_ok() {
            self.note(peer, void);
        }
        match progress {
            Ok(Progress::None) => {}
            Ok(Progress::State) => self.tell(fx, memory, peer),
            Ok(Progress::Given(reason)) => {
                if let Some(running) = self.running.shift_remove(&peer) {
                    let state = VerificationState::Cancelled(reason);
                    let ended = Ended::new(running, fx.now, state, None);
                    if ended.number > 0 {
                        self.end(fx, memory, peer, ended);
                    } else {
                        // Our user had no part in it: it is not worth the place of another.
                        let Ended { curve25519, name, state, .. } = ended;
                        let of = VerificationPeer::of(memory, peer, curve25519, &name);
                        tell(fx, peer, of, state);
                    }
                }
            }
            Ok(Progress::Verified(verified)) => {
                if let Some(running) = self.running.shift_remove(&peer) {
                    let ended = Ended::verified(running, fx.now, memory, &verified);
                    self.end(fx, memory, peer, ended);
                }
            }
            Err(reason) => {
                self.fail(fx, memory, peer, reason);
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
        self.fail(fx, memory, peer, CancelReason::Tampered);
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
        self.tell(fx, memory, peer);
        Ok(())
    }

    fn end(&mut self, fx: &mut Effects<'_>, memory: &Memory, peer: DeviceId, ended: Ended) {
        self.ended.shift_remove(&peer);
        self.ended.insert(peer, ended);
        self.tell(fx, memory, peer);
        if self.ended.len() > MAX_ENDED {
            // Strangers who come and go must not make us forget what can still turn out to have failed.
            let matters_least = self.ended.values().enumerate().min_by_key(|(age, ended)| {
                (ended.can_be_taken_back(fx.now), ended.number > 0, *age)
            });
            if let Some((at, _)) = matters_least {
                self.ended.shift_remove_index(at);
            }
        }
    }

    pub(super) fn tell(&self, fx: &mut Effects<'_>, memory: &Memory, device: DeviceId) {
        let Some(state) = self.state(device) else { return };
        let Some(peer) = self.peer(memory, device) else { return };
        tell(fx, device, peer, state);
    }

    /// Whom the verification is with: as it says, and as it is known.
    pub(super) fn peer(&self, memory: &Memory, device: DeviceId) -> Option<VerificationPeer> {
        let running = self.running.get(&device).map(|r| (r.curve25519, &r.name));
        let ended = || self.ended.get(&device).map(|e| (e.curve25519, &e.name));
        let (curve25519, name) = running.or_else(ended)?;
        Some(VerificationPeer::of(memory, device, curve25519, name))
    }
}

fn tell(fx: &mut Effects<'_>, device: DeviceId, peer: VerificationPeer, state: VerificationState) {
    let VerificationPeer { name, known, distrust } = peer;
    fx.event(Event::Verification { device, name, known, distrust, state });
}

/// Whether the other side is told.
enum Tell {
    Peer,
    Nobody,
}

/// Says that a verification has failed, and gives back in which words.
pub(super) fn refuse(
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

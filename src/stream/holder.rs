use std::time::Duration;

use super::{Effects, Event, sessions::OutboundSession};
use crate::{
    device::Pairwise,
    primitives::{DeviceId, Position, RoomKeys, StreamRef, Timestamp},
    protocol::{Answers, MessageId, OlmMessage, PublicKey, StreamKey, StreamOffer},
    sframe::CipherSuite,
};

/// Waits between sends of a key that is not acked; the last one repeats.
const RETRIES_MS: [u64; 5] = [500, 1000, 2000, 4000, 8000];
/// A holder that does not renew for this long is removed.
pub(super) const LEASE: Duration = Duration::from_secs(60);
/// A vanished holder is removed after this long.
pub(super) const GONE_GRACE: Duration = Duration::from_secs(5);
/// Answers to key requests: one in this time …
const PULL_INTERVAL: Duration = Duration::from_secs(2);
/// … after a burst of this many.
const PULL_BURST: u32 = 3;

/// The handover of one generation's key to one holder.
#[derive(Debug)]
struct Delivery {
    share: MessageId,
    position: Position,
    attempts: usize,
    next: Timestamp,
    /// Whether it was accepted, once the holder has said so.
    accepted: Option<bool>,
}

/// A device that holds the key, or is about to.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) device: DeviceId,
    pub(super) claim: String,
    pub(super) olm: Pairwise,
    /// The one-time key of the `Subscribe` by which it came.
    pub(super) one_time_key: PublicKey,
    /// What that `Subscribe` was answered with: the same question gets the same bytes.
    answer: Vec<u8>,
    lease_until: Timestamp,
    gone_since: Option<Timestamp>,
    /// Whether our application was told of it: with the first key, whatever brings that.
    announced: bool,
    exposed: bool,
    exposed_to_pending: bool,
    current: Option<Delivery>,
    pending: Option<Delivery>,
    pulls: u32,
    last_pull: Timestamp,
}

/// Which generation a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Current,
    Pending,
}

/// What every handover of a stream has in common.
pub(super) struct Handover<'a> {
    pub(super) keys: &'a RoomKeys,
    pub(super) stream: StreamRef,
    pub(super) suite: CipherSuite,
    pub(super) offer: &'a StreamOffer,
}

impl Holder {
    pub(super) fn new(
        device: DeviceId,
        claim: String,
        olm: Pairwise,
        one_time_key: PublicKey,
        now: Timestamp,
    ) -> Self {
        Self {
            device,
            claim,
            olm,
            one_time_key,
            answer: Vec::new(),
            lease_until: now + LEASE,
            gone_since: None,
            announced: false,
            exposed: false,
            exposed_to_pending: false,
            current: None,
            pending: None,
            pulls: 0,
            last_pull: now,
        }
    }

    /// Takes over what an earlier subscription of the same device was sent: it can still read with
    /// it, so its leaving must count. The delivery is not repeated, the new one replaces it.
    pub(super) fn remember_exposure(&mut self, before: Self) {
        self.exposed = before.exposed;
        self.exposed_to_pending = before.exposed_to_pending;
    }

    /// Whether any key was sent to it, acked or not. Only then does its leaving need a rotation.
    pub(super) fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// Whether the generation that is not in use yet was sent to it.
    pub(super) fn is_exposed_to_pending(&self) -> bool {
        self.exposed_to_pending
    }

    pub(super) fn is_waiting_for_pending(&self) -> bool {
        self.pending.is_none()
    }

    pub(super) fn is_waiting_for_first_key(&self) -> bool {
        self.current.is_none()
    }

    /// The position it confirmed, of the generation in use.
    pub(super) fn confirmed(&self) -> Option<Position> {
        self.current.as_ref().filter(|d| d.accepted == Some(true)).map(|d| d.position)
    }

    /// Whether it need not be waited for: it has the pending key, or refuses to have it.
    pub(super) fn has_answered_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|delivery| delivery.accepted.is_some())
    }

    /// The pending generation came into use.
    pub(super) fn promote(&mut self) {
        self.exposed_to_pending = false;
        if self.pending.is_some() {
            self.current = self.pending.take();
        }
    }

    /// The pending generation was voided.
    pub(super) fn void_pending(&mut self) {
        self.exposed_to_pending = false;
        self.pending = None;
    }

    pub(super) fn answer(&self) -> &[u8] {
        &self.answer
    }

    /// Sends `session` at the step it is at now.
    pub(super) fn hand_over(
        &mut self,
        fx: &mut Effects<'_>,
        handover: &Handover<'_>,
        session: &OutboundSession,
        which: Which,
        answers: Option<Answers>,
    ) {
        self.exposed = true;
        self.exposed_to_pending |= which == Which::Pending;
        let position = session.position();
        let share = match self.delivery(which) {
            Some(delivery) => delivery.share,
            None => fx.random_id(),
        };
        let now = fx.now;
        let delivery = self.delivery(which).get_or_insert(Delivery {
            share,
            position,
            attempts: 0,
            next: now,
            accepted: None,
        });
        let wait = RETRIES_MS[delivery.attempts.min(RETRIES_MS.len() - 1)];
        delivery.attempts += 1;
        delivery.next = now + fx.jitter(Duration::from_millis(wait));
        let message = OlmMessage::StreamKey(Box::new(StreamKey {
            share,
            stream: handover.stream.stream,
            position,
            session_key: session.session_key(),
            suite: handover.suite,
            offer: handover.offer.clone(),
            answers: answers.unwrap_or(Answers::OneTimeKey(self.one_time_key)),
        }));
        let sent = fx.send_olm(&mut self.olm, handover.keys, handover.stream, message);
        if self.answer.is_empty() {
            self.answer = sent;
        }
        if !self.announced {
            self.announced = true;
            let (stream, device) = (handover.stream.stream, self.device);
            let claim = self.claim.clone();
            fx.event(Event::HolderJoined { stream, device, claim, position });
        }
    }

    fn delivery(&mut self, which: Which) -> &mut Option<Delivery> {
        match which {
            Which::Current => &mut self.current,
            Which::Pending => &mut self.pending,
        }
    }

    /// An ack arrived. Returns the position it confirms, if that is news. A holder that refuses
    /// a key has been reached as well: it is not sent the same one for ever. It may still take
    /// it, if another copy of it pleases it better.
    pub(super) fn acked(&mut self, share: MessageId, accepted: bool) -> Option<Position> {
        let delivery = [&mut self.current, &mut self.pending]
            .into_iter()
            .flatten()
            .find(|delivery| delivery.share == share && delivery.accepted != Some(true))?;
        delivery.accepted = Some(accepted);
        accepted.then_some(delivery.position)
    }

    /// When the unacked key of this generation must be sent again.
    pub(super) fn retry_at(&self, which: Which) -> Option<Timestamp> {
        match which {
            Which::Current => &self.current,
            Which::Pending => &self.pending,
        }
        .as_ref()
        .filter(|delivery| delivery.accepted.is_none())
        .map(|delivery| delivery.next)
    }

    /// It is there: an authentic message came from it.
    pub(super) fn seen(&mut self) {
        self.gone_since = None;
    }

    pub(super) fn renewed(&mut self, now: Timestamp) {
        self.lease_until = now + LEASE;
    }

    pub(super) fn gone(&mut self, now: Timestamp) {
        self.gone_since.get_or_insert(now);
    }

    /// When it counts as gone, and whether that is because its lease ran out.
    pub(super) fn expires(&self) -> (Timestamp, bool) {
        match self.gone_since.map(|since| since + GONE_GRACE) {
            Some(gone) if gone < self.lease_until => (gone, false),
            _ => (self.lease_until, true),
        }
    }

    /// Whether a key request may be answered now.
    pub(super) fn take_pull(&mut self, now: Timestamp) -> bool {
        let regained = now.since(self.last_pull).as_millis() / PULL_INTERVAL.as_millis();
        if regained > 0 {
            self.pulls = self.pulls.saturating_sub(u32::try_from(regained).unwrap_or(u32::MAX));
            self.last_pull = now;
        }
        let allowed = self.pulls < PULL_BURST;
        self.pulls += u32::from(allowed);
        allowed
    }
}

use std::{sync::Arc, time::Duration};

use super::{
    Effects, Event,
    rate::{Quota, RateLimit},
    retries::Retry,
    sessions::OutboundSession,
};
use crate::{
    device::{Pairwise, PairwiseError},
    primitives::{DeviceId, Position, StreamId, Timestamp},
    protocol::{
        Answers, MessageId, OfferHash, OlmCarrier, OlmMessage, PublicKey, RosterDigest, StreamKey,
        Subscribe,
    },
    sframe::CipherSuite,
};

/// A holder that does not renew for this long is removed.
const LEASE: Duration = Duration::from_secs(60);
/// A vanished holder is removed after this long.
const GONE_GRACE: Duration = Duration::from_secs(5);
/// Answers to key requests of one device.
const PULLS: Quota = Quota { interval: Duration::from_secs(2), burst: 3 };
/// So long after a key was sent the same `Subscribe` again asks for nothing: the answer is on its
/// way, and if it was lost, it is sent again without being asked for.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// An unanswered key of a holder that turns out to be there was lost so often, and is sent anew.
const LOST_AFTER: usize = 3;

/// The handover of one generation's key to one holder.
#[derive(Debug)]
struct Delivery {
    share: MessageId,
    position: Position,
    retry: Retry,
    /// Whether it was accepted, once the holder has said so.
    accepted: Option<bool>,
}

/// A device that holds the key, or is about to.
#[derive(Debug)]
pub(super) struct Holder {
    pub(super) device: DeviceId,
    pub(super) curve25519: PublicKey,
    // Boxed, as they never grow: there may be many holders.
    pub(super) name: Box<str>,
    pub(super) claim: Box<str>,
    /// The one-time key of the `Subscribe` by which it came.
    pub(super) one_time_key: PublicKey,
    // Boxed, since holders move, and an Olm session is large.
    olm: Box<Pairwise>,
    /// What that `Subscribe` was answered with: the same question gets the same bytes.
    answer: Box<[u8]>,
    sent_at: Timestamp,
    pulls: RateLimit,
    lease_until: Timestamp,
    /// The ticket that prolongs the lease next; 0 for the first time.
    ticket: MessageId,
    gone_since: Option<Timestamp>,
    /// Whether our application was told of it: with the first key, whatever brings that.
    announced: bool,
    exposed: bool,
    exposed_to_pending: bool,
    current: Option<Delivery>,
    pending: Option<Delivery>,
}

/// Which generation a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Current,
    Pending,
}

/// What every handover of a stream has in common.
#[derive(Clone, Copy)]
pub(super) struct Handover {
    pub(super) stream: StreamId,
    pub(super) suite: CipherSuite,
    pub(super) offer: OfferHash,
    pub(super) roster: RosterDigest,
}

impl Holder {
    /// The holder that came by a `Subscribe`.
    pub(super) fn new(
        device: DeviceId,
        subscribe: Subscribe,
        olm: Pairwise,
        now: Timestamp,
    ) -> Self {
        let Subscribe { curve25519, one_time_key, name, claim, .. } = subscribe;
        Self {
            device,
            curve25519,
            name: name.into(),
            claim: claim.into(),
            one_time_key,
            olm: Box::new(olm),
            answer: Box::default(),
            sent_at: now,
            pulls: RateLimit::default(),
            lease_until: now + LEASE,
            ticket: 0,
            gone_since: None,
            announced: false,
            exposed: false,
            exposed_to_pending: false,
            current: None,
            pending: None,
        }
    }

    /// Takes over what an earlier subscription of the same device was sent: it can still read with
    /// it, so its leaving must count. The delivery is not repeated, the new one replaces it.
    pub(super) fn follows(&mut self, before: &Self) {
        self.exposed = before.exposed;
        self.exposed_to_pending = before.exposed_to_pending;
        self.pulls = before.pulls;
        // Our application knows of it, and it reads on from where it could before.
        self.announced = before.announced;
    }

    /// Whether any key was sent to it, acked or not. Only then does its leaving need a rotation.
    pub(super) fn is_exposed(&self) -> bool {
        self.exposed
    }

    /// Whether the generation that is not in use yet was sent to it.
    pub(super) fn is_exposed_to_pending(&self) -> bool {
        self.exposed_to_pending
    }

    /// Whether it came after the last step, and waits for the next one.
    pub(super) fn is_newcomer(&self) -> bool {
        self.current.is_none()
    }

    /// Whether the generation that is not in use yet is not even owed to it.
    pub(super) fn lacks_pending(&self) -> bool {
        self.pending.is_none()
    }

    /// The position it confirmed, of the generation in use.
    pub(super) fn confirmed(&self) -> Option<Position> {
        self.current.as_ref().filter(|d| d.accepted == Some(true)).map(|d| d.position)
    }

    /// Whether it need not be waited for: it has the pending key, or refuses to have it.
    pub(super) fn has_answered_pending(&self) -> bool {
        self.pending.as_ref().is_some_and(|delivery| delivery.accepted.is_some())
    }

    /// A key is to be handed to it, from now on.
    pub(super) fn owe(&mut self, fx: &mut Effects<'_>, which: Which) {
        let (share, retry) = (fx.random_id(), Retry::now(fx.now));
        let position = Position::default();
        *self.delivery(which) = Some(Delivery { share, position, retry, accepted: None });
    }

    /// The pending generation came into use. A newcomer still waits for a step of its own.
    pub(super) fn promote(&mut self) {
        self.exposed_to_pending = false;
        let pending = self.pending.take();
        if !self.is_newcomer() && pending.is_some() {
            self.current = pending;
        }
    }

    /// The pending generation was voided.
    pub(super) fn void_pending(&mut self) {
        self.exposed_to_pending = false;
        self.pending = None;
    }

    /// What its `Subscribe` was answered with, for the same question again.
    pub(super) fn repeat_answer(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        if self.answer.is_empty() || now.since(self.sent_at) < ON_ITS_WAY {
            return None;
        }
        self.sent_at = now;
        Some(self.answer.to_vec())
    }

    /// Sends `session` at the step it is at now.
    pub(super) fn hand_over(
        &mut self,
        fx: &mut Effects<'_>,
        handover: Handover,
        session: &OutboundSession,
        which: Which,
        answers: Option<Answers>,
    ) {
        if self.delivery(which).is_none() {
            self.owe(fx, which);
        }
        let (position, Handover { stream, suite, offer, roster }) = (session.position(), handover);
        let Some(delivery) = self.delivery(which) else { return };
        if delivery.accepted != Some(true) {
            delivery.position = position;
        }
        delivery.retry.sent(fx);
        let share = delivery.share;
        self.sent_at = fx.now;
        self.exposed = true;
        self.exposed_to_pending |= which == Which::Pending;
        let sent = fx.send_olm(
            &mut self.olm,
            OlmMessage::StreamKey(StreamKey {
                share,
                position,
                session_key: Arc::clone(session.session_key()),
                suite,
                offer,
                answers: answers.unwrap_or(Answers::OneTimeKey(self.one_time_key)),
                roster,
            }),
        );
        if self.answer.is_empty() {
            self.answer = sent.into();
        }
        if !self.announced {
            self.announced = true;
            let (device, name, claim) =
                (self.device, self.name.to_string(), self.claim.to_string());
            fx.event(Event::HolderJoined { stream, device, name, claim, position });
        }
    }

    fn delivery(&mut self, which: Which) -> &mut Option<Delivery> {
        match which {
            Which::Current => &mut self.current,
            Which::Pending => &mut self.pending,
        }
    }

    /// What is owed to it now. A newcomer gets the next generation's key together with its first
    /// one, of its own step, and not before: what it is announced with is the first it can read.
    fn owed(&self, which: Which) -> Option<&Delivery> {
        let delivery = match which {
            Which::Current => self.current.as_ref(),
            Which::Pending => self.pending.as_ref().filter(|_| !self.is_newcomer()),
        };
        delivery.filter(|delivery| delivery.accepted.is_none())
    }

    fn unanswered(&mut self) -> impl Iterator<Item = &mut Delivery> {
        [&mut self.current, &mut self.pending]
            .into_iter()
            .flatten()
            .filter(|delivery| delivery.accepted.is_none())
    }

    /// Sends it something that is no key.
    pub(super) fn tell(&mut self, fx: &mut Effects<'_>, message: OlmMessage) {
        fx.send_olm(&mut self.olm, message);
    }

    /// Reads a message of it.
    pub(super) fn read(
        &mut self,
        carrier: &OlmCarrier,
        now: Timestamp,
    ) -> Result<OlmMessage, PairwiseError> {
        let message = self.olm.open(carrier)?;
        self.is_there(now);
        Ok(message)
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

    /// Whether the key of this generation must be sent now.
    pub(super) fn is_due(&self, which: Which, now: Timestamp) -> bool {
        self.owed(which).is_some_and(|delivery| delivery.retry.is_due(now))
    }

    /// When something must be done about it.
    pub(super) fn poll_timeout(&self) -> Timestamp {
        [Which::Current, Which::Pending]
            .into_iter()
            .filter_map(|which| self.owed(which))
            .map(|delivery| delivery.retry.at())
            .fold(self.expires().0, Timestamp::min)
    }

    /// It is there: an authentic message came from it, or whoever carries them says so.
    pub(super) fn is_there(&mut self, now: Timestamp) {
        self.gone_since = None;
        self.retry_soon(now);
    }

    /// What was sent to it may have been lost.
    pub(super) fn retry_soon(&mut self, now: Timestamp) {
        self.unanswered()
            .filter(|delivery| delivery.retry.attempts() >= LOST_AFTER)
            .for_each(|delivery| delivery.retry.restart(now));
    }

    /// Prolongs the lease, if it has the right ticket. Returns the one for the next time: `new`,
    /// or the same again if its last answer was lost.
    pub(super) fn renew(&mut self, ticket: MessageId, new: MessageId, now: Timestamp) -> MessageId {
        if ticket == self.ticket {
            self.lease_until = now + LEASE;
            self.ticket = new;
        }
        self.ticket
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

    /// Takes one answer to a key request.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub(super) fn take_pull(&mut self, now: Timestamp) -> Result<(), Duration> {
        self.pulls.take(PULLS, now)
    }
}

#[cfg(test)]
pub(super) mod tests;

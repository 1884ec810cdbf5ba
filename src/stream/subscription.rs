//! The subscriber's side of one stream.

use std::{collections::VecDeque, time::Duration};

use super::{
    Effects, Event, Hoard, Offer, Output, Recipient, StreamCode, SubscriptionState,
    SubscriptionStatus, base_key::Scope, retries::Retry, sessions::InboundSession,
};
use crate::{
    device::{Between, Pairwise, PairwiseError, TrustStore},
    media::{FrameDecryptor, RingState, SharedKeyRing},
    primitives::{Position, RoomKeys, StreamRef, Timestamp, TrackId},
    protocol::{
        Answers, Kind, MessageId, OfferHash, OlmCarrier, OlmMessage, PublicKey, Renew, Renewed,
        RosterDigest, StreamKey, StreamKeyAck, StreamKeyRequest, StreamKeyWithheld, StreamOffer,
        Subscribe, Unsubscribe, WithheldCode,
    },
};

/// How long a key may be missing before it is asked for, from when that was noticed.
const ASK_AFTER: Duration = Duration::from_millis(100);
/// Unanswered requests after which the subscription begins anew: 4 s. The Olm session may be
/// broken, or the publisher have removed us without our hearing of it.
const BEGIN_ANEW_AFTER: usize = 5;
/// The longest pause after answers that did not help: frames can be forged.
const MAX_FRUITLESS_PAUSE: Duration = Duration::from_secs(8);
/// Sessions whose ids are remembered.
const MAX_SEEN: usize = 256;
/// When the user is told that no answer comes, …
const UNANSWERED_AFTER: Duration = Duration::from_secs(5);
/// … or that a key does not.
const MISSING_AFTER: Duration = Duration::from_secs(2);
/// How often a subscriber says that it is still here.
const RENEW_INTERVAL: Duration = Duration::from_secs(20);
/// Without an answer for this long, nothing is rendered.
const STALL_AFTER: Duration = Duration::from_secs(60);
/// The shortest time after which a publisher may have us send the next `Subscribe` …
const MIN_RETRY_AFTER: Duration = Duration::from_millis(500);
/// … and the longest.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
/// How often the slots are looked at for keys that are missing. Together with [`ASK_AFTER`], a key
/// is asked for 100 to 350 ms after the first frame that needed it, 225 ms in the mean.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// A stream that this device receives.
pub(crate) struct Subscription {
    keys: RoomKeys,
    stream: StreamRef,
    offer: StreamOffer,
    offer_hash: OfferHash,
    claim: String,
    ring: SharedKeyRing,
    sessions: Vec<InboundSession>,
    /// The ids of the last sessions taken in, those that have expired included: none comes again
    /// as another generation.
    seen: VecDeque<String>,
    olm: Option<Olm>,
    asking: Asking,
    pull: Pull,
    lease: Lease,
    /// When the publisher last confirmed that we belong; `None` before the first key.
    confirmed_at: Option<Timestamp>,
    /// Who holds the key, as the publisher says: the newest that came, by whichever way.
    roster: Option<RosterDigest>,
    /// How it does, and since when.
    status: (SubscriptionStatus, Timestamp),
    /// Why it is over, if the publisher said so.
    closed: Option<WithheldCode>,
    look_at: Timestamp,
    hoard: Option<Hoard>,
}

/// The session with the publisher, and the one-time key of the `Subscribe` by which it came.
struct Olm {
    session: Pairwise,
    one_time_key: PublicKey,
}

/// The `Subscribe` that is on its way, or was answered.
struct Asking {
    one_time_key: PublicKey,
    bytes: Vec<u8>,
    /// When it was begun to ask.
    since: Timestamp,
    /// When the first question was sent that is not answered.
    unanswered: Option<Timestamp>,
    /// Whether the user was told that no answer comes.
    told: bool,
    next: Next,
    /// Why the last answer was no key; it stays true while we ask again.
    deferred: Option<WithheldCode>,
}

#[derive(Clone, Copy)]
enum Next {
    /// It was answered.
    Nothing,
    Repeat(Retry),
    /// The publisher gives no key now, or no `Subscribe` could be made.
    Anew(Timestamp),
}

/// Getting a key that is missing.
#[derive(Default)]
struct Pull {
    /// The `StreamKeyRequest` that is on its way.
    request: Option<(MessageId, Retry)>,
    /// Answers in a row that brought nothing new, and how long none is asked for therefore.
    fruitless: u32,
    pause_until: Timestamp,
    /// Whether the user was told that the key does not come, and since when it has been missing.
    told: Option<Timestamp>,
}

/// The proof that we are still here, and that we still belong.
struct Lease {
    ticket: MessageId,
    renew_at: Timestamp,
    /// The `Renew` that is on its way.
    renewal: Option<(MessageId, Retry)>,
}

impl Subscription {
    /// Asks the publisher of `offer` for its key. `None` if the device can make no one-time key.
    pub(crate) fn new(
        fx: &mut Effects<'_>,
        sequence: &mut u64,
        keys: RoomKeys,
        offer: Offer,
        claim: String,
        hoard: Option<Hoard>,
    ) -> Option<Self> {
        let mut subscription = Self {
            keys,
            stream: offer.stream,
            offer: offer.content,
            offer_hash: offer.hash,
            claim,
            ring: SharedKeyRing::default(),
            sessions: Vec::new(),
            seen: VecDeque::new(),
            olm: None,
            asking: Asking {
                one_time_key: fx.identity.one_time_key()?,
                bytes: Vec::new(),
                since: fx.now,
                unanswered: None,
                told: false,
                next: Next::Nothing,
                deferred: None,
            },
            pull: Pull::default(),
            lease: Lease { ticket: 0, renew_at: fx.now + RENEW_INTERVAL, renewal: None },
            confirmed_at: None,
            roster: None,
            status: (SubscriptionStatus::Asking, fx.now),
            closed: None,
            look_at: fx.now,
            hoard,
        };
        subscription.subscribe(fx, sequence);
        Some(subscription)
    }

    pub(crate) fn room_keys(&self) -> &RoomKeys {
        &self.keys
    }

    pub(crate) fn offer(&self) -> &StreamOffer {
        &self.offer
    }

    pub(crate) fn decryptor(&self, track: TrackId) -> Option<FrameDecryptor> {
        let offered = self.offer.tracks.iter().find(|offered| offered.id == track)?;
        Some(FrameDecryptor::new(offered.codec, self.ring.clone(), track))
    }

    fn position(&self) -> Option<Position> {
        self.ring.lock().head()
    }

    /// Where it is, and how it does.
    pub(crate) fn state(&self, trust: &TrustStore) -> SubscriptionState {
        let (position, opened) = {
            let ring = self.ring.lock();
            (ring.head(), ring.opened())
        };
        let (status, since) = self.status;
        SubscriptionState {
            position,
            opened,
            status,
            since,
            holders: self.roster.map(|roster| roster.holders),
            roster_version: self.roster.map(|roster| roster.version),
            name: self.offer.name.clone(),
            known: trust.get(&self.stream.publisher).cloned(),
        }
    }

    fn status(&self) -> SubscriptionStatus {
        match (self.ring.lock().state(), self.asking.deferred) {
            (RingState::Closed, _) => SubscriptionStatus::Closed(self.closed),
            (_, Some(code)) => SubscriptionStatus::Deferred(code),
            (RingState::Stalled, _) => SubscriptionStatus::Stalled,
            _ if self.asking.told => SubscriptionStatus::Unanswered,
            _ if self.confirmed_at.is_none() => SubscriptionStatus::Asking,
            _ if self.pull.told.is_some() => SubscriptionStatus::KeyMissing,
            _ => SubscriptionStatus::Live,
        }
    }

    /// Notes how it does, after anything that may have changed that. What was going on for a while
    /// before it got its name counts from its beginning.
    fn note_status(&mut self, now: Timestamp) {
        let status = self.status();
        if status == self.status.0 {
            return;
        }
        let since = match status {
            SubscriptionStatus::Asking | SubscriptionStatus::Unanswered => self.asking.since,
            SubscriptionStatus::KeyMissing => self.pull.told.unwrap_or(now),
            SubscriptionStatus::Stalled => self.confirmed_at.unwrap_or(now),
            _ => now,
        };
        self.status = (status, since);
    }

    /// The code of the session that the publisher uses, or will use next, and of those whom it says
    /// to hold it.
    pub(crate) fn code(&self) -> Option<StreamCode> {
        let generation = self.position()?.generation;
        let session = self.sessions.iter().find(|held| held.generation() == generation)?;
        session.code(self.roster.as_ref()?)
    }

    fn hear_of_roster(&mut self, told: RosterDigest) {
        if self.roster.is_none_or(|known| known.version < told.version) {
            self.roster = Some(told);
        }
    }

    /// Whether a publisher ever answered with a key.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed_at.is_some()
    }

    /// Whether it is over for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.ring.lock().state() == RingState::Closed
    }

    /// Leaves: the publisher is told, and every key is dropped.
    pub(crate) fn unsubscribe(self, fx: &mut Effects<'_>, sequence: &mut u64) {
        let unsubscribe =
            Unsubscribe { stream: self.stream.stream, sequence: next_sequence(sequence, fx.now) };
        let to = Recipient::Device(self.stream.publisher);
        fx.send_signed(to, &self.keys, Kind::Unsubscribe, &unsubscribe);
        self.close(fx);
    }

    /// The stream is over: every key is dropped.
    pub(crate) fn close(mut self, fx: &mut Effects<'_>) {
        self.shut(fx);
    }

    fn shut(&mut self, fx: &mut Effects<'_>) {
        self.ring.set_state(RingState::Closed);
        self.sessions.clear();
        self.olm = None;
        self.asking.next = Next::Nothing;
        self.pull = Pull::default();
        fx.identity.forget_one_time_key(self.asking.one_time_key);
        self.note_status(fx.now);
    }

    fn subscribe(&mut self, fx: &mut Effects<'_>, sequence: &mut u64) {
        let subscribe = Subscribe {
            stream: self.stream.stream,
            curve25519: fx.identity.curve25519(),
            one_time_key: self.asking.one_time_key,
            sequence: next_sequence(sequence, fx.now),
            name: fx.identity.name().to_owned(),
            claim: self.claim.clone(),
        };
        let to = Recipient::Device(self.stream.publisher);
        self.asking.bytes = fx.send_signed(to, &self.keys, Kind::Subscribe, &subscribe).to_vec();
        let mut retry = Retry::now(fx.now);
        retry.sent(fx);
        self.asking.next = Next::Repeat(retry);
        self.asking.unanswered = Some(fx.now);
    }

    /// A new `Subscribe` with a new one-time key: what mends a broken session as well.
    fn subscribe_anew(&mut self, fx: &mut Effects<'_>, sequence: &mut u64) {
        self.asking.since = fx.now;
        self.asking.next = Next::Anew(fx.now + Duration::from_secs(1));
        self.pull.request = None;
        let Some(one_time_key) = fx.identity.one_time_key() else { return };
        fx.identity.forget_one_time_key(self.asking.one_time_key);
        self.asking.one_time_key = one_time_key;
        self.subscribe(fx, sequence);
    }

    /// A message of the publisher, under our subscription's Olm session.
    ///
    /// # Errors
    /// If it cannot be read, or is none that a publisher sends. Nothing changed then.
    pub(crate) fn handle_olm(
        &mut self,
        fx: &mut Effects<'_>,
        carrier: &OlmCarrier,
    ) -> Result<(), PairwiseError> {
        if self.is_closed() {
            return Err(PairwiseError::Session);
        }
        let known = match &mut self.olm {
            Some(olm) => olm.session.open(carrier),
            None => Err(PairwiseError::Session),
        };
        let message = match known {
            Ok(message) => message,
            // Not of the session we have: the answer to a new `Subscribe` begins another one.
            Err(PairwiseError::Session) => {
                let (us, peer) = (fx.identity.device(), self.stream.publisher);
                let (room, stream) = (self.keys.room(), self.stream);
                let between = Between { room, stream, us, peer };
                let (curve, ours) = (self.offer.curve25519, self.asking.one_time_key);
                let (session, message) =
                    Pairwise::inbound(fx.identity, between, curve, ours, carrier)?;
                self.olm = Some(Olm { session, one_time_key: ours });
                // The lease begins anew as well.
                self.lease.ticket = 0;
                self.lease.renewal = None;
                message
            }
            Err(error) => return Err(error),
        };
        match message {
            OlmMessage::StreamKey(key) => self.handle_stream_key(fx, &key),
            OlmMessage::Renewed(renewed) => self.handle_renewed(fx, &renewed),
            _ => return Err(PairwiseError::Misdirected),
        }
        self.note_status(fx.now);
        Ok(())
    }

    fn handle_renewed(&mut self, fx: &mut Effects<'_>, renewed: &Renewed) {
        let is_answer = self.lease.renewal.is_some_and(|(nonce, _)| nonce == renewed.nonce);
        if is_answer && renewed.offer == self.offer_hash {
            self.lease.renewal = None;
            self.lease.ticket = renewed.ticket;
            self.lease.renew_at = fx.now + fx.jitter(RENEW_INTERVAL);
            self.hear_of_roster(renewed.roster);
            self.confirm(fx);
            self.advance(fx, renewed.position);
        }
    }

    fn handle_stream_key(&mut self, fx: &mut Effects<'_>, key: &StreamKey) {
        let session = self.judge(key);
        let accepted = session.is_some();
        let before = self.position();
        let is_new = matches!(session, Some(Some(_)));
        if let Some(new) = session.flatten() {
            if let Some(hoard) = &self.hoard
                && let Some(copy) = self.session(key)
            {
                hoard.add(copy);
            }
            self.ring.lock().install(key.position, Box::new(new.clone()), fx.now);
            if self.seen.len() >= MAX_SEEN {
                self.seen.pop_front();
            }
            self.seen.push_back(new.session_id());
            self.sessions.push(new);
            let (stream, position) = (self.stream, key.position);
            fx.event(Event::KeyReceived { stream, position });
        }
        if accepted {
            self.hear_of_roster(key.roster);
            self.advance(fx, key.position);
            let answers_us = match key.answers {
                Answers::OneTimeKey(key) => key == self.asking.one_time_key,
                Answers::Request(_) => true,
            };
            if answers_us {
                self.asking.next = Next::Nothing;
                self.asking.unanswered = None;
                self.asking.told = false;
                self.asking.deferred = None;
            }
            let is_news = is_new || before != self.position();
            let was_asked_for = self.pulled(fx, is_news);
            self.ring.lock().forget_missing();
            // A repetition may have been held back for long, and confirms nothing.
            if is_news || was_asked_for {
                self.confirm(fx);
            }
        }
        let ack = OlmMessage::StreamKeyAck(StreamKeyAck { share: key.share, accepted });
        if let Some(olm) = &mut self.olm {
            fx.send_olm(&mut olm.session, ack);
        }
    }

    /// A key came; returns whether it was asked for. After answers that did not help, keys are asked
    /// for less and less: the frames that made us ask may be forged.
    fn pulled(&mut self, fx: &Effects<'_>, is_news: bool) -> bool {
        let was_asked_for = self.pull.request.take().is_some();
        if is_news {
            self.pull = Pull::default();
        } else if was_asked_for {
            let pause = Duration::from_secs(1 << self.pull.fruitless.min(3));
            self.pull.fruitless += 1;
            self.pull.pause_until = fx.now + pause.min(MAX_FRUITLESS_PAUSE);
        }
        was_asked_for
    }

    /// Whether a key may be accepted: `None` if not, `Some(None)` if it is one we have already,
    /// else its session. That it came from the publisher, for us and about this stream, Olm has
    /// established.
    fn judge(&self, key: &StreamKey) -> Option<Option<InboundSession>> {
        let answered = match key.answers {
            // Also the one of before, while a new one is not answered yet: we are a holder still.
            Answers::OneTimeKey(key) => {
                key == self.asking.one_time_key
                    || self.olm.as_ref().is_some_and(|olm| olm.one_time_key == key)
            }
            Answers::Request(id) => self.pull.request.is_some_and(|(asked, _)| asked == id),
        };
        if !answered || key.offer != self.offer_hash {
            return None;
        }
        let session = self.session(key)?;
        if session.first_index() != u32::from(key.position.step.get()) {
            return None;
        }
        let (id, generation) = (session.session_id(), key.position.generation);
        if let Some(known) = self.sessions.iter().find(|known| known.session_id() == id) {
            return (known.generation() == generation).then_some(None);
        }
        let is_new = !self.seen.contains(&id) && self.ring.lock().accepts(generation);
        is_new.then_some(Some(session))
    }

    fn session(&self, key: &StreamKey) -> Option<InboundSession> {
        let bytes = key.session_key.expose();
        InboundSession::new(bytes, key.position.generation, self.scope(key))
    }

    fn scope(&self, key: &StreamKey) -> Scope {
        Scope { room: self.keys.room(), stream: self.stream, suite: key.suite }
    }

    /// The publisher says that we belong.
    fn confirm(&mut self, fx: &mut Effects<'_>) {
        self.confirmed_at = Some(fx.now);
        let state = self.ring.lock().state();
        if state == RingState::Stalled {
            self.ring.set_state(RingState::Live);
            fx.event(Event::Resumed { stream: self.stream });
        }
    }

    /// A beacon. It is authentic if one of our sessions opens it.
    pub(crate) fn handle_beacon(&mut self, fx: &mut Effects<'_>, message: &[u8]) -> bool {
        let Some(beacon) = self.sessions.iter().rev().find_map(|s| s.open_beacon(message)) else {
            return false;
        };
        let position = Position { generation: beacon.generation, step: beacon.step };
        self.hear_of_roster(beacon.roster);
        self.advance(fx, position);
        self.note_status(fx.now);
        true
    }

    /// The publisher says where the stream is. Whoever drops its beacons must not hold up the
    /// forgetting of old steps with that, so everything that says it counts.
    fn advance(&mut self, fx: &mut Effects<'_>, position: Position) {
        let before = self.position();
        self.ring.lock().announce(position, fx.now);
        if self.position() != before {
            fx.event(Event::Advanced { stream: self.stream, position });
        }
    }

    /// A signed refusal or removal. One that answers something else, an old one for instance,
    /// says nothing.
    pub(crate) fn handle_withheld(&mut self, fx: &mut Effects<'_>, withheld: &StreamKeyWithheld) {
        if self.is_closed() {
            return;
        }
        let after = withheld
            .retry_after_ms
            .map(|ms| Duration::from_millis(ms.into()).clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER));
        match withheld.answers {
            Answers::OneTimeKey(key) if key == self.asking.one_time_key => {}
            Answers::Request(id) => {
                if let Some((asked, retry)) = &mut self.pull.request
                    && *asked == id
                    && let Some(after) = after
                {
                    // It is heard: no reason to begin anew.
                    *retry = Retry::now(fx.now);
                    retry.wait(after, fx.now);
                }
                return;
            }
            Answers::OneTimeKey(_) => return,
        }
        let code = withheld.code;
        match (after, &mut self.asking.next) {
            // The same once more: that must not put it off.
            (Some(_), Next::Anew(..)) => return,
            // It was said before the key that has come.
            (Some(_), Next::Nothing) if is_noted(code) || code == WithheldCode::Busy => return,
            // The question is noted, and the same again is to have the answer, should that be lost.
            (Some(after), Next::Repeat(retry)) if is_noted(code) => {
                let is_repetition = self.asking.unanswered.is_none();
                if is_repetition && self.asking.deferred == Some(code) {
                    return;
                }
                retry.wait(after, fx.now);
            }
            (Some(after), next) => *next = Next::Anew(fx.now + after),
            (None, _) => {
                self.closed = Some(code);
                self.shut(fx);
            }
        }
        // Of a question that is noted the user hears once.
        let is_news = !is_noted(code) || self.asking.deferred != Some(code);
        self.asking.deferred = after.map(|_| code);
        self.asking.unanswered = None;
        self.asking.told = false;
        self.note_status(fx.now);
        if !is_news {
            return;
        }
        fx.event(Event::Withheld { stream: self.stream, code, retrying: after.is_some() });
    }

    /// The publisher can be reached again: what was sent before was lost.
    pub(crate) fn retry_soon(&mut self, now: Timestamp) {
        let asking = match &mut self.asking.next {
            Next::Repeat(retry) => Some(retry),
            _ => None,
        };
        let request = self.pull.request.as_mut().map(|(_, retry)| retry);
        let renewal = self.lease.renewal.as_mut().map(|(_, retry)| retry);
        asking.into_iter().chain(request).chain(renewal).for_each(|retry| retry.restart(now));
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        if self.is_closed() {
            return None;
        }
        let asking = match self.asking.next {
            Next::Nothing => None,
            Next::Repeat(retry) => Some(retry.at()),
            Next::Anew(at) => Some(at),
        };
        let ring = self.ring.lock().poll_timeout();
        Some([asking, ring].into_iter().flatten().fold(self.look_at, Timestamp::min))
    }

    pub(crate) fn handle_timeout(&mut self, fx: &mut Effects<'_>, sequence: &mut u64) {
        if self.is_closed() {
            return;
        }
        self.look_at = fx.now + POLL_INTERVAL;
        self.ring.lock().handle_timeout(fx.now);
        self.drop_expired_sessions();
        self.ask_again(fx, sequence);
        self.keep_up(fx, sequence);
        self.note_status(fx.now);
    }

    /// Sees to it that keys and confirmations come.
    fn keep_up(&mut self, fx: &mut Effects<'_>, sequence: &mut u64) {
        let Some(confirmed_at) = self.confirmed_at else { return };
        if !matches!(self.asking.next, Next::Anew(..)) {
            self.ask_for_missing_key(fx, sequence);
            self.renew(fx);
        }
        if fx.now.since(confirmed_at) >= STALL_AFTER && self.ring.lock().state() == RingState::Live
        {
            self.ring.set_state(RingState::Stalled);
            fx.event(Event::Stalled { stream: self.stream });
            // Perhaps the publisher lost our session, or removed us without our hearing of it.
            if matches!(self.asking.next, Next::Nothing) {
                self.subscribe_anew(fx, sequence);
            }
        }
    }

    fn ask_again(&mut self, fx: &mut Effects<'_>, sequence: &mut u64) {
        match &mut self.asking.next {
            Next::Repeat(retry) if retry.is_due(fx.now) => {
                retry.sent(fx);
                self.asking.unanswered.get_or_insert(fx.now);
                let bytes = self.asking.bytes.clone();
                let to = Recipient::Device(self.stream.publisher);
                fx.outputs.push_back(Output::Send { to, bytes });
            }
            Next::Anew(at) if *at <= fx.now => self.subscribe_anew(fx, sequence),
            _ => {}
        }
        let unanswered = self.asking.unanswered;
        if !self.asking.told
            && unanswered.is_some_and(|since| fx.now.since(since) >= UNANSWERED_AFTER)
        {
            self.asking.told = true;
            self.asking.deferred = None;
            fx.event(Event::Unanswered { stream: self.stream });
        }
    }

    /// Drops the sessions that the ring has let go.
    fn drop_expired_sessions(&mut self) {
        let ring = self.ring.lock();
        self.sessions.retain(|session| ring.holds(session.generation()));
    }

    fn renew(&mut self, fx: &mut Effects<'_>) {
        let (nonce, mut retry) = match self.lease.renewal {
            Some(renewal) => renewal,
            None if self.lease.renew_at <= fx.now => (fx.random_id(), Retry::now(fx.now)),
            None => return,
        };
        let Some(olm) = &mut self.olm else { return };
        if retry.is_due(fx.now) {
            retry.sent(fx);
            let renew = Renew { nonce, ticket: self.lease.ticket };
            fx.send_olm(&mut olm.session, OlmMessage::Renew(renew));
        }
        self.lease.renewal = Some((nonce, retry));
    }

    fn ask_for_missing_key(&mut self, fx: &mut Effects<'_>, sequence: &mut u64) {
        let (missing, held) = {
            let mut ring = self.ring.lock();
            (ring.missing(fx.now), ring.head())
        };
        let Some((key_id, since)) = missing else {
            self.pull.told = None;
            return;
        };
        if self.pull.told.is_none() && fx.now.since(since) >= MISSING_AFTER {
            self.pull.told = Some(since);
            fx.event(Event::KeyMissing { stream: self.stream });
        }
        if fx.now.since(since) < ASK_AFTER {
            self.look_at = self.look_at.min(since + ASK_AFTER);
            return;
        }
        if self.pull.pause_until > fx.now || !matches!(self.asking.next, Next::Nothing) {
            return;
        }
        // The same id until it is answered, so that an answer which takes its time still counts.
        let (request, mut retry) = match self.pull.request {
            Some(asked) => asked,
            None => (fx.random_id(), Retry::now(fx.now)),
        };
        let Some(olm) = &mut self.olm else { return };
        if !retry.is_due(fx.now) {
            return;
        }
        if retry.attempts() >= BEGIN_ANEW_AFTER {
            return self.subscribe_anew(fx, sequence);
        }
        retry.sent(fx);
        self.pull.request = Some((request, retry));
        let request = StreamKeyRequest { request, held, key_id: key_id.0 };
        fx.send_olm(&mut olm.session, OlmMessage::StreamKeyRequest(request));
    }
}

/// Whether a question was noted that is answered so, and waits for the publisher's user.
fn is_noted(code: WithheldCode) -> bool {
    code == WithheldCode::Asked
}

/// max(last + 1, unix ms): grows even if the clock does not, and after a restart as well.
fn next_sequence(last: &mut u64, now: Timestamp) -> u64 {
    *last = now.unix_millis().max(last.saturating_add(1));
    *last
}

/// Nobody would notice any more that this device was removed, so nothing opens from here on.
impl Drop for Subscription {
    fn drop(&mut self) {
        self.ring.set_state(RingState::Closed);
    }
}

//! The subscriber's side of one stream.

use std::time::Duration;

use super::{Effects, Event, Hoard, Offer, Recipient, base_key::Scope, sessions::InboundSession};
use crate::{
    device::{Pairwise, PairwiseError},
    media::{FrameDecryptor, RingState, SharedKeyRing},
    primitives::{Position, RoomKeys, StreamRef, Timestamp, TrackId},
    protocol::{
        Answers, Kind, MessageId, OlmCarrier, OlmMessage, PublicKey, Renew, StreamKey,
        StreamKeyAck, StreamKeyRequest, StreamKeyWithheld, StreamOffer, Subscribe, Unsubscribe,
    },
};

/// Waits between repeats of a `Subscribe` or a key request; the last one repeats.
const RETRIES_MS: [u64; 5] = [500, 1000, 2000, 4000, 8000];
/// How long a key may be missing before it is asked for, from when that was noticed.
const ASK_AFTER: Duration = Duration::from_millis(100);
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
    claim: String,
    ring: SharedKeyRing,
    sessions: Vec<InboundSession>,
    olm: Option<Pairwise>,
    asking: Asking,
    request: Option<Request>,
    renew_at: Timestamp,
    renewal: Option<MessageId>,
    /// When the publisher last confirmed that we belong; `None` before the first key.
    confirmed_at: Option<Timestamp>,
    look_at: Timestamp,
    hoard: Option<Hoard>,
}

/// The `Subscribe` that is on its way, or was answered.
struct Asking {
    one_time_key: PublicKey,
    bytes: Vec<u8>,
    attempts: usize,
    /// When it is repeated, or made anew; `None` once it is answered.
    next: Option<Next>,
}

#[derive(Clone, Copy)]
enum Next {
    Repeat(Timestamp),
    Anew(Timestamp),
}

/// A `StreamKeyRequest` that is on its way.
struct Request {
    id: MessageId,
    attempts: usize,
    next: Timestamp,
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
            claim,
            ring: SharedKeyRing::default(),
            sessions: Vec::new(),
            olm: None,
            asking: Asking {
                one_time_key: fx.identity.one_time_key()?,
                bytes: Vec::new(),
                attempts: 0,
                next: None,
            },
            request: None,
            renew_at: fx.now + RENEW_INTERVAL,
            renewal: None,
            confirmed_at: None,
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

    /// The newest position the publisher announced; `None` before the first key.
    pub(crate) fn position(&self) -> Option<Position> {
        self.ring.lock().head()
    }

    /// Frames opened so far, over all tracks.
    pub(crate) fn opened(&self) -> u64 {
        self.ring.lock().opened()
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
        self.asking.next = None;
        self.request = None;
        fx.identity.forget_one_time_key(self.asking.one_time_key);
    }

    fn subscribe(&mut self, fx: &mut Effects<'_>, sequence: &mut u64) {
        let subscribe = Subscribe {
            stream: self.stream.stream,
            curve25519: fx.identity.curve25519(),
            one_time_key: self.asking.one_time_key,
            sequence: next_sequence(sequence, fx.now),
            claim: self.claim.clone(),
        };
        let to = Recipient::Device(self.stream.publisher);
        self.asking.bytes = fx.send_signed(to, &self.keys, Kind::Subscribe, &subscribe);
        self.asking.attempts = 1;
        let wait = fx.jitter(Duration::from_millis(RETRIES_MS[0]));
        self.asking.next = Some(Next::Repeat(fx.now + wait));
    }

    /// A new `Subscribe` with a new one-time key: what mends a broken session as well.
    fn subscribe_anew(&mut self, fx: &mut Effects<'_>, sequence: &mut u64) {
        self.asking.next = Some(Next::Anew(fx.now + Duration::from_secs(1)));
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
        let room = self.keys.room();
        let known = match &mut self.olm {
            Some(olm) => olm.open(fx.identity, room, carrier),
            None => Err(PairwiseError::Session),
        };
        let message = match known {
            Ok(message) => message,
            // Not of the session we have: the answer to a new `Subscribe` begins another one.
            Err(PairwiseError::Session) => {
                let (peer, curve) = (self.stream.publisher, self.offer.curve25519);
                let ours = self.asking.one_time_key;
                let (olm, message) =
                    Pairwise::inbound(fx.identity, peer, curve, ours, room, carrier)?;
                self.olm = Some(olm);
                message
            }
            Err(error) => return Err(error),
        };
        match message {
            OlmMessage::StreamKey(key) => self.handle_stream_key(fx, &key),
            OlmMessage::Renewed(renewed) if self.renewal == Some(renewed.nonce) => {
                self.renewal = None;
                self.confirm(fx);
                self.advance(fx, renewed.position);
            }
            OlmMessage::Renewed(_) => {}
            _ => return Err(PairwiseError::Misdirected),
        }
        Ok(())
    }

    fn handle_stream_key(&mut self, fx: &mut Effects<'_>, key: &StreamKey) {
        let session = self.judge(key);
        let accepted = session.is_some();
        if let Some(new) = session.flatten() {
            if let Some(hoard) = &self.hoard {
                hoard.add(InboundSession::new(
                    &key.session_key,
                    key.position.generation,
                    self.scope(key),
                ));
            }
            self.ring.lock().install(key.position, Box::new(new.clone()), fx.now);
            self.sessions.push(new);
            let (stream, position) = (self.stream, key.position);
            fx.event(Event::KeyReceived { stream, position });
        }
        if accepted {
            self.advance(fx, key.position);
            self.offer = key.offer.clone();
            self.asking.next = None;
            self.request = None;
            self.ring.lock().forget_missing();
            self.confirm(fx);
        }
        let ack = OlmMessage::StreamKeyAck(StreamKeyAck { share: key.share, accepted });
        if let Some(olm) = &mut self.olm {
            fx.send_olm(olm, &self.keys, self.stream, ack);
        }
    }

    /// Whether a key may be accepted: `None` if not, `Some(None)` if it is one we have already,
    /// else its session. That it came from the publisher, Olm has established.
    fn judge(&self, key: &StreamKey) -> Option<Option<InboundSession>> {
        let answered = match key.answers {
            Answers::OneTimeKey(one_time_key) => one_time_key == self.asking.one_time_key,
            Answers::Request(id) => self.request.as_ref().is_some_and(|request| request.id == id),
        };
        let of_this_stream = key.stream == self.stream.stream
            && key.offer.stream == self.stream.stream
            && key.offer.curve25519 == self.offer.curve25519
            && key.offer.seq >= self.offer.seq;
        let session =
            InboundSession::new(&key.session_key, key.position.generation, self.scope(key));
        if !answered
            || !of_this_stream
            || session.first_index() != u32::from(key.position.step.get())
        {
            return None;
        }
        let id = session.session_id();
        let known = self.sessions.iter().find(|known| known.session_id() == id);
        if let Some(known) = known {
            return (known.generation() == key.position.generation).then_some(None);
        }
        let newer = |known: &InboundSession| key.position.generation > known.generation();
        self.sessions.iter().all(newer).then_some(Some(session))
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
        self.advance(fx, position);
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
        if withheld.answers != Answers::OneTimeKey(self.asking.one_time_key) || self.is_closed() {
            return;
        }
        let retry_after = withheld.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
        let retrying = retry_after.is_some();
        match retry_after {
            Some(after) => {
                self.asking.next =
                    Some(Next::Anew(fx.now + after.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER)));
            }
            None => self.shut(fx),
        }
        fx.event(Event::Withheld { stream: self.stream, code: withheld.code, retrying });
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        if self.is_closed() {
            return None;
        }
        let asking = self.asking.next.map(|next| match next {
            Next::Repeat(at) | Next::Anew(at) => at,
        });
        let renewing = self.confirmed_at.map(|_| self.renew_at);
        let ring = self.ring.lock().poll_timeout();
        Some([asking, renewing, ring].into_iter().flatten().fold(self.look_at, Timestamp::min))
    }

    pub(crate) fn handle_timeout(&mut self, fx: &mut Effects<'_>, sequence: &mut u64) {
        if self.is_closed() {
            return;
        }
        self.look_at = fx.now + POLL_INTERVAL;
        self.ring.lock().handle_timeout(fx.now);
        self.drop_expired_sessions();
        match self.asking.next {
            Some(Next::Repeat(at)) if at <= fx.now => {
                let bytes = self.asking.bytes.clone();
                let to = Recipient::Device(self.stream.publisher);
                fx.outputs.push_back(super::Output::Send { to, bytes });
                let wait = RETRIES_MS[self.asking.attempts.min(RETRIES_MS.len() - 1)];
                self.asking.attempts += 1;
                let wait = fx.jitter(Duration::from_millis(wait));
                self.asking.next = Some(Next::Repeat(fx.now + wait));
            }
            Some(Next::Anew(at)) if at <= fx.now => self.subscribe_anew(fx, sequence),
            _ => {}
        }
        let Some(confirmed_at) = self.confirmed_at else { return };
        self.ask_for_missing_key(fx);
        if self.renew_at <= fx.now {
            self.renew(fx);
        }
        if fx.now.since(confirmed_at) >= STALL_AFTER && self.ring.lock().state() == RingState::Live
        {
            self.ring.set_state(RingState::Stalled);
            fx.event(Event::Stalled { stream: self.stream });
            // Perhaps the publisher lost our session, or removed us without our hearing of it.
            self.subscribe_anew(fx, sequence);
        }
    }

    /// Drops the sessions that the ring has let go.
    fn drop_expired_sessions(&mut self) {
        let ring = self.ring.lock();
        self.sessions.retain(|session| ring.holds(session.generation()));
    }

    fn renew(&mut self, fx: &mut Effects<'_>) {
        self.renew_at = fx.now + fx.jitter(RENEW_INTERVAL);
        let nonce = fx.random_id();
        self.renewal = Some(nonce);
        if let Some(olm) = &mut self.olm {
            fx.send_olm(olm, &self.keys, self.stream, OlmMessage::Renew(Renew { nonce }));
        }
    }

    fn ask_for_missing_key(&mut self, fx: &mut Effects<'_>) {
        let (missing, held) = {
            let mut ring = self.ring.lock();
            (ring.missing(fx.now), ring.head())
        };
        let Some((key_id, since)) = missing else { return };
        if fx.now.since(since) < ASK_AFTER {
            self.look_at = self.look_at.min(since + ASK_AFTER);
            return;
        }
        if self.request.as_ref().is_some_and(|request| request.next > fx.now) {
            return;
        }
        let Some(olm) = &mut self.olm else { return };
        // The same id until it is answered, so that an answer which takes its time still counts.
        let id = self.request.as_ref().map_or_else(|| fx.random_id(), |request| request.id);
        let attempts = self.request.as_ref().map_or(1, |request| request.attempts + 1);
        let wait = fx.jitter(Duration::from_millis(RETRIES_MS[attempts.min(RETRIES_MS.len() - 1)]));
        self.request = Some(Request { id, attempts, next: fx.now + wait });
        let stream = self.stream.stream;
        let request = StreamKeyRequest { request: id, stream, held, key_id: key_id.0 };
        fx.send_olm(olm, &self.keys, self.stream, OlmMessage::StreamKeyRequest(request));
    }
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

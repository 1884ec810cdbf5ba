//! The publisher's side of one stream.

mod joins;
mod leaves;

use std::{sync::Arc, time::Duration};

use indexmap::IndexMap;

use super::{
    Admission, AskingState, Effects, Event, HolderState, Output, Recipient, RotationCause,
    StreamCode,
    admission::Applicant,
    base_key::Scope,
    census::Census,
    effects::signed,
    holder::{Handover, Holder, Which},
    rate::RateLimit,
    roster::Roster,
    rotation::Rotation,
    sessions::OutboundSession,
    visitors::Visitors,
};
use crate::{
    device::{Distrust, Identity, Look, PairwiseError, TrustStore},
    media::{EncryptorSlot, FrameEncryptor},
    primitives::{
        DeviceId, Generation, Position, RoomKeys, StreamId, StreamRef, Timestamp, TrackId,
    },
    protocol::{
        Answers, Carrier, Envelope, Kind, OfferHash, OlmCarrier, OlmMessage, PublicKey, Renewed,
        StreamEnd, StreamKeyRequest, StreamOffer, Subscribe, TrackOffer, WithheldCode,
    },
    sframe::CipherSuite,
};

/// A key encrypts this long before the stream steps.
const STEP_INTERVAL: Duration = Duration::from_secs(60);
/// A Megolm session serves this long before a fresh one takes its place.
const SESSION_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// Holders that are dealt with before other messages have their turn, and before a deadline is
/// looked at again: some 5 ms of work.
const HOLDERS_AT_ONCE: usize = 256;

/// What a publication is made from.
pub(crate) struct PublicationConfig {
    pub(crate) offer: StreamOffer,
    pub(crate) admission: Admission,
    pub(crate) suite: CipherSuite,
}

/// A stream that this device publishes.
///
/// `current` is the session that the encryptors use. While somebody's leaving is being dealt
/// with, `rotation` holds the session that will follow it.
pub(crate) struct Publication {
    keys: RoomKeys,
    scope: Scope,
    offer: StreamOffer,
    /// The offer, signed, and what names it.
    offer_bytes: Vec<u8>,
    offer_hash: OfferHash,
    admission: Admission,
    admissions: RateLimit,
    refusals: RateLimit,
    slots: Vec<(TrackId, FrameEncryptor, Arc<EncryptorSlot>)>,
    current: OutboundSession,
    next_generation: Generation,
    rotation: Option<Rotation>,
    step_at: Timestamp,
    session_expires: Timestamp,
    holders: Roster,
    /// Those of them who are told of: not who still waits for a first step.
    census: Census,
    /// Newcomers that wait for the next step, and when that is.
    newcomers: Vec<DeviceId>,
    join_at: Option<Timestamp>,
    /// Requests that the application has not answered yet.
    asking: IndexMap<DeviceId, Asker>,
    /// How often the application was asked.
    requests: u64,
    visitors: Visitors,
}

/// A device that waits for the application's answer.
struct Asker {
    subscribe: Subscribe,
    has_invite: bool,
    /// What its name looks like.
    looks: Vec<Look>,
    /// What speaks against it.
    distrust: Option<Distrust>,
    /// Which question to the application this is.
    request: u64,
    /// When it first asked, and when last.
    since: Timestamp,
    heard: Timestamp,
}

impl Asker {
    /// The question to the user.
    fn event(&self, stream: StreamId, device: DeviceId) -> Event {
        let Subscribe { name, claim, .. } = self.subscribe.clone();
        let (request, distrust) = (self.request, self.distrust);
        Event::JoinRequest { stream, device, request, name, claim, distrust }
    }

    fn applicant(&self, trust: &TrustStore, device: DeviceId) -> Applicant {
        Applicant::new(trust, device, &self.subscribe, self.has_invite)
    }

    /// What the user decides by.
    fn shown(&self) -> (&str, &str, PublicKey, Option<Distrust>) {
        let Subscribe { name, claim, curve25519, .. } = &self.subscribe;
        (name, claim, *curve25519, self.distrust)
    }
}

impl Publication {
    /// Starts a stream with a fresh session; its encryptors are ready at once.
    pub(crate) fn new(fx: &mut Effects<'_>, keys: RoomKeys, config: PublicationConfig) -> Self {
        let PublicationConfig { offer, admission, suite } = config;
        let stream = StreamRef { publisher: fx.identity.device(), stream: offer.stream };
        let scope = Scope { room: keys.room(), stream, suite };
        let slots = offer.tracks.iter().map(|track| {
            let slot = Arc::new(EncryptorSlot::default());
            (track.id, FrameEncryptor::new(track.codec, Arc::clone(&slot)), slot)
        });
        let (offer_bytes, offer_hash) = sign_offer(fx.identity, &keys, &offer);
        let publication = Self {
            slots: slots.collect(),
            keys,
            scope,
            offer,
            offer_bytes,
            offer_hash,
            admission,
            admissions: RateLimit::default(),
            refusals: RateLimit::default(),
            current: OutboundSession::new(Generation(0), scope),
            next_generation: Generation(1),
            rotation: None,
            step_at: fx.now + STEP_INTERVAL,
            session_expires: fx.now + SESSION_LIFETIME,
            holders: Roster::default(),
            census: Census::default(),
            newcomers: Vec::new(),
            join_at: None,
            asking: IndexMap::new(),
            requests: 0,
            visitors: Visitors::default(),
        };
        publication.install();
        publication.send_offer(fx);
        publication
    }

    pub(crate) fn set_admission(&mut self, admission: Admission) {
        self.admission = admission;
    }

    pub(crate) fn room_keys(&self) -> &RoomKeys {
        &self.keys
    }

    pub(crate) fn tracks(&self) -> &[TrackOffer] {
        &self.offer.tracks
    }

    pub(crate) fn encryptor(&self, track: TrackId) -> Option<FrameEncryptor> {
        self.slots.iter().find(|(id, ..)| *id == track).map(|(_, encryptor, _)| encryptor.clone())
    }

    pub(crate) fn position(&self) -> Position {
        self.current.position()
    }

    /// The code of the newest session that holders were sent, and of those who hold it.
    pub(crate) fn code(&self) -> Option<StreamCode> {
        let pending = self.rotation.as_ref().and_then(|rotation| rotation.minted.as_ref());
        pending.unwrap_or(&self.current).code(&self.census.digest())
    }

    /// Whether a device holds the key, or is about to.
    pub(crate) fn is_held_by(&self, device: DeviceId) -> bool {
        self.holders.get(device).is_some()
    }

    /// Those who wait for the application's answer, in the order in which they came.
    pub(crate) fn asking(&self, trust: &TrustStore) -> impl Iterator<Item = AskingState> {
        self.asking.iter().map(|(device, asker)| AskingState {
            device: *device,
            request: asker.request,
            name: asker.subscribe.name.clone(),
            claim: asker.subscribe.claim.clone(),
            known: trust.get(device).cloned(),
            distrust: asker.distrust,
            since: asker.since,
        })
    }

    /// Which question the application was asked about a device, if it waits for the answer.
    pub(crate) fn request(&self, device: DeviceId) -> Option<u64> {
        self.asking.get(&device).map(|asker| asker.request)
    }

    /// Whether anybody waits for the application's answer.
    pub(crate) fn is_asked(&self) -> bool {
        !self.asking.is_empty()
    }

    /// Whether a device waits for the application's answer.
    pub(crate) fn is_asked_by(&self, device: DeviceId) -> bool {
        self.asking.contains_key(&device)
    }

    pub(crate) fn holders(&self, trust: &TrustStore) -> impl Iterator<Item = HolderState> {
        self.holders.iter().map(|holder| HolderState {
            device: holder.device,
            name: holder.name.to_string(),
            known: trust.get(&holder.device).cloned(),
            claim: holder.claim.to_string(),
            confirmed: holder.confirmed(),
        })
    }

    /// The offer, signed.
    pub(crate) fn offer(&self) -> &[u8] {
        &self.offer_bytes
    }

    /// Sends the offer to the room, to be kept there.
    fn send_offer(&self, fx: &mut Effects<'_>) {
        let to = Recipient::RoomState(self.keys.room(), self.id());
        fx.outputs.push_back(Output::Send { to, bytes: self.offer_bytes.clone() });
    }

    /// Ends the stream: nothing is encrypted any more.
    pub(crate) fn end(self, fx: &mut Effects<'_>) {
        let to = Recipient::EndRoomState(self.keys.room(), self.id());
        fx.send_signed(to, &self.keys, Kind::StreamEnd, &StreamEnd { stream: self.id() });
    }

    /// A message of one of our subscribers, under the Olm session of its subscription.
    ///
    /// # Errors
    /// If it cannot be read, or is none that a subscriber sends. Nothing changed then.
    pub(crate) fn handle_olm(
        &mut self,
        fx: &mut Effects<'_>,
        sender: DeviceId,
        carrier: &OlmCarrier,
    ) -> Result<(), PairwiseError> {
        let now = fx.now;
        let Some(read) = self.holders.update(sender, |holder| holder.read(carrier, now)) else {
            self.remind(fx, sender, None);
            return Err(PairwiseError::Session);
        };
        match read? {
            OlmMessage::StreamKeyAck(ack) => {
                let acked = |holder: &mut Holder| holder.acked(ack.share, ack.accepted);
                if let Some(position) = self.holders.update(sender, acked).flatten() {
                    let (stream, device) = (self.id(), sender);
                    fx.event(Event::KeyConfirmed { stream, device, position });
                }
                self.switch_if_ready(fx);
            }
            OlmMessage::Renew(renew) => {
                let (position, offer, new) =
                    (self.current.position(), self.offer_hash, fx.random_id());
                let roster = self.census.announce();
                self.holders.update(sender, |holder| {
                    let ticket = holder.renew(renew.ticket, new, now);
                    let renewed = Renewed { nonce: renew.nonce, ticket, position, offer, roster };
                    holder.tell(fx, OlmMessage::Renewed(renewed));
                });
            }
            OlmMessage::StreamKeyRequest(request) => self.handle_request(fx, sender, &request),
            _ => return Err(PairwiseError::Misdirected),
        }
        Ok(())
    }

    /// A holder sees frames that it has no key for.
    fn handle_request(
        &mut self,
        fx: &mut Effects<'_>,
        device: DeviceId,
        request: &StreamKeyRequest,
    ) {
        // A newcomer that still waits for its step gets it then, and not the one before.
        if self.holders.get(device).is_none_or(Holder::is_newcomer) {
            return;
        }
        let (answers, now) = (Answers::Request(request.request), fx.now);
        let (handover, session) = (self.handover(), &self.current);
        let answered = self.holders.update(device, |holder| {
            holder.take_pull(now).map(|()| {
                holder.hand_over(fx, handover, session, Which::Current, Some(answers));
            })
        });
        if let Some(Err(wait)) = answered {
            self.send_withheld(fx, device, answers, WithheldCode::Busy, Some(wait));
        }
    }

    /// Somebody goes on as if it were a holder, or asks (again, with this one-time key) what was
    /// answered: perhaps it did not hear of its removal.
    fn remind(&mut self, fx: &mut Effects<'_>, device: DeviceId, asked: Option<PublicKey>) {
        if let Some(removed) = self.visitors.reminder(device, asked, fx.now) {
            self.tell_removed(fx, device, removed);
        }
    }

    /// A device's connection went away, or is back.
    pub(crate) fn handle_presence(&mut self, device: DeviceId, present: bool, now: Timestamp) {
        self.holders.update(
            device,
            |holder| {
                if present { holder.is_there(now) } else { holder.gone(now) }
            },
        );
    }

    /// Our own connection is back.
    pub(crate) fn handle_reconnect(&mut self, now: Timestamp) {
        self.holders.update_all(|holder| holder.retry_soon(now));
    }

    pub(crate) fn poll_timeout(&self) -> Timestamp {
        // An old session's end is due until a rotation, under way already, has replaced it.
        let rotation = self.rotation.as_ref().map_or(self.session_expires, Rotation::poll_timeout);
        [self.step_at, rotation]
            .into_iter()
            .chain(self.join_at)
            .chain(self.holders.poll_timeout())
            .min()
            .unwrap_or(self.step_at)
    }

    pub(crate) fn handle_timeout(&mut self, fx: &mut Effects<'_>) {
        self.expire_holders(fx);
        if self.session_expires <= fx.now && self.rotation.is_none() {
            self.rotation = Some(Rotation::new(RotationCause::Periodic, fx.now, fx.now));
        }
        self.drive_rotation(fx);
        self.drive_joins(fx);
        if self.step_at <= fx.now {
            self.step(fx);
        }
        self.deliver(fx);
    }

    fn id(&self) -> StreamId {
        self.scope.stream.stream
    }

    /// Moves to the next step and uses it at once: whoever holds an earlier one can derive it.
    /// False at the generation's last step, which a new generation must follow.
    fn step(&mut self, fx: &mut Effects<'_>) -> bool {
        self.step_at = fx.now + STEP_INTERVAL;
        let Some(message) = self.current.advance(self.census.announce()) else {
            let periodic = || Rotation::new(RotationCause::Periodic, fx.now, fx.now);
            self.rotation.get_or_insert_with(periodic);
            self.drive_rotation(fx);
            return false;
        };
        self.install();
        let carrier = Carrier::Megolm { stream: self.id(), message };
        let envelope = Envelope { sender: fx.identity.device(), carrier };
        fx.send(Recipient::Room(self.keys.room()), &envelope);
        fx.event(Event::Stepped { stream: self.id(), position: self.current.position() });
        true
    }

    /// Gives each track's encryptor the send key of the current position.
    fn install(&self) {
        let position = self.current.position();
        let tracks = self.slots.iter().map(|(track, ..)| *track);
        let mut base_keys = self.current.base_keys(tracks).into_iter();
        for (_, _, slot) in &self.slots {
            let installed = base_keys.next().map(|base_key| slot.install(position, base_key));
            if installed != Some(Ok(())) {
                // Positions only grow and each track has a key, so this cannot happen; were it
                // to, silence is safe, and neither a repeated nonce nor the key of before is.
                slot.pause(true);
            }
        }
    }

    /// Hands over the keys that are owed, and again those that were not confirmed.
    fn deliver(&mut self, fx: &mut Effects<'_>) {
        let (handover, now) = (self.handover(), fx.now);
        let pending = self.rotation.as_ref().and_then(|rotation| rotation.minted.as_ref());
        for device in self.holders.due(now, HOLDERS_AT_ONCE) {
            self.holders.update(device, |holder| {
                if holder.is_due(Which::Current, now) {
                    holder.hand_over(fx, handover, &self.current, Which::Current, None);
                }
                if holder.is_due(Which::Pending, now)
                    && let Some(session) = pending
                {
                    holder.hand_over(fx, handover, session, Which::Pending, None);
                }
            });
        }
    }

    fn handover(&mut self) -> Handover {
        let (suite, roster) = (self.scope.suite, self.census.announce());
        Handover { stream: self.id(), suite, offer: self.offer_hash, roster }
    }

    /// Tells the encryptors by when they must have been given another key. Should nobody call us
    /// in time, they stop: a removal is never late.
    fn set_deadline(&self) {
        let deadline = self.rotation.as_ref().and_then(Rotation::deadline);
        for (_, _, slot) in &self.slots {
            slot.set_deadline(deadline);
        }
    }
}

/// Nobody would change the keys any more, so nothing is encrypted from here on.
impl Drop for Publication {
    fn drop(&mut self) {
        for (_, _, slot) in &self.slots {
            slot.close();
        }
    }
}

/// The offer, signed, and what names it.
fn sign_offer(identity: &Identity, keys: &RoomKeys, offer: &StreamOffer) -> (Vec<u8>, OfferHash) {
    let envelope = signed(identity, keys, Kind::StreamOffer, None, offer);
    let hash = match &envelope.carrier {
        Carrier::Signed(signed) => OfferHash::of(&signed.payload),
        _ => OfferHash::of(&[]),
    };
    // Its size was checked when the stream was made.
    (envelope.encode().unwrap_or_default(), hash)
}

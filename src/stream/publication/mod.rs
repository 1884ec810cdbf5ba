//! The publisher's side of one stream.

mod joins;
mod leaves;

use std::{collections::HashMap, sync::Arc, time::Duration};

use indexmap::IndexMap;

use super::{
    Admission, Effects, Event, HolderState, Output, Recipient, RotationCause,
    base_key::Scope,
    effects::signed,
    holder::{Handover, Holder, Which},
    rotation::Rotation,
    sessions::OutboundSession,
};
use crate::{
    device::Identity,
    media::{EncryptorSlot, FrameEncryptor},
    primitives::{
        DeviceId, Generation, Position, RoomKeys, StreamId, StreamRef, Timestamp, TrackId,
    },
    protocol::{
        Answers, Carrier, Envelope, Kind, OlmCarrier, OlmMessage, Renewed, StreamEnd, StreamOffer,
        Subscribe, TrackOffer,
    },
    sframe::CipherSuite,
};

/// A key encrypts this long before the stream steps.
const STEP_INTERVAL: Duration = Duration::from_secs(60);
/// A Megolm session serves this long before a fresh one takes its place.
const SESSION_LIFETIME: Duration = Duration::from_secs(60 * 60);

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
    admission: Admission,
    slots: Vec<(TrackId, FrameEncryptor, Arc<EncryptorSlot>)>,
    current: OutboundSession,
    next_generation: Generation,
    rotation: Option<Rotation>,
    step_at: Timestamp,
    session_expires: Timestamp,
    holders: IndexMap<DeviceId, Holder>,
    /// When the newcomers that wait for a step get it.
    join_at: Option<Timestamp>,
    /// Requests that the application has not answered yet.
    asking: IndexMap<DeviceId, Subscribe>,
    /// The last sequence of each device, for the stream's life: an old message says nothing.
    sequences: HashMap<DeviceId, u64>,
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
        let publication = Self {
            slots: slots.collect(),
            keys,
            scope,
            offer,
            admission,
            current: OutboundSession::new(Generation(0), scope),
            next_generation: Generation(1),
            rotation: None,
            step_at: fx.now + STEP_INTERVAL,
            session_expires: fx.now + SESSION_LIFETIME,
            holders: IndexMap::new(),
            join_at: None,
            asking: IndexMap::new(),
            sequences: HashMap::new(),
        };
        publication.install();
        publication.send_offer(fx);
        publication
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

    /// Whether a device waits for the application's answer.
    pub(crate) fn is_asked_by(&self, device: DeviceId) -> bool {
        self.asking.contains_key(&device)
    }

    pub(crate) fn holders(&self) -> impl Iterator<Item = HolderState> {
        self.holders.values().map(|holder| HolderState {
            device: holder.device,
            claim: holder.claim.clone(),
            confirmed: holder.confirmed(),
        })
    }

    /// The offer, signed.
    pub(crate) fn offer(&self, identity: &Identity) -> Vec<u8> {
        let offer = signed(identity, &self.keys, Kind::StreamOffer, None, &self.offer);
        // Its size was checked when the stream was made.
        offer.encode().unwrap_or_default()
    }

    /// Sends the offer to the room, to be kept there.
    fn send_offer(&self, fx: &mut Effects<'_>) {
        let to = Recipient::RoomState(self.keys.room(), self.id());
        let bytes = self.offer(fx.identity);
        fx.outputs.push_back(Output::Send { to, bytes });
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
    ) -> Result<(), crate::device::PairwiseError> {
        use crate::device::PairwiseError;
        let stream = self.id();
        let holder = self.holders.get_mut(&sender).ok_or(PairwiseError::Session)?;
        let message = holder.olm.open(fx.identity, self.keys.room(), carrier)?;
        holder.seen();
        match message {
            OlmMessage::StreamKeyAck(ack) => {
                if let Some(position) = holder.acked(ack.share, ack.accepted) {
                    fx.event(Event::KeyConfirmed { stream, device: sender, position });
                }
                self.switch_if_ready(fx);
            }
            OlmMessage::Renew(renew) => {
                holder.renewed(fx.now);
                let renewed = Renewed {
                    nonce: renew.nonce,
                    position: self.current.position(),
                    offer_seq: self.offer.seq,
                };
                let (keys, stream) = (&self.keys, self.scope.stream);
                fx.send_olm(&mut holder.olm, keys, stream, OlmMessage::Renewed(renewed));
            }
            OlmMessage::StreamKeyRequest(request) => {
                // A newcomer that still waits for its step gets it then, and not the one before.
                if !holder.is_waiting_for_first_key() && holder.take_pull(fx.now) {
                    let answers = Some(Answers::Request(request.request));
                    let handover = handover(&self.keys, &self.scope, &self.offer);
                    holder.hand_over(fx, &handover, &self.current, Which::Current, answers);
                }
            }
            _ => return Err(PairwiseError::Misdirected),
        }
        Ok(())
    }

    /// A device's connection went away, or is back.
    pub(crate) fn handle_presence(&mut self, device: DeviceId, present: bool, now: Timestamp) {
        if let Some(holder) = self.holders.get_mut(&device) {
            if present { holder.seen() } else { holder.gone(now) }
        }
    }

    pub(crate) fn poll_timeout(&self) -> Timestamp {
        let holders = self.holders.values().flat_map(|holder| {
            [Which::Current, Which::Pending]
                .into_iter()
                .filter_map(|which| holder.retry_at(which))
                .chain([holder.expires().0])
        });
        // An old session's end is due until a rotation, under way already, has replaced it.
        let rotation = self.rotation.as_ref().map_or(self.session_expires, Rotation::poll_timeout);
        [self.step_at, rotation]
            .into_iter()
            .chain(self.join_at)
            .chain(holders)
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
        self.retry_handovers(fx);
    }

    fn id(&self) -> StreamId {
        self.scope.stream.stream
    }

    /// Moves to the next step and uses it at once: whoever holds an earlier one can derive it.
    /// False at the generation's last step, which a new generation must follow.
    fn step(&mut self, fx: &mut Effects<'_>) -> bool {
        self.step_at = fx.now + STEP_INTERVAL;
        let Some(message) = self.current.advance() else {
            let periodic = || Rotation::new(RotationCause::Periodic, fx.now, fx.now);
            self.rotation.get_or_insert_with(periodic);
            self.drive_rotation(fx);
            return false;
        };
        self.install();
        let carrier = Carrier::Megolm { stream: self.id(), message };
        let envelope = Envelope { sender: fx.identity.device(), room: self.keys.room(), carrier };
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

    fn retry_handovers(&mut self, fx: &mut Effects<'_>) {
        let pending = self.rotation.as_ref().and_then(|rotation| rotation.minted.as_ref());
        let handover = handover(&self.keys, &self.scope, &self.offer);
        let now = fx.now;
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        for holder in self.holders.values_mut() {
            if due(holder.retry_at(Which::Current)) {
                holder.hand_over(fx, &handover, &self.current, Which::Current, None);
            }
            if due(holder.retry_at(Which::Pending))
                && let Some(session) = pending
            {
                holder.hand_over(fx, &handover, session, Which::Pending, None);
            }
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

fn handover<'a>(keys: &'a RoomKeys, scope: &Scope, offer: &'a StreamOffer) -> Handover<'a> {
    Handover { keys, stream: scope.stream, suite: scope.suite, offer }
}

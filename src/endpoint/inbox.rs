//! What an endpoint does with each message.

use serde::de::DeserializeOwned;

use super::{Ended, Endpoint, Event, MessageError, Offer, Output, effects};
use crate::{
    device::{Distrust, MAX_NAME, TrustState, tidy},
    primitives::{DeviceId, RoomId, RoomKeys, StreamRef, Timestamp},
    protocol::{
        Answers, Carrier, Envelope, Kind, OfferHash, OlmCarrier, SignedMessage, StreamEnd,
        StreamKeyWithheld, StreamOffer, Subscribe, Unsubscribe, WithheldCode,
    },
    stream::{Effects, Recipient, Refusal},
};

impl Endpoint {
    /// Bytes that arrived, from anywhere and in any order.
    ///
    /// # Errors
    /// A [`MessageError`] says why a message was not taken; it may be ignored. A refused message
    /// changes no stream, key or roster.
    pub fn handle_message(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), MessageError> {
        let envelope = Envelope::decode(bytes)?;
        if envelope.recipient().is_some_and(|recipient| recipient != self.device()) {
            return Err(MessageError::Misdirected);
        }
        if envelope.sender == self.device() {
            return Err(MessageError::Old);
        }
        let sender = envelope.sender;
        match envelope.carrier {
            Carrier::Olm(carrier) => self.handle_olm(sender, &carrier, now),
            Carrier::Megolm { stream, message } => {
                let stream = StreamRef { publisher: sender, stream };
                let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
                let subscription = self.subscriptions.get_mut(&stream);
                let taken = subscription.is_some_and(|held| held.handle_beacon(&mut fx, &message));
                if taken { Ok(()) } else { Err(MessageError::NoKey) }
            }
            Carrier::Signed(signed) => self.handle_signed(sender, &signed, bytes, now),
        }
    }

    fn handle_olm(
        &mut self,
        sender: DeviceId,
        carrier: &OlmCarrier,
        now: Timestamp,
    ) -> Result<(), MessageError> {
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        if !carrier.from_publisher {
            let publication = self.publications.get_mut(&carrier.stream);
            let publication = publication.ok_or(MessageError::UnknownStream)?;
            return Ok(publication.handle_olm(&mut fx, sender, carrier)?);
        }
        let stream = carrier.stream_ref(sender);
        let subscription = self.subscriptions.get_mut(&stream);
        let subscription = subscription.ok_or(MessageError::UnknownStream)?;
        let before = subscription.is_confirmed();
        subscription.handle_olm(&mut fx, carrier)?;
        if !before && subscription.is_confirmed() {
            let StreamOffer { curve25519, name, .. } = subscription.offer().clone();
            // Two that call themselves the same may have been asked at once; the first has the name.
            if let Err(distrust) = self.memory.trust().check(&sender, &curve25519, &name) {
                let event = Event::Distrusted { stream, name, distrust };
                self.outputs.push_back(Output::Event(event));
                self.give_up(stream, Ended::Distrusted, now);
                return Ok(());
            }
            self.memory.seen(sender, curve25519, &name);
            self.review_pinned(now);
            self.retire_older(stream, now);
        }
        Ok(())
    }

    /// A publisher confirmed a stream: its older ones under the same label are over. An offer
    /// alone must not do this, it may be replayed.
    fn retire_older(&mut self, confirmed: StreamRef, now: Timestamp) {
        let Some(newest) = self.subscriptions.get(&confirmed).map(|s| s.offer().clone()) else {
            return;
        };
        let older: Vec<_> = self
            .subscriptions
            .iter()
            .filter(|(stream, subscription)| {
                stream.publisher == confirmed.publisher
                    && **stream != confirmed
                    && subscription.offer().label == newest.label
                    && subscription.offer().started < newest.started
            })
            .map(|(stream, _)| *stream)
            .collect();
        for stream in older {
            self.close_subscription(stream, Ended::Replaced, now);
        }
    }

    pub(super) fn close_subscription(&mut self, stream: StreamRef, reason: Ended, now: Timestamp) {
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        if let Some(subscription) = self.subscriptions.shift_remove(&stream) {
            subscription.close(&mut fx);
        }
        fx.event(Event::Ended { stream, reason });
    }

    fn handle_signed(
        &mut self,
        sender: DeviceId,
        signed: &SignedMessage,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<(), MessageError> {
        let room = signed.room;
        // It is told so if it asks for a stream; whatever else it says has no effect.
        let is_blocked = self.memory.trust().state(&sender) == TrustState::Blocked;
        if is_blocked && signed.kind != Kind::Subscribe {
            return Err(MessageError::Blocked);
        }
        match signed.kind {
            Kind::StreamOffer => {
                let offer = self.read_offer(bytes)?;
                let distrust = self.distrust(&offer);
                self.offers.note(&offer)?;
                let (stream, name) = (offer.stream, offer.content.name.clone());
                self.outputs.push_back(Output::Event(Event::Offered(Box::new(offer))));
                if let Some(distrust) = distrust {
                    let event = Event::Distrusted { stream, name, distrust };
                    self.outputs.push_back(Output::Event(event));
                }
                Ok(())
            }
            Kind::StreamEnd => {
                self.member(sender, signed)?;
                let StreamEnd { stream } = read(signed)?;
                let stream = StreamRef { publisher: sender, stream };
                let subscribed = self.subscriptions.get(&stream);
                if let Some(subscription) = subscribed {
                    in_room(subscription.room_keys(), room)?;
                }
                let subscribed = subscribed.is_some();
                if !self.offers.forget(stream) && !subscribed {
                    return Err(MessageError::UnknownStream);
                }
                self.close_subscription(stream, Ended::ByPublisher, now);
                Ok(())
            }
            Kind::Subscribe => self.handle_subscribe(sender, signed, now),
            Kind::Unsubscribe => {
                self.for_us(sender, signed)?;
                let Unsubscribe { stream, sequence } = read(signed)?;
                let publication = self.publications.get_mut(&stream);
                let publication = publication.ok_or(MessageError::UnknownStream)?;
                in_room(publication.room_keys(), room)?;
                let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
                let has_invite = has_invite(publication.room_keys(), sender, signed);
                publication.handle_unsubscribe(&mut fx, &self.memory, sender, sequence, has_invite);
                Ok(())
            }
            Kind::StreamKeyWithheld => {
                self.for_us(sender, signed)?;
                let withheld: StreamKeyWithheld = read(signed)?;
                let stream = StreamRef { publisher: sender, stream: withheld.stream };
                let subscription = self.subscriptions.get_mut(&stream);
                let subscription = subscription.ok_or(MessageError::UnknownStream)?;
                in_room(subscription.room_keys(), room)?;
                let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
                subscription.handle_withheld(&mut fx, &withheld);
                Ok(())
            }
            Kind::VerificationStart
            | Kind::VerificationAccept
            | Kind::VerificationKey
            | Kind::VerificationMac
            | Kind::VerificationDone
            | Kind::VerificationCancel => self.handle_verification(sender, signed, now),
            other => Err(MessageError::Content(other)),
        }
    }

    fn handle_subscribe(
        &mut self,
        sender: DeviceId,
        signed: &SignedMessage,
        now: Timestamp,
    ) -> Result<(), MessageError> {
        self.for_us(sender, signed)?;
        let room = signed.room;
        let mut subscribe: Subscribe = read(signed)?;
        let is_too_long = subscribe.claim.len() > Subscribe::MAX_CLAIM
            || subscribe.name.len() > Subscribe::MAX_NAME;
        if is_too_long {
            return Err(MessageError::Content(signed.kind));
        }
        subscribe.name = tidy(&subscribe.name);
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        let Some(publication) = self.publications.get_mut(&subscribe.stream) else {
            let keys = self.rooms.get(&room).ok_or(MessageError::UnknownRoom(room))?;
            return Err(unknown_stream(&mut fx, keys, sender, &subscribe));
        };
        if publication.room_keys().room() != room {
            publication.refuse(&mut fx, sender, &subscribe, false, Refusal::WrongRoom);
            return Err(MessageError::UnknownRoom(room));
        }
        let has_invite = has_invite(publication.room_keys(), sender, signed);
        let memory = &mut self.memory;
        let news = publication.handle_subscribe(&mut fx, memory, sender, subscribe, has_invite);
        self.review_pinned(now);
        if news { Ok(()) } else { Err(MessageError::Old) }
    }

    /// Reads an offer and checks who signed it, and that they have the room's invite.
    pub(super) fn read_offer(&self, bytes: &[u8]) -> Result<Offer, MessageError> {
        let envelope = Envelope::decode(bytes)?;
        let publisher = envelope.sender;
        let Carrier::Signed(signed) = envelope.carrier else {
            return Err(MessageError::Content(Kind::StreamOffer));
        };
        if signed.kind != Kind::StreamOffer {
            return Err(MessageError::Content(signed.kind));
        }
        self.member(publisher, &signed)?;
        let mut content: StreamOffer = read(&signed)?;
        if content.name.len() > MAX_NAME {
            return Err(MessageError::Content(Kind::StreamOffer));
        }
        content.name = tidy(&content.name);
        let stream = StreamRef { publisher, stream: content.stream };
        let hash = OfferHash::of(&signed.payload);
        Ok(Offer { stream, room: signed.room, content, bytes: bytes.to_vec(), hash })
    }

    /// What speaks against the publisher of an offer: see [`Event::Distrusted`].
    pub fn distrust(&self, offer: &Offer) -> Option<Distrust> {
        let StreamOffer { curve25519, name, .. } = &offer.content;
        self.memory.trust().check(&offer.stream.publisher, curve25519, name).err()
    }

    /// Checks a message to the whole room: of one of our rooms, by somebody with its invite (if
    /// it has one), signed. The proof first, since it is cheaper.
    fn member(&self, sender: DeviceId, signed: &SignedMessage) -> Result<(), MessageError> {
        let room = signed.room;
        let keys = self.rooms.get(&room).ok_or(MessageError::UnknownRoom(room))?;
        if signed.recipient.is_some() {
            return Err(MessageError::Misdirected);
        }
        if !has_invite(keys, sender, signed) {
            return Err(MessageError::NoInvite);
        }
        Ok(signed.form().verify(&sender, &signed.signature)?)
    }

    /// Checks a message to us alone. Whether its sender needs an invite is for the stream's
    /// admission to say, which also tells our user about those who have none.
    pub(super) fn for_us(
        &self,
        sender: DeviceId,
        signed: &SignedMessage,
    ) -> Result<(), MessageError> {
        if signed.recipient != Some(self.device()) {
            return Err(MessageError::Misdirected);
        }
        Ok(signed.form().verify(&sender, &signed.signature)?)
    }
}

/// Whether the sender proves to have the room's invite, or the room has none.
pub(super) fn has_invite(keys: &RoomKeys, sender: DeviceId, signed: &SignedMessage) -> bool {
    let proves = |proof| keys.admits(&sender, &signed.form().to_bytes(), &proof);
    !keys.has_invite() || signed.proof.is_some_and(proves)
}

fn in_room(keys: &RoomKeys, room: RoomId) -> Result<(), MessageError> {
    if keys.room() == room { Ok(()) } else { Err(MessageError::UnknownRoom(room)) }
}

fn read<T: DeserializeOwned>(signed: &SignedMessage) -> Result<T, MessageError> {
    serde_json::from_slice(&signed.payload).map_err(|_| MessageError::Content(signed.kind))
}

/// Somebody asks for a stream that is over, perhaps from before we restarted.
fn unknown_stream(
    fx: &mut Effects<'_>,
    keys: &RoomKeys,
    device: DeviceId,
    subscribe: &Subscribe,
) -> MessageError {
    let withheld = StreamKeyWithheld {
        stream: subscribe.stream,
        answers: Answers::OneTimeKey(subscribe.one_time_key),
        code: WithheldCode::Ended,
        retry_after_ms: None,
    };
    let to = Recipient::Device(device);
    fx.send_signed(to, keys, Kind::StreamKeyWithheld, &withheld);
    MessageError::UnknownStream
}

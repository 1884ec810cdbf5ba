use std::fmt;

use super::{
    Client, ClientError,
    routes::{published, subscribed},
};
use crate::{
    endpoint::{
        Admission, AskingState, Endpoint, EndpointError, Event, HolderState, Offer, StreamCode,
        SubscriptionState, SubscriptionStatus,
    },
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{DeviceId, Position, StreamId, StreamRef},
    protocol::TrackOffer,
};

/// A stream that this client publishes. Dropping it ends the stream.
pub struct Publication {
    pub(super) client: Client,
    pub(super) stream: StreamRef,
    pub(super) tracks: Vec<(TrackOffer, FrameEncryptor)>,
    pub(super) events: tokio::sync::broadcast::Receiver<super::ClientEvent>,
}

impl Publication {
    /// The stream.
    pub fn stream(&self) -> StreamRef {
        self.stream
    }

    /// The encryptors of its tracks, in the order in which the tracks were added.
    pub fn encryptors(&self) -> impl Iterator<Item = FrameEncryptor> {
        self.tracks.iter().map(|(_, encryptor)| encryptor.clone())
    }

    /// What happens to this stream next, from its beginning on: who asks, joins, is refused or
    /// leaves, and every change of the key. With [`Admission::Ask`](crate::endpoint::Admission),
    /// answer each [`Event::JoinRequest`]. Events that were not fetched in time are skipped.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn event(&mut self) -> Result<Event, ClientError> {
        loop {
            let event = super::next_event(&mut self.events).await?;
            if let super::ClientEvent::Stream(event) = event
                && published(&event) == Some(self.stream.stream)
            {
                return Ok(event);
            }
        }
    }

    /// Who holds the key.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn holders(&self) -> Result<Vec<HolderState>, ClientError> {
        let stream = self.id();
        self.client.call(move |endpoint, _| endpoint.holders(stream)).await
    }

    /// Who waits for the user's answer, and why: see
    /// [`Endpoint::asking`](crate::endpoint::Endpoint::asking).
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn asking(&self) -> Result<Vec<AskingState>, ClientError> {
        let stream = self.id();
        self.client.call(move |endpoint, _| endpoint.asking(stream)).await
    }

    /// Changes who is admitted: see
    /// [`Endpoint::set_admission`](crate::endpoint::Endpoint::set_admission).
    ///
    /// # Errors
    /// [`ClientError::Endpoint`], [`ClientError::Ended`].
    pub async fn set_admission(&self, admission: Admission) -> Result<(), ClientError> {
        let stream = self.id();
        let set =
            move |endpoint: &mut Endpoint, now| endpoint.set_admission(stream, admission, now);
        Ok(self.client.call(set).await??)
    }

    /// A number to compare with the holders': see [`StreamCode`].
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn code(&self) -> Result<Option<StreamCode>, ClientError> {
        let stream = self.stream;
        self.client.call(move |endpoint, _| endpoint.stream_code(stream)).await
    }

    /// Where the stream's key is.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn position(&self) -> Result<Option<Position>, ClientError> {
        let stream = self.id();
        self.client.call(move |endpoint, _| endpoint.position(stream)).await
    }

    /// Kicks a device: see [`Endpoint::kick`](crate::endpoint::Endpoint::kick). If the client has a
    /// [`Vault`](crate::client::Vault), that the device is blocked and the room closed is on disk
    /// when this returns.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`], [`ClientError::Ended`]; [`ClientError::NotKept`] if it is
    /// kicked, but that could not be written.
    pub async fn kick(&self, device: DeviceId) -> Result<(), ClientError> {
        let stream = self.id();
        self.client.call(move |endpoint, now| endpoint.kick(stream, device, now)).await??;
        self.client.kept().await
    }

    /// Admits a device that asked; `request` is that of the [`Event::JoinRequest`] or [`AskingState`]
    /// that the user saw. If something spoke against it, it is pinned as what it is now, and that is
    /// on disk when this returns.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`], [`ClientError::Ended`]; [`ClientError::NotKept`] if it is
    /// admitted, but that could not be written.
    pub async fn admit(&self, device: DeviceId, request: u64) -> Result<(), ClientError> {
        let stream = self.id();
        let admitted = self.client.call(move |endpoint, now| {
            let before = endpoint.memory().decisions();
            endpoint.admit(stream, device, request, now)?;
            Ok::<_, EndpointError>(endpoint.memory().decisions() != before)
        });
        if admitted.await?? { self.client.kept().await } else { Ok(()) }
    }

    /// Refuses a device that asked ([`Event::JoinRequest`]).
    ///
    /// # Errors
    /// [`ClientError::Endpoint`], [`ClientError::Ended`].
    pub async fn refuse(&self, device: DeviceId) -> Result<(), ClientError> {
        let stream = self.id();
        Ok(self.client.call(move |endpoint, now| endpoint.refuse(stream, device, now)).await??)
    }

    /// Ends the stream and waits until that is done here: nothing is encrypted any more. The room
    /// is told next, or as soon as the key service can be reached again, if that is within a
    /// minute; whoever is not there then no longer finds the stream on offer.
    ///
    /// # Errors
    /// [`ClientError::Ended`] if the client had ended before, and the stream with it: nothing is
    /// encrypted then either, but nobody can be told.
    pub async fn end(self) -> Result<(), ClientError> {
        let stream = self.id();
        // Nobody else ends it, so that it is over already cannot be.
        self.client.call(move |endpoint, now| endpoint.end(stream, now)).await?.map_err(From::from)
    }

    fn id(&self) -> StreamId {
        self.stream.stream
    }
}

impl Drop for Publication {
    fn drop(&mut self) {
        let stream = self.id();
        self.client.calls.cast(move |endpoint, now| {
            // An error says that `end` was called.
            let _ = endpoint.end(stream, now);
        });
    }
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// A stream that this client receives. Dropping it unsubscribes.
pub struct Subscription {
    pub(super) client: Client,
    pub(super) offer: Offer,
    pub(super) events: tokio::sync::broadcast::Receiver<super::ClientEvent>,
}

impl Subscription {
    /// The stream.
    pub fn stream(&self) -> StreamRef {
        self.offer.stream
    }

    /// What the publisher says of it: tracks, label and where the media is.
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// New decryptors for all tracks, in the order of the offer.
    ///
    /// # Errors
    /// [`ClientError::StreamEnded`] once the subscription is over, [`ClientError::Ended`].
    pub async fn decryptors(&self) -> Result<Vec<FrameDecryptor>, ClientError> {
        let stream = self.stream();
        let tracks: Vec<_> = self.offer.content.tracks.iter().map(|track| track.id).collect();
        let decryptors = self.client.call(move |endpoint, _| {
            tracks
                .into_iter()
                .map(|track| endpoint.decryptor(stream, track))
                .collect::<Option<Vec<_>>>()
        });
        decryptors.await?.ok_or(ClientError::StreamEnded)
    }

    /// Waits until the key of the stream is here.
    ///
    /// # Errors
    /// [`ClientError::Withheld`] if the publisher refuses, [`ClientError::StreamEnded`] if the
    /// stream ends or its publisher goes before that, [`ClientError::Ended`].
    pub async fn key(&self) -> Result<(), ClientError> {
        let stream = self.stream();
        // From before the first look, so that no change is missed.
        let (mut events, mut room) = (self.client.events(), self.client.room());
        let mut was_offered = room.borrow_and_update().is_offered(stream);
        loop {
            match self.state().await?.status {
                SubscriptionStatus::Closed(Some(code)) => return Err(ClientError::Withheld(code)),
                SubscriptionStatus::Closed(None) => return Err(ClientError::StreamEnded),
                SubscriptionStatus::Asking
                | SubscriptionStatus::Unanswered
                | SubscriptionStatus::Deferred(_) => {}
                _ => return Ok(()),
            }
            tokio::select! {
                event = super::next_event(&mut events) => drop(event?),
                changed = room.changed() => {
                    changed.map_err(|_| ClientError::Ended)?;
                    let is_offered = room.borrow_and_update().is_offered(stream);
                    // An offer that came by another way than the room says nothing by its lack.
                    if was_offered && !is_offered {
                        return Err(ClientError::StreamEnded);
                    }
                    was_offered |= is_offered;
                }
            }
        }
    }

    /// How it does: whether it can be watched and if not, why and since when; who its publisher is
    /// known as, and how many hold its key.
    ///
    /// # Errors
    /// [`ClientError::StreamEnded`] once the subscription is over, [`ClientError::Ended`].
    pub async fn state(&self) -> Result<SubscriptionState, ClientError> {
        let stream = self.stream();
        let state = self.client.call(move |endpoint, _| endpoint.subscription(stream)).await?;
        state.ok_or(ClientError::StreamEnded)
    }

    /// A number to compare with the publisher's and the other holders': see [`StreamCode`]. `None`
    /// before the first key.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn code(&self) -> Result<Option<StreamCode>, ClientError> {
        let stream = self.stream();
        self.client.call(move |endpoint, _| endpoint.stream_code(stream)).await
    }

    /// What happens to this stream next, with its subscription: a key, a new step, a stall, its
    /// end. Events that were not fetched in time are skipped.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn event(&mut self) -> Result<Event, ClientError> {
        loop {
            let event = super::next_event(&mut self.events).await?;
            if let super::ClientEvent::Stream(event) = event
                && subscribed(&event) == Some(self.offer.stream)
            {
                return Ok(event);
            }
        }
    }

    /// Leaves the stream and waits until that is done here: its keys are dropped. The publisher
    /// is told next, or as soon as the key service can be reached again, if that is within a
    /// minute; by then it has taken this device for gone. A stream that is over already is left
    /// as well.
    ///
    /// # Errors
    /// [`ClientError::Ended`] if the client had ended before, and the subscription with it.
    pub async fn leave(self) -> Result<(), ClientError> {
        let stream = self.stream();
        let left = self.client.call(move |endpoint, now| endpoint.unsubscribe(stream, now));
        // It fails only if the stream is over already.
        left.await.map(drop)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let stream = self.stream();
        self.client.calls.cast(move |endpoint, now| {
            // An error says that `leave` was called.
            let _ = endpoint.unsubscribe(stream, now);
        });
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("stream", &self.stream()).finish_non_exhaustive()
    }
}

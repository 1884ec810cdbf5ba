//! Floor 5: the one owner of a device's streams, without a clock, a socket or a task.
//!
//! An application moves bytes and time in, and carries out what comes out:
//!
//! 1. **Inputs**: [`handle_message`](Endpoint::handle_message) for bytes that arrived,
//!    [`handle_peer_gone`](Endpoint::handle_peer_gone) and
//!    [`handle_peer_back`](Endpoint::handle_peer_back) if the channel tells,
//!    [`handle_timeout`](Endpoint::handle_timeout) when the time has come;
//! 2. **Outputs**: after each input or command call [`poll_output`](Endpoint::poll_output) until
//!    it gives nothing more;
//! 3. **Time**: then [`poll_timeout`](Endpoint::poll_timeout) says when to call
//!    `handle_timeout` at the latest.
//!
//! A device that [is sealed](Identity::seal_with) outlives its endpoint: what it has to remember
//! comes as [`Output::Persist`], and is kept instead of what came before.
//!
//! ```
//! use olmcast::{
//!     device::{Identity, SealingKey},
//!     endpoint::{Endpoint, Output},
//!     primitives::Timestamp,
//! };
//!
//! let key = SealingKey::generate()?;
//! let mut identity = Identity::generate();
//! identity.seal_with(&key)?;
//! let mut kept = identity.sealed()?; // On disk, say, written so that a crash leaves it whole.
//!
//! let mut endpoint = Endpoint::new(identity)?;
//! let stranger = Identity::generate().device();
//! endpoint.block(stranger, Timestamp::from(std::time::SystemTime::now()));
//! while let Some(output) = endpoint.poll_output() {
//!     match output {
//!         Output::Persist { sealed } => kept = sealed, // Before what follows from it is sent.
//!         Output::Send { .. } | Output::Event(_) => {}
//!         _ => {}
//!     }
//! }
//! drop(endpoint);
//!
//! let endpoint = Endpoint::new(Identity::open(&kept, &key)?)?;
//! assert!(endpoint.memory().trust().get(&stranger).is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The channel may lose, repeat, delay and reorder messages. Encryptors and decryptors are
//! handles that the endpoint keeps supplied with keys; they may live on any thread.
//!
//! ```
//! use olmcast::{
//!     device::Identity,
//!     endpoint::{Endpoint, Publish},
//!     primitives::{Codec, Invite, Timestamp},
//! };
//!
//! let invite = Invite::generate("key-service.example:7600")?;
//! let mut endpoint = Endpoint::new(Identity::generate())?;
//! endpoint.enter(invite.room_keys());
//! let now = Timestamp::from(std::time::SystemTime::now());
//! let publish = Publish::new("camera").track(Codec::Vp8).track(Codec::Opus).with_invite();
//! let stream = endpoint.publish(invite.room(), publish, now)?;
//! let video = endpoint.encryptor(stream, endpoint.tracks(stream)[0].id);
//! assert!(video.is_some() && endpoint.poll_output().is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod inbox;
mod offers;
mod persist;
mod publish;
mod trusting;
mod verification;

use std::collections::VecDeque;

use indexmap::IndexMap;
use rand::{RngExt, SeedableRng, rngs::StdRng};

pub use self::{
    error::{EndpointError, MessageError},
    publish::Publish,
    verification::VerificationPeer,
};
pub use crate::device::{Emoji, ShortAuthString, VerificationState};
pub use crate::protocol::CancelReason;
pub use crate::stream::{
    Admission, AskingState, Ended, Event, Hoard, HolderState, LeaveReason, Offer, Output,
    Recipient, Refusal, RotationCause, StreamCode, SubscriptionState, SubscriptionStatus,
};
use crate::{
    device::{Identity, KeyPool, Memory, Signer},
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{DeviceId, Position, RoomId, RoomKeys, StreamId, StreamRef, Timestamp, TrackId},
    protocol::{KeysUpload, Subscribe, TrackOffer},
    stream::{Effects, Publication, Subscription},
};
use offers::Offers;
use persist::Persist;
use verification::Verifications;

/// One device: its account, its rooms, what it publishes and what it receives.
pub struct Endpoint {
    identity: Identity,
    keys: KeyPool,
    rng: StdRng,
    rooms: IndexMap<RoomId, RoomKeys>,
    memory: Memory,
    persist: Persist,
    publications: IndexMap<StreamId, Publication>,
    subscriptions: IndexMap<StreamRef, Subscription>,
    offers: Offers,
    verifications: Verifications,
    /// The last sequence of our own `Subscribe` and `Unsubscribe` messages.
    sequence: u64,
    hoard: Option<Hoard>,
    outputs: VecDeque<Output>,
}

impl Endpoint {
    /// An endpoint for a device.
    ///
    /// # Errors
    /// [`EndpointError::Randomness`] if the operating system gives no random bytes.
    pub fn new(identity: Identity) -> Result<Self, EndpointError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|_| EndpointError::Randomness)?;
        Ok(Self::with_seed(identity, seed))
    }

    /// An endpoint whose ids and jitter follow from a seed, for simulations that must replay.
    /// Keys do not: those are drawn by the Olm library.
    pub fn with_seed(mut identity: Identity, seed: [u8; 32]) -> Self {
        let memory = identity.take_memory();
        Self {
            identity,
            keys: KeyPool::default(),
            rng: StdRng::from_seed(seed),
            rooms: IndexMap::new(),
            memory,
            persist: Persist::default(),
            publications: IndexMap::new(),
            subscriptions: IndexMap::new(),
            offers: Offers::default(),
            verifications: Verifications::default(),
            sequence: 0,
            hoard: None,
            outputs: VecDeque::new(),
        }
    }

    // Getters

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.identity.device()
    }

    /// Signs in this device's name, to authenticate it to a key service.
    pub fn signer(&self) -> Signer {
        self.identity.signer()
    }

    /// The tracks of a stream of ours, in the order in which they were added.
    pub fn tracks(&self, stream: StreamId) -> &[TrackOffer] {
        self.publications.get(&stream).map_or(&[], Publication::tracks)
    }

    /// The encryptor of one track of ours.
    pub fn encryptor(&self, stream: StreamId, track: TrackId) -> Option<FrameEncryptor> {
        self.publications.get(&stream)?.encryptor(track)
    }

    /// The decryptor of one track that is subscribed to. It may be made before the key is here.
    pub fn decryptor(&self, stream: StreamRef, track: TrackId) -> Option<FrameDecryptor> {
        self.subscriptions.get(&stream)?.decryptor(track)
    }

    /// The offer of a stream of ours, for an application that carries offers by its own means.
    pub fn offer(&self, stream: StreamId) -> Option<Vec<u8>> {
        Some(self.publications.get(&stream)?.offer().to_vec())
    }

    /// The holders of a stream of ours, in the order in which they joined.
    pub fn holders(&self, stream: StreamId) -> Vec<HolderState> {
        let trust = self.memory.trust();
        self.publications.get(&stream).map_or_else(Vec::new, |p| p.holders(trust).collect())
    }

    /// Those who wait for the user's answer to come in to a stream of ours, and why they are asked
    /// about, in the order in which they came. Answer with [`admit`](Self::admit) or
    /// [`refuse`](Self::refuse).
    pub fn asking(&self, stream: StreamId) -> Vec<AskingState> {
        let trust = self.memory.trust();
        self.publications.get(&stream).map_or_else(Vec::new, |p| p.asking(trust).collect())
    }

    /// A number for people to compare, of a stream of ours or one that is subscribed to: whoever
    /// sees the same has the same session and was told the same roster. `None` before the first
    /// key. It costs some 5 ms, so ask for it when it is to be shown.
    pub fn stream_code(&self, stream: StreamRef) -> Option<StreamCode> {
        if stream.publisher == self.device() {
            self.publications.get(&stream.stream)?.code()
        } else {
            self.subscriptions.get(&stream)?.code()
        }
    }

    /// Where a stream of ours is.
    pub fn position(&self, stream: StreamId) -> Option<Position> {
        Some(self.publications.get(&stream)?.position())
    }

    /// Where a subscribed stream is, as far as we know, and how many of its frames were opened.
    pub fn subscription(&self, stream: StreamRef) -> Option<SubscriptionState> {
        Some(self.subscriptions.get(&stream)?.state(self.memory.trust()))
    }

    // Inputs

    /// Time has passed: retries, leases, rotations and steps that are due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        for publication in self.publications.values_mut() {
            publication.handle_timeout(&mut fx);
        }
        for subscription in self.subscriptions.values_mut() {
            subscription.handle_timeout(&mut fx, &mut self.sequence);
        }
        self.verifications.handle_timeout(&mut fx, &self.memory);
        self.persist_gathered(now);
    }

    /// Our own connection is back: what was sent meanwhile may be lost, so whatever is not answered
    /// yet is sent again at once instead of when its turn comes.
    pub fn handle_reconnect(&mut self, now: Timestamp) {
        self.publications.values_mut().for_each(|publication| publication.handle_reconnect(now));
        self.subscriptions.values_mut().for_each(|subscription| subscription.retry_soon(now));
        self.verifications.retry_soon(now);
    }

    /// The channel says that a device lost its connection. It is taken as gone for good if it is
    /// not heard of for 5 s. A channel that lies can only make a lease shorter.
    pub fn handle_peer_gone(&mut self, device: DeviceId, now: Timestamp) {
        self.handle_presence(device, false, now);
    }

    /// The channel says that a device is back.
    pub fn handle_peer_back(&mut self, device: DeviceId, now: Timestamp) {
        self.handle_presence(device, true, now);
    }

    fn handle_presence(&mut self, device: DeviceId, present: bool, now: Timestamp) {
        for publication in self.publications.values_mut() {
            publication.handle_presence(device, present, now);
        }
        for (&stream, subscription) in &mut self.subscriptions {
            if stream.publisher != device {
                continue;
            }
            if present {
                subscription.retry_soon(now);
            }
            self.outputs.push_back(Output::Event(if present {
                Event::PublisherBack { stream }
            } else {
                Event::PublisherGone { stream }
            }));
        }
    }

    // Commands

    /// Takes part in a room. Messages of other rooms are refused.
    pub fn enter(&mut self, keys: RoomKeys) {
        self.rooms.insert(keys.room(), keys);
    }

    /// Starts a stream. Its encryptors can be used at once, and its offer goes to the room.
    ///
    /// # Errors
    /// [`EndpointError::UnknownRoom`], [`EndpointError::NoTracks`], [`EndpointError::TooLarge`],
    /// or [`EndpointError::NoInvite`] if admission is by invite and the room has none.
    pub fn publish(
        &mut self,
        room: RoomId,
        publish: Publish,
        now: Timestamp,
    ) -> Result<StreamId, EndpointError> {
        let keys = self.rooms.get(&room).ok_or(EndpointError::UnknownRoom)?.clone();
        let stream = StreamId::from_bytes(self.rng.random());
        let config = publish.into_config(stream, &self.identity, &keys, now)?;
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        self.publications.insert(stream, Publication::new(&mut fx, keys, config));
        Ok(stream)
    }

    /// Ends a stream of ours.
    ///
    /// # Errors
    /// [`EndpointError::UnknownStream`].
    pub fn end(&mut self, stream: StreamId, now: Timestamp) -> Result<(), EndpointError> {
        let publication =
            self.publications.shift_remove(&stream).ok_or(EndpointError::UnknownStream)?;
        publication.end(&mut effects(&self.identity, &mut self.rng, &mut self.outputs, now));
        Ok(())
    }

    /// Admits a device that asked for a stream of ours: `request` is that of the
    /// [`Event::JoinRequest`] or [`AskingState`] that was shown, so that nobody else is admitted than
    /// whom the user saw. If the room was closed since, it is refused nevertheless
    /// ([`Event::Refused`]).
    ///
    /// # Errors
    /// [`EndpointError::UnknownStream`], [`EndpointError::NotAsked`], [`EndpointError::AskedAnew`].
    pub fn admit(
        &mut self,
        stream: StreamId,
        device: DeviceId,
        request: u64,
        now: Timestamp,
    ) -> Result<(), EndpointError> {
        let publication = self.publications.get_mut(&stream).ok_or(EndpointError::UnknownStream)?;
        if publication.request(device).ok_or(EndpointError::NotAsked)? != request {
            return Err(EndpointError::AskedAnew);
        }
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        let before = self.memory.decisions();
        let is_answered = publication.admit(&mut fx, &mut self.memory, device);
        if self.memory.decisions() != before {
            self.verifications.decided(device);
        }
        self.review_pinned(now);
        if is_answered { Ok(()) } else { Err(EndpointError::AskedAnew) }
    }

    /// Refuses a device that asked for a stream of ours ([`Event::JoinRequest`]).
    ///
    /// # Errors
    /// [`EndpointError::UnknownStream`], [`EndpointError::NotAsked`].
    pub fn refuse(
        &mut self,
        stream: StreamId,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<(), EndpointError> {
        let publication = self.publications.get_mut(&stream).ok_or(EndpointError::UnknownStream)?;
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        let asked = publication.refuse_request(&mut fx, device, Refusal::NotAdmitted);
        if asked { Ok(()) } else { Err(EndpointError::NotAsked) }
    }

    /// Kicks a device out of all streams of ours. It cannot read what is encrypted 1 s from now or
    /// later, it is blocked, and this stream's room, like every other one that we admitted it in,
    /// is closed to devices that were not admitted before, and about which the user has not decided.
    ///
    /// # Errors
    /// [`EndpointError::UnknownStream`], [`EndpointError::NotAHolder`].
    pub fn kick(
        &mut self,
        stream: StreamId,
        device: DeviceId,
        now: Timestamp,
    ) -> Result<(), EndpointError> {
        let publication = self.publications.get(&stream).ok_or(EndpointError::UnknownStream)?;
        let is_here = |p: &Publication| p.is_asked_by(device) || p.is_held_by(device);
        let is_known = self.publications.values().any(is_here) || self.memory.doors().knows(device);
        // A mistyped id must not close the room to everybody who is still to come.
        if !is_known {
            return Err(EndpointError::NotAHolder);
        }
        self.memory.kick(publication.room_keys().room(), device);
        self.shut_out(device, now);
        Ok(())
    }

    /// Asks for the stream of an offer. `claim` is handed to the publisher's application.
    ///
    /// # Errors
    /// [`EndpointError::Offer`] for bytes that are no valid offer, [`EndpointError::OwnStream`],
    /// [`EndpointError::AlreadySubscribed`], [`EndpointError::Distrusted`],
    /// [`EndpointError::TooLarge`] for a long claim, [`EndpointError::Randomness`].
    pub fn subscribe(
        &mut self,
        offer: &[u8],
        claim: &str,
        now: Timestamp,
    ) -> Result<StreamRef, EndpointError> {
        let offer = self.read_offer(offer).map_err(EndpointError::Offer)?;
        let stream = offer.stream;
        if claim.len() > Subscribe::MAX_CLAIM {
            return Err(EndpointError::TooLarge);
        }
        if stream.publisher == self.device() {
            return Err(EndpointError::OwnStream);
        }
        if self.subscriptions.get(&stream).is_some_and(|held| !held.is_closed()) {
            return Err(EndpointError::AlreadySubscribed);
        }
        if let Some(distrust) = self.distrust(&offer) {
            // It may not have been so yet when the stream was offered.
            let name = offer.content.name;
            self.outputs.push_back(Output::Event(Event::Distrusted { stream, name, distrust }));
            return Err(EndpointError::Distrusted(distrust));
        }
        let keys = self.rooms.get(&offer.room).ok_or(EndpointError::UnknownRoom)?.clone();
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        let (sequence, hoard) = (&mut self.sequence, self.hoard.clone());
        let subscription =
            Subscription::new(&mut fx, sequence, keys, offer, claim.to_owned(), hoard)
                .ok_or(EndpointError::Randomness)?;
        self.subscriptions.insert(stream, subscription);
        Ok(stream)
    }

    /// Leaves a stream: the publisher is told, and its keys are dropped.
    ///
    /// # Errors
    /// [`EndpointError::UnknownStream`].
    pub fn unsubscribe(&mut self, stream: StreamRef, now: Timestamp) -> Result<(), EndpointError> {
        let subscription =
            self.subscriptions.shift_remove(&stream).ok_or(EndpointError::UnknownStream)?;
        let mut fx = effects(&self.identity, &mut self.rng, &mut self.outputs, now);
        subscription.unsubscribe(&mut fx, &mut self.sequence);
        Ok(())
    }

    /// What to upload to a directory so that it has so many one-time keys of this device more, 200
    /// at most; with the device's keys and its fallback key. Say [`keys_uploaded`] when it has
    /// them: until then the same keys are offered.
    ///
    /// [`keys_uploaded`]: Self::keys_uploaded
    pub fn keys_upload(&mut self, one_time_keys: usize, now: Timestamp) -> KeysUpload {
        self.keys.upload(&self.identity, one_time_keys, now)
    }

    /// A directory has taken an upload over.
    pub fn keys_uploaded(&mut self, upload: &KeysUpload) {
        self.keys.published(upload);
    }

    /// Keeps every key that later subscriptions are sent, as a dishonest subscriber would.
    ///
    /// For tests and demonstrations only: it gives up the forward secrecy of this device.
    pub fn hoard_keys(&mut self) -> Hoard {
        self.hoard.get_or_insert_default().clone()
    }

    // Outputs

    /// The next thing to do, until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.persist_decisions();
        self.outputs.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest. While a stream
    /// is subscribed to this is at most 250 ms away, since handles do not wake the endpoint.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let publications = self.publications.values().map(Publication::poll_timeout);
        let subscriptions = self.subscriptions.values().filter_map(Subscription::poll_timeout);
        let streams = publications.chain(subscriptions);
        streams.chain(self.verifications.poll_timeout()).chain(self.persist_timeout()).min()
    }
}

/// Borrows the parts of an endpoint that a stream may use. A function and not a method, so that
/// the streams themselves stay free to be borrowed.
fn effects<'a>(
    identity: &'a Identity,
    rng: &'a mut StdRng,
    outputs: &'a mut VecDeque<Output>,
    now: Timestamp,
) -> Effects<'a> {
    Effects { identity, rng, outputs, now }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("device", &self.device()).finish_non_exhaustive()
    }
}

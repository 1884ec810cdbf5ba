//! Floor 7: an [`Endpoint`] with batteries: a
//! task, a clock and a connection to the key service.
//!
//! ```no_run
//! use olmcast::{
//!     client::Client,
//!     device::Identity,
//!     endpoint::Publish,
//!     primitives::{Codec, Invite},
//! };
//!
//! # async fn run(link: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let invite: Invite = link.parse()?;
//! let client = Client::connect(&invite, Identity::generate()).await?;
//! let camera = Publish::new("camera").track(Codec::Vp8).track(Codec::Opus).with_invite();
//! let publication = client.publish(camera).await?;
//! for encryptor in publication.encryptors() {
//!     // Give it to an `rtc::EncryptedSender`, or call `encrypt_into` before your own packetizer.
//! }
//!
//! let subscription = client.subscribe("screen").await?;
//! let decryptors = subscription.decryptors().await?;
//! # Ok(())
//! # }
//! ```

pub mod connection;
pub mod directory;

mod calls;
mod devices;
mod driver;
mod handles;
mod publishing;
mod room;
mod routes;
mod traffic;
mod trust;
mod vault;
mod verification;

use std::{collections::VecDeque, fmt, time::Duration};

use tokio::{
    sync::{broadcast, watch},
    time::timeout,
};

pub use handles::{Publication, Subscription};
pub use room::RoomView;
pub use traffic::Traffic;
pub use trust::{Trust, TrustError};
pub use vault::{Holder, Unlock, Vault, VaultError};
pub use verification::Verification;

use self::{
    calls::Calls,
    connection::{Connection, DownReason},
    directory::Directory,
    driver::Driver,
    publishing::Publishing,
    traffic::Meter,
    vault::{Keeper, Kept},
};
use crate::{
    clock,
    endpoint::{Endpoint, EndpointError, Event, Hoard, Offer, Publish},
    primitives::{DeviceId, Invite, InviteError, RoomId, StreamRef, Timestamp},
    protocol::{WithheldCode, service::RefusalCode},
};

/// How long the first connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Events that may wait.
const EVENTS: usize = 1024;
/// How long the driver sleeps if nothing at all is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Why a client could not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The key service cannot be reached, or did not accept this device.
    #[error("{0}")]
    Service(DownReason),
    /// The key service did not let this device into the room.
    #[error("the key service did not open the room: {0}")]
    Refused(RefusalCode),
    /// The key service did not answer in time.
    #[error("the key service did not answer within {0:?}; check the address")]
    Timeout(Duration),
    /// The invite is unusable.
    #[error(transparent)]
    Invite(#[from] InviteError),
    /// The endpoint refused.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The publisher gave no key.
    #[error("no key for this stream: {0}")]
    Withheld(WithheldCode),
    /// The stream is over.
    #[error("the stream has ended")]
    StreamEnded,
    /// The vault cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// It is done, but not on disk: it is in force for as long as the client runs, and is written as
    /// soon as that works again.
    #[error("done, but not kept: {0}")]
    NotKept(VaultError),
    /// The client's connection ended for good: the device connected from elsewhere.
    #[error("the client has ended; this device may have connected from elsewhere")]
    Ended,
}

/// What a client's user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// Connected to the key service.
    ServiceUp,
    /// Not connected to the key service; it is tried again. Media goes on.
    ServiceDown(DownReason),
    /// In the room: its offers are known now.
    Entered,
    /// The key service refused something for good.
    ServiceRefused(RefusalCode),
    /// The vault cannot be written: what is decided now would be forgotten if the client ended. It
    /// is tried again, at the latest after half a minute.
    VaultFailed(VaultError),
    /// Something happened to a stream.
    Stream(Event),
}

/// A device in a room, connected to its key service. Clones are handles of the same client; it
/// ends with the last of them.
#[derive(Clone)]
pub struct Client {
    device: DeviceId,
    room_id: RoomId,
    calls: Calls,
    /// Weak: whoever waits for an event is to learn that the driver has ended.
    events: broadcast::WeakSender<ClientEvent>,
    room: watch::Receiver<RoomView>,
    directory: Directory,
    meter: Meter,
    kept: Kept,
}

impl Client {
    /// Connects to the invite's key service and enters its room. Later interruptions are mended
    /// by the client itself. Call it inside a tokio runtime.
    ///
    /// The client keeps the [`Vault`] up to date, and has it until it ends. A bare
    /// [`Identity`](crate::device::Identity) is kept nowhere.
    ///
    /// # Errors
    /// [`ClientError::Service`], [`ClientError::Refused`] or [`ClientError::Timeout`] if the
    /// room cannot be entered now; [`ClientError::Invite`], [`ClientError::Endpoint`],
    /// [`ClientError::Vault`].
    pub async fn connect(invite: &Invite, vault: impl Into<Vault>) -> Result<Self, ClientError> {
        Self::connect_with(invite, vault, &Trust::platform()).await
    }

    /// The same, with other certificates than the platform's.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn connect_with(
        invite: &Invite,
        vault: impl Into<Vault>,
        trust: &Trust,
    ) -> Result<Self, ClientError> {
        let (identity, store) = vault.into().into_parts();
        let door = invite.door_key()?;
        let mut endpoint = Endpoint::new(identity)?;
        endpoint.enter(invite.room_keys());
        let (device, signer) = (endpoint.device(), endpoint.signer());
        let rooms = vec![(invite.room(), door)];
        let directory = Directory::new(invite.service(), trust, signer.clone());
        let connection = Connection::open_with(invite.service(), trust, signer, rooms);
        let (calls, received) = Calls::new();
        let (events, mut first) = broadcast::channel(EVENTS);
        let (room_in, room) = watch::channel(RoomView::default());
        let meter = Meter::default();
        let weak_events = events.downgrade();
        let keeper = Keeper::new(store, weak_events.clone())?;
        let kept = keeper.kept();
        let (up, ups) = watch::channel(());
        let publishing = Publishing::new(directory.clone(), calls.downgrade());
        let driver = Driver {
            endpoint,
            handle: connection.handle(),
            connection,
            calls: received,
            events,
            room: room_in,
            unsent: VecDeque::new(),
            meter: meter.clone(),
            keeper,
            decisions: 0,
            up,
        };
        // The task ends with the last handle, whose sender of calls it waits for.
        tokio::spawn(driver.run());
        // And this one with the driver.
        tokio::spawn(publishing.run(ups));
        let client = Self {
            device,
            room_id: invite.room(),
            calls,
            events: weak_events,
            room,
            directory,
            meter,
            kept,
        };
        let entered = async {
            loop {
                match next_event(&mut first).await? {
                    ClientEvent::Entered => return Ok(()),
                    ClientEvent::ServiceDown(reason) => return Err(ClientError::Service(reason)),
                    ClientEvent::ServiceRefused(code) => return Err(ClientError::Refused(code)),
                    _ => {}
                }
            }
        };
        timeout(CONNECT, entered).await.map_err(|_| ClientError::Timeout(CONNECT))??;
        Ok(client)
    }

    /// Calls this device so, in what it asks for and offers from now on. For others that is a claim
    /// until they pin or verify it.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.calls.cast(move |endpoint, _| endpoint.set_name(name));
        self
    }

    /// This device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// The time as the endpoints of this process's clients see it, for encryptors and decryptors
    /// that are used directly.
    pub fn now() -> Timestamp {
        clock::now()
    }

    /// The directory of the key service, to look devices up and to claim their keys. This device's
    /// own keys are published there by the client itself.
    pub fn directory(&self) -> Directory {
        self.directory.clone()
    }

    /// What this client has sent so far.
    pub fn traffic(&self) -> Traffic {
        self.meter.traffic()
    }

    /// What happens from now on, to all streams and to the connection: a broadcast channel, which
    /// tells a receiver that lags behind how many events it missed. It is closed when the client
    /// has ended, because the device connected from elsewhere.
    pub fn events(&self) -> broadcast::Receiver<ClientEvent> {
        // Without a driver there is nothing more to come.
        self.events.upgrade().map_or_else(|| broadcast::channel(1).1, |events| events.subscribe())
    }

    /// The room, now and whenever it changes.
    pub fn room(&self) -> watch::Receiver<RoomView> {
        self.room.clone()
    }

    /// Starts a stream in the room.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`], [`ClientError::Ended`].
    pub async fn publish(&self, publish: Publish) -> Result<Publication, ClientError> {
        let (client, events) = (self.clone(), self.events());
        // The handle is made there: if nobody waits for it any more, its drop ends the stream.
        let published = self.call(move |endpoint, now| {
            let stream = endpoint.publish(client.room_id, publish, now)?;
            let offered = endpoint.tracks(stream).to_vec();
            let tracks = offered.into_iter().filter_map(|track| {
                let encryptor = endpoint.encryptor(stream, track.id)?;
                Some((track, encryptor))
            });
            let tracks = tracks.collect();
            let stream = StreamRef { publisher: client.device, stream };
            Ok::<_, EndpointError>(Publication { client, stream, tracks, events })
        });
        Ok(published.await??)
    }

    /// Waits for a stream with this label, by this publisher if one is named, and returns the
    /// newest. A label is a claim: whoever has the invite can offer a stream under any label.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn find(
        &self,
        label: &str,
        publisher: Option<DeviceId>,
    ) -> Result<Offer, ClientError> {
        let mut room = self.room.clone();
        let found = room.wait_for(|room| room.newest(label, publisher).is_some()).await;
        let room = found.map_err(|_| ClientError::Ended)?;
        room.newest(label, publisher).cloned().ok_or(ClientError::StreamEnded)
    }

    /// Waits for a stream with this label, and for its key, as long as that takes: put a time-out
    /// around it if you must. A publisher may have to answer for each device.
    ///
    /// # Errors
    /// As [`subscribe_to`](Self::subscribe_to). A stream that ends while its key is awaited is
    /// no error; the next one is waited for.
    pub async fn subscribe(&self, label: &str) -> Result<Subscription, ClientError> {
        loop {
            let offer = self.find(label, None).await?;
            match self.subscribe_to(offer).await {
                // If somebody else turned out to have its publisher's name, the room says so now, and
                // another stream is found.
                Err(
                    ClientError::StreamEnded | ClientError::Endpoint(EndpointError::Distrusted(_)),
                ) => {}
                result => return result,
            }
        }
    }

    /// Asks for the key of a stream and waits until it is here.
    ///
    /// # Errors
    /// As [`ask_for`](Self::ask_for) and [`Subscription::key`].
    pub async fn subscribe_to(&self, offer: Offer) -> Result<Subscription, ClientError> {
        let subscription = self.ask_for(offer).await?;
        subscription.key().await?;
        Ok(subscription)
    }

    /// Asks for the key of a stream without waiting for it: for applications that show meanwhile
    /// how that goes ([`Subscription::state`]). [`Subscription::key`] waits.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`], [`ClientError::Ended`].
    pub async fn ask_for(&self, offer: Offer) -> Result<Subscription, ClientError> {
        // Before the question is asked, so that no answer is missed.
        let (client, events) = (self.clone(), self.events());
        // The handle is made there: if nobody waits for it any more, its drop unsubscribes.
        let asked = self.call(move |endpoint, now| {
            endpoint.subscribe(&offer.bytes, "", now)?;
            Ok::<_, EndpointError>(Subscription { client, offer, events })
        });
        Ok(asked.await??)
    }

    /// Makes this client keep every key that its later subscriptions are sent, as a dishonest
    /// one would. For tests and demonstrations: see
    /// [`Endpoint::hoard_keys`](crate::endpoint::Endpoint::hoard_keys).
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn hoard_keys(&self) -> Result<Hoard, ClientError> {
        self.call(|endpoint, _| endpoint.hoard_keys()).await
    }

    /// Waits until what the calls before have decided is on disk.
    pub(super) async fn kept(&self) -> Result<(), ClientError> {
        if self.kept.is_kept() {
            // When this is called, what came before was handed over, unless that failed.
            let failure = self.call(|endpoint, _| endpoint.persist_failure()).await?;
            let kept = match failure {
                Some(error) => Err(self.kept.refused(error)),
                None => self.kept.wait().await,
            };
            kept.map_err(ClientError::NotKept)?;
        }
        Ok(())
    }

    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Endpoint, Timestamp) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        self.calls.call(call).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("device", &self.device).finish_non_exhaustive()
    }
}

/// The next event; those that were not fetched in time are skipped.
async fn next_event(
    events: &mut broadcast::Receiver<ClientEvent>,
) -> Result<ClientEvent, ClientError> {
    loop {
        match events.recv().await {
            Ok(event) => return Ok(event),
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Err(ClientError::Ended),
        }
    }
}

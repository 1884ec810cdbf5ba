//! The bus between nodes. One stream says who is in which room and what they publish there, a
//! subject for each presence and each state; every node mirrors it, and the order of that stream is
//! the order of changes on all nodes. What may be lost goes without a stream.
//!
//! A node says every two seconds that it is there. When nothing is heard of it for six seconds, all
//! others take those who were connected to it out of their rooms, each by itself, and say so in the
//! stream. Should it come back, it says again what is true.

mod entry;
mod keeping;
mod listening;
mod mirror;
mod mirroring;
mod own;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_nats::jetstream::message::PublishMessage;
use async_trait::async_trait;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::timeout,
};
use tracing::debug;

use self::{
    entry::{Entry, Key, Told, Value, What},
    mirror::Mirror,
    own::Own,
};
use super::{
    Shared,
    connection::{NotStored, unavailable, within},
    layout::ROOMS_BYTES,
    spawn, take,
};
use crate::{
    primitives::{DeviceId, RoomId, Timestamp},
    protocol::service::{Payload, RefusalCode},
    server::{
        bus::{Bus, BusEvents, RoomChange},
        store::StoreError,
    },
};

/// How long this node may take to hear of what it said.
const APPLIED: Duration = Duration::from_secs(5);
/// How long the first reading of all rooms may take.
const FIRST: Duration = Duration::from_secs(20);

/// The bus on NATS. It does nothing before it is started.
pub(in crate::server) struct NatsBus {
    rooms: Arc<Rooms>,
    tasks: Mutex<JoinSet<()>>,
}

/// What the bus's tasks share.
struct Rooms {
    shared: Arc<Shared>,
    /// Events are told under its lock, so that they keep their order.
    known: Mutex<Known>,
    /// Up to where the stream was taken over; none before it was read for the first time.
    applied: watch::Sender<Option<u64>>,
    /// Rings when the stream has to be read as a whole again.
    read_again: Notify,
}

struct Known {
    mirror: Mirror,
    own: Own,
    events: Option<Weak<dyn BusEvents>>,
}

impl Known {
    fn tell(&self, changes: impl IntoIterator<Item = RoomChange>) {
        let Some(events) = self.events.as_ref().and_then(Weak::upgrade) else { return };
        changes.into_iter().for_each(|change| events.apply(change));
    }
}

impl NatsBus {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let mirror = Mirror::new(shared.node, shared.limits.state_grace, ROOMS_BYTES / 2);
        let known = Mutex::new(Known { mirror, own: Own::default(), events: None });
        let (applied, read_again) = (watch::Sender::new(None), Notify::new());
        let rooms = Arc::new(Rooms { shared, known, applied, read_again });
        Self { rooms, tasks: Mutex::default() }
    }
}

impl Rooms {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an entry; with a revision, only if it is still the newest of its key.
    async fn write(&self, key: Key, value: Value, revision: Option<u64>) -> Result<u64, NotStored> {
        let entry = Entry { node: self.shared.node, value };
        let bytes = postcard::to_stdvec(&entry)
            .map_err(|error| NotStored::Unavailable(unavailable(error)))?;
        let mut message = PublishMessage::build().payload(bytes.into());
        if let Some(revision) = revision {
            message = message.expected_last_subject_sequence(revision);
        }
        self.shared.nats.store(key.subject(&self.shared.layout), message).await
    }

    /// The same, until this node has applied it.
    async fn say(&self, key: Key, value: Value) -> Result<(), StoreError> {
        match self.write(key, value, None).await {
            Ok(revision) => self.until_applied(revision).await,
            Err(NotStored::StreamFull) => Err(StoreError::Refused(RefusalCode::QuotaExceeded)),
            Err(error) => Err(error.into_unavailable()),
        }
    }

    async fn until_applied(&self, revision: u64) -> Result<(), StoreError> {
        let mut applied = self.applied.subscribe();
        let is_applied = applied.wait_for(|applied| *applied >= Some(revision));
        match timeout(APPLIED, is_applied).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(unavailable("NATS does not say back what it was told about a room")),
        }
    }

    /// Written even if the device is there by now: when it is applied, the device is shown the room.
    async fn enter(&self, room: RoomId, device: DeviceId) -> Result<(), StoreError> {
        {
            let mut known = self.lock();
            // Who was there before needs no more place.
            if known.mirror.is_full() && known.mirror.revision(room, device) == 0 {
                return Err(StoreError::Refused(RefusalCode::QuotaExceeded));
            }
            known.own.enter(room, device);
        }
        let said = self.say(Key::Presence(room, device), Value::Present).await;
        match said {
            Ok(()) => self.lock().own.entered(room, device),
            // Should it have been stored nevertheless, it will be taken back.
            Err(_) => self.lock().own.leave(room, device),
        }
        said
    }

    async fn leave(&self, room: RoomId, device: DeviceId) -> Result<(), StoreError> {
        let place = {
            let mut known = self.lock();
            known.own.leave(room, device);
            known.mirror.place(room, device)
        };
        // On another node by now: that one's word counts.
        let Some((node, revision)) = place else { return Ok(()) };
        if node != self.shared.node {
            return Ok(());
        }
        match self.write(Key::Presence(room, device), Value::Gone, Some(revision)).await {
            Ok(revision) => self.until_applied(revision).await,
            Err(NotStored::Changed) => Ok(()),
            // It is said again until it is heard.
            Err(error) => Err(error.into_unavailable()),
        }
    }

    async fn tell_nodes(&self, what: What) -> Result<(), StoreError> {
        let told = Told { node: self.shared.node, what };
        let bytes = postcard::to_stdvec(&told).map_err(unavailable)?;
        self.shared.nats.check()?;
        let subject = self.shared.layout.between_nodes("rooms");
        let told = within(self.shared.nats.client.publish(subject, bytes.into())).await;
        told.and_then(|told| told.map_err(unavailable))
            .inspect_err(|error| debug!(%error, "other nodes could not be told something"))
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn start(&self, events: Weak<dyn BusEvents>) -> Result<(), StoreError> {
        self.rooms.lock().events = Some(events);
        let listening = self.rooms.clone().listen().await?;
        spawn(&self.tasks, listening);
        spawn(&self.tasks, self.rooms.clone().mirror());
        let mut applied = self.rooms.applied.subscribe();
        let read = timeout(FIRST, applied.wait_for(Option::is_some)).await;
        if !matches!(read, Ok(Ok(_))) {
            return Err(unavailable("it does not say who is in which room"));
        }
        spawn(&self.tasks, self.rooms.clone().keep_alive());
        spawn(&self.tasks, self.rooms.clone().tidy());
        Ok(())
    }

    async fn close(&self) {
        take(&self.tasks).shutdown().await;
        // Who does not hear it learns it by the lease.
        let _ = self.rooms.tell_nodes(What::Bye).await;
        let _ = within(self.rooms.shared.nats.client.flush()).await;
    }

    async fn propose(&self, change: RoomChange) -> Result<(), StoreError> {
        if self.rooms.applied.borrow().is_none() {
            return Err(unavailable("it is not known yet who is in which room"));
        }
        match change {
            RoomChange::Enter { room, device } => self.rooms.enter(room, device).await,
            RoomChange::Leave { room, device } => self.rooms.leave(room, device).await,
            RoomChange::SetState { room, device, stream, bytes } => {
                if self.rooms.lock().mirror.is_full() {
                    return Err(StoreError::Refused(RefusalCode::QuotaExceeded));
                }
                let key = Key::State(room, device, stream);
                self.rooms.say(key, Value::Set(bytes.clone())).await?;
                self.rooms.lock().own.set(room, device, stream, bytes);
                Ok(())
            }
            RoomChange::ClearState { room, device, stream, bytes } => {
                self.rooms.lock().own.clear(room, device, stream);
                self.rooms.say(Key::State(room, device, stream), Value::Cleared(bytes)).await
            }
        }
    }

    async fn broadcast(&self, room: RoomId, from: DeviceId, bytes: Payload) {
        let _ = self.rooms.tell_nodes(What::Broadcast(room, from, bytes)).await;
    }

    async fn attached(&self, device: DeviceId, at: Timestamp) -> Result<(), StoreError> {
        self.rooms.tell_nodes(What::Attached(device, at)).await
    }
}

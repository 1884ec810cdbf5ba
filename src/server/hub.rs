use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tracing::warn;

use super::{
    Limits,
    bus::{BusEvents, RoomChange},
    doorbells::Doorbells,
    nodes::Nodes,
    rooms::{Dropped, Expired, Rooms},
    snapshot::entered,
    store::{Durable, NewMail, Store, StoreError, StoredMail},
};
use crate::{
    primitives::{DeviceId, RoomId, StreamId, Timestamp},
    protocol::service::{Payload, RefusalCode, ServerFrame},
};

/// Frames that wait for one connection before it counts as too slow to be told everything.
const OUTBOX: usize = 512;
/// Places in it that broadcasts leave free, so that they never displace who came and went.
const RESERVED: usize = 128;

/// Streams and acquaintances that are forgotten in one go.
const SLICE: usize = 256;

/// Where all connections meet: the rooms, the store, and a way to reach whoever is connected.
///
/// Rooms change under one lock. Nothing waits under it, and nothing that is long is encoded under it:
/// a device that enters is shown the room by its own connection, when that comes to it. What it is
/// told afterwards leaves no gap, but may repeat what it saw.
pub(super) struct Hub {
    pub(super) limits: Limits,
    pub(super) store: Arc<dyn Store>,
    bells: Doorbells,
    /// The other nodes of this service, if there are any.
    nodes: OnceLock<Nodes>,
    connections: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    rooms: Rooms,
    links: HashMap<DeviceId, Link>,
}

/// The hub's end of one connection. Dropping it tells the connection that it was replaced.
struct Link {
    connection: u64,
    since: Timestamp,
    outbox: mpsc::Sender<Told>,
    lagged: Arc<AtomicBool>,
}

/// What a connection is to pass on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// An encoded frame.
    Frame(Bytes),
    /// What is in a room by then.
    Picture(RoomId),
}

/// The connection's end. Dropping it takes the device out of its rooms.
pub(super) struct Attachment {
    hub: Arc<Hub>,
    device: DeviceId,
    connection: u64,
    /// Closed when another connection took over.
    pub(super) outbox: mpsc::Receiver<Told>,
    /// Wakes when there may be mail.
    pub(super) mail: Arc<Notify>,
    lagged: Arc<AtomicBool>,
}

impl Hub {
    pub(super) fn new(limits: Limits, store: Arc<dyn Store>, bells: Doorbells) -> Self {
        Self {
            limits,
            store,
            bells,
            nodes: OnceLock::new(),
            connections: AtomicU64::new(0),
            inner: Mutex::default(),
        }
    }

    /// Joins the other nodes of this service, before anybody connects.
    pub(super) fn join(&self, nodes: Nodes) {
        // Once: a hub is started once.
        let _ = self.nodes.set(nodes);
    }

    /// No method leaves the rooms half changed, so a poisoned lock is as good as a whole one.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects an authenticated device; an older connection of it is replaced.
    pub(super) fn attach(self: &Arc<Self>, device: DeviceId) -> Attachment {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let (sender, outbox) = mpsc::channel(OUTBOX);
        let lagged = Arc::new(AtomicBool::new(false));
        let since = super::now();
        let link = Link { connection, since, outbox: sender, lagged: lagged.clone() };
        let mail = self.bells.hang(device);
        let mut inner = self.lock();
        if inner.links.insert(device, link).is_some() {
            self.leave_all(&mut inner, device);
        }
        if let Some(nodes) = self.nodes.get() {
            nodes.attached(device, since);
        }
        Attachment { hub: self.clone(), device, connection, outbox, mail, lagged }
    }

    /// Lets a device in whose door signature was checked. It is told what it finds there.
    pub(super) async fn enter(&self, room: RoomId, device: DeviceId) -> Result<(), RefusalCode> {
        self.change(RoomChange::Enter { room, device }, |rooms, limits| {
            rooms.may_enter(&room, &device, limits)
        })
        .await?;
        // What it was told since it counts as present comes before this, which replaces it.
        if let Some(link) = self.lock().links.get(&device) {
            link.put(Told::Picture(room));
        }
        Ok(())
    }

    pub(super) async fn leave(&self, room: RoomId, device: DeviceId) -> Result<(), RefusalCode> {
        self.change(RoomChange::Leave { room, device }, |_, _| Ok(())).await
    }

    pub(super) async fn set_state(
        &self,
        room: RoomId,
        device: DeviceId,
        stream: StreamId,
        bytes: Payload,
    ) -> Result<(), RefusalCode> {
        let said = bytes.clone();
        self.change(RoomChange::SetState { room, device, stream, bytes }, |rooms, limits| {
            rooms.may_set_state(&room, device, stream, &said, limits)
        })
        .await
    }

    /// Removes a stream and passes the signed end on, even if the stream was not known: the
    /// others may know it from before a restart of this service.
    pub(super) async fn clear_state(
        &self,
        room: RoomId,
        device: DeviceId,
        stream: StreamId,
        bytes: Payload,
    ) -> Result<(), RefusalCode> {
        if bytes.len() > self.limits.room_payload {
            return Err(RefusalCode::TooLarge);
        }
        let bytes = Some(bytes);
        self.change(RoomChange::ClearState { room, device, stream, bytes }, |rooms, _| {
            rooms.may_clear_state(&room, &device)
        })
        .await
    }

    /// Changes a room for everybody in it, on all nodes, if the change is allowed.
    async fn change(
        &self,
        change: RoomChange,
        allowed: impl FnOnce(&Rooms, &Limits) -> Result<(), RefusalCode>,
    ) -> Result<(), RefusalCode> {
        let Some(nodes) = self.nodes.get() else {
            let frame = told(&change);
            let mut inner = self.lock();
            allowed(&inner.rooms, &self.limits)?;
            inner.apply_and_tell(change, frame, &self.limits);
            return Ok(());
        };
        let applied = {
            let inner = self.lock();
            allowed(&inner.rooms, &self.limits)?;
            // Under the lock: what one device does is proposed in the order of its doing.
            nodes.propose(change)
        };
        applied.await.map_err(|error| refusal(&error))
    }

    /// Whether mail counts as a stranger's. To oneself it does: nobody needs that, and whoever makes
    /// up many identities must not have many mailboxes' room by it.
    pub(super) fn is_stranger(&self, from: &DeviceId, to: &DeviceId) -> bool {
        from == to || !self.lock().rooms.acquainted(from, to)
    }

    /// Takes mail over for its recipient.
    pub(super) async fn send(&self, mail: NewMail) -> Result<Durable, RefusalCode> {
        self.store.submit(mail, super::now()).await.map_err(|error| refusal(&error))
    }

    pub(super) async fn mail_after(
        &self,
        device: &DeviceId,
        sequence: u64,
    ) -> Result<Vec<StoredMail>, RefusalCode> {
        let mail = self.store.mail_after(device, sequence, MAIL_BATCH).await;
        mail.map_err(|error| refusal(&error))
    }

    pub(super) async fn ack(&self, device: &DeviceId, sequence: u64) -> Result<(), RefusalCode> {
        self.store.ack(device, sequence).await.map_err(|error| refusal(&error))
    }

    pub(super) fn broadcast(
        &self,
        room: RoomId,
        from: DeviceId,
        bytes: Payload,
    ) -> Result<(), RefusalCode> {
        let is_large = bytes.len() > self.limits.room_payload;
        let frame = (!is_large).then(|| broadcast(room, from, bytes.clone()));
        let inner = self.lock();
        if !inner.rooms.is_present(&room, &from) {
            return Err(RefusalCode::NotInRoom);
        }
        let frame = frame.ok_or(RefusalCode::TooLarge)?;
        if let Some(nodes) = self.nodes.get() {
            nodes.broadcast(room, from, bytes);
        }
        inner.broadcast(&room, &from, frame);
        Ok(())
    }

    /// Forgets rooms, members and streams that are out of date.
    pub(super) fn expire(&self) {
        let now = Instant::now();
        // In slices: what others want to do is done in between.
        while self.expire_some(now) {}
    }

    fn expire_some(&self, now: Instant) -> bool {
        let mut inner = self.lock();
        let Expired { dropped, more } = inner.rooms.expire(now, SLICE);
        for Dropped { room, device, stream } in dropped {
            let frame = ServerFrame::StateCleared { room, device, stream, bytes: None };
            inner.tell(&room, &device, encoded(&frame));
        }
        more
    }

    fn leave_all(&self, inner: &mut Inner, device: DeviceId) {
        for room in inner.rooms.places(&device) {
            match self.nodes.get() {
                None => inner.apply(RoomChange::Leave { room, device }, &self.limits),
                Some(nodes) => nodes.leave(room, device),
            }
        }
    }
}

/// What a store's error means to a device.
pub(super) fn refusal(error: &StoreError) -> RefusalCode {
    match error {
        StoreError::Refused(code) => *code,
        StoreError::Unavailable(reason) => {
            warn!(reason, "the store is not available");
            RefusalCode::Unavailable
        }
        StoreError::Failed(_) => RefusalCode::ShuttingDown,
        // Those are of the directory.
        StoreError::Replayed | StoreError::UnknownDevice => RefusalCode::Malformed,
    }
}

impl BusEvents for Hub {
    fn apply(&self, change: RoomChange) {
        let frame = told(&change);
        self.lock().apply_and_tell(change, frame, &self.limits);
    }

    fn broadcast(&self, room: RoomId, from: DeviceId, bytes: Payload) {
        let frame = broadcast(room, from, bytes);
        self.lock().broadcast(&room, &from, frame);
    }

    fn attached_elsewhere(&self, device: DeviceId, at: Timestamp) {
        let mut inner = self.lock();
        // This may be late, and the device back here. Should clocks differ, an old connection ends
        // by its silence; a new one must not end.
        if inner.links.get(&device).is_some_and(|link| link.since < at) {
            // It takes the device out of the rooms that were entered by way of it.
            inner.links.remove(&device);
        }
    }
}

/// Messages fetched from a mailbox at a time.
pub(super) const MAIL_BATCH: usize = 32;

impl Inner {
    fn others(&self, room: &RoomId, device: &DeviceId) -> impl Iterator<Item = &Link> {
        let others = self.rooms.present(room).filter(move |other| *other != device);
        others.filter_map(|other| self.links.get(other))
    }

    /// Tells everybody else in a room who is connected here.
    fn tell(&self, room: &RoomId, device: &DeviceId, frame: Option<Bytes>) {
        let Some(frame) = frame else { return };
        self.others(room, device).for_each(|link| link.put(Told::Frame(frame.clone())));
    }

    /// For what takes no time to encode.
    fn apply(&mut self, change: RoomChange, limits: &Limits) {
        let frame = told(&change);
        self.apply_and_tell(change, frame, limits);
    }

    /// Changes a room, and tells those in it what was said to be [`told`] of it.
    fn apply_and_tell(&mut self, change: RoomChange, frame: Option<Bytes>, limits: &Limits) {
        let (room, device, is_news) = match change {
            RoomChange::Enter { room, device } => (room, device, self.rooms.enter(room, device)),
            RoomChange::Leave { room, device } => {
                (room, device, self.rooms.leave(&room, &device, limits, Instant::now()))
            }
            RoomChange::SetState { room, device, stream, bytes } => {
                let now = Instant::now();
                let is_news = self.rooms.set_state(room, device, stream, bytes, limits, now);
                (room, device, is_news)
            }
            RoomChange::ClearState { room, device, stream, .. } => {
                self.rooms.clear_state(&room, device, stream);
                (room, device, true)
            }
        };
        if is_news {
            self.tell(&room, &device, frame);
        }
    }

    fn broadcast(&self, room: &RoomId, from: &DeviceId, frame: Option<Bytes>) {
        let Some(frame) = frame else { return };
        for link in self.others(room, from) {
            if link.outbox.capacity() > RESERVED {
                // Full or closed: a broadcast may be lost.
                let _ = link.outbox.try_send(Told::Frame(frame.clone()));
            }
        }
    }
}

impl Link {
    /// Passes a frame on. Who has no place left for it is given a fresh picture of its rooms
    /// instead, as soon as it reads again.
    fn put(&self, told: Told) {
        if self.outbox.try_send(told).is_err() {
            self.lagged.store(true, Ordering::Release);
        }
    }
}

impl Attachment {
    /// If this connection missed anything: all its rooms, of which it is to be shown a fresh
    /// [picture](Self::picture). That replaces whatever still waited in the outbox.
    pub(super) fn catch_up(&mut self) -> Option<Vec<RoomId>> {
        if !self.lagged.load(Ordering::Acquire) {
            return None;
        }
        // Under the lock nobody adds to the outbox, so nothing falls between the two.
        let inner = self.hub.lock();
        self.lagged.store(false, Ordering::Release);
        while self.outbox.try_recv().is_ok() {}
        Some(inner.rooms.places(&self.device))
    }

    /// What is in a room now; nothing if the device is not in it any more.
    pub(super) fn picture(&self, room: RoomId) -> Vec<ServerFrame> {
        // Payloads are not copied, so the lock is not held for long.
        let entry = self.hub.lock().rooms.entry(&room, &self.device);
        entry.map(|entry| entered(room, entry)).unwrap_or_default()
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.hub.bells.take(&self.device, &self.mail);
        let mut inner = self.hub.lock();
        match inner.links.get(&self.device) {
            // Another connection to this node took over.
            Some(link) if link.connection != self.connection => return,
            // One to another node did, which leaves only what was entered here.
            None => {}
            Some(_) => drop(inner.links.remove(&self.device)),
        }
        self.hub.leave_all(&mut inner, self.device);
    }
}

/// What the others in a room are told of a change, encoded.
fn told(change: &RoomChange) -> Option<Bytes> {
    encoded(&match change.clone() {
        RoomChange::Enter { room, device } => ServerFrame::Present { room, device },
        RoomChange::Leave { room, device } => ServerFrame::Gone { room, device },
        RoomChange::SetState { room, device, stream, bytes } => {
            ServerFrame::State { room, device, stream, bytes }
        }
        RoomChange::ClearState { room, device, stream, bytes } => {
            ServerFrame::StateCleared { room, device, stream, bytes }
        }
    })
}

fn broadcast(room: RoomId, from: DeviceId, bytes: Payload) -> Option<Bytes> {
    encoded(&ServerFrame::Broadcast { room, from, bytes })
}

fn encoded(frame: &ServerFrame) -> Option<Bytes> {
    match frame.encode() {
        Ok(bytes) => Some(bytes.into()),
        Err(error) => {
            warn!(%error, "a frame could not be encoded");
            None
        }
    }
}

#[cfg(test)]
mod tests;

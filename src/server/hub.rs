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
    rooms::Rooms,
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

/// Where all connections meet: the rooms, the store, and a way to reach whoever is connected.
///
/// Rooms change under one lock and nothing waits under it, so what a device learns on entering and
/// what it is told afterwards have neither gap nor overlap.
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
    outbox: mpsc::Sender<Bytes>,
    lagged: Arc<AtomicBool>,
}

/// The connection's end. Dropping it takes the device out of its rooms.
pub(super) struct Attachment {
    hub: Arc<Hub>,
    device: DeviceId,
    connection: u64,
    /// Encoded frames to pass on; closed when another connection took over.
    pub(super) outbox: mpsc::Receiver<Bytes>,
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
        self.lock().show(room, device);
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
        let applied = {
            let mut inner = self.lock();
            allowed(&inner.rooms, &self.limits)?;
            match self.nodes.get() {
                None => {
                    inner.apply(change, &self.limits);
                    return Ok(());
                }
                // Under the lock: what one device does is proposed in the order of its doing.
                Some(nodes) => nodes.propose(change),
            }
        };
        applied.await.map_err(|error| refusal(&error))
    }

    /// Takes mail over for its recipient.
    pub(super) async fn send(
        &self,
        from: DeviceId,
        to: DeviceId,
        bytes: Payload,
    ) -> Result<Durable, RefusalCode> {
        let stranger = from != to && !self.lock().rooms.acquainted(&from, &to);
        let mail = NewMail { from, to, stranger, bytes };
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
        let inner = self.lock();
        if !inner.rooms.is_present(&room, &from) {
            return Err(RefusalCode::NotInRoom);
        }
        if bytes.len() > self.limits.room_payload {
            return Err(RefusalCode::TooLarge);
        }
        if let Some(nodes) = self.nodes.get() {
            nodes.broadcast(room, from, bytes.clone());
        }
        inner.broadcast(room, from, bytes);
        Ok(())
    }

    /// Forgets rooms, members and streams that are out of date.
    pub(super) fn expire(&self) {
        let mut inner = self.lock();
        for dropped in inner.rooms.expire(Instant::now()) {
            let (room, device, stream) = (dropped.room, dropped.device, dropped.stream);
            let frame = ServerFrame::StateCleared { room, device, stream, bytes: None };
            inner.tell(&room, &device, &frame);
        }
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
        self.lock().apply(change, &self.limits);
    }

    fn broadcast(&self, room: RoomId, from: DeviceId, bytes: Payload) {
        self.lock().broadcast(room, from, bytes);
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
    fn tell(&self, room: &RoomId, device: &DeviceId, frame: &ServerFrame) {
        let frame = encoded(frame);
        self.others(room, device).for_each(|link| link.put(frame.clone()));
    }

    fn apply(&mut self, change: RoomChange, limits: &Limits) {
        match change {
            RoomChange::Enter { room, device } => {
                if self.rooms.enter(room, device) {
                    self.tell(&room, &device, &ServerFrame::Present { room, device });
                }
            }
            RoomChange::Leave { room, device } => {
                if self.rooms.leave(&room, &device, limits, Instant::now()) {
                    self.tell(&room, &device, &ServerFrame::Gone { room, device });
                }
            }
            RoomChange::SetState { room, device, stream, bytes } => {
                if self.rooms.set_state(room, device, stream, bytes.clone()) {
                    self.tell(&room, &device, &ServerFrame::State { room, device, stream, bytes });
                }
            }
            RoomChange::ClearState { room, device, stream, bytes } => {
                self.rooms.clear_state(&room, device, stream);
                let frame = ServerFrame::StateCleared { room, device, stream, bytes };
                self.tell(&room, &device, &frame);
            }
        }
    }

    /// Shows a device that is connected here what is in a room that it is in.
    fn show(&self, room: RoomId, device: DeviceId) {
        let Some(link) = self.links.get(&device) else { return };
        let entry = self.rooms.entry(&room, &device);
        for frame in entry.map(|entry| entered(room, entry)).unwrap_or_default() {
            link.put(encoded(&frame));
        }
    }

    fn broadcast(&self, room: RoomId, from: DeviceId, bytes: Payload) {
        let Some(frame) = encoded(&ServerFrame::Broadcast { room, from, bytes }) else { return };
        for link in self.others(&room, &from) {
            if link.outbox.capacity() > RESERVED {
                // Full or closed: a broadcast may be lost.
                let _ = link.outbox.try_send(frame.clone());
            }
        }
    }
}

impl Link {
    /// Passes a frame on. Who has no place left for it is given a fresh picture of its rooms
    /// instead, as soon as it reads again.
    fn put(&self, frame: Option<Bytes>) {
        if frame.is_some_and(|frame| self.outbox.try_send(frame).is_err()) {
            self.lagged.store(true, Ordering::Release);
        }
    }
}

impl Attachment {
    /// If this connection missed anything: a fresh picture of all its rooms, which replaces
    /// whatever still waited in the outbox.
    pub(super) fn catch_up(&mut self) -> Option<Vec<ServerFrame>> {
        if !self.lagged.load(Ordering::Acquire) {
            return None;
        }
        // Under the lock nobody adds to the outbox, so nothing falls between the two.
        let inner = self.hub.lock();
        self.lagged.store(false, Ordering::Release);
        while self.outbox.try_recv().is_ok() {}
        let rooms = inner.rooms.places(&self.device).into_iter();
        let entries =
            rooms.filter_map(|room| Some((room, inner.rooms.entry(&room, &self.device)?)));
        Some(entries.flat_map(|(room, entry)| entered(room, entry)).collect())
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

fn encoded(frame: &ServerFrame) -> Option<Bytes> {
    match frame.encode() {
        Ok(bytes) => Some(bytes.into()),
        Err(error) => {
            warn!(%error, "a frame could not be encoded");
            None
        }
    }
}

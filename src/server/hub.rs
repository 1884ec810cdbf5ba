use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tracing::{debug, warn};

use super::{
    Limits,
    snapshot::entered,
    store::memory::{Mailboxes, Rooms, Sender, StoredMail},
};
use crate::{
    primitives::{DeviceId, RoomId, StreamId},
    protocol::service::{Payload, RefusalCode, ServerFrame},
};

/// Frames that wait for one connection before it counts as too slow to be told everything.
const OUTBOX: usize = 512;
/// Places in it that broadcasts leave free, so that they never displace who came and went.
const RESERVED: usize = 128;

/// Where all connections meet: the store, and a way to reach whoever is connected.
///
/// Everything happens under one lock and nothing waits under it, so what a device learns on
/// entering and what it is told afterwards have neither gap nor overlap.
pub(super) struct Hub {
    pub(super) limits: Limits,
    pub(super) instance: [u8; 16],
    connections: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    mailboxes: Mailboxes,
    rooms: Rooms,
    links: HashMap<DeviceId, Link>,
}

/// The hub's end of one connection. Dropping it tells the connection that it was replaced.
struct Link {
    connection: u64,
    outbox: mpsc::Sender<Bytes>,
    lagged: Arc<AtomicBool>,
    mail: Arc<Notify>,
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
    pub(super) fn new(limits: Limits, instance: [u8; 16]) -> Self {
        let inner =
            Inner { mailboxes: Mailboxes::new(), rooms: Rooms::default(), links: HashMap::new() };
        Self { limits, instance, connections: AtomicU64::new(0), inner: Mutex::new(inner) }
    }

    /// No method leaves the store half changed, so a poisoned lock is as good as a whole one.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects an authenticated device; an older connection of it is replaced.
    pub(super) fn attach(self: &Arc<Self>, device: DeviceId) -> Attachment {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        let (sender, outbox) = mpsc::channel(OUTBOX);
        let (lagged, mail) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let link = Link { connection, outbox: sender, lagged: lagged.clone(), mail: mail.clone() };
        let mut inner = self.lock();
        if inner.links.insert(device, link).is_some() {
            inner.leave_all(&device, &self.limits);
        }
        // Mail may have come while the device was away.
        mail.notify_one();
        Attachment { hub: self.clone(), device, connection, outbox, mail, lagged }
    }

    /// Lets a device in whose door signature was checked, and says what it finds there.
    pub(super) fn enter(
        &self,
        room: RoomId,
        device: DeviceId,
    ) -> Result<Vec<ServerFrame>, RefusalCode> {
        let mut inner = self.lock();
        if inner.rooms.enter(room, device, &self.limits)? {
            inner.tell(&room, &device, &ServerFrame::Present { room, device });
        }
        Ok(inner.rooms.entry(&room, &device).map(|entry| entered(room, entry)).unwrap_or_default())
    }

    pub(super) fn leave(&self, room: RoomId, device: DeviceId) {
        self.lock().leave(room, &device, &self.limits);
    }

    /// Takes mail over for its recipient.
    pub(super) fn send(
        &self,
        from: DeviceId,
        to: DeviceId,
        bytes: Payload,
    ) -> Result<(), RefusalCode> {
        let mut inner = self.lock();
        let stranger = from != to && !inner.rooms.acquainted(&from, &to);
        let sender = Sender { device: from, stranger };
        inner.mailboxes.send(sender, to, bytes, &self.limits, Instant::now())?;
        if let Some(link) = inner.links.get(&to) {
            link.mail.notify_one();
        }
        Ok(())
    }

    pub(super) fn mail_after(&self, device: &DeviceId, sequence: u64) -> Vec<StoredMail> {
        self.lock().mailboxes.after(device, sequence, MAIL_BATCH)
    }

    pub(super) fn ack(&self, device: &DeviceId, sequence: u64) {
        self.lock().mailboxes.ack(device, sequence);
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
        let Some(frame) = encoded(&ServerFrame::Broadcast { room, from, bytes }) else {
            return Err(RefusalCode::TooLarge);
        };
        for link in inner.others(&room, &from) {
            if link.outbox.capacity() > RESERVED {
                // Full or closed: a broadcast may be lost.
                let _ = link.outbox.try_send(frame.clone());
            }
        }
        Ok(())
    }

    pub(super) fn set_state(
        &self,
        room: RoomId,
        device: DeviceId,
        stream: StreamId,
        bytes: Payload,
    ) -> Result<(), RefusalCode> {
        let mut inner = self.lock();
        if inner.rooms.set_state(&room, device, stream, bytes.clone(), &self.limits)? {
            inner.tell(&room, &device, &ServerFrame::State { room, device, stream, bytes });
        }
        Ok(())
    }

    /// Removes a stream and passes the signed end on, even if the stream was not known: the
    /// others may know it from before a restart of this service.
    pub(super) fn clear_state(
        &self,
        room: RoomId,
        device: DeviceId,
        stream: StreamId,
        bytes: Payload,
    ) -> Result<(), RefusalCode> {
        if bytes.len() > self.limits.room_payload {
            return Err(RefusalCode::TooLarge);
        }
        let mut inner = self.lock();
        inner.rooms.clear_state(&room, device, stream)?;
        let bytes = Some(bytes);
        inner.tell(&room, &device, &ServerFrame::StateCleared { room, device, stream, bytes });
        Ok(())
    }

    /// Forgets what is out of date.
    pub(super) fn expire(&self) {
        let (mut inner, now) = (self.lock(), Instant::now());
        let mail = inner.mailboxes.expire(now);
        if mail > 0 {
            debug!(mail, "dropped mail that nobody collected");
        }
        for dropped in inner.rooms.expire(now) {
            let (room, device, stream) = (dropped.room, dropped.device, dropped.stream);
            let frame = ServerFrame::StateCleared { room, device, stream, bytes: None };
            inner.tell(&room, &device, &frame);
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

    /// Tells everybody else in a room. Who has no place left for it is given a fresh picture of
    /// its rooms instead, as soon as it reads again.
    fn tell(&self, room: &RoomId, device: &DeviceId, frame: &ServerFrame) {
        let Some(frame) = encoded(frame) else { return };
        for link in self.others(room, device) {
            if link.outbox.try_send(frame.clone()).is_err() {
                link.lagged.store(true, Ordering::Release);
            }
        }
    }

    fn leave(&mut self, room: RoomId, device: &DeviceId, limits: &Limits) {
        if self.rooms.leave(&room, device, limits, Instant::now()) {
            self.tell(&room, device, &ServerFrame::Gone { room, device: *device });
        }
    }

    fn leave_all(&mut self, device: &DeviceId, limits: &Limits) {
        for room in self.rooms.places(device) {
            self.leave(room, device, limits);
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
        let mut inner = self.hub.lock();
        let current =
            inner.links.get(&self.device).is_some_and(|l| l.connection == self.connection);
        if current {
            inner.links.remove(&self.device);
            inner.leave_all(&self.device, &self.hub.limits);
        }
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

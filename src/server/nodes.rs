#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::sleep,
};

use super::{
    bus::{Bus, RoomChange},
    store::StoreError,
};
use crate::{
    primitives::{DeviceId, RoomId, Timestamp},
    protocol::service::Payload,
};

/// Tasks that talk to the bus. What concerns one device is said by one of them, so that it stays in
/// order; the others need not wait for its answer.
const LINES: usize = 64;

/// What waits for one of them, leaves aside. Whoever finds it full is told that the service cannot
/// keep anything.
const WAITING: usize = 1024;

/// How long it is tried to tell the other nodes that a device has connected here, and how often.
/// Later, its old connection has ended by itself.
const ATTACHED: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(500);

enum Message {
    Propose(RoomChange, oneshot::Sender<Result<(), StoreError>>),
    /// What follows from a connection that has ended.
    Leave(RoomId, DeviceId),
    Broadcast(RoomId, DeviceId, Payload),
}

/// One of the tasks, from outside. The queue is bounded by its permits, and leaves need none: one
/// that is not said would keep a device in its room for as long as this node lives.
struct Line {
    messages: mpsc::UnboundedSender<(Message, Option<OwnedSemaphorePermit>)>,
    permits: Arc<Semaphore>,
    leaving: Leaving,
}

/// Who is about to leave which room, with nothing behind it in the line: to leave again would
/// change nothing, so leaves are never more than places and what has a permit.
#[derive(Clone, Default)]
struct Leaving(Arc<Mutex<HashSet<(RoomId, DeviceId)>>>);

/// The other nodes of this service. No call waits, and each keeps its place: they are made under
/// the hub's lock.
pub(super) struct Nodes {
    lines: Vec<Line>,
    hash: RandomState,
    attached: mpsc::UnboundedSender<(DeviceId, Timestamp)>,
}

impl Nodes {
    /// Starts the tasks; they end with this handle.
    pub(super) fn new(bus: &Arc<dyn Bus>) -> Self {
        let lines = (0..LINES).map(|_| {
            let (messages, said) = mpsc::unbounded_channel();
            let leaving = Leaving::default();
            tokio::spawn(talk(bus.clone(), said, leaving.clone()));
            Line { messages, permits: Arc::new(Semaphore::new(WAITING)), leaving }
        });
        let (attached, attachments) = mpsc::unbounded_channel();
        tokio::spawn(announce(bus.clone(), attachments));
        Self { lines: lines.collect(), hash: RandomState::new(), attached }
    }

    /// Proposes a change; the future resolves when this node has applied it. It is proposed even if
    /// nobody waits.
    pub(super) fn propose(
        &self,
        change: RoomChange,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let device = change.device();
        let (answer, answered) = oneshot::channel();
        let full = !self.line(&device).is_some_and(|line| line.propose(change, answer));
        async move {
            let slow =
                || StoreError::Unavailable("the other nodes are not told in time".to_owned());
            if full { Err(slow()) } else { answered.await.unwrap_or_else(|_| Err(slow())) }
        }
    }

    /// Takes a device out of a room because its connection has ended. It is said for certain.
    pub(super) fn leave(&self, room: RoomId, device: DeviceId) {
        if let Some(line) = self.line(&device)
            && line.leaving.lock().insert((room, device))
        {
            // If nobody listens any more, the node ends.
            let _ = line.messages.send((Message::Leave(room, device), None));
        }
    }

    pub(super) fn broadcast(&self, room: RoomId, from: DeviceId, bytes: Payload) {
        if let Some(line) = self.line(&from) {
            // It may be lost.
            line.say(Message::Broadcast(room, from, bytes));
        }
    }

    /// Tells the other nodes that a device has connected here, past what waits in its line: the
    /// device may have gone on to another node before that is said.
    pub(super) fn attached(&self, device: DeviceId, at: Timestamp) {
        // If nobody listens any more, the node ends.
        let _ = self.attached.send((device, at));
    }

    fn line(&self, device: &DeviceId) -> Option<&Line> {
        let line = self.hash.hash_one(device) % LINES as u64;
        usize::try_from(line).ok().and_then(|line| self.lines.get(line))
    }
}

impl Line {
    /// False if too much waits already.
    fn say(&self, message: Message) -> bool {
        let Ok(permit) = self.permits.clone().try_acquire_owned() else { return false };
        self.messages.send((message, Some(permit))).is_ok()
    }

    fn propose(&self, change: RoomChange, answer: oneshot::Sender<Result<(), StoreError>>) -> bool {
        let enters = match change {
            RoomChange::Enter { room, device } => Some((room, device)),
            _ => None,
        };
        let said = self.say(Message::Propose(change, answer));
        if said && let Some(place) = enters {
            // Whoever leaves after this leaves another time.
            self.leaving.lock().remove(&place);
        }
        said
    }
}

impl Leaving {
    fn lock(&self) -> MutexGuard<'_, HashSet<(RoomId, DeviceId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn talk(
    bus: Arc<dyn Bus>,
    mut messages: mpsc::UnboundedReceiver<(Message, Option<OwnedSemaphorePermit>)>,
    leaving: Leaving,
) {
    while let Some((message, permit)) = messages.recv().await {
        drop(permit);
        match message {
            Message::Propose(change, answer) => {
                // Whose connection has ended does not wait.
                let _ = answer.send(bus.propose(change).await);
            }
            Message::Leave(room, device) => {
                leaving.lock().remove(&(room, device));
                // The bus says it again until it is heard.
                let _ = bus.propose(RoomChange::Leave { room, device }).await;
            }
            Message::Broadcast(room, from, bytes) => bus.broadcast(room, from, bytes).await,
        }
    }
}

/// Tells the other nodes who has connected here, in this order; while that cannot be, again.
async fn announce(
    bus: Arc<dyn Bus>,
    mut attachments: mpsc::UnboundedReceiver<(DeviceId, Timestamp)>,
) {
    while let Some((device, at)) = attachments.recv().await {
        while super::now().since(at) < ATTACHED && bus.attached(device, at).await.is_err() {
            sleep(AGAIN).await;
        }
    }
}

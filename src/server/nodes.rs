use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use tokio::sync::{mpsc, oneshot};

use super::{
    bus::{Bus, RoomChange},
    store::StoreError,
};
use crate::{
    primitives::{DeviceId, RoomId},
    protocol::service::Payload,
};

/// Tasks that talk to the bus. What concerns one device is said by one of them, so that it stays in
/// order; the others need not wait for its answer.
const LINES: usize = 64;

/// What waits for one of them. Whoever finds it full is told that the service cannot keep anything.
const WAITING: usize = 1024;

enum Message {
    Propose(RoomChange, oneshot::Sender<Result<(), StoreError>>),
    Broadcast(RoomId, DeviceId, Payload),
    Attached(DeviceId),
}

/// The other nodes of this service. No call waits, and each keeps its place: they are made under
/// the hub's lock.
pub(super) struct Nodes {
    lines: Vec<mpsc::Sender<Message>>,
    hash: RandomState,
}

impl Nodes {
    /// Starts the tasks; they end with this handle.
    pub(super) fn new(bus: &Arc<dyn Bus>) -> Self {
        let lines = (0..LINES).map(|_| {
            let (line, messages) = mpsc::channel(WAITING);
            tokio::spawn(talk(bus.clone(), messages));
            line
        });
        Self { lines: lines.collect(), hash: RandomState::new() }
    }

    /// Proposes a change; the future resolves when this node has applied it. It is proposed even if
    /// nobody waits.
    pub(super) fn propose(
        &self,
        change: RoomChange,
    ) -> impl Future<Output = Result<(), StoreError>> + use<> {
        let device = change.device();
        let (answer, answered) = oneshot::channel();
        let full = self.say(&device, Message::Propose(change, answer)).is_err();
        async move {
            let slow =
                || StoreError::Unavailable("the other nodes are not told in time".to_owned());
            if full { Err(slow()) } else { answered.await.unwrap_or_else(|_| Err(slow())) }
        }
    }

    pub(super) fn broadcast(&self, room: RoomId, from: DeviceId, bytes: Payload) {
        // It may be lost.
        let _ = self.say(&from, Message::Broadcast(room, from, bytes));
    }

    pub(super) fn attached(&self, device: DeviceId) {
        let _ = self.say(&device, Message::Attached(device));
    }

    fn say(&self, device: &DeviceId, message: Message) -> Result<(), ()> {
        let line = self.hash.hash_one(device) % LINES as u64;
        let line = usize::try_from(line).ok().and_then(|line| self.lines.get(line)).ok_or(())?;
        line.try_send(message).map_err(|_| ())
    }
}

async fn talk(bus: Arc<dyn Bus>, mut messages: mpsc::Receiver<Message>) {
    while let Some(message) = messages.recv().await {
        match message {
            Message::Propose(change, answer) => {
                // Nobody waits for those that follow from an ended connection.
                let _ = answer.send(bus.propose(change).await);
            }
            Message::Broadcast(room, from, bytes) => bus.broadcast(room, from, bytes).await,
            Message::Attached(device) => bus.attached(device).await,
        }
    }
}

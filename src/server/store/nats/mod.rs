//! The store on NATS JetStream, for key services of more than one node: the nodes themselves then
//! remember nothing.
//!
//! ```text
//! connection   one client, which comes back by itself; every wait has an end
//! layout       the names of streams and subjects, and what the streams hold natively
//! reads        batches from any replica, single messages and counts from the leader
//! directory    dev: one record for each device, changed by compare-and-set; otk: a message for
//!              each one-time key; claimed is who deleted it. once: requests that were seen
//! mailboxes    mbx: a subject for each pair of recipient and sender; acks purge
//! recent       what this node knows of recipients since a moment ago
//! bus          who is in which room: a mirror of one stream on each node
//! ```
//!
//! What is held otherwise than by the letter of [`Limits`]:
//!
//! - The bytes of one mailbox and of all strangers are not counted, only messages, and the bytes of
//!   each of the four parts of all mailboxes.
//! - Strangers' lane is no wider than one sender's quota.
//! - How many messages wait for a recipient is asked for at most once a second, and counted from
//!   there; nodes that submit at the same time may exceed it by what they do in that second.
//! - Several nodes that take in new devices at the same time may exceed their number by as many.

mod acks;
mod bus;
mod config;
mod connection;
mod directory;
mod layout;
mod mailboxes;
mod reads;
mod recent;
#[cfg(test)]
mod tests;

use std::{
    future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{task::JoinSet, time::timeout};
use tracing::info;

pub(in crate::server) use self::bus::NatsBus;
pub use self::config::{NatsConfig, NatsError};
use self::{acks::Acks, connection::Connection, layout::Layout, recent::Recents};
use super::{Claimed, DeviceRecord, Durable, NewMail, Once, Store, StoreError, StoredMail};
use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::KeysUpload,
    server::{Limits, doorbells::Doorbells},
};

/// How long closing waits for what is under way.
const CLOSING: Duration = Duration::from_secs(5);

/// The store on NATS.
pub(in crate::server) struct Nats {
    instance: [u8; 16],
    shared: Arc<Shared>,
}

/// What the store's tasks share.
struct Shared {
    nats: Connection,
    layout: Layout,
    limits: Limits,
    bells: Doorbells,
    recents: Recents,
    acks: Acks,
    /// This node, so that it knows its own messages when they come back.
    node: [u8; 16],
    /// What must be finished although nobody waits for it.
    under_way: Mutex<JoinSet<()>>,
    /// What goes on until the store is closed.
    listening: Mutex<JoinSet<()>>,
}

impl Nats {
    /// Connects to the servers and makes the streams that are not there yet.
    pub(in crate::server) async fn open(
        config: &NatsConfig,
        limits: Limits,
        bells: Doorbells,
    ) -> Result<Self, NatsError> {
        config.check()?;
        let mut node = [0; 16];
        getrandom::fill(&mut node).map_err(|_| NatsError::Randomness)?;
        let nats = Connection::open(config).await?;
        let layout = Layout { prefix: config.prefix.clone() };
        let shared = Arc::new(Shared {
            nats,
            layout,
            limits,
            bells,
            recents: Recents::default(),
            acks: Acks::default(),
            node,
            under_way: Mutex::default(),
            listening: Mutex::default(),
        });
        // First, so that all servers know of it when mail can come.
        let listen = shared.listen().await;
        spawn(
            &shared.listening,
            listen.map_err(|error| NatsError::Unavailable(error.to_string()))?,
        );
        spawn(&shared.listening, Shared::remind(Arc::downgrade(&shared)));
        let Shared { nats, layout, limits, .. } = &*shared;
        let instance = layout.prepare(nats, config, limits).await?;
        let version = nats.client.server_info().version;
        let (servers, replicas) = (config.servers(), config.replicas);
        info!(
            %servers, %version, replicas,
            "the store is on NATS; whether its servers run with `sync_interval: always`, without \
             which a power failure may lose the last two minutes, they do not tell"
        );
        Ok(Self { instance, shared })
    }

    /// The bus between the nodes, over the same connection. Call [`NatsBus::start`] on it.
    pub(in crate::server) fn bus(&self) -> Arc<NatsBus> {
        Arc::new(NatsBus::new(self.shared.clone()))
    }
}

fn spawn(tasks: &Mutex<JoinSet<()>>, task: impl Future<Output = ()> + Send + 'static) {
    let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
    while tasks.try_join_next().is_some() {}
    tasks.spawn(task);
}

fn take(tasks: &Mutex<JoinSet<()>>) -> JoinSet<()> {
    std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner))
}

#[async_trait]
impl Store for Nats {
    fn instance(&self) -> [u8; 16] {
        self.instance
    }

    async fn upload(
        &self,
        once: Once,
        device: DeviceId,
        upload: KeysUpload,
        _now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.shared.upload(once, device, upload).await
    }

    async fn device(&self, device: &DeviceId) -> Result<Option<DeviceRecord>, StoreError> {
        self.shared.device(device).await
    }

    async fn claim(
        &self,
        once: Once,
        device: &DeviceId,
        spare: bool,
    ) -> Result<Option<Claimed>, StoreError> {
        self.shared.claim(once, device, spare).await
    }

    async fn submit(&self, mail: NewMail, _now: Timestamp) -> Result<Durable, StoreError> {
        self.shared.submit(mail).await
    }

    async fn mail_after(
        &self,
        device: &DeviceId,
        sequence: u64,
        at_most: usize,
    ) -> Result<Vec<StoredMail>, StoreError> {
        self.shared.mail_after(device, sequence, at_most).await
    }

    async fn ack(&self, device: &DeviceId, sequence: u64) -> Result<(), StoreError> {
        self.shared.ack(device, sequence);
        Ok(())
    }

    /// The servers forget mail and requests by themselves.
    async fn expire(&self, _now: Timestamp) -> Result<(), StoreError> {
        self.shared.recents.forget();
        Ok(())
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.shared.nats.check()
    }

    /// Never: servers may come back.
    async fn failed(&self) -> StoreError {
        future::pending().await
    }

    async fn close(&self) {
        let mut under_way = take(&self.shared.under_way);
        let finished = async { while under_way.join_next().await.is_some() {} };
        let _ = timeout(CLOSING, finished).await;
        take(&self.shared.listening).shutdown().await;
        self.shared.nats.close().await;
    }
}

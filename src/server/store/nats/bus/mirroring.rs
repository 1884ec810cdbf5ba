use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream::{
    Message,
    consumer::{DeliverPolicy, pull::OrderedConfig},
};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::{
    Rooms,
    entry::{Entry, Key, Value},
};
use crate::server::store::{
    StoreError,
    nats::connection::{ANSWER, unavailable, within},
};

/// Before the stream is read again after that has failed.
const AGAIN: Duration = Duration::from_millis(500);

/// A message of the stream.
struct Read {
    key: Option<Key>,
    entry: Option<Entry>,
    revision: u64,
    /// Counts what was delivered.
    delivered: u64,
}

impl Rooms {
    /// Reads the stream for as long as it is polled.
    pub(super) async fn mirror(self: Arc<Self>) {
        loop {
            if let Err(error) = self.read_all_and_follow().await {
                warn!(%error, "it is not known at present who enters and leaves on other nodes");
                sleep(AGAIN).await;
            }
        }
    }

    /// Reads all there is, then what comes, until something may have been missed.
    async fn read_all_and_follow(&self) -> Result<(), StoreError> {
        let nats = &self.shared.nats;
        let mut connected = nats.connected.clone();
        connected.mark_unchanged();
        nats.check()?;
        let stream = self.shared.layout.rooms_stream();
        let read_to = nats.newest(&stream).await?;
        let stream = nats.context.get_stream_no_info(stream);
        let stream = within(stream).await?.map_err(unavailable)?;
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::LastPerSubject,
            filter_subject: format!("{}.>", self.shared.layout.rooms()),
            ..OrderedConfig::default()
        };
        let consumer = within(stream.create_consumer(config)).await?.map_err(unavailable)?;
        let info = consumer.cached_info();
        let (expected, mut delivered) = (info.num_pending, info.delivered.consumer_sequence);
        let mut messages = within(consumer.messages()).await?.map_err(unavailable)?;

        let mut all = Vec::new();
        while (all.len() as u64) < expected {
            let next = timeout(ANSWER, messages.next()).await;
            let Ok(Some(message)) = next else { return Err(unavailable("NATS stopped reading")) };
            let read = self.read(&message.map_err(unavailable)?)?;
            if read.delivered != delivered + 1 {
                return Ok(());
            }
            delivered = read.delivered;
            all.push(read);
        }
        self.take_all(all, read_to);

        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                changed = connected.changed() => {
                    changed.map_err(|_| unavailable("the store was closed"))?;
                    self.lock().mirror.pardon(Instant::now());
                    return Ok(());
                }
                () = self.read_again.notified() => return Ok(()),
            };
            let Some(message) = message else { return Err(unavailable("NATS stopped reading")) };
            let read = self.read(&message.map_err(unavailable)?)?;
            // The consumer was made anew: in between, even that something is over may have been
            // said and deleted.
            if read.delivered != delivered + 1 {
                return Ok(());
            }
            delivered = read.delivered;
            self.take_one(read);
        }
    }

    fn read(&self, message: &Message) -> Result<Read, StoreError> {
        let info = message.info().map_err(unavailable)?;
        let (revision, delivered) = (info.stream_sequence, info.consumer_sequence);
        let key = Key::of_subject(&self.shared.layout, &message.subject);
        let entry = postcard::from_bytes(&message.payload).ok();
        if key.is_none() || entry.is_none() {
            warn!(subject = %message.subject, "an entry about a room could not be read");
        }
        Ok(Read { key, entry, revision, delivered })
    }

    fn take_one(&self, read: Read) {
        let mut known = self.lock();
        if let (Some(key), Some(entry)) = (read.key, read.entry) {
            if let (Key::Presence(room, device), Value::Present) = (key, &entry.value)
                && entry.node != self.shared.node
            {
                known.own.went_over(room, device);
            }
            let change = known.mirror.take(key, read.revision, entry, Instant::now());
            known.tell(change);
        }
        self.applied.send_replace(Some(read.revision));
    }

    /// Presences first: what was said about them last may be younger than their state.
    fn take_all(&self, mut all: Vec<Read>, read_to: u64) {
        let now = Instant::now();
        all.sort_by_key(|read| (matches!(read.key, Some(Key::State(..))), read.revision));
        let last = all.iter().map(|read| read.revision).max().unwrap_or(0).max(read_to);
        debug!(entries = all.len(), "all rooms were read");
        let mut known = self.lock();
        let found: HashSet<Key> = all.iter().filter_map(|read| read.key).collect();
        let gone = known.mirror.keep_only(&found, last);
        known.tell(gone);
        for read in all {
            if let (Some(key), Some(entry)) = (read.key, read.entry) {
                let change = known.mirror.take(key, read.revision, entry, now);
                known.tell(change);
            }
        }
        // Never back: somebody waits for what is applied.
        self.applied.send_modify(|applied| *applied = (*applied).max(Some(last)));
    }
}

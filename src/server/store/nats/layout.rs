use std::time::Duration;

use async_nats::jetstream::{
    message::PublishMessage,
    stream::{Config, DiscardPolicy, StorageType},
};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use super::{
    NatsConfig, NatsError,
    connection::{Connection, NotStored},
};
use crate::{primitives::DeviceId, server::Limits};

/// Over how many streams devices are spread. JetStream has one writer for each stream.
pub(super) const SHARDS: u8 = 4;
/// Version of everything that is stored.
const VERSION: u32 = 1;
/// What the stream of rooms may take on each server. Nodes put nothing new into it from half of that
/// on, so that what is over can always be said.
pub(super) const ROOMS_BYTES: usize = 512 << 20;
/// How long a request is remembered: longer than any is accepted after it was signed.
const REMEMBERED: Duration = Duration::from_secs(180);
/// How often a new stream is asked whether it is there, and after which pause.
const TRIES: usize = 30;
const AGAIN: Duration = Duration::from_millis(100);
/// What the subject of a stranger's mail ends with.
const STRANGERS: &str = "strangers";

/// What stands where: the names of streams and subjects.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) prefix: String,
}

/// Stored once. All nodes must agree on it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    version: u32,
    shards: u8,
    instance: [u8; 16],
}

/// By a hash, since devices choose their own names.
fn shard(device: &DeviceId) -> u8 {
    Sha256::digest(device.as_bytes())[0] % SHARDS
}

/// Waits until a stream that was just made can be reached by way of the server that we talk to.
async fn answers(nats: &Connection, stream: String) -> Result<(), NatsError> {
    let mut tries = 0;
    while let Err(error) = nats.read(&stream, ">", 1, 1).await {
        tries += 1;
        if tries == TRIES {
            return Err(NatsError::Stream { stream, reason: error.to_string() });
        }
        sleep(AGAIN).await;
    }
    Ok(())
}

impl Layout {
    fn stream(&self, kind: &str, device: &DeviceId) -> String {
        format!("{}-{kind}-{}", self.prefix, shard(device))
    }

    fn subject(&self, kind: &str, device: &DeviceId) -> String {
        format!("{}.{kind}.{}.{device}", self.prefix, shard(device))
    }

    pub(super) fn device_stream(&self, device: &DeviceId) -> String {
        self.stream("dev", device)
    }

    pub(super) fn device_streams(&self) -> impl Iterator<Item = String> {
        (0..SHARDS).map(|shard| format!("{}-dev-{shard}", self.prefix))
    }

    pub(super) fn device(&self, device: &DeviceId) -> String {
        self.subject("dev", device)
    }

    pub(super) fn keys_stream(&self, device: &DeviceId) -> String {
        self.stream("otk", device)
    }

    pub(super) fn keys(&self, device: &DeviceId) -> String {
        self.subject("otk", device)
    }

    pub(super) fn mail_stream(&self, to: &DeviceId) -> String {
        self.stream("mbx", to)
    }

    /// Mail from one acquaintance, of which the stream holds no more than the sender's quota.
    pub(super) fn mail_from(&self, to: &DeviceId, from: &DeviceId) -> String {
        format!("{}.{from}", self.subject("mbx", to))
    }

    /// Mail from all strangers together.
    pub(super) fn mail_from_strangers(&self, to: &DeviceId) -> String {
        format!("{}.{STRANGERS}", self.subject("mbx", to))
    }

    pub(super) fn all_mail(&self, to: &DeviceId) -> String {
        format!("{}.*", self.subject("mbx", to))
    }

    pub(super) fn once(&self, id: &[u8; 32]) -> String {
        // It is a hash; any name of 32 bytes does.
        format!("{}.once.{}", self.prefix, DeviceId::from_bytes(*id))
    }

    pub(super) fn rooms_stream(&self) -> String {
        format!("{}-rooms", self.prefix)
    }

    pub(super) fn rooms(&self) -> String {
        format!("{}.rooms", self.prefix)
    }

    /// A subject between nodes, without a stream: what is said there may be lost.
    pub(super) fn between_nodes(&self, what: &str) -> String {
        format!("{}.nodes.{what}", self.prefix)
    }

    fn streams(&self, config: &NatsConfig, limits: &Limits) -> Vec<Config> {
        let prefix = &self.prefix;
        let base = Config {
            storage: StorageType::File,
            num_replicas: config.replicas,
            allow_direct: true,
            max_messages: -1,
            max_bytes: -1,
            max_messages_per_subject: 1,
            max_message_size: -1,
            max_consumers: -1,
            ..Config::default()
        };
        let limit = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let sharded = (0..SHARDS).flat_map(|shard| {
            let named = |kind: &str, subjects: &str| Config {
                name: format!("{prefix}-{kind}-{shard}"),
                subjects: vec![format!("{prefix}.{kind}.{shard}.{subjects}")],
                ..base.clone()
            };
            [
                // Each upload writes the record again.
                Config { max_age: limits.device_ttl, ..named("dev", "*") },
                Config {
                    max_messages_per_subject: limit(limits.one_time_keys),
                    max_age: limits.device_ttl,
                    discard: DiscardPolicy::New,
                    discard_new_per_subject: true,
                    ..named("otk", "*")
                },
                Config {
                    max_messages_per_subject: limit(limits.sender_quota),
                    max_bytes: limit(limits.store_bytes / usize::from(SHARDS)),
                    max_age: limits.mail_ttl,
                    discard: DiscardPolicy::New,
                    discard_new_per_subject: true,
                    ..named("mbx", "*.*")
                },
            ]
        });
        let named = |kind: &str, subjects: &str| Config {
            name: format!("{prefix}-{kind}"),
            subjects: vec![format!("{prefix}.{kind}{subjects}")],
            ..base.clone()
        };
        let single = [
            named("layout", ""),
            Config {
                max_age: REMEMBERED,
                discard: DiscardPolicy::New,
                discard_new_per_subject: true,
                ..named("once", ".*")
            },
            Config {
                max_bytes: limit(ROOMS_BYTES),
                discard: DiscardPolicy::New,
                ..named("rooms", ".>")
            },
        ];
        single.into_iter().chain(sharded).collect()
    }

    /// Makes all streams, or changes them to what the limits are now, unless another version has
    /// stored something else. Returns the instance.
    pub(super) async fn prepare(
        &self,
        nats: &Connection,
        config: &NatsConfig,
        limits: &Limits,
    ) -> Result<[u8; 16], NatsError> {
        let streams = self.streams(config, limits);
        let make = |config: Config| async {
            let stream = config.name.clone();
            let made = nats.context.create_or_update_stream(config).await;
            made.map(drop).map_err(|error| NatsError::Stream { stream, reason: error.to_string() })
        };
        let (layout, others) = streams.split_at(1);
        for config in layout {
            make(config.clone()).await?;
        }
        let instance = self.agree(nats).await?;
        let make = |config: &Config| {
            let (config, name) = (config.clone(), config.name.clone());
            async {
                make(config).await?;
                answers(nats, name).await
            }
        };
        stream::iter(others).map(make).buffer_unordered(4).try_collect::<()>().await?;
        Ok(instance)
    }

    /// Stores the layout, or compares it with what another node has stored.
    async fn agree(&self, nats: &Connection) -> Result<[u8; 16], NatsError> {
        let (stream, subject) =
            (format!("{}-layout", self.prefix), format!("{}.layout", self.prefix));
        let failed = |reason: String| NatsError::Stream { stream: stream.clone(), reason };
        let mut instance = [0; 16];
        getrandom::fill(&mut instance).map_err(|_| NatsError::Randomness)?;
        let new = Stored { version: VERSION, shards: SHARDS, instance };
        let bytes = postcard::to_stdvec(&new).map_err(|error| failed(error.to_string()))?;
        let message =
            PublishMessage::build().payload(bytes.into()).expected_last_subject_sequence(0);
        match nats.store(subject.clone(), message).await {
            Ok(_) => return Ok(instance),
            Err(NotStored::Changed) => {}
            Err(error) => return Err(failed(error.into_unavailable().to_string())),
        }
        let stored = nats.last(&stream, &subject).await.map_err(|e| failed(e.to_string()))?;
        let stored = stored.and_then(|(_, bytes)| postcard::from_bytes::<Stored>(&bytes).ok());
        match stored {
            Some(Stored { version: VERSION, shards: SHARDS, instance }) => Ok(instance),
            _ => Err(NatsError::Layout { prefix: self.prefix.clone() }),
        }
    }
}

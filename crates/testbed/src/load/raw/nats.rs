use async_nats::jetstream::{self, stream};

use crate::harness::nats::Cluster;

/// A stream that keeps what is published until it is told otherwise.
#[derive(Clone)]
pub(super) struct Store(jetstream::Context);

impl Store {
    pub(super) async fn create(cluster: &Cluster) -> anyhow::Result<Self> {
        let client = async_nats::connect(cluster.urls()).await?;
        let context = jetstream::new(client);
        let config = stream::Config {
            name: "raw".to_owned(),
            subjects: vec!["raw.>".to_owned()],
            num_replicas: cluster.size(),
            ..stream::Config::default()
        };
        context.create_stream(config).await?;
        Ok(Self(context))
    }

    /// Publishes a record and waits until it is stored; its number in the stream.
    pub(super) async fn publish(&self, bytes: usize) -> anyhow::Result<u64> {
        let stored = self.0.publish("raw.record", vec![0; bytes].into()).await?.await?;
        Ok(stored.sequence)
    }
}

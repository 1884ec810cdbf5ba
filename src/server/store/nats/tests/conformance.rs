use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::servers::{self, Servers};
use crate::{
    primitives::Timestamp,
    server::{
        Limits,
        doorbells::Doorbells,
        store::{
            Store,
            conformance::{Backend, Holds, conformance},
            nats::{Nats, NatsConfig},
        },
    },
};

const HOLDS: Holds = Holds { mailbox_bytes: false, stranger_bytes: false, ..Holds::EVERYTHING };

async fn open(config: &NatsConfig, limits: Limits, bells: Doorbells) -> Arc<dyn Store> {
    Arc::new(Nats::open(config, limits, bells).await.unwrap())
}

async fn sleep(time: Duration) -> Timestamp {
    tokio::time::sleep(time).await;
    SystemTime::now().into()
}

mod single {
    use super::*;

    struct Single(NatsConfig);

    impl Backend for Single {
        const HOLDS: Holds = HOLDS;

        fn is_here() -> bool {
            servers::are_here()
        }

        async fn start() -> Self {
            Self(Servers::shared_single())
        }

        async fn open(&self, limits: Limits, bells: Doorbells) -> Arc<dyn Store> {
            open(&self.0, limits, bells).await
        }

        async fn pass(&self, time: Duration) -> Timestamp {
            sleep(time).await
        }
    }

    conformance!(Single, durable);
}

mod cluster {
    use super::*;

    struct Cluster(NatsConfig);

    impl Backend for Cluster {
        const HOLDS: Holds = HOLDS;

        fn is_here() -> bool {
            servers::are_here()
        }

        async fn start() -> Self {
            Self(Servers::shared_cluster())
        }

        async fn open(&self, limits: Limits, bells: Doorbells) -> Arc<dyn Store> {
            open(&self.0, limits, bells).await
        }

        async fn pass(&self, time: Duration) -> Timestamp {
            sleep(time).await
        }
    }

    conformance!(Cluster, durable);
}

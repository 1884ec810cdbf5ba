use std::{path::Path, sync::Arc};

use prometheus_client::metrics::histogram::Histogram;
use tokio::task::spawn_blocking;

#[cfg(feature = "nats")]
use super::store::nats::Nats;
use super::{
    Limits, ServerError, StoreConfig,
    bus::{Bus, BusEvents},
    doorbells::Doorbells,
    hub::Hub,
    nodes::Nodes,
    store::{Store, memory::Memory, redb::Redb},
};

/// The configured store, and what joins it with other nodes if it can be shared.
pub(super) struct Opened {
    pub(super) store: Arc<dyn Store>,
    bus: Option<Arc<dyn Bus>>,
}

impl Opened {
    pub(super) async fn new(
        store: &StoreConfig,
        limits: &Limits,
        bells: Doorbells,
        commits: Histogram,
    ) -> Result<Self, ServerError> {
        let limits = limits.clone();
        match store {
            StoreConfig::Memory => {
                let mut instance = [0; 16];
                getrandom::fill(&mut instance).map_err(|_| ServerError::Randomness)?;
                Ok(Self { store: Arc::new(Memory::new(instance, limits, bells)), bus: None })
            }
            StoreConfig::Redb(folder) => {
                let store = redb(folder, limits, bells, commits).await;
                let failed = |reason| ServerError::Store { folder: folder.clone(), reason };
                Ok(Self { store: Arc::new(store.map_err(failed)?), bus: None })
            }
            #[cfg(feature = "nats")]
            StoreConfig::Nats(config) => {
                let store = Nats::open(config, limits, bells).await?;
                Ok(Self { bus: Some(store.bus()), store: Arc::new(store) })
            }
        }
    }

    /// Connects the hub with those of the other nodes.
    pub(super) async fn join(&self, hub: &Arc<Hub>) -> Result<(), ServerError> {
        let Some(bus) = &self.bus else { return Ok(()) };
        let events: Arc<dyn BusEvents> = hub.clone();
        let started = bus.start(Arc::downgrade(&events)).await;
        started.map_err(|error| ServerError::Nodes(error.to_string()))?;
        hub.join(Nodes::new(bus));
        Ok(())
    }

    pub(super) async fn close(&self) {
        if let Some(bus) = &self.bus {
            bus.close().await;
        }
        self.store.close().await;
    }
}

async fn redb(
    folder: &Path,
    limits: Limits,
    bells: Doorbells,
    commits: Histogram,
) -> Result<Redb, String> {
    let folder = folder.to_owned();
    // A file that was not closed in good order is looked through first.
    let opened = spawn_blocking(move || Redb::open(&folder, limits, bells, commits)).await;
    opened.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

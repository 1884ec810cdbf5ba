use std::{net::SocketAddr, sync::Arc, time::Duration};

use olmcast::primitives::DeviceId;
use rand::{RngExt, seq::IndexedRandom};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{inbox::Inbox, ledger::Ledger};

/// The numbers of sleepers in the ledger begin here.
const FIRST: usize = 1000;

/// The longest that it is away, in milliseconds: several kills.
const AWAY: u64 = 3000;

/// A device that connects now and then.
pub(super) struct Sleeper {
    inbox: Inbox,
    services: Vec<SocketAddr>,
}

impl Sleeper {
    pub(super) fn some(count: usize, services: &[SocketAddr], ledger: &Arc<Ledger>) -> Vec<Self> {
        let inboxes = (0..count).map(|number| Inbox::new(FIRST + number, ledger));
        inboxes.map(|inbox| Self { inbox, services: services.to_vec() }).collect()
    }

    /// Its number in the ledger and its name.
    pub(super) fn address(&self) -> (usize, DeviceId) {
        (self.inbox.number, self.inbox.device.id())
    }

    pub(super) async fn run(mut self, mut going: watch::Receiver<bool>) -> Inbox {
        while *going.borrow() {
            let away = Duration::from_millis(rand::rng().random_range(0..AWAY));
            // Either is a reason to look.
            let _ = timeout(away, going.changed()).await;
            let Some(service) = self.services.choose(&mut rand::rng()) else { break };
            if let Err(error) = self.inbox.collect(*service).await {
                tracing::debug!("a sleeper was cut off: {error:#}");
                sleep(Duration::from_millis(5)).await;
            }
        }
        self.inbox
    }
}

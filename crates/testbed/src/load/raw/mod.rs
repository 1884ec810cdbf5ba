//! The stores without a service around them.

mod memory;
mod nats;
mod redb;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use crate::harness::{folder::Folder, store::Ground};

/// Operations a second of the store alone, with so many in flight.
pub(super) async fn measure(
    ground: &Ground,
    in_flight: usize,
    bytes: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    match ground {
        Ground::Memory => {
            let store = Arc::new(memory::Store::default());
            let operation = move |old| {
                let store = Arc::clone(&store);
                async move {
                    let new = store.turn_over(old, bytes);
                    // Other tasks have their turn, as in a service.
                    tokio::task::yield_now().await;
                    Ok(new)
                }
            };
            repeat(in_flight, duration, operation).await
        }
        // A new file, beside the service's: what the service left behind is not its own load.
        Ground::Redb(_) => {
            let folder = Folder::temporary()?;
            let store = Arc::new(redb::Store::create(folder.path())?);
            let operation = move |old| {
                let store = Arc::clone(&store);
                async move { store.turn_over(old, bytes).await }
            };
            repeat(in_flight, duration, operation).await
        }
        Ground::Nats(cluster) => {
            let store = nats::Store::create(cluster).await?;
            let operation = move |_| {
                let store = store.clone();
                async move { store.publish(bytes).await }
            };
            repeat(in_flight, duration, operation).await
        }
    }
}

/// Has so many tasks repeat an operation, which replaces the record of the one before.
async fn repeat<F: Future<Output = anyhow::Result<u64>> + Send + 'static>(
    tasks: usize,
    duration: Duration,
    operation: impl Fn(Option<u64>) -> F + Clone + Send + 'static,
) -> anyhow::Result<f64> {
    let done = Arc::new(AtomicU64::new(0));
    let (begun, mut running) = (Instant::now(), JoinSet::new());
    for _ in 0..tasks {
        let (done, operation) = (Arc::clone(&done), operation.clone());
        running.spawn(async move {
            let mut record = None;
            while begun.elapsed() < duration {
                record = Some(operation(record).await?);
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, anyhow::Error>(())
        });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

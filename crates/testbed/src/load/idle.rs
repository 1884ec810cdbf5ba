use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use serde_json::json;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{Arguments, crowd::source};
use crate::harness::{
    check_open_files,
    device::Device,
    service::{Grants, Service},
    store::Ground,
};

/// Devices that connect at a time.
const AT_ONCE: usize = 64;

/// How long they stay before it is measured: some pings.
const QUIET: Duration = Duration::from_secs(10);

/// Megabytes that so many idle devices may cost, in proportion.
const BOUND: (f64, usize) = (300.0, 10_000);

/// Connects devices that say nothing, and prints what they cost the service.
pub(super) async fn perform(arguments: &Arguments, count: usize) -> anyhow::Result<ExitCode> {
    check_open_files(count + 256)?;
    let ground = Ground::prepare(arguments.store, arguments.nats)?;
    let service = Service::start(&ground, Grants::Anything)?;
    let (address, before) = (service.address, service.process.resident()?);
    let (turns, mut coming) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for number in 0..count {
        let turns = Arc::clone(&turns);
        coming.spawn(async move {
            let turn = turns.acquire_owned().await?;
            let device = Device::from(source(number));
            let mut socket = device.connect(address).await?;
            drop(turn);
            Ok::<_, anyhow::Error>(tokio::spawn(async move {
                // Reading answers pings.
                while socket.next().await.is_ok() {}
            }))
        });
    }
    let mut connected = Vec::with_capacity(count);
    while let Some(come) = coming.join_next().await {
        connected.push(come?.context("a device could not connect")?);
        if connected.len() % 1000 == 0 {
            eprintln!("{} of {count} devices connected", connected.len());
        }
    }
    tokio::time::sleep(QUIET).await;
    let gone = connected.iter().filter(|task| task.is_finished()).count();
    let rss_mb = (service.process.resident()? as f64 / 1e6).round();
    if arguments.json {
        let store = arguments.store;
        println!("{}", json!({ "store": store, "idle": count, "gone": gone, "rss_mb": rss_mb }));
    } else {
        let each = (service.process.resident()?.saturating_sub(before)) as f64 / count as f64 / 1e3;
        println!("{count} idle devices: {rss_mb} MB, {each:.1} kB each; {gone} cut off");
    }
    let bound = BOUND.0 * (count.max(BOUND.1) as f64 / BOUND.1 as f64);
    let kept = gone == 0 && rss_mb <= bound;
    if !kept {
        eprintln!("not kept: all stay connected, and the service has at most {bound} MB");
    }
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

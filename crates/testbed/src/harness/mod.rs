//! What experiments with a key service of its own process share: the service that can be killed,
//! the NATS servers behind it, and devices that are as cheap as they can be.

pub(crate) mod device;
pub(crate) mod directory;
pub(crate) mod folder;
pub(crate) mod nats;
pub(crate) mod process;
pub(crate) mod service;
pub(crate) mod store;
pub(crate) mod times;

use std::{net::TcpListener, time::Duration};

use anyhow::{Context, bail};
use rand::RngExt;
use tokio::signal::unix::{SignalKind, signal};

/// Runs a command's future on all cores. When the user interrupts it, the future is dropped, and
/// with it the processes and folders that it has made.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    crate::live::block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = future => result,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    })
}

/// A free port of the loopback interface that no outgoing connection is given.
///
/// Who dials a port that nobody listens on may be given this very port for its own end, is then
/// connected to itself, and a service that was killed finds its port taken.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let port = rand::rng().random_range(10_000..30_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between 10000 and 30000 on 127.0.0.1")
}

/// Sees to it that this process may open so many files; a child inherits the limit.
pub(crate) fn check_open_files(needed: usize) -> anyhow::Result<()> {
    let Ok(limits) = std::fs::read_to_string("/proc/self/limits") else { return Ok(()) };
    let line = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().nth(3)?.parse::<usize>().ok());
    match soft {
        Some(soft) if soft < needed => bail!(
            "this needs some {needed} open files, but only {soft} are allowed here; run `ulimit -n \
             {needed}` in this shell and try again"
        ),
        _ => Ok(()),
    }
}

/// What the machine was doing besides: its load over the last minute.
pub(crate) fn machine_load() -> anyhow::Result<String> {
    let load = std::fs::read_to_string("/proc/loadavg").context("no /proc/loadavg here")?;
    Ok(load.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Tries until it works, or until the patience is over.
pub(crate) async fn persistently<T, F: Future<Output = anyhow::Result<T>>>(
    patience: Duration,
    pause: Duration,
    mut attempt: impl FnMut() -> F,
) -> anyhow::Result<T> {
    let end = tokio::time::Instant::now() + patience;
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if tokio::time::Instant::now() >= end => return Err(error),
            Err(_) => tokio::time::sleep(pause).await,
        }
    }
}

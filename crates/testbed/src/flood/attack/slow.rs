use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use olmcast::protocol::service::PATH;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{SOURCE, Tally};
use crate::harness::device::connect_from;

/// Connections that it tries to hold.
const CONNECTIONS: usize = 5000;
/// Between two bytes of a head.
const DRIP: Duration = Duration::from_secs(1);
/// Before a connection that ended is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Holds connections: one half says its request byte by byte, the other asks for a WebSocket and
/// then says nothing.
pub(super) async fn attack(service: SocketAddr, tally: &Tally) {
    let (open, mut holding) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
    for number in 0..CONNECTIONS {
        let (tally, open) = (tally.clone(), Arc::clone(&open));
        holding.spawn(async move {
            // They come within a second.
            sleep(Duration::from_micros(200 * number as u64)).await;
            loop {
                let held = hold(service, number % 2 == 0, &open, &tally).await;
                tally.count(if held.is_ok() { "closed by the service" } else { "reset" });
                sleep(AGAIN).await;
            }
        });
    }
    while holding.join_next().await.is_some() {}
}

async fn hold(
    service: SocketAddr,
    drips: bool,
    open: &AtomicU64,
    tally: &Tally,
) -> anyhow::Result<()> {
    let mut stream = connect_from(SOURCE.into(), service).await?;
    tally.count("connections");
    let head = format!(
        "GET {PATH} HTTP/1.1\r\nHost: {service}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let head = head.as_bytes();
    // Counted once it has been there for a moment: what is closed at once was never held.
    let mut counted = Counted { open, counts: false };
    let mut answer = [0; 1024];
    if drips {
        for byte in head {
            stream.write_all(&[*byte]).await?;
            match timeout(DRIP, stream.read(&mut answer)).await {
                Ok(ended) => return Ok(ended.map(drop)?),
                Err(_) => counted.add(tally),
            }
        }
    } else {
        stream.write_all(head).await?;
    }
    loop {
        match timeout(DRIP, stream.read(&mut answer)).await {
            Ok(Ok(0)) => return Ok(()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => counted.add(tally),
        }
    }
}

/// One of the connections that are open.
struct Counted<'a> {
    open: &'a AtomicU64,
    counts: bool,
}

impl Counted<'_> {
    fn add(&mut self, tally: &Tally) {
        if !std::mem::replace(&mut self.counts, true) {
            let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
            tally.at_most("most held at a time", open);
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if self.counts {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

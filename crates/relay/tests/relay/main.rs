//! The relay, driven by plain WebRTC peers over loopback.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod codecs;
mod forwarding;
mod layered;
mod refusals;
mod simulcast;
mod teardown;

use std::time::{Duration, Instant};

use client::PATIENCE;
use olmcast_relay::{Relay, RelayConfig};

async fn relay() -> Relay {
    Relay::bind(RelayConfig { record: true, ..Default::default() }).await.unwrap()
}

/// Waits until `holds`, up to [`PATIENCE`].
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

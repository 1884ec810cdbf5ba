use std::net::SocketAddr;

use olmcast::primitives::DeviceId;

use super::Tally;

/// Claims one device's keys with as many identities as it takes.
pub(super) async fn attack(_service: SocketAddr, _victim: DeviceId, _tally: &Tally) {
    std::future::pending().await
}

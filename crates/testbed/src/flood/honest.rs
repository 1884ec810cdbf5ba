use std::{net::SocketAddr, time::Duration};

use olmcast::primitives::{DeviceId, Invite};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    harness::{device::Device, times::Times},
    load::{
        crowd::Crowd,
        mail::{self, Exchange, Pace},
    },
};

/// Devices that connect at a time at the beginning: as many as a service takes from one address.
const AT_ONCE: usize = 16;
/// Between two messages of a device.
const PACE: Duration = Duration::from_millis(200);
/// Between two devices that connect: fewer than a service lets in of one address.
const CONNECT: Duration = Duration::from_millis(50);
/// Bytes of a message.
const BYTES: usize = 512;

/// Devices that do what devices do.
pub(super) struct Honest {
    crowd: Crowd,
    service: SocketAddr,
    invite: Invite,
}

/// What they noticed.
pub(super) struct Noticed {
    pub(super) mail: Exchange,
    pub(super) connects: Times,
    /// Connections that did not come about.
    pub(super) failed: u64,
}

impl Honest {
    pub(super) async fn gather(count: usize, service: SocketAddr) -> anyhow::Result<Self> {
        let mut crowd = Crowd::gather(count);
        crowd.come(service, AT_ONCE).await?;
        let invite = Invite::generate(service.to_string())?;
        Ok(Self { crowd, service, invite })
    }

    /// Whom the attacker has chosen.
    pub(super) fn victim(&self) -> DeviceId {
        self.crowd.first()
    }

    /// Exchanges mail without looking at it.
    pub(super) async fn exchange(&mut self, duration: Duration) -> anyhow::Result<Exchange> {
        let everybody = self.crowd.len();
        mail::exchange(&mut self.crowd, everybody, Pace::Every(PACE), BYTES, duration).await
    }

    pub(super) async fn notice(&mut self, duration: Duration) -> anyhow::Result<Noticed> {
        let coming = tokio::spawn(come(self.service, self.invite.clone(), duration));
        let mail = self.exchange(duration).await?;
        let (connects, failed) = coming.await?;
        Ok(Noticed { mail, connects, failed })
    }
}

/// Has devices connect, enter a room and go, one after the other.
async fn come(service: SocketAddr, invite: Invite, duration: Duration) -> (Times, u64) {
    let (mut times, mut failed) = (Times::default(), 0);
    let (end, mut pace) = (Instant::now() + duration, interval(CONNECT));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < end {
        pace.tick().await;
        // Made before it is measured.
        let device = Device::from([127, 0, 0, 1]);
        let begun = Instant::now();
        let connecting = async {
            let mut socket = device.connect(service).await?;
            socket.enter(&device, &invite).await
        };
        match connecting.await {
            Ok(()) => times.add(begun.elapsed()),
            Err(error) => {
                tracing::warn!("an honest device was not let in: {error:#}");
                failed += 1;
            }
        }
    }
    (times, failed)
}

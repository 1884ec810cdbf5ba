use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use olmcast::primitives::{DeviceId, Invite};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{
    harness::{
        device::Device,
        directory::{Answer, Directory, Signed, keys_and_fallback_of},
        times::Times,
    },
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
/// One-time keys that the victim has uploaded.
const KEYS: u64 = 100;
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

    /// Has the victim upload keys: as many one-time keys as a device may have.
    pub(super) async fn upload_keys(&self) -> anyhow::Result<()> {
        let victim = self.crowd.devices().next().context("nobody is there")?;
        let mut directory = Directory::open([127, 0, 0, 1].into(), self.service).await?;
        let keys = keys_and_fallback_of(victim, 1..=KEYS);
        match directory.upload(Signed::upload(victim, self.service, &keys)?).await? {
            Answer::Done(_) => Ok(()),
            Answer::Refused(code) => bail!("the victim's keys were refused: {code:?}"),
        }
    }

    /// One-time keys of the victim that are left.
    pub(super) async fn keys_left(&self) -> anyhow::Result<u64> {
        let mut directory = Directory::open([127, 0, 0, 1].into(), self.service).await?;
        match directory.query(self.service, self.victim()).await? {
            Answer::Done(found) => Ok(found.one_time_keys),
            Answer::Refused(code) => bail!("the victim's keys are not there: {code:?}"),
        }
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

//! Those who upload one-time keys, and those who claim them.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::bail;
use olmcast::{
    primitives::DeviceId,
    protocol::directory::{ClaimedKey, DirectoryErrorCode, KeysClaimed},
};
use rand::seq::IndexedRandom;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::key_ledger::KeyLedger;
use crate::harness::{
    device::Device,
    directory::{Answer, Directory, Signed, keys_of},
};

/// One-time keys of one upload.
const UPLOAD: u64 = 20;
/// As long as a device has so many it uploads nothing.
const ENOUGH: usize = 100;
/// Between two requests.
const PACE: Duration = Duration::from_millis(2);
/// How long it may take until a request is answered, over all kills.
const PATIENCE: Duration = Duration::from_secs(60);

/// A device that asks the directory, whichever connection it takes.
pub(super) struct Asker {
    device: Device,
    services: Vec<SocketAddr>,
    open: Option<(SocketAddr, Directory)>,
    ledger: Arc<KeyLedger>,
}

impl Asker {
    pub(super) fn new(services: &[SocketAddr], ledger: &Arc<KeyLedger>) -> Self {
        let (device, ledger) = (Device::from([127, 0, 0, 1]), Arc::clone(ledger));
        Self { device, services: services.to_vec(), open: None, ledger }
    }

    pub(super) fn id(&self) -> DeviceId {
        self.device.id()
    }

    /// Uploads keys as long as it goes on.
    pub(super) async fn uploads(mut self, going: watch::Receiver<bool>) -> anyhow::Result<()> {
        let mut next = 1;
        while *going.borrow() {
            sleep(PACE).await;
            if self.ledger.left(&self.device.id()) >= ENOUGH {
                continue;
            }
            let numbers = next..next + UPLOAD;
            let keys = keys_of(&self.device, numbers.clone());
            let upload = |device: &Device, service| Signed::upload(device, service, &keys);
            let send = async |directory: &mut Directory, signed| directory.upload(signed).await;
            match self.insist(upload, send).await? {
                Answer::Done(_) => self.ledger.uploaded(self.device.id(), numbers),
                // It was received before a kill. A store that writes more than once for an upload
                // may have only some of its keys, and nobody was promised more.
                Answer::Refused(DirectoryErrorCode::Replayed) => {}
                Answer::Refused(code) => bail!("an upload was refused: {code:?}"),
            }
            next += UPLOAD;
        }
        Ok(())
    }

    /// Claims keys of these devices as long as it goes on.
    pub(super) async fn claims(
        mut self,
        owners: Vec<DeviceId>,
        going: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        while *going.borrow() {
            let Some(owner) = owners.choose(&mut rand::rng()) else { break };
            self.claim(*owner).await?;
            sleep(PACE).await;
        }
        Ok(self)
    }

    /// Claims all that is left of one device.
    pub(super) async fn claim_all(mut self, owner: DeviceId) -> anyhow::Result<()> {
        while self.claim(owner).await? {}
        Ok(())
    }

    /// Claims one key. False if there is none.
    async fn claim(&mut self, owner: DeviceId) -> anyhow::Result<bool> {
        let claim = |device: &Device, service| Signed::claim(device, service, owner);
        let send = async |directory: &mut Directory, signed| directory.claim(signed).await;
        match self.insist(claim, send).await? {
            Answer::Done(KeysClaimed { key: ClaimedKey::OneTimeKey(key), .. }) => {
                self.ledger.issued(owner, key.number);
            }
            Answer::Refused(DirectoryErrorCode::Replayed) => self.ledger.unseen(owner),
            Answer::Refused(DirectoryErrorCode::NoKey | DirectoryErrorCode::UnknownDevice) => {
                return Ok(false);
            }
            Answer::Done(_) => bail!("a fallback key that nobody uploaded"),
            Answer::Refused(code) => bail!("a claim was refused: {code:?}"),
        }
        Ok(true)
    }

    /// Asks until there is an answer. It is always the same request, so the answer also says
    /// whether it was carried out before one that was cut off.
    async fn insist<T>(
        &mut self,
        sign: impl Fn(&Device, SocketAddr) -> anyhow::Result<Signed>,
        mut send: impl AsyncFnMut(&mut Directory, Signed) -> anyhow::Result<Answer<T>>,
    ) -> anyhow::Result<Answer<T>> {
        let (end, mut signed) = (Instant::now() + PATIENCE, None::<(SocketAddr, Signed)>);
        loop {
            let answer = async {
                // A request is for one service; only before it is sent there is a choice.
                let service = match (&signed, &self.open) {
                    (Some((service, _)), _) | (None, Some((service, _))) => *service,
                    (None, None) => match self.services.choose(&mut rand::rng()) {
                        Some(service) => *service,
                        None => bail!("nobody to ask"),
                    },
                };
                let directory = match &mut self.open {
                    Some((_, directory)) => directory,
                    closed => {
                        let directory = Directory::open([127, 0, 0, 1].into(), service).await?;
                        &mut closed.insert((service, directory)).1
                    }
                };
                let request = match &signed {
                    Some((_, request)) => request.clone(),
                    None => signed.insert((service, sign(&self.device, service)?)).1.clone(),
                };
                send(directory, request).await
            };
            match answer.await {
                Ok(Answer::Refused(DirectoryErrorCode::Unavailable)) if Instant::now() < end => {}
                Ok(answer) => return Ok(answer),
                Err(error) if Instant::now() >= end => return Err(error),
                Err(error) => {
                    tracing::debug!("cut off: {error:#}");
                    self.open = None;
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

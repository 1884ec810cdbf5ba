use std::time::Duration;

use tokio::{sync::watch, time::sleep};

use super::{
    ClientError,
    calls::WeakCalls,
    directory::{Directory, DirectoryError},
};

/// One-time keys that the directory has of us when all is well.
const FULL: u64 = 50;
/// With fewer, it gets new ones.
const LOW: u64 = 25;
/// How often we ask how many are left. That is an upload of the device's keys, without new one-time
/// keys: by it the directory knows that the device is still there.
const CHECK: Duration = Duration::from_secs(600);
/// Until the next try if something failed: doubled from this on, up to [`CHECK`].
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps this device's keys in the directory: all of them when the service is back, and new
/// one-time keys when few are left. Nothing waits for it.
pub(super) struct Publishing {
    directory: Directory,
    calls: WeakCalls,
    check: Duration,
}

/// Why keys could not be published.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl Publishing {
    pub(super) fn new(directory: Directory, calls: WeakCalls) -> Self {
        Self { directory, calls, check: CHECK }
    }

    /// Begins anew whenever the connection does, until the driver has gone.
    pub(super) async fn run(self, mut up: watch::Receiver<()>) {
        if up.changed().await.is_err() {
            return;
        }
        loop {
            tokio::select! {
                () = self.keep() => return,
                // What was not published is offered again.
                changed = up.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Ends with the client.
    async fn keep(&self) {
        let (mut low, mut pause) = (FULL, PAUSE);
        loop {
            let wait = match self.fill(low).await {
                Ok(()) => {
                    (low, pause) = (LOW, PAUSE);
                    self.check
                }
                Err(Failed::Client(_)) => return,
                // Not every service has one.
                Err(Failed::Directory(DirectoryError::NoDirectory(_))) => self.check,
                Err(Failed::Directory(error)) => {
                    tracing::warn!(%error, "this device's keys are not in the directory yet");
                    let wait = pause.mul_f64(rand::random_range(0.8..1.2));
                    pause = (pause * 2).min(CHECK);
                    wait
                }
            };
            sleep(wait).await;
        }
    }

    /// Sees to it that the directory has our keys, and one-time keys if there are fewer than `low`.
    async fn fill(&self, low: u64) -> Result<(), Failed> {
        let left = self.upload(0).await?;
        if left < low {
            let left = self.upload(FULL.saturating_sub(left)).await?;
            tracing::debug!(left, "one-time keys published");
        }
        Ok(())
    }

    async fn upload(&self, one_time_keys: u64) -> Result<u64, Failed> {
        let count = usize::try_from(one_time_keys).unwrap_or(0);
        let calls = self.calls.upgrade().ok_or(ClientError::Ended)?;
        let upload = calls.call(move |endpoint, now| endpoint.keys_upload(count, now)).await?;
        // The client ends with its last handle: none is held while the service is waited for.
        drop(calls);
        let left = self.directory.upload(&upload).await?;
        if let Some(calls) = self.calls.upgrade() {
            calls.cast(move |endpoint, _| endpoint.keys_uploaded(&upload));
        }
        Ok(left)
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::{
        client::{Trust, calls::Calls},
        clock,
        device::Identity,
        endpoint::Endpoint,
        server::{Server, ServerConfig},
    };

    #[tokio::test]
    async fn when_few_keys_are_left_there_are_soon_new_ones() {
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        (config.limits.claim_burst, config.limits.claim_target_burst) = (1000, 1000);
        config.limits.upload_burst = 1000;
        let server = Server::bind(config).await.unwrap();
        let service = server.local_addr().to_string().parse().unwrap();
        let mut endpoint = Endpoint::new(Identity::generate()).unwrap();
        let (device, signer) = (endpoint.device(), endpoint.signer());
        let directory = Directory::new(&service, &Trust::platform(), signer);
        let (calls, mut received) = Calls::new();
        let driver = tokio::spawn(async move {
            while let Some(call) = received.recv().await {
                call(&mut endpoint, clock::now());
            }
        });
        let check = Duration::from_millis(50);
        let publishing =
            Publishing { directory: directory.clone(), calls: calls.downgrade(), check };
        let (up, ups) = watch::channel(());
        let publishing = tokio::spawn(publishing.run(ups));
        let left = async |expected: u64| {
            let start = Instant::now();
            while !directory.query(&device).await.is_ok_and(|found| found.one_time_keys == expected)
            {
                assert!(start.elapsed() < Duration::from_secs(10), "never {expected}");
                sleep(Duration::from_millis(10)).await;
            }
        };
        up.send_replace(());
        left(FULL).await;
        for _ in LOW..FULL {
            directory.claim(&device).await.unwrap();
        }
        sleep(4 * check).await;
        left(LOW).await;
        directory.claim(&device).await.unwrap();
        left(FULL).await;
        // And at once when the connection is back.
        directory.claim(&device).await.unwrap();
        up.send_replace(());
        left(FULL).await;

        drop(calls);
        driver.await.unwrap();
        drop(up);
        publishing.await.unwrap();
    }
}

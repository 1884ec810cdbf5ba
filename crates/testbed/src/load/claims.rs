use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use olmcast::{primitives::DeviceId, protocol::directory::ClaimedKey};
use tokio::{
    sync::Barrier,
    task::{JoinSet, spawn_blocking},
    time::Instant,
};

use super::crowd::source;
use crate::harness::{
    device::Device,
    directory::{Answer, Directory, Signed, keys_of},
};

/// One-time keys of a device: as many as go into one upload.
const KEYS: u64 = 100;
/// More than any service here hands out in a second.
const A_SECOND: f64 = 12_000.0;
/// Claims that are made ready at least, and at most.
const CLAIMS: (usize, usize) = (2_000, 60_000);

/// What became of claims.
pub(super) struct Claims {
    pub(super) per_second: f64,
    /// Keys that were in more than one answer.
    pub(super) duplicated: u64,
}

/// A key, as a device has named it.
type Name = (DeviceId, u64);

/// Uploads one-time keys, and has so many claimers claim them all at once, until the time is over
/// or all are gone.
pub(super) async fn perform(
    service: SocketAddr,
    claimers: usize,
    duration: Duration,
) -> anyhow::Result<Claims> {
    let wanted = ((A_SECOND * duration.as_secs_f64()) as usize).clamp(CLAIMS.0, CLAIMS.1);
    let owners = upload(service, wanted.div_ceil(KEYS as usize)).await?;
    eprintln!("{} one-time keys uploaded", owners.len() as u64 * KEYS);

    // The claimers' devices have processors of their own for signatures, so they sign before.
    let (claims, mut connecting) =
        (Arc::new(sign(service, claimers, &owners).await?), JoinSet::new());
    let (all, next) = (Arc::new(Barrier::new(claimers + 1)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..claimers {
        let (claims, all, next) = (Arc::clone(&claims), Arc::clone(&all), Arc::clone(&next));
        connecting.spawn(async move {
            let mut directory = Directory::open(source(0).into(), service).await?;
            let mut keys = Vec::new();
            all.wait().await;
            let begun = Instant::now();
            while begun.elapsed() < duration {
                let claim = claims.get(next.fetch_add(1, Ordering::Relaxed));
                let Some(claim) = claim.and_then(|claim| claim.lock().ok()?.take()) else { break };
                match directory.claim(claim).await? {
                    Answer::Done(claimed) => match claimed.key {
                        ClaimedKey::OneTimeKey(key) => {
                            keys.push((claimed.device_keys.device, key.number));
                        }
                        ClaimedKey::FallbackKey(_) => bail!("a fallback key that nobody uploaded"),
                    },
                    Answer::Refused(code) => bail!("a claim was refused: {code:?}"),
                }
            }
            Ok::<Vec<Name>, anyhow::Error>(keys)
        });
    }
    all.wait().await;
    let begun = Instant::now();
    let (mut seen, mut answers) = (HashSet::<Name>::new(), 0_usize);
    while let Some(ended) = connecting.join_next().await {
        let keys = ended?.context("a claimer could not go on")?;
        answers += keys.len();
        seen.extend(keys);
    }
    let per_second = answers as f64 / begun.elapsed().as_secs_f64();
    let duplicated = answers.saturating_sub(seen.len()) as u64;
    eprintln!("{answers} claims, {duplicated} of them for a key that somebody else got");
    Ok(Claims { per_second, duplicated })
}

/// Has so many new devices upload keys.
async fn upload(service: SocketAddr, owners: usize) -> anyhow::Result<Vec<DeviceId>> {
    let (mut uploading, mut ids) = (JoinSet::new(), Vec::with_capacity(owners));
    let left = Arc::new(AtomicUsize::new(owners));
    for _ in 0..16 {
        let left = Arc::clone(&left);
        uploading.spawn(async move {
            let mut directory = Directory::open(source(0).into(), service).await?;
            let mut ids = Vec::new();
            while left
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                .is_ok()
            {
                let device = Device::from(source(0));
                let upload = Signed::upload(&device, service, &keys_of(&device, 1..=KEYS))?;
                match directory.upload(upload).await? {
                    Answer::Done(done) => ensure!(done.one_time_keys == KEYS, "{done:?}"),
                    Answer::Refused(code) => bail!("an upload was refused: {code:?}"),
                }
                ids.push(device.id());
            }
            Ok::<_, anyhow::Error>(ids)
        });
    }
    while let Some(uploaded) = uploading.join_next().await {
        ids.extend(uploaded?.context("keys could not be uploaded")?);
    }
    Ok(ids)
}

/// A claim that somebody will make.
type Ready = std::sync::Mutex<Option<Signed>>;

/// Signs a claim for each key, by the claimers in turn and of the owners in turn.
async fn sign(
    service: SocketAddr,
    claimers: usize,
    owners: &[DeviceId],
) -> anyhow::Result<Vec<Ready>> {
    let devices: Arc<Vec<_>> = Arc::new((0..claimers).map(|_| Device::from(source(0))).collect());
    let owners: Arc<Vec<_>> = Arc::new(owners.to_vec());
    let rounds = (0..KEYS as usize).map(|round| {
        let (devices, owners) = (Arc::clone(&devices), Arc::clone(&owners));
        spawn_blocking(move || {
            let claims = owners.iter().enumerate().map(|(number, owner)| {
                let claimer =
                    devices.get((round + number) % devices.len()).context("nobody claims")?;
                Ok(Ready::new(Some(Signed::claim(claimer, service, *owner)?)))
            });
            claims.collect::<anyhow::Result<Vec<_>>>()
        })
    });
    let (mut claims, rounds): (_, Vec<_>) = (Vec::new(), rounds.collect());
    for round in rounds {
        claims.extend(round.await??);
    }
    Ok(claims)
}

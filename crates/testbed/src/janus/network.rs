use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// One way. Janus resends nothing before it has measured a round trip above zero.
const DELAY: Duration = Duration::from_millis(20);

/// A bad network between a client and Janus: every packet comes 20 ms later, and of media and its
/// reports some never, in both directions. Stops when dropped.
///
/// It stands between the two as whoever the descriptions name: pass each through it.
pub(super) struct Network {
    client_side: Arc<UdpSocket>,
    janus_side: Arc<UdpSocket>,
    loss: Arc<Loss>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Loss {
    per_cent: AtomicU32,
    dropped: AtomicU64,
}

impl Network {
    pub(super) async fn new(address: IpAddr) -> anyhow::Result<Self> {
        let bind = async || UdpSocket::bind((address, 0)).await.map(Arc::new);
        let (client_side, janus_side) = (bind().await?, bind().await?);
        Ok(Self { client_side, janus_side, loss: Arc::default(), tasks: JoinSet::new() })
    }

    /// The client's description as Janus is to see it.
    pub(super) fn for_janus(&self, client: &str) -> anyhow::Result<String> {
        Ok(moved(client, candidate(client)?, self.janus_side.local_addr()?))
    }

    /// The description of Janus as the client is to see it.
    pub(super) fn for_client(&self, janus: &str) -> anyhow::Result<String> {
        Ok(moved(janus, candidate(janus)?, self.client_side.local_addr()?))
    }

    /// Carries packets between the two, from now on.
    pub(super) fn start(&mut self, client: &str, janus: &str) -> anyhow::Result<()> {
        let (client, janus) = (candidate(client)?, candidate(janus)?);
        let (client_side, janus_side) = (&self.client_side, &self.janus_side);
        for (from, to, target, seed) in
            [(client_side, janus_side, janus, 1), (janus_side, client_side, client, 2)]
        {
            let (from, to) = (Arc::clone(from), Arc::clone(to));
            self.tasks.spawn(carry(from, to, target, Arc::clone(&self.loss), seed));
        }
        Ok(())
    }

    /// From now on, so many of a hundred packets of media are lost.
    pub(super) fn lose(&self, per_cent: u32) {
        self.loss.per_cent.store(per_cent, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.loss.dropped.load(Ordering::Relaxed)
    }
}

/// Where a description says that media is taken.
fn candidate(sdp: &str) -> anyhow::Result<SocketAddr> {
    let line = sdp.lines().find(|line| line.starts_with("a=candidate:"));
    let words: Vec<&str> = line.context("a description without candidates")?.split(' ').collect();
    let (ip, port) = words.get(4).zip(words.get(5)).context("a candidate without address")?;
    Ok(SocketAddr::new(ip.parse()?, port.parse()?))
}

fn moved(sdp: &str, from: SocketAddr, to: SocketAddr) -> String {
    let place = |at: SocketAddr| format!(" {} {} typ host", at.ip(), at.port());
    sdp.replace(&place(from), &place(to))
}

async fn carry(
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    target: SocketAddr,
    loss: Arc<Loss>,
    seed: u64,
) {
    let (delayed, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let receive = async {
        let mut state = seed * 88_172_645_463_325_252;
        let mut packet = vec![0; 2_048];
        loop {
            // What a peer that is gone answers with is no reason to stop.
            let Ok((length, _)) = from.recv_from(&mut packet).await else { continue };
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let lost = state >> 33 & 0xFFFF_FFFF;
            let per_cent = u64::from(loss.per_cent.load(Ordering::Relaxed));
            // RTP and RTCP have version 2 in front; ICE and DTLS pass.
            if packet[0] >> 6 == 2 && lost % 100 < per_cent {
                loss.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if delayed.send((Instant::now() + DELAY, packet[..length].to_vec())).is_err() {
                return;
            }
        }
    };
    let send = async {
        while let Some((at, packet)) = due.recv().await {
            sleep_until(at).await;
            if let Err(error) = to.send_to(&packet, target).await {
                tracing::debug!("not carried: {error}");
            }
        }
    };
    tokio::join!(receive, send);
}

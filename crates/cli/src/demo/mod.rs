//! `olmcast demo`: all of olmcast in one process, over real sockets.

mod evidence;
mod report;
mod viewer;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
#[cfg(feature = "nats")]
use olmcast::server::NatsConfig;
use olmcast::{
    client::{Client, ClientEvent, Publication},
    device::Identity,
    endpoint::{Event, Publish, RotationCause},
    primitives::{Codec, Invite, Position, Timestamp},
    rtc::connect_publisher,
    server::{Server, ServerConfig, StoreConfig},
};
use olmcast_relay::{Relay, RelayConfig};
use tokio::{
    sync::broadcast::error::RecvError,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    media::{AudioFile, Played, Progress, VideoFile},
    publish::{Media, UNSTATED_RATE},
    store::Choice,
};
use evidence::Evidence;
use report::Report;
use viewer::Viewer;

/// Made as media/README.md says.
const VIDEO: &[u8] = include_bytes!("../../media/video.ivf");
const AUDIO: &[u8] = include_bytes!("../../media/audio.ogg");

/// When C joins, B leaves, C is kicked, and all ends.
const C_JOINS: Duration = Duration::from_secs(3);
const B_LEAVES: Duration = Duration::from_secs(6);
const C_IS_KICKED: Duration = Duration::from_secs(9);
const END: Duration = Duration::from_secs(14);
/// How long the media connection of the publisher may take.
const MEDIA: Duration = Duration::from_secs(15);

/// Show all of it in one process: who can watch a stream, and who cannot.
///
/// Starts a key service, a relay, a publisher and three subscribers on this machine's loopback:
/// A stays, B leaves at 6 s, C joins at 3 s and is kicked at 9 s. The relay keeps what it
/// forwarded, and in the end B and C try to open every frame that they must not, with every key
/// they were ever sent. Takes 15 s; fails if a promise was not kept.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// What the key service keeps keys and mail in: memory, redb (in a folder that is removed in
    /// the end), or NATS
    #[arg(long, value_name = "memory|redb|nats://…", default_value = "memory")]
    store: Choice,
}

/// What the publisher did.
#[derive(Default)]
pub(crate) struct PublisherLog {
    /// Every frame that was sent, by its codec and RTP timestamp.
    pub(crate) played: HashMap<(Codec, u32), Played>,
    pub(crate) key_frames_asked: u32,
    /// Every switch to a new generation.
    pub(crate) rotations: Vec<(RotationCause, Position, Timestamp)>,
}

type Shared<T> = Arc<Mutex<T>>;

pub(crate) fn locked<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a task with its handle.
pub(crate) struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let media = Arc::new(Media {
        video: Some(VideoFile::parse(VIDEO, UNSTATED_RATE)?),
        audio: Some(AudioFile::parse(AUDIO)?),
    });
    let report = perform(&media, &arguments.store).await?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{report}");
    }
    let broken = report.broken_promises();
    anyhow::ensure!(broken.is_empty(), "not kept: {}", broken.join("; "));
    Ok(())
}

async fn perform(media: &Arc<Media>, store: &Choice) -> anyhow::Result<Report> {
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    // Removed when all is over.
    let folder = tempfile::tempdir()?;
    let mut config = ServerConfig::new(any);
    config.store = match store {
        Choice::Memory => StoreConfig::Memory,
        Choice::Redb => StoreConfig::Redb(folder.path().to_owned()),
        #[cfg(feature = "nats")]
        Choice::Nats(urls) => {
            let mut nats = NatsConfig::new(urls);
            // Not among the nodes of somebody's service.
            nats.prefix = "olmcast-demo".to_owned();
            StoreConfig::Nats(nats)
        }
        #[cfg(not(feature = "nats"))]
        Choice::Nats(_) => anyhow::bail!("this olmcast was built without NATS; take redb"),
    };
    let server = Server::bind(config).await?;
    let relay =
        Relay::bind(RelayConfig { listen: any, record: true, ..Default::default() }).await?;
    let invite = Invite::generate(server.local_addr().to_string())?;
    eprintln!("key service on {}, relay on {}", server.local_addr(), relay.local_addr());

    // The publisher
    let client = Client::connect(&invite, Identity::generate()).await?.with_name("publisher");
    let (whip, whep) = crate::address::at_relay(&format!("http://{}", relay.local_addr()))?;
    let name = whip.rsplit('/').next().context("an address without a name")?.to_owned();
    let log: Shared<PublisherLog> = Shared::default();
    let watching = watch_publisher(&client, &log);
    let publish = Publish::new("camera").media(whep).with_invite();
    let publication = client.publish(media.offer(publish)).await?;
    let connecting = connect_publisher(&whip, publication.encryptors());
    let (connection, senders) =
        timeout(MEDIA, connecting).await.context("the relay did not answer")??;
    let playing = Task(tokio::spawn({
        let (media, log) = (Arc::clone(media), Arc::clone(&log));
        async move {
            let told = |progress| match progress {
                Progress::Played(frame) => {
                    let mut log = locked(&log);
                    log.played.insert((frame.codec, frame.rtp_timestamp), frame);
                }
                Progress::KeyFrameAsked => locked(&log).key_frames_asked += 1,
            };
            let reason = media.play(senders, told).await;
            tracing::warn!("the publisher stopped: {reason}");
        }
    }));

    // The subscribers, and what becomes of them
    let start = Instant::now();
    let (a, mut b) = tokio::try_join!(Viewer::join("A", &invite), Viewer::join("B", &invite))?;
    let progress = Showing { start, publication: &publication, log: &log };
    progress.until(C_JOINS, &[&a, &b]).await;
    eprintln!("C joins");
    let c = Viewer::join("C", &invite).await?;
    progress.until(B_LEAVES, &[&a, &b, &c]).await;
    eprintln!("B leaves");
    let b_left = Client::now();
    b.leave().await;
    progress.until(C_IS_KICKED, &[&a, &c]).await;
    eprintln!("C is kicked");
    let c_kicked = Client::now();
    publication.kick(c.device()).await?;
    progress.until(END, &[&a, &c]).await;
    let end = Client::now();

    // What the relay kept, and what can be made of it
    drop(playing);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let recording = relay.recording(&name).context("the relay recorded nothing")?;
    anyhow::ensure!(!recording.truncated, "the relay's recording is not complete");
    let log = std::mem::take(&mut *locked(&log));
    let evidence = Evidence::new(&recording, &log)?;
    let report = Report::new(media, &log, &evidence, [&a, &b, &c], [b_left, c_kicked], end)?;

    drop(watching);
    publication.end().await?;
    connection.close().await;
    drop((a, b, c, client));
    relay.shutdown().await;
    server.shutdown().await;
    Ok(report)
}

/// Keeps a log of the switches to new generations.
fn watch_publisher(client: &Client, log: &Shared<PublisherLog>) -> Task {
    let (mut events, log) = (client.events(), Arc::clone(log));
    Task(tokio::spawn(async move {
        loop {
            match events.recv().await {
                Ok(ClientEvent::Stream(Event::Rotated { cause, position, switched, .. })) => {
                    locked(&log).rotations.push((cause, position, switched));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }))
}

/// Shows every second how things stand.
struct Showing<'a> {
    start: Instant,
    publication: &'a Publication,
    log: &'a Shared<PublisherLog>,
}

impl Showing<'_> {
    async fn until(&self, end: Duration, viewers: &[&Viewer]) {
        let mut second = self.start.elapsed().as_secs() + 1;
        while Duration::from_secs(second) <= end {
            sleep_until(self.start + Duration::from_secs(second)).await;
            self.show(second, viewers).await;
            second += 1;
        }
        sleep_until(self.start + end).await;
    }

    async fn show(&self, second: u64, viewers: &[&Viewer]) {
        let position = self.publication.position().await.ok().flatten();
        let position = position.map_or_else(|| "-".to_owned(), |position| position.to_string());
        let asked = locked(self.log).key_frames_asked;
        let mut line = format!("{second:>3} s  key {position}  key frames asked {asked}");
        for viewer in viewers {
            line.push_str("  |  ");
            line.push_str(&viewer.status());
        }
        eprintln!("{line}");
    }
}

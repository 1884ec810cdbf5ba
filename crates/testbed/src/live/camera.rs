use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use olmcast::{
    client::{Client, Publication},
    media::{self, FrameEncryptor},
    primitives::{Codec, Position, StreamRef, TrackId},
    sframe::Header,
};
use tokio::{
    sync::broadcast,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

/// Between two frames, as in an audio stream.
pub(super) const INTERVAL: Duration = Duration::from_millis(20);
pub(super) const CODEC: Codec = Codec::Opus;
pub(super) const TRACK: TrackId = TrackId(0);
/// Frames on their way; 20 s of them, far more than any subscriber may be behind.
const ON_THE_WAY: usize = 1024;
const PLAIN: usize = 80;

/// An encrypted frame on its way.
pub(super) struct Frame {
    pub(super) stream: StreamRef,
    pub(super) number: u64,
    pub(super) wire: Vec<u8>,
    pub(super) header: Header,
    pub(super) position: Position,
    /// The clock before it was encrypted.
    pub(super) sent: Instant,
}

/// The way of the media, from whoever sends to whoever listens.
#[derive(Clone)]
pub(super) struct Medium(broadcast::Sender<Arc<Frame>>);

impl Medium {
    pub(super) fn new() -> Self {
        Self(broadcast::channel(ON_THE_WAY).0)
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<Frame>> {
        self.0.subscribe()
    }
}

/// Sends a stream's frames until it is dropped.
pub(super) struct Camera {
    task: JoinHandle<()>,
    sent: Arc<Mutex<Vec<Arc<Frame>>>>,
}

impl Camera {
    /// `keep`: remembers every frame.
    pub(super) fn start(
        publication: &Publication,
        medium: &Medium,
        keep: bool,
    ) -> anyhow::Result<Self> {
        let encryptor = publication.encryptors().next().context("a stream without a track")?;
        let sent = Arc::default();
        let log = keep.then(|| Arc::clone(&sent));
        let task = tokio::spawn(run(publication.stream(), encryptor, medium.clone(), log));
        Ok(Self { task, sent })
    }

    /// Stops, and gives all frames that were sent.
    pub(super) fn stop(self) -> Vec<Arc<Frame>> {
        self.task.abort();
        std::mem::take(&mut self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(
    stream: StreamRef,
    mut encryptor: FrameEncryptor,
    medium: Medium,
    log: Option<Arc<Mutex<Vec<Arc<Frame>>>>>,
) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        let sent = Instant::now();
        if encryptor.is_overdue(Client::now()) {
            continue;
        }
        // A stream that ended encrypts nothing any more.
        let Ok(wire) = encryptor.encrypt(&plain(number)) else { return };
        let Some((header, position)) = headers(&wire) else { return };
        let frame = Arc::new(Frame { stream, number, wire, header, position, sent });
        if let Some(log) = &log {
            log.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&frame));
        }
        // Nobody has to listen.
        let _ = medium.0.send(frame);
    }
}

/// The frame of this number, as it left the encoder.
pub(super) fn plain(number: u64) -> [u8; PLAIN] {
    let mut plain = [number as u8; PLAIN];
    plain[..8].copy_from_slice(&number.to_be_bytes());
    plain
}

/// What a frame says of its key, read as anybody on the way can.
fn headers(wire: &[u8]) -> Option<(Header, Position)> {
    let header = media::header(CODEC, wire).ok()?;
    Some((header, media::position(header.key_id)?))
}

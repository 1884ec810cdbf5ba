use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context;
use olmcast::{
    media::FrameDecryptor,
    rtc::{EncryptedReceiver, ReceivedFrame, ReceiverStats},
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use webrtc::media_stream::track_remote::TrackRemote;

use super::{media::MediaFile, report::OF_EACH_LAYER};

/// What a subscriber saw.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) stats: ReceiverStats,
    /// Opened frames of each layer, by what they hold.
    pub(super) by_layer: Vec<u64>,
    /// Opened frames that were never sent.
    pub(super) mismatched: u64,
    /// The layer of the last frame.
    pub(super) layer: Option<usize>,
    /// After each loss, from the last frame before it to the key frame that ended it.
    pub(super) recoveries: Vec<Duration>,
    /// The picture stands still since then.
    broken_since: Option<Instant>,
    last: Option<Instant>,
}

/// Receives one track until told to stop, and compares it with what is sent.
pub(super) struct Subscriber {
    seen: watch::Receiver<Seen>,
    stop: mpsc::Sender<()>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Subscriber {
    pub(super) fn start(
        tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
        decryptor: FrameDecryptor,
        files: Vec<Arc<MediaFile>>,
    ) -> Self {
        let (seen_tx, seen) = watch::channel(Seen::new(files.len()));
        let (stop, stopped) = mpsc::channel(1);
        let task = tokio::spawn(watch_track(tracks, decryptor, files, seen_tx, stopped));
        Self { seen, stop, task }
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Returns when the last frame was of this layer, and enough of them have come.
    pub(super) async fn sees(&self, layer: usize) {
        let mut seen = self.seen.clone();
        let sees = |seen: &Seen| {
            let count = seen.by_layer.get(layer).copied().unwrap_or_default();
            seen.layer == Some(layer) && count >= OF_EACH_LAYER
        };
        if seen.wait_for(sees).await.is_err() {
            // It has ended, and will not see it any more.
            std::future::pending().await
        }
    }

    pub(super) async fn end(self) -> anyhow::Result<Seen> {
        drop(self.stop);
        self.task.await??;
        Ok(self.seen.borrow().clone())
    }
}

async fn watch_track(
    mut tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    decryptor: FrameDecryptor,
    files: Vec<Arc<MediaFile>>,
    seen: watch::Sender<Seen>,
    mut stopped: mpsc::Receiver<()>,
) -> anyhow::Result<()> {
    let mut layers = HashMap::new();
    for (layer, file) in files.iter().enumerate() {
        layers.extend(file.frames.iter().map(|frame| (frame.data.as_slice(), layer)));
    }
    let track = tokio::select! {
        track = tracks.recv() => track.context("the connection has ended")?,
        _ = stopped.recv() => return Ok(()),
    };
    let mut receiver = EncryptedReceiver::new(track, decryptor);
    loop {
        let frame = tokio::select! {
            frame = receiver.next() => frame.context("the track has ended")?,
            _ = stopped.recv() => break,
        };
        seen.send_modify(|seen| {
            seen.note(&frame, layers.get(&*frame.data).copied());
            seen.stats = receiver.stats();
        });
    }
    seen.send_modify(|seen| seen.stats = receiver.stats());
    Ok(())
}

impl Seen {
    fn new(layers: usize) -> Self {
        Self { by_layer: vec![0; layers], ..Self::default() }
    }

    fn note(&mut self, frame: &ReceivedFrame, layer: Option<usize>) {
        let now = Instant::now();
        match layer.and_then(|layer| self.by_layer.get_mut(layer)) {
            Some(count) => *count += 1,
            None => self.mismatched += 1,
        }
        self.layer = layer;
        if frame.after_loss && self.broken_since.is_none() {
            self.broken_since = Some(self.last.unwrap_or(now));
        }
        if frame.key_frame
            && let Some(since) = self.broken_since.take()
        {
            self.recoveries.push(now - since);
        }
        self.last = Some(now);
    }

    /// How long the picture has stood still, if it does.
    pub(super) fn broken_for(&self) -> Option<Duration> {
        self.broken_since.map(|since| since.elapsed())
    }
}

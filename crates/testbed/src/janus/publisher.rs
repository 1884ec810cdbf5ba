use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use anyhow::Context;
use olmcast::rtc::EncryptedSender;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::media::MediaFile;

/// Plays files until told to stop, each into its layer, from the highest on.
pub(super) struct Publisher {
    stop: watch::Sender<bool>,
    sent: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Publisher {
    pub(super) fn start(layers: Vec<(EncryptedSender, Arc<MediaFile>)>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let sent = Arc::default();
        let task = tokio::spawn(play(layers, Arc::clone(&sent), stopped));
        Self { stop, sent, task }
    }

    /// Frames sent so far, in all layers together.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Stops with the frame that is being sent. The senders live until this value's end.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// What went wrong, if anything did.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        drop(self.stop);
        self.task.await?
    }
}

/// A layer's place in its file.
struct Playing {
    sender: EncryptedSender,
    file: Arc<MediaFile>,
    position: usize,
    key_frame_asked: Arc<AtomicBool>,
}

async fn play(
    layers: Vec<(EncryptedSender, Arc<MediaFile>)>,
    sent: Arc<AtomicU64>,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut listening = JoinSet::new();
    let mut layers: Vec<_> = layers
        .into_iter()
        .map(|(sender, file)| {
            let (asked, requests) = (Arc::new(AtomicBool::new(false)), sender.key_frame_requests());
            let key_frame_asked = Arc::clone(&asked);
            listening.spawn(async move {
                loop {
                    requests.next().await;
                    asked.store(true, Ordering::Relaxed);
                }
            });
            Playing { sender, file, position: 0, key_frame_asked }
        })
        .collect();
    let first = layers.first().context("nothing to send")?;
    let (frame_interval, ticks) = (first.file.interval, first.file.ticks);
    let mut pace = interval(frame_interval);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut timestamp = rand::random::<u32>();
    // A case that failed drops its publisher.
    while stopped.has_changed().is_ok() && !*stopped.borrow() {
        pace.tick().await;
        for layer in &mut layers {
            if layer.key_frame_asked.swap(false, Ordering::Relaxed) {
                layer.position = layer.file.next_key_frame(layer.position);
            }
            let frame = layer.file.frames.get(layer.position).context("an empty file")?;
            layer.sender.send(&frame.data, timestamp).await?;
            sent.fetch_add(1, Ordering::Relaxed);
            layer.position = (layer.position + 1) % layer.file.frames.len();
        }
        timestamp = timestamp.wrapping_add(ticks);
    }
    // What was lost on the way is still asked for.
    while stopped.changed().await.is_ok() {}
    Ok(())
}

//! Receives the frames of one track.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::intake::{Intake, ReceivedFrame, ReceiverStats};
use crate::media::FrameDecryptor;

/// Frames that may wait for the application, about a second of audio or two of video.
const QUEUE: usize = 64;
/// Bytes that may wait for the application. One frame is taken whatever its size.
const QUEUE_BYTES: usize = 8 << 20;

/// Receives and decrypts the frames of one track.
///
/// A task of its own drains the track, because webrtc-rs drops packets as soon as 256 wait. If
/// the application is slow, whole frames are dropped instead. The task ends with this value.
#[derive(Debug)]
pub struct EncryptedReceiver {
    frames: mpsc::Receiver<ReceivedFrame>,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    stats: Mutex<ReceiverStats>,
    queued_bytes: AtomicUsize,
}

impl EncryptedReceiver {
    /// Starts to receive a track, in the current tokio runtime. The connection must have been
    /// built with [`media_engine`](super::media_engine).
    pub fn new(track: Arc<dyn TrackRemote>, decryptor: FrameDecryptor) -> Self {
        Self::start(decryptor, std::future::ready(Some(track)))
    }

    /// For a track that webrtc-rs announces with its first packet.
    pub(super) fn pending(
        track: oneshot::Receiver<Arc<dyn TrackRemote>>,
        decryptor: FrameDecryptor,
    ) -> Self {
        Self::start(decryptor, async { track.await.ok() })
    }

    fn start(
        decryptor: FrameDecryptor,
        track: impl Future<Output = Option<Arc<dyn TrackRemote>>> + Send + 'static,
    ) -> Self {
        let (frames_tx, frames) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let receive = Receive { decryptor, frames: frames_tx, shared: Arc::clone(&shared) };
        let task = tokio::spawn(async move {
            if let Some(track) = track.await {
                receive.run(&*track).await;
            }
        });
        Self { frames, shared, task }
    }

    /// The next frame, in order; `None` once the track or its connection has ended.
    ///
    /// Every frame that opens is delivered. After [`ReceivedFrame::after_loss`] a decoder may
    /// show artefacts until the key frame that was asked for. Cancel-safe.
    pub async fn next(&mut self) -> Option<ReceivedFrame> {
        let frame = self.frames.recv().await?;
        self.shared.queued_bytes.fetch_sub(frame.data.len(), Ordering::Relaxed);
        Some(frame)
    }

    /// What became of the track's frames so far.
    pub fn stats(&self) -> ReceiverStats {
        *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for EncryptedReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Receive {
    decryptor: FrameDecryptor,
    frames: mpsc::Sender<ReceivedFrame>,
    shared: Arc<Shared>,
}

impl Receive {
    async fn run(self, track: &dyn TrackRemote) {
        let Self { decryptor, frames, shared } = self;
        let mut intake = Intake::new(decryptor, Instant::now());
        // Of a track's SSRCs only the first is media here. There is no RTX, and an SFU passes the
        // layers of a simulcast on as one SSRC with one sequence, whichever it chooses.
        let mut ssrc = None;
        loop {
            let due = intake.poll_timeout();
            let timeout = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = track.poll() => match event {
                    Some(TrackRemoteEvent::OnRtpPacket(packet)) => {
                        if *ssrc.get_or_insert(packet.header.ssrc) == packet.header.ssrc {
                            intake.handle_packet(packet.into(), Instant::now());
                        }
                    }
                    None | Some(TrackRemoteEvent::OnEnded | TrackRemoteEvent::OnError) => return,
                    Some(_) => {}
                },
                () = timeout => intake.handle_timeout(Instant::now()),
            }
            while let Some(frame) = intake.poll_frame() {
                if !shared.queue(&frames, frame) {
                    intake.handle_overflow();
                }
            }
            if let Some(media_ssrc) = ssrc
                && intake.poll_key_frame_request(Instant::now())
            {
                let pli = PictureLossIndication { sender_ssrc: 0, media_ssrc };
                if let Err(error) = track.write_rtcp(vec![Box::new(pli)]).await {
                    tracing::debug!("a key-frame request was not sent: {error}");
                }
            }
            *shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = intake.stats();
        }
    }
}

impl Shared {
    /// `false` if the frame does not fit and was dropped.
    fn queue(&self, frames: &mpsc::Sender<ReceivedFrame>, frame: ReceivedFrame) -> bool {
        let length = frame.data.len();
        let waiting = self.queued_bytes.fetch_add(length, Ordering::Relaxed);
        let fits = waiting == 0 || waiting + length <= QUEUE_BYTES;
        if fits && frames.try_send(frame).is_ok() {
            return true;
        }
        self.queued_bytes.fetch_sub(length, Ordering::Relaxed);
        false
    }
}

//! A live stream: what its publisher's side and its subscribers' sides share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rtc::rtp;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;

use crate::kind::Kind;
use crate::name::{SessionId, StreamName};

/// Packets that a subscriber may lag behind before it loses some: about a second of 720p video.
const LAG: usize = 512;

/// Counters of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamStats {
    /// RTP packets received from the publisher.
    pub packets: u64,
    /// Key-frame requests (PLI or FIR) received from subscribers.
    pub plis_received: u64,
    /// PLIs sent to the publisher.
    pub plis_forwarded: u64,
    /// Subscribers that have an answer.
    pub subscribers: usize,
}

pub(crate) struct Stream {
    pub(crate) name: StreamName,
    /// Ends the stream for everybody when cancelled.
    pub(crate) ended: CancellationToken,
    session: SessionId,
    tracks: Vec<(Kind, broadcast::Sender<rtp::Packet>)>,
    key_frame: Notify,
    packets: AtomicU64,
    plis_received: AtomicU64,
    plis_forwarded: AtomicU64,
    subscribers: Mutex<HashMap<SessionId, CancellationToken>>,
}

impl Stream {
    pub(crate) fn new(
        name: StreamName,
        session: SessionId,
        kinds: &[Kind],
        ended: CancellationToken,
    ) -> Self {
        let tracks = kinds.iter().map(|kind| (*kind, broadcast::Sender::new(LAG))).collect();
        Self {
            name,
            ended,
            session,
            tracks,
            key_frame: Notify::new(),
            packets: AtomicU64::new(0),
            plis_received: AtomicU64::new(0),
            plis_forwarded: AtomicU64::new(0),
            subscribers: Mutex::default(),
        }
    }

    pub(crate) fn is_published_by(&self, session: SessionId) -> bool {
        self.session == session
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.track(kind).is_some()
    }

    fn track(&self, kind: Kind) -> Option<&broadcast::Sender<rtp::Packet>> {
        self.tracks.iter().find(|(ours, _)| *ours == kind).map(|(_, track)| track)
    }

    /// Hands a packet to every subscriber that listens now.
    pub(crate) fn forward(&self, kind: Kind, mut packet: rtp::Packet) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        // Extension ids are negotiated per connection: a subscriber would misread the
        // publisher's, and webrtc-rs refuses to send ids it has not negotiated.
        packet.header.extension = false;
        packet.header.extensions.clear();
        packet.header.extensions_padding = 0;
        packet.header.padding = false;
        if let Some(track) = self.track(kind) {
            // An error only says that nobody listens.
            let _ = track.send(packet);
        }
    }

    pub(crate) fn listen(&self, kind: Kind) -> Option<broadcast::Receiver<rtp::Packet>> {
        self.track(kind).map(broadcast::Sender::subscribe)
    }

    /// Asks the publisher for a key frame, soon. Requests that wait are one request.
    pub(crate) fn request_key_frame(&self) {
        self.key_frame.notify_one();
    }

    pub(crate) fn pli_received(&self) {
        self.plis_received.fetch_add(1, Ordering::Relaxed);
        self.request_key_frame();
    }

    pub(crate) async fn key_frame_requested(&self) {
        self.key_frame.notified().await;
    }

    pub(crate) fn pli_forwarded(&self) {
        self.plis_forwarded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_subscriber(&self, session: SessionId) -> CancellationToken {
        let token = self.ended.child_token();
        self.lock().insert(session, token.clone());
        token
    }

    pub(crate) fn remove_subscriber(&self, session: SessionId) -> Option<CancellationToken> {
        self.lock().remove(&session)
    }

    pub(crate) fn stats(&self) -> StreamStats {
        StreamStats {
            packets: self.packets.load(Ordering::Relaxed),
            plis_received: self.plis_received.load(Ordering::Relaxed),
            plis_forwarded: self.plis_forwarded.load(Ordering::Relaxed),
            subscribers: self.lock().len(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, CancellationToken>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

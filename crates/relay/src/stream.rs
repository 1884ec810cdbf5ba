//! A live stream: what its publisher's side and its subscribers' sides share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rtc::rtp;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::codec::Codec;
use crate::key_frame::starts_key_frame;
use crate::kind::Kind;
use crate::name::{SessionId, StreamName};
use crate::refusal::Refusal;

/// Packets of a layer that a subscriber may lag behind before it loses some: about a second of
/// 720p video.
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
    tracks: Vec<Track>,
    packets: AtomicU64,
    plis_received: AtomicU64,
    plis_forwarded: AtomicU64,
    subscribers: Mutex<HashMap<SessionId, Subscriber>>,
}

/// A track as its publisher sends it.
pub(crate) struct Track {
    pub(crate) codec: Codec,
    /// Names of the simulcast layers, highest first. Empty if the one encoding has no name.
    pub(crate) rids: Vec<String>,
    /// One for each rid; one if there is none.
    layers: Vec<Layer>,
    packets: broadcast::Sender<Forwarded>,
}

#[derive(Default)]
struct Layer {
    key_frame: Notify,
    /// That of the layer's last packet.
    ssrc: AtomicU32,
}

/// A packet on its way to the subscribers.
#[derive(Clone)]
pub(crate) struct Forwarded {
    pub(crate) layer: usize,
    /// Whether a key frame starts here; not looked for where there is but one layer.
    pub(crate) key_frame: bool,
    pub(crate) packet: rtp::Packet,
}

struct Subscriber {
    stop: CancellationToken,
    /// The `mid` of its video.
    mid: Option<String>,
    /// The layer that it has chosen.
    layer: watch::Sender<Option<usize>>,
}

/// What a subscriber's task is told from outside.
pub(crate) struct Orders {
    pub(crate) stop: CancellationToken,
    pub(crate) layer: watch::Receiver<Option<usize>>,
}

impl Track {
    pub(crate) fn new(codec: Codec, rids: Vec<String>) -> Self {
        let layers = rids.len().max(1);
        let packets = broadcast::Sender::new(LAG * layers);
        let layers = std::iter::repeat_with(Layer::default).take(layers).collect();
        Self { codec, rids, layers, packets }
    }

    pub(crate) fn layers(&self) -> usize {
        self.layers.len()
    }

    pub(crate) fn listen(&self) -> broadcast::Receiver<Forwarded> {
        self.packets.subscribe()
    }

    /// Asks the publisher for a key frame, soon. Requests that wait are one request.
    pub(crate) fn request_key_frame(&self, layer: usize) {
        if let Some(layer) = self.layers.get(layer) {
            layer.key_frame.notify_one();
        }
    }

    /// Waits for a request; then the SSRC whose key frame is wanted.
    pub(crate) async fn key_frame_requested(&self, layer: usize) -> u32 {
        let Some(layer) = self.layers.get(layer) else { return std::future::pending().await };
        layer.key_frame.notified().await;
        layer.ssrc.load(Ordering::Relaxed)
    }
}

impl Stream {
    pub(crate) fn new(
        name: StreamName,
        session: SessionId,
        tracks: Vec<Track>,
        ended: CancellationToken,
    ) -> Self {
        Self {
            name,
            ended,
            session,
            tracks,
            packets: AtomicU64::new(0),
            plis_received: AtomicU64::new(0),
            plis_forwarded: AtomicU64::new(0),
            subscribers: Mutex::default(),
        }
    }

    pub(crate) fn is_published_by(&self, session: SessionId) -> bool {
        self.session == session
    }

    pub(crate) fn track(&self, kind: Kind) -> Option<&Track> {
        self.tracks.iter().find(|track| track.codec.kind() == kind)
    }

    /// Hands a packet to every subscriber that listens now.
    pub(crate) fn forward(&self, track: &Track, layer: usize, mut packet: rtp::Packet) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        if let Some(layer) = track.layers.get(layer) {
            layer.ssrc.store(packet.header.ssrc, Ordering::Relaxed);
        }
        // Extension ids are negotiated per connection: a subscriber would misread the
        // publisher's, and webrtc-rs refuses to send ids it has not negotiated.
        packet.header.extension = false;
        packet.header.extensions.clear();
        packet.header.extensions_padding = 0;
        packet.header.padding = false;
        let key_frame = track.layers.len() > 1 && starts_key_frame(track.codec, &packet.payload);
        // An error only says that nobody listens.
        let _ = track.packets.send(Forwarded { layer, key_frame, packet });
    }

    pub(crate) fn pli_received(&self) {
        self.plis_received.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn pli_forwarded(&self) {
        self.plis_forwarded.fetch_add(1, Ordering::Relaxed);
    }

    /// `mid` is that of the subscriber's video.
    pub(crate) fn add_subscriber(&self, session: SessionId, mid: Option<String>) -> Orders {
        let stop = self.ended.child_token();
        let (layer, chosen) = watch::channel(None);
        self.lock().insert(session, Subscriber { stop: stop.clone(), mid, layer });
        Orders { stop, layer: chosen }
    }

    pub(crate) fn remove_subscriber(&self, session: SessionId) -> Option<CancellationToken> {
        self.lock().remove(&session).map(|subscriber| subscriber.stop)
    }

    /// Chooses the layer that a subscriber gets; no `encoding` leaves that to the relay. Returns
    /// the names of all layers.
    ///
    /// # Errors
    ///
    /// [`Refusal::UnknownSession`]; [`Refusal::UnknownLayer`] unless `media` is the `mid` of the
    /// subscriber's video, if given, and `encoding` the rid of one of its layers.
    pub(crate) fn choose(
        &self,
        session: SessionId,
        media: Option<&str>,
        encoding: Option<&str>,
    ) -> Result<&[String], Refusal> {
        let subscribers = self.lock();
        let subscriber = subscribers.get(&session).ok_or(Refusal::UnknownSession)?;
        if let Some(media) = media.filter(|media| Some(*media) != subscriber.mid.as_deref()) {
            let text = format!("mediaId {media:?} is not the mid of this session's video");
            return Err(Refusal::UnknownLayer(text));
        }
        let rids = self.track(Kind::Video).map_or(&[][..], |video| &video.rids);
        let layer = match encoding {
            None => None,
            Some(encoding) => match rids.iter().position(|rid| rid == encoding) {
                Some(layer) => Some(layer),
                None if rids.is_empty() => {
                    return Err(Refusal::UnknownLayer("the stream has only one".to_owned()));
                }
                None => {
                    let text = format!("the stream has {}, not {encoding:?}", rids.join(", "));
                    return Err(Refusal::UnknownLayer(text));
                }
            },
        };
        subscriber.layer.send_replace(layer);
        Ok(rids)
    }

    pub(crate) fn stats(&self) -> StreamStats {
        StreamStats {
            packets: self.packets.load(Ordering::Relaxed),
            plis_received: self.plis_received.load(Ordering::Relaxed),
            plis_forwarded: self.plis_forwarded.load(Ordering::Relaxed),
            subscribers: self.lock().len(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Subscriber>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

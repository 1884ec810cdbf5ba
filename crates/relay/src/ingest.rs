//! The publisher's side of a stream: receive, record, fan out, ask for key frames.

use std::sync::Arc;
use std::time::Duration;

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use tokio::task::JoinSet;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use crate::kind::Kind;
use crate::peer::Peer;
use crate::recording::Recorder;
use crate::registry::Place;
use crate::stream::{Stream, Track};

/// At most one PLI per layer reaches the publisher in this time, however many subscribers ask.
const PLI_INTERVAL: Duration = Duration::from_millis(500);
/// SSRCs that a track may have had. webrtc-rs remembers each of them.
const MAX_SOURCES: usize = 64;

/// Runs a publisher until it goes or the stream is ended.
pub(crate) async fn run(
    mut peer: Peer,
    place: Place,
    stream: Arc<Stream>,
    recorder: Option<Arc<Recorder>>,
) {
    let mut watch = peer.watch();
    let gone = async {
        match watch.connected().await {
            Ok(()) => {
                tracing::info!("publisher of stream {} is connected", stream.name);
                watch.gone().await
            }
            Err(reason) => reason,
        }
    };
    tokio::pin!(gone);
    // Dropped with this function, and its tasks with it.
    let mut tracks = JoinSet::new();
    let reason = loop {
        tokio::select! {
            reason = &mut gone => break reason,
            () = stream.ended.cancelled() => break "the session was deleted or the relay stops",
            Some(track) = peer.next_track() => {
                tracks.spawn(receive(track, Arc::clone(&stream), recorder.clone()));
            }
        }
    };
    tracing::info!("publisher of stream {} is gone: {reason}", stream.name);
    drop(place);
    peer.close().await;
}

async fn receive(
    remote: Arc<dyn TrackRemote>,
    stream: Arc<Stream>,
    recorder: Option<Arc<Recorder>>,
) {
    let Some(kind) = Kind::from_rtc(remote.kind().await) else { return };
    let Some(track) = stream.track(kind) else { return };
    let mut sources = vec![None; track.layers()];
    let mut changes = 0;
    // Dropped with this function.
    let mut requests = JoinSet::new();
    while let Some(event) = remote.poll().await {
        match event {
            TrackRemoteEvent::OnRtpPacket(packet) => {
                let ssrc = packet.header.ssrc;
                let known = sources.iter().position(|source| *source == Some(ssrc));
                let layer = match known {
                    Some(layer) => layer,
                    None => {
                        let Some(layer) = layer_of(&*remote, track, ssrc).await else { continue };
                        changes += 1;
                        if changes > MAX_SOURCES {
                            tracing::warn!("stream {} changes its SSRCs too often", stream.name);
                            stream.ended.cancel();
                            return;
                        }
                        if let Some(source) = sources.get_mut(layer)
                            && source.replace(ssrc).is_none()
                            && kind == Kind::Video
                        {
                            let (remote, stream) = (Arc::clone(&remote), Arc::clone(&stream));
                            requests.spawn(ask_upstream(remote, layer, stream));
                        }
                        layer
                    }
                };
                if let Some(recorder) = &recorder {
                    recorder.record(&stream.name, kind, layer, &packet);
                }
                stream.forward(track, layer, packet);
            }
            TrackRemoteEvent::OnEnded | TrackRemoteEvent::OnError => break,
            _ => {}
        }
    }
    tracing::debug!("{kind} of stream {} has ended", stream.name);
}

/// The layer that an SSRC belongs to, as the packets' header extensions told webrtc-rs. Not from
/// its `OnOpen` events: one of those is lost when the track's queue is full.
async fn layer_of(remote: &dyn TrackRemote, track: &Track, ssrc: u32) -> Option<usize> {
    if track.rids.is_empty() {
        return Some(0);
    }
    let rid = remote.rid(ssrc).await?;
    track.rids.iter().position(|other| *other == rid)
}

/// Sends a waiting request at once if the last one is old enough, else as soon as it is. None is
/// dropped: a subscriber may have connected after the key frame that the last one brought.
async fn ask_upstream(remote: Arc<dyn TrackRemote>, layer: usize, stream: Arc<Stream>) {
    let Some(video) = stream.track(Kind::Video) else { return };
    loop {
        let media_ssrc = video.key_frame_requested(layer).await;
        let pli = PictureLossIndication { sender_ssrc: 0, media_ssrc };
        if let Err(error) = remote.write_rtcp(vec![Box::new(pli)]).await {
            tracing::debug!("PLI to the publisher of stream {}: {error}", stream.name);
            return;
        }
        stream.pli_forwarded();
        tokio::time::sleep(PLI_INTERVAL).await;
    }
}

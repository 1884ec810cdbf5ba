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
use crate::stream::Stream;

/// At most one PLI reaches the publisher in this time, however many subscribers ask.
const PLI_INTERVAL: Duration = Duration::from_millis(500);

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
    track: Arc<dyn TrackRemote>,
    stream: Arc<Stream>,
    recorder: Option<Arc<Recorder>>,
) {
    let Some(kind) = Kind::from_rtc(track.kind().await) else { return };
    let mut requests = JoinSet::new();
    while let Some(event) = track.poll().await {
        match event {
            TrackRemoteEvent::OnRtpPacket(packet) => {
                if kind == Kind::Video && requests.is_empty() {
                    let ssrc = packet.header.ssrc;
                    requests.spawn(ask_upstream(Arc::clone(&track), ssrc, Arc::clone(&stream)));
                }
                if let Some(recorder) = &recorder {
                    recorder.record(&stream.name, kind, &packet);
                }
                stream.forward(kind, packet);
            }
            TrackRemoteEvent::OnEnded | TrackRemoteEvent::OnError => break,
            _ => {}
        }
    }
    tracing::debug!("{kind} of stream {} has ended", stream.name);
}

/// Sends a waiting request at once if the last one is old enough, else as soon as it is. None is
/// dropped: a subscriber may have connected after the key frame that the last one brought.
async fn ask_upstream(track: Arc<dyn TrackRemote>, media_ssrc: u32, stream: Arc<Stream>) {
    loop {
        stream.key_frame_requested().await;
        let pli = PictureLossIndication { sender_ssrc: 0, media_ssrc };
        if let Err(error) = track.write_rtcp(vec![Box::new(pli)]).await {
            tracing::debug!("PLI to the publisher of stream {}: {error}", stream.name);
            return;
        }
        stream.pli_forwarded();
        tokio::time::sleep(PLI_INTERVAL).await;
    }
}

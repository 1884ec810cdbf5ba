//! A subscriber's side of a stream: rewrite, send, listen for key-frame requests.

use std::sync::Arc;

use rtc::media_stream::MediaStreamTrack;
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};
use webrtc::rtp_transceiver::RtpSender;

use crate::kind::Kind;
use crate::name::{SessionId, StreamName};
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::registry::Seat;
use crate::stream::Stream;

/// A track to a subscriber, before negotiation.
pub(crate) struct Egress {
    kind: Kind,
    ssrc: u32,
    track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
}

impl Egress {
    pub(crate) async fn add(peer: &Peer, kind: Kind, name: &StreamName) -> Result<Self, Refusal> {
        let ssrc = getrandom::u32().map_err(Refusal::internal)?;
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                ..Default::default()
            },
            codec: kind.codec().rtp_codec,
            ..Default::default()
        };
        let track = MediaStreamTrack::new(
            name.to_string(),
            kind.to_string(),
            kind.to_string(),
            kind.rtc(),
            vec![encoding],
        );
        let track = Arc::new(TrackLocalStaticRTP::new(track));
        let sender = peer.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await?;
        Ok(Self { kind, ssrc, track, sender })
    }

    /// Reads what was negotiated. webrtc-rs drops packets of another payload type or SSRC, and
    /// says so only in its log.
    pub(crate) async fn negotiated(self) -> Result<Route, Refusal> {
        let parameters = self.sender.get_parameters().await.map_err(Refusal::internal)?;
        let codec = parameters.rtp_parameters.codecs.into_iter().find(|codec| {
            codec.rtp_codec.mime_type.eq_ignore_ascii_case(&self.kind.codec().rtp_codec.mime_type)
        });
        let codec = codec.ok_or(Refusal::Codec(self.kind))?;
        let ssrc_known = parameters
            .encodings
            .iter()
            .any(|encoding| encoding.rtp_coding_parameters.ssrc == Some(self.ssrc));
        if !ssrc_known {
            return Err(Refusal::internal("the SSRC was lost in negotiation"));
        }
        let Self { kind, ssrc, track, .. } = self;
        Ok(Route { kind, ssrc, payload_type: codec.payload_type, track })
    }
}

/// A negotiated track to a subscriber.
pub(crate) struct Route {
    kind: Kind,
    ssrc: u32,
    payload_type: u8,
    track: Arc<TrackLocalStaticRTP>,
}

/// Runs a subscriber until it goes or is told to.
pub(crate) async fn run(
    peer: Peer,
    seat: Seat,
    stream: Arc<Stream>,
    session: SessionId,
    routes: Vec<Route>,
    stop: CancellationToken,
) {
    let mut watch = peer.watch();
    let serve = async {
        if let Err(reason) = watch.connected().await {
            return reason;
        }
        tracing::info!("a subscriber of stream {} is connected", stream.name);
        // Dropped with this future, and its tasks with it.
        let mut tasks = JoinSet::new();
        for route in routes {
            let Some(packets) = stream.listen(route.kind) else { continue };
            if route.kind == Kind::Video {
                let track = Arc::clone(&route.track);
                tasks.spawn(feedback(track, route.ssrc, Arc::clone(&stream)));
            }
            tasks.spawn(send(packets, route, Arc::clone(&stream)));
        }
        // Only now: the key frame that it brings must find the listeners in place.
        stream.request_key_frame();
        watch.gone().await
    };
    let reason = tokio::select! {
        reason = serve => reason,
        () = stop.cancelled() => "the stream or its session has ended",
    };
    tracing::info!("a subscriber of stream {} is gone: {reason}", stream.name);
    stream.remove_subscriber(session);
    drop(seat);
    peer.close().await;
}

async fn send(mut packets: broadcast::Receiver<rtp::Packet>, route: Route, stream: Arc<Stream>) {
    loop {
        match packets.recv().await {
            Ok(mut packet) => {
                packet.header.ssrc = route.ssrc;
                packet.header.payload_type = route.payload_type;
                if route.track.write_rtp(packet).await.is_err() {
                    return;
                }
            }
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    "a subscriber of stream {} is slow: {missed} packets lost",
                    stream.name
                );
                stream.request_key_frame();
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn feedback(track: Arc<TrackLocalStaticRTP>, ssrc: u32, stream: Arc<Stream>) {
    while let Some(event) = track.poll().await {
        let TrackLocalEvent::OnRtcpPacket(packets) = event else { continue };
        // Routed here by the first packet's SSRC: the others may mean another track.
        for _ in packets.iter().filter(|packet| asks_for_key_frame(packet.as_ref(), ssrc)) {
            stream.pli_received();
        }
    }
}

fn asks_for_key_frame(packet: &dyn rtcp::Packet, ssrc: u32) -> bool {
    let packet = packet.as_any();
    if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
        return pli.media_ssrc == ssrc;
    }
    packet
        .downcast_ref::<FullIntraRequest>()
        .is_some_and(|fir| fir.fir.iter().any(|entry| entry.ssrc == ssrc))
}

//! A subscriber's side of a stream: select a layer, rewrite, send, listen for key-frame requests.

use std::sync::Arc;
use std::time::Instant;

use rtc::media_stream::MediaStreamTrack;
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodingParameters, RTCRtpEncodingParameters};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio::task::JoinSet;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};
use webrtc::rtp_transceiver::RtpSender;

use crate::codec::Codec;
use crate::kind::Kind;
use crate::name::{SessionId, StreamName};
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::registry::Seat;
use crate::selection::Selection;
use crate::stream::{Forwarded, Orders, Stream};

type Packets = broadcast::Receiver<Forwarded>;

/// A track to a subscriber, before negotiation.
pub(crate) struct Egress {
    codec: Codec,
    ssrc: u32,
    track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
}

impl Egress {
    pub(crate) async fn add(peer: &Peer, codec: Codec, name: &StreamName) -> Result<Self, Refusal> {
        let ssrc = getrandom::u32().map_err(Refusal::internal)?;
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                ..Default::default()
            },
            codec: codec.parameters().rtp_codec,
            ..Default::default()
        };
        let kind = codec.kind();
        let track = MediaStreamTrack::new(
            name.to_string(),
            kind.to_string(),
            kind.to_string(),
            kind.rtc(),
            vec![encoding],
        );
        let track = Arc::new(TrackLocalStaticRTP::new(track));
        let sender = peer.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await?;
        Ok(Self { codec, ssrc, track, sender })
    }

    /// Reads what was negotiated. webrtc-rs drops packets of another payload type or SSRC, and
    /// says so only in its log.
    pub(crate) async fn negotiated(self) -> Result<Route, Refusal> {
        let parameters = self.sender.get_parameters().await.map_err(Refusal::internal)?;
        let ours = self.codec.parameters().rtp_codec.mime_type;
        let mut codecs = parameters.rtp_parameters.codecs.into_iter();
        let codec = codecs.find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(&ours));
        let codec = codec.ok_or(Refusal::StreamCodec(self.codec))?;
        let ssrc_known = parameters
            .encodings
            .iter()
            .any(|encoding| encoding.rtp_coding_parameters.ssrc == Some(self.ssrc));
        if !ssrc_known {
            return Err(Refusal::internal("the SSRC was lost in negotiation"));
        }
        let Self { ssrc, track, .. } = self;
        Ok(Route { kind: self.codec.kind(), ssrc, payload_type: codec.payload_type, track })
    }
}

/// A negotiated track to a subscriber.
pub(crate) struct Route {
    kind: Kind,
    ssrc: u32,
    payload_type: u8,
    track: Arc<TrackLocalStaticRTP>,
}

impl Route {
    /// `false` once the connection is closed.
    async fn write(&self, mut packet: rtp::Packet) -> bool {
        packet.header.ssrc = self.ssrc;
        packet.header.payload_type = self.payload_type;
        self.track.write_rtp(packet).await.is_ok()
    }

    /// How many key frames are asked for.
    fn requests(&self, event: TrackLocalEvent) -> usize {
        let TrackLocalEvent::OnRtcpPacket(packets) = event else { return 0 };
        // Routed here by the first packet's SSRC: the others may mean another track.
        packets.iter().filter(|packet| asks_for_key_frame(packet.as_ref(), self.ssrc)).count()
    }
}

/// Runs a subscriber until it goes or is told to.
pub(crate) async fn run(
    peer: Peer,
    seat: Seat,
    stream: Arc<Stream>,
    session: SessionId,
    routes: Vec<Route>,
    orders: Orders,
) {
    let Orders { stop, layer } = orders;
    let mut watch = peer.watch();
    let serve = async {
        if let Err(reason) = watch.connected().await {
            return reason;
        }
        tracing::info!("a subscriber of stream {} is connected", stream.name);
        // Dropped with this future, and its tasks with it.
        let mut tasks = JoinSet::new();
        for route in routes {
            let Some(track) = stream.track(route.kind) else { continue };
            let packets = track.listen();
            let stream = Arc::clone(&stream);
            match route.kind {
                Kind::Audio => tasks.spawn(send_audio(packets, route, stream)),
                Kind::Video if track.layers() == 1 => {
                    // The key frame that it brings finds the listener in place.
                    track.request_key_frame(0);
                    tasks.spawn(send_video(packets, route, stream))
                }
                Kind::Video => tasks.spawn(send_one_layer(packets, route, stream, layer.clone())),
            };
        }
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

async fn send_audio(mut packets: Packets, route: Route, stream: Arc<Stream>) {
    loop {
        match packets.recv().await {
            Ok(forwarded) => {
                if !route.write(forwarded.packet).await {
                    return;
                }
            }
            Err(RecvError::Lagged(missed)) => lagged(&stream, missed),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn send_video(mut packets: Packets, route: Route, stream: Arc<Stream>) {
    let Some(video) = stream.track(Kind::Video) else { return };
    loop {
        tokio::select! {
            received = packets.recv() => match received {
                Ok(forwarded) => {
                    if !route.write(forwarded.packet).await {
                        return;
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    lagged(&stream, missed);
                    video.request_key_frame(0);
                }
                Err(RecvError::Closed) => return,
            },
            Some(event) = route.track.poll() => {
                for _ in 0..route.requests(event) {
                    stream.pli_received();
                    video.request_key_frame(0);
                }
            }
        }
    }
}

async fn send_one_layer(
    mut packets: Packets,
    route: Route,
    stream: Arc<Stream>,
    mut chosen: watch::Receiver<Option<usize>>,
) {
    let Some(video) = stream.track(Kind::Video) else { return };
    let mut selection = Selection::new(video.layers());
    selection.choose(*chosen.borrow_and_update());
    loop {
        tokio::select! {
            received = packets.recv() => match received {
                Ok(Forwarded { layer, key_frame, mut packet }) => {
                    let now = Instant::now();
                    let header = &mut packet.header;
                    let verdict = selection.handle_packet(now, layer, key_frame, header);
                    if let Some(layer) = verdict.request {
                        video.request_key_frame(layer);
                    }
                    if verdict.forward && !route.write(packet).await {
                        return;
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    lagged(&stream, missed);
                    video.request_key_frame(selection.awaited());
                }
                Err(RecvError::Closed) => return,
            },
            Some(event) = route.track.poll() => {
                for _ in 0..route.requests(event) {
                    stream.pli_received();
                    video.request_key_frame(selection.awaited());
                }
            }
            Ok(()) = chosen.changed() => selection.choose(*chosen.borrow_and_update()),
        }
    }
}

fn lagged(stream: &Stream, missed: u64) {
    tracing::warn!("a subscriber of stream {} is slow: {missed} packets lost", stream.name);
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

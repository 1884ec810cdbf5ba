//! A plain WHIP/WHEP client: what a peer of the relay looks like without any encryption.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{Attribute, Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8};
use rtc::peer_connection::transport::RTCDtlsTransportState;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters,
    RTCRtpHeaderExtensionCapability, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler,
    RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription, Registry,
    SettingEngineBuilder, configure_nack, configure_rtcp_reports,
};

/// Generous: a loaded two-core machine runs several of these tests at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const VIDEO_SSRC: u32 = 0x0a0b_0c0d;
pub(crate) const AUDIO_SSRC: u32 = 0x0102_0304;
/// Close to the wrap, so that every test runs through it.
pub(crate) const FIRST_SEQUENCE: u16 = 65_500;

pub(crate) struct Client {
    pub(crate) pc: Arc<dyn PeerConnection>,
    state: watch::Receiver<RTCPeerConnectionState>,
    pub(crate) tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    gathered: watch::Receiver<bool>,
}

impl Client {
    pub(crate) async fn new() -> Self {
        Self::with(&[codec(RtpCodecKind::Video)], &[]).await
    }

    /// A client that has these video codecs and header extensions, and Opus.
    pub(crate) async fn with(video: &[RTCRtpCodecParameters], extensions: &[&str]) -> Self {
        let (state_tx, state) = watch::channel(RTCPeerConnectionState::New);
        let (gathered_tx, gathered) = watch::channel(false);
        let (tracks_tx, tracks) = mpsc::channel(4);
        let mut engine = MediaEngine::default();
        for codec in video {
            engine.register_codec(codec.clone(), RtpCodecKind::Video).unwrap();
        }
        engine.register_codec(codec(RtpCodecKind::Audio), RtpCodecKind::Audio).unwrap();
        for uri in extensions {
            let extension = RTCRtpHeaderExtensionCapability { uri: (*uri).to_owned() };
            engine.register_header_extension(extension, RtpCodecKind::Video, None).unwrap();
        }
        let registry = configure_rtcp_reports(configure_nack(Registry::new(), &mut engine))
            .with(Slot::from(14_000), Plis::default());
        let settings =
            SettingEngineBuilder::new().with_multicast_dns_mode(MulticastDnsMode::Disabled).build();
        let pc = PeerConnectionBuilder::new()
            .with_media_engine(engine)
            .with_interceptor_registry(registry)
            .with_setting_engine(settings)
            .with_handler(Arc::new(Events { state_tx, gathered_tx, tracks_tx }))
            .with_udp_addrs(vec!["127.0.0.1:0"])
            .build()
            .await
            .unwrap();
        Self { pc: Arc::new(pc), state, tracks, gathered }
    }

    pub(crate) async fn offer(&mut self) -> String {
        let offer = self.pc.create_offer(None).await.unwrap();
        self.pc.set_local_description(offer).await.unwrap();
        self.gathered.wait_for(|done| *done).await.unwrap();
        self.pc.local_description().await.unwrap().sdp
    }

    pub(crate) async fn accept(&self, answer: String) {
        let answer = RTCSessionDescription::answer(answer).unwrap();
        self.pc.set_remote_description(answer).await.unwrap();
    }

    pub(crate) async fn connected(&mut self) {
        let up = self.state.wait_for(|state| *state == RTCPeerConnectionState::Connected);
        tokio::time::timeout(PATIENCE, up).await.expect("connects in time").unwrap();
    }

    /// Whether the relay has said goodbye.
    pub(crate) async fn closed_by_peer(&self) -> bool {
        let dtls = if let Some(sender) = self.pc.get_senders().await.first() {
            sender.transport().await.unwrap()
        } else if let Some(receiver) = self.pc.get_receivers().await.first() {
            receiver.transport().await.unwrap()
        } else {
            None
        };
        match dtls {
            Some(dtls) => dtls.state().await.unwrap() == RTCDtlsTransportState::Closed,
            None => false,
        }
    }
}

pub(crate) async fn post(relay: SocketAddr, path: &str, offer: String) -> reqwest::Response {
    let request = reqwest::Client::new().post(format!("http://{relay}{path}"));
    request.header("content-type", "application/sdp").body(offer).send().await.unwrap()
}

pub(crate) async fn delete(relay: SocketAddr, location: &str) -> reqwest::StatusCode {
    let url = format!("http://{relay}{location}");
    reqwest::Client::new().delete(url).send().await.unwrap().status()
}

/// The session's URL and the answer.
pub(crate) async fn created(response: reqwest::Response) -> (String, String) {
    assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
    assert_eq!(response.headers()["content-type"], "application/sdp");
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    (location, response.text().await.unwrap())
}

pub(crate) struct Publisher {
    pub(crate) client: Client,
    pub(crate) location: String,
    video: OutTrack,
    audio: OutTrack,
    /// When each PLI came.
    pub(crate) plis: mpsc::UnboundedReceiver<Instant>,
}

struct OutTrack {
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
}

impl Publisher {
    pub(crate) async fn connect(relay: SocketAddr, stream: &str) -> Self {
        let mut client = Client::new().await;
        let video = out_track(RtpCodecKind::Video, VIDEO_SSRC);
        let audio = out_track(RtpCodecKind::Audio, AUDIO_SSRC);
        for track in [&video, &audio] {
            client.pc.add_track(Arc::clone(track) as Arc<dyn TrackLocal>).await.unwrap();
        }
        let offer = client.offer().await;
        let (location, answer) =
            created(post(relay, &format!("/whip/{stream}"), offer).await).await;
        client.accept(answer).await;
        client.connected().await;
        let (plis_tx, plis) = mpsc::unbounded_channel();
        let feedback = Arc::clone(&video);
        tokio::spawn(async move {
            while let Some(TrackLocalEvent::OnRtcpPacket(packets)) = feedback.poll().await {
                for packet in packets {
                    let pli = packet.as_any().downcast_ref::<PictureLossIndication>();
                    if pli.is_some_and(|pli| pli.media_ssrc == VIDEO_SSRC) {
                        let _ = plis_tx.send(Instant::now());
                    }
                }
            }
        });
        let out = |track, ssrc, payload_type| OutTrack {
            track,
            ssrc,
            payload_type,
            sequence: FIRST_SEQUENCE,
        };
        let (video, audio) = (out(video, VIDEO_SSRC, 96), out(audio, AUDIO_SSRC, 111));
        Self { client, location, video, audio, plis }
    }

    /// Sends one video frame, 1,000 bytes to a packet.
    pub(crate) async fn send_video(&mut self, frame: &[u8], timestamp: u32) {
        let count = frame.chunks(1_000).count();
        for (index, chunk) in frame.chunks(1_000).enumerate() {
            let descriptor = if index == 0 { 0x10 } else { 0 };
            let payload = [&[descriptor], chunk].concat();
            self.video.send(payload, timestamp, index + 1 == count).await;
        }
    }

    pub(crate) async fn send_audio(&mut self, frame: &[u8], timestamp: u32) {
        self.audio.send(frame.to_vec(), timestamp, false).await;
    }
}

impl OutTrack {
    async fn send(&mut self, payload: Vec<u8>, timestamp: u32, marker: bool) {
        let header = rtp::Header {
            version: 2,
            marker,
            payload_type: self.payload_type,
            sequence_number: self.sequence,
            timestamp,
            ssrc: self.ssrc,
            ..Default::default()
        };
        self.sequence = self.sequence.wrapping_add(1);
        let packet = rtp::Packet { header, payload: Bytes::from(payload) };
        self.track.write_rtp(packet).await.unwrap();
    }
}

pub(crate) struct Subscriber {
    pub(crate) client: Client,
    pub(crate) location: String,
    /// The `Link` header of the answer.
    pub(crate) link: Option<String>,
    pub(crate) packets: mpsc::UnboundedReceiver<(RtpCodecKind, rtp::Packet)>,
    video: watch::Receiver<Option<(Arc<dyn TrackRemote>, u32)>>,
}

impl Subscriber {
    pub(crate) async fn connect(relay: SocketAddr, stream: &str) -> Self {
        Self::connect_as(Client::new().await, relay, stream).await
    }

    pub(crate) async fn connect_as(mut client: Client, relay: SocketAddr, stream: &str) -> Self {
        receive_only(&client).await;
        let offer = client.offer().await;
        let response = post(relay, &format!("/whep/{stream}"), offer).await;
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let (location, answer) = created(response).await;
        client.accept(answer).await;
        client.connected().await;
        let (packets_tx, packets) = mpsc::unbounded_channel();
        let (video_tx, video) = watch::channel(None);
        let (_, nothing) = mpsc::channel(1);
        let mut tracks = std::mem::replace(&mut client.tracks, nothing);
        tokio::spawn(async move {
            while let Some(track) = tracks.recv().await {
                let (packets_tx, video_tx) = (packets_tx.clone(), video_tx.clone());
                tokio::spawn(async move {
                    let kind = track.kind().await;
                    while let Some(event) = track.poll().await {
                        let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
                        if kind == RtpCodecKind::Video && video_tx.borrow().is_none() {
                            video_tx.send_replace(Some((Arc::clone(&track), packet.header.ssrc)));
                        }
                        let _ = packets_tx.send((kind, packet));
                    }
                });
            }
        });
        Self { client, location, link, packets, video }
    }

    pub(crate) async fn next(&mut self) -> (RtpCodecKind, rtp::Packet) {
        let next = tokio::time::timeout(PATIENCE, self.packets.recv());
        next.await.expect("a packet in time").expect("the connection stays")
    }

    /// Asks for a key frame. Video must have arrived.
    pub(crate) async fn send_pli(&self) {
        let (track, media_ssrc) = self.video.borrow().clone().expect("video has arrived");
        let pli = PictureLossIndication { sender_ssrc: 0, media_ssrc };
        track.write_rtcp(vec![Box::new(pli)]).await.unwrap();
    }
}

pub(crate) async fn receive_only(client: &Client) {
    for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
        let init = RTCRtpTransceiverInit {
            direction: RTCRtpTransceiverDirection::Recvonly,
            ..Default::default()
        };
        client.pc.add_transceiver_from_kind(kind, Some(init)).await.unwrap();
    }
}

fn codec(kind: RtpCodecKind) -> RTCRtpCodecParameters {
    if kind == RtpCodecKind::Video {
        return video_codec(MIME_TYPE_VP8, "", 96);
    }
    let mut opus = video_codec(MIME_TYPE_OPUS, "", 111);
    (opus.rtp_codec.clock_rate, opus.rtp_codec.channels) = (48_000, 2);
    opus
}

pub(crate) fn video_codec(mime: &str, fmtp: &str, payload_type: u8) -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: mime.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: fmtp.to_owned(),
            rtcp_feedback: vec![],
        },
        payload_type,
    }
}

fn out_track(kind: RtpCodecKind, ssrc: u32) -> Arc<TrackLocalStaticRTP> {
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec: codec(kind).rtp_codec,
        ..Default::default()
    };
    let (stream, track) = ("camera".to_owned(), kind.to_string());
    let track = MediaStreamTrack::new(stream, track.clone(), track, kind, vec![encoding]);
    Arc::new(TrackLocalStaticRTP::new(track))
}

struct Events {
    state_tx: watch::Sender<RTCPeerConnectionState>,
    gathered_tx: watch::Sender<bool>,
    tracks_tx: mpsc::Sender<Arc<dyn TrackRemote>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.gathered_tx.send_replace(state == RTCIceGatheringState::Complete);
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.state_tx.send_replace(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let _ = self.tracks_tx.try_send(track);
    }
}

/// Hands inbound RTCP to the application.
#[derive(Default)]
struct Plis {
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Plis {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(reports) = &mut packet.message.packet {
            reports.retain(|report| report.as_any().is::<PictureLossIndication>());
            if reports.is_empty() {
                return Ok(());
            }
            packet.message.add(Attribute::DeliverToApplication);
        }
        self.read.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.write.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }
}

impl Interceptor for Plis {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

//! A publisher of three simulcast layers. Its frames look like VP8 as far as the relay can see.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::MIME_TYPE_VP8;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};

use crate::client::{Client, created, post, video_codec};

pub(crate) const RIDS: [&str; 3] = ["h", "m", "l"];
pub(crate) const FIRST_SSRC: u32 = 0x0100_0000;
const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const FRAME: Duration = Duration::from_millis(33);
const PACKETS: usize = 3;

pub(crate) struct Layered {
    pub(crate) client: Client,
    track: Arc<TrackLocalStaticRTP>,
    controls: Arc<Controls>,
}

#[derive(Default)]
struct Controls {
    silent: [AtomicBool; 3],
    /// PLIs that came, of each layer.
    plis: [AtomicU32; 3],
    /// Whether the next frame must be a key frame.
    wanted: [AtomicBool; 3],
    sent: Mutex<[u64; 3]>,
}

impl Layered {
    /// Connects; `edit` may change the offer on its way.
    pub(crate) async fn connect(
        relay: SocketAddr,
        stream: &str,
        edit: impl FnOnce(String) -> String,
    ) -> Self {
        let codec = video_codec(MIME_TYPE_VP8, "", 96);
        let mut client = Client::with(std::slice::from_ref(&codec), &[MID, RID]).await;
        let encodings = RIDS.iter().zip(FIRST_SSRC..).map(|(rid, ssrc)| RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                rid: (*rid).to_owned(),
                ssrc: Some(ssrc),
                ..Default::default()
            },
            codec: codec.rtp_codec.clone(),
            ..Default::default()
        });
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            "camera".to_owned(),
            "video".to_owned(),
            "video".to_owned(),
            RtpCodecKind::Video,
            encodings.collect(),
        )));
        let sender = client.pc.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await.unwrap();
        let offer = edit(client.offer().await);
        let (_, answer) = created(post(relay, &format!("/whip/{stream}"), offer).await).await;
        client.accept(answer).await;
        client.connected().await;

        let parameters = sender.get_parameters().await.unwrap().rtp_parameters;
        let id = |uri: &str| {
            let mut extensions = parameters.header_extensions.iter();
            extensions.find(|extension| extension.uri == uri).expect(uri).id as u8
        };
        let controls = Arc::new(Controls::default());
        let this = Self { client, track, controls };
        tokio::spawn(listen(Arc::clone(&this.track), Arc::clone(&this.controls)));
        for layer in 0..RIDS.len() {
            let (track, controls) = (Arc::clone(&this.track), Arc::clone(&this.controls));
            tokio::spawn(send(track, controls, layer, (id(MID), id(RID))));
        }
        this
    }

    pub(crate) fn silence(&self, layer: usize, silent: bool) {
        self.controls.silent[layer].store(silent, Ordering::Relaxed);
    }

    pub(crate) fn plis(&self, layer: usize) -> u32 {
        self.controls.plis[layer].load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> [u64; 3] {
        *self.controls.sent.lock().unwrap()
    }
}

async fn listen(track: Arc<TrackLocalStaticRTP>, controls: Arc<Controls>) {
    while let Some(TrackLocalEvent::OnRtcpPacket(packets)) = track.poll().await {
        for packet in packets {
            let Some(pli) = packet.as_any().downcast_ref::<PictureLossIndication>() else {
                continue;
            };
            let layer = pli.media_ssrc.wrapping_sub(FIRST_SSRC) as usize;
            if layer < RIDS.len() {
                controls.plis[layer].fetch_add(1, Ordering::Relaxed);
                controls.wanted[layer].store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Sends delta frames, and a key frame whenever one is asked for. Each layer has its own clock.
async fn send(
    track: Arc<TrackLocalStaticRTP>,
    controls: Arc<Controls>,
    layer: usize,
    (mid, rid): (u8, u8),
) {
    let mut sequence = 65_500 - 10_000 * layer as u16;
    let mut timestamp = 1_000_000_000 * layer as u32;
    let mut tick = tokio::time::interval(FRAME);
    loop {
        tick.tick().await;
        timestamp = timestamp.wrapping_add(2_970);
        if controls.silent[layer].load(Ordering::Relaxed) {
            continue;
        }
        let key = controls.wanted[layer].swap(false, Ordering::Relaxed);
        for index in 0..PACKETS {
            let mut header = rtp::Header {
                version: 2,
                marker: index + 1 == PACKETS,
                payload_type: 96,
                sequence_number: sequence,
                timestamp,
                ssrc: FIRST_SSRC + layer as u32,
                ..Default::default()
            };
            header.set_extension(mid, Bytes::from_static(b"0")).unwrap();
            header.set_extension(rid, Bytes::from_static(RIDS[layer].as_bytes())).unwrap();
            let descriptor = if index == 0 { 0x10 } else { 0 };
            let payload = vec![descriptor, u8::from(!key), layer as u8, index as u8];
            let packet = rtp::Packet { header, payload: payload.into() };
            if track.write_rtp(packet).await.is_err() {
                return;
            }
            sequence = sequence.wrapping_add(1);
            controls.sent.lock().unwrap()[layer] += 1;
        }
    }
}

/// A packet of a [`Layered`] publisher as a subscriber has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) layer: u8,
    pub(crate) opens_key_frame: bool,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
}

impl Seen {
    pub(crate) fn new(packet: &rtp::Packet) -> Self {
        let payload = &packet.payload;
        Self {
            layer: payload[2],
            opens_key_frame: payload[0] == 0x10 && payload[1] == 0,
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
        }
    }
}

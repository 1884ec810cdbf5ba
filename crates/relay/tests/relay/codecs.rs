//! Every codec goes through as it came.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_AV1, MIME_TYPE_H264, MIME_TYPE_VP8, MIME_TYPE_VP9,
};
use rtc::rtp;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

use crate::client::{Client, Subscriber, VIDEO_SSRC, created, post, receive_only, video_codec};
use crate::relay;

const H264: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

/// With the relay's payload types, unless they are moved.
fn codecs(moved: u8) -> [RTCRtpCodecParameters; 4] {
    [
        video_codec(MIME_TYPE_VP8, "", 96 + moved),
        video_codec(MIME_TYPE_VP9, "profile-id=0", 98 + moved),
        video_codec(MIME_TYPE_H264, H264, 102 + moved),
        video_codec(MIME_TYPE_AV1, "", 45 + moved),
    ]
}

/// Publishes one codec, with a payload type of its own; the answer and the track.
async fn publish(
    at: std::net::SocketAddr,
    stream: &str,
    codec: &RTCRtpCodecParameters,
) -> (Client, String, Arc<TrackLocalStaticRTP>) {
    let mut client = Client::with(&codecs(1), &[]).await;
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            ssrc: Some(VIDEO_SSRC),
            ..Default::default()
        },
        codec: codec.rtp_codec.clone(),
        ..Default::default()
    };
    let (id, label) = ("video".to_owned(), "video".to_owned());
    let track =
        MediaStreamTrack::new(stream.into(), id, label, RtpCodecKind::Video, vec![encoding]);
    let track = Arc::new(TrackLocalStaticRTP::new(track));
    client.pc.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await.unwrap();
    let offer = client.offer().await;
    let (_, answer) = created(post(at, &format!("/whip/{stream}"), offer).await).await;
    client.accept(answer.clone()).await;
    client.connected().await;
    (client, answer, track)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_video_codec_is_forwarded_as_it_came_with_nack_and_pli() {
    let relay = relay().await;
    let at = relay.local_addr();
    for (index, codec) in codecs(1).iter().enumerate() {
        let stream = format!("stream-{index}");
        let (publisher, answer, track) = publish(at, &stream, codec).await;
        let name = codec.rtp_codec.mime_type.trim_start_matches("video/");
        let ours = codec.payload_type;
        assert!(answer.contains(&format!("a=rtpmap:{ours} {name}/90000")), "{answer}");
        assert!(answer.contains(&format!("a=rtcp-fb:{ours} nack\r\n")), "{answer}");
        assert!(answer.contains(&format!("a=rtcp-fb:{ours} nack pli\r\n")), "{answer}");
        assert!(!answer.contains("rtx"), "{answer}");

        // The subscriber offers all codecs, with payload types that are not the publisher's.
        let client = Client::with(&codecs(0), &[]).await;
        let mut subscriber = Subscriber::connect_as(client, at, &stream).await;
        let payload = Bytes::from(vec![index as u8 ^ 0xa5; 1_100]);
        for sequence_number in 0.. {
            let header = rtp::Header {
                version: 2,
                payload_type: ours,
                sequence_number,
                timestamp: 7,
                ssrc: VIDEO_SSRC,
                ..Default::default()
            };
            track.write_rtp(rtp::Packet { header, payload: payload.clone() }).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(sequence_number < 500, "{name}: nothing arrives");
            if let Ok((_, packet)) = subscriber.packets.try_recv() {
                assert_eq!(packet.payload, payload, "{name}");
                assert_eq!(packet.header.payload_type, codecs(0)[index].payload_type, "{name}");
                assert_eq!(packet.header.timestamp, 7);
                break;
            }
        }
        subscriber.client.pc.close().await.unwrap();
        publisher.pc.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_lacks_the_streams_codec_is_told_which_it_is() {
    let relay = relay().await;
    let at = relay.local_addr();
    let _publisher = publish(at, "camera", &codecs(1)[2]).await;
    let mut client = Client::with(&codecs(0)[..2], &[]).await;
    receive_only(&client).await;
    let offer = client.offer().await;
    let response = post(at, "/whep/camera", offer).await;
    assert_eq!(response.status(), 422);
    let text = response.text().await.unwrap();
    assert!(text.contains("the stream's video is H264"), "{text}");
    client.pc.close().await.unwrap();
}

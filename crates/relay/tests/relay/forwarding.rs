//! Media goes down, key-frame requests go up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use olmcast_relay::Kind;
use rtc::rtp;
use rtc::rtp::codec::vp8::Vp8Packet;
use rtc::rtp::packetizer::Depacketizer;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;

use crate::client::{FIRST_SEQUENCE, Publisher, Subscriber, VIDEO_SSRC};
use crate::{eventually, relay};

/// Timestamps of frames sent only to get going are below this.
const FIRST_TIMESTAMP: u32 = 1_000_000;
const VIDEO_FRAMES: u32 = 60;
const AUDIO_FRAMES: u32 = 100;

/// Looks like VP8: the lowest bit of the first byte tells a delta frame from a key frame.
fn video_frame(index: u32) -> Vec<u8> {
    let key = index.is_multiple_of(20);
    let len = if key { 9_000 } else { 40 + (index as usize * 611) % 3_500 };
    let mut frame: Vec<u8> = (0..len).map(|at| (at as u32 * 31 + index * 7) as u8).collect();
    frame[0] = if key { 0x10 } else { 0x11 };
    frame
}

fn audio_frame(index: u32) -> Vec<u8> {
    (0..20 + index % 100).map(|at| (at * 17 + index) as u8).collect()
}

/// Sends key frames until every subscriber has one.
async fn get_going(publisher: &mut Publisher, subscribers: &mut [&mut Subscriber]) {
    for round in 0.. {
        publisher.send_video(&video_frame(0), round).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        if subscribers.iter().all(|subscriber| !subscriber.packets.is_empty()) {
            return;
        }
        assert!(round < 500, "no packet reaches the subscribers");
    }
}

/// Collects the packets of the real frames, by kind and sequence.
async fn collect(
    subscriber: &mut Subscriber,
    expected: [usize; 2],
) -> [BTreeMap<u16, rtp::Packet>; 2] {
    let mut packets = [BTreeMap::new(), BTreeMap::new()];
    while packets[0].len() < expected[0] || packets[1].len() < expected[1] {
        let (kind, packet) = subscriber.next().await;
        if packet.header.timestamp < FIRST_TIMESTAMP {
            continue;
        }
        let index = usize::from(kind == RtpCodecKind::Audio);
        // Lost packets come again, late: the sequence puts them in their place.
        packets[index].insert(packet.header.sequence_number.wrapping_sub(FIRST_SEQUENCE), packet);
    }
    packets
}

fn video_frames(packets: &BTreeMap<u16, rtp::Packet>) -> Vec<(u32, Vec<u8>)> {
    let (mut frames, mut frame) = (Vec::new(), Vec::new());
    for packet in packets.values() {
        frame.extend_from_slice(&Vp8Packet::default().depacketize(&packet.payload).unwrap());
        if packet.header.marker {
            frames.push((packet.header.timestamp, std::mem::take(&mut frame)));
        }
    }
    frames
}

#[tokio::test(flavor = "multi_thread")]
async fn two_subscribers_receive_every_frame_unchanged() {
    let relay = relay().await;
    let at = relay.local_addr();
    let mut publisher = Publisher::connect(at, "camera").await;
    let mut one = Subscriber::connect(at, "camera").await;
    let mut two = Subscriber::connect(at, "camera").await;
    get_going(&mut publisher, &mut [&mut one, &mut two]).await;

    let (mut video, mut audio) = (Vec::new(), Vec::new());
    let mut video_packets = 0;
    for index in 0..AUDIO_FRAMES {
        if index < VIDEO_FRAMES {
            let (frame, timestamp) = (video_frame(index), FIRST_TIMESTAMP + index * 3_000);
            publisher.send_video(&frame, timestamp).await;
            video_packets += frame.len().div_ceil(1_000);
            video.push((timestamp, frame));
        }
        let (frame, timestamp) = (audio_frame(index), FIRST_TIMESTAMP + index * 960);
        publisher.send_audio(&frame, timestamp).await;
        audio.push((timestamp, frame));
        tokio::time::sleep(Duration::from_millis(4)).await;
    }

    for subscriber in [&mut one, &mut two] {
        let packets = collect(subscriber, [video_packets, audio.len()]).await;
        assert!(video_frames(&packets[0]) == video, "video frames differ");
        let received: Vec<_> =
            packets[1].values().map(|p| (p.header.timestamp, p.payload.to_vec())).collect();
        assert!(received == audio, "audio frames differ");
        let headers = packets[0].values().map(|packet| &packet.header);
        for header in headers {
            assert!(header.extensions.is_empty());
            assert_ne!(header.ssrc, VIDEO_SSRC, "each connection has SSRCs of its own");
        }
    }

    let recording = relay.recording("camera").unwrap();
    assert!(!recording.truncated);
    let recorded = recording.packets.iter().filter(|packet| packet.kind == Kind::Audio);
    let recorded: Vec<_> = recorded.map(|packet| packet.payload.to_vec()).collect();
    let sent: Vec<_> = audio.into_iter().map(|(_, frame)| frame).collect();
    assert!(recorded == sent, "the recording is not what was sent");
    let stats = relay.stats("camera").unwrap();
    assert_eq!(stats.packets, recording.packets.len() as u64);
    assert_eq!(stats.subscribers, 2);
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn key_frame_requests_reach_the_publisher_merged() {
    let relay = relay().await;
    let at = relay.local_addr();
    let mut publisher = Publisher::connect(at, "camera").await;
    let mut one = Subscriber::connect(at, "camera").await;
    let mut two = Subscriber::connect(at, "camera").await;
    get_going(&mut publisher, &mut [&mut one, &mut two]).await;

    let start = Instant::now();
    for _ in 0..8 {
        one.send_pli().await;
        two.send_pli().await;
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    eventually("all requests reach the relay", async || {
        relay.stats("camera").unwrap().plis_received == 16
    })
    .await;
    // The last of them may wait for half a second.
    tokio::time::sleep(Duration::from_millis(700)).await;

    let asked: Vec<Instant> = std::iter::from_fn(|| publisher.plis.try_recv().ok()).collect();
    assert!(asked.iter().any(|pli| *pli > start), "no request arrived");
    let most = 2 + start.elapsed().as_millis() / 500;
    let burst = asked.iter().filter(|pli| **pli > start).count();
    assert!(burst as u128 <= most, "{burst} requests in {:?}", start.elapsed());
    let forwarded = relay.stats("camera").unwrap().plis_forwarded;
    assert_eq!(forwarded, asked.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_subscriber_makes_the_relay_ask_for_a_key_frame() {
    let relay = relay().await;
    let at = relay.local_addr();
    let mut publisher = Publisher::connect(at, "camera").await;
    // The relay's end of the handshake may be a moment behind: the first packets can be lost.
    let mut timestamp = 0;
    eventually("the publisher's first packet", async || {
        publisher.send_video(&video_frame(0), timestamp).await;
        timestamp += 1;
        relay.stats("camera").unwrap().packets > 0
    })
    .await;
    assert!(publisher.plis.try_recv().is_err(), "nobody has asked yet");

    let mut late = Subscriber::connect(at, "camera").await;
    eventually("the request", async || publisher.plis.try_recv().is_ok()).await;
    assert_eq!(relay.stats("camera").unwrap().plis_received, 0, "the subscriber did not ask");

    // What the request brings reaches the subscriber: its listener was in place before.
    publisher.send_video(&video_frame(0), FIRST_TIMESTAMP).await;
    let packets = collect(&mut late, [9, 0]).await;
    assert!(video_frames(&packets[0]) == [(FIRST_TIMESTAMP, video_frame(0))]);
}

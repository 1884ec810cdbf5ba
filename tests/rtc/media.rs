//! What is sent arrives, and only there.

use std::{
    collections::HashSet,
    time::{Duration, Instant, SystemTime},
};

use olmcast::{
    device::Identity,
    endpoint::{Endpoint, Publish},
    media::{FrameDecryptor, clear_length},
    primitives::{Codec, RoomId, RoomKeys, Timestamp},
    rtc::{
        Assembler, EncryptedReceiver, EncryptedSender, MediaPacket, ReceivedFrame, SendError,
        connect_publisher, connect_subscriber,
    },
    sframe::{CipherSuite, EncryptError},
};
use olmcast_relay::{Kind, Recording};

use crate::{
    PATIENCE, decryptor, eventually, lossy::LossyNetwork, publish, relay, secret, subscribe,
};

const VIDEO_FRAMES: u32 = 60;
const AUDIO_FRAMES: u32 = 100;
/// Timestamps of frames sent only to get going are below this.
const FIRST_TIMESTAMP: u32 = 1_000_000;

/// Bytes that look like nothing else (xorshift64), so that a run of them proves where it is from.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = u64::from(seed) + 0x9E37_79B9_7F4A_7C15;
    let step = std::iter::from_fn(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Some((state >> 32) as u8)
    });
    step.take(length).collect()
}

/// Bit 0 of a VP8 frame's first byte tells a delta frame from a key frame.
fn video_frame(index: u32) -> Vec<u8> {
    let key_frame = index.is_multiple_of(20);
    let length = if key_frame { 9_000 } else { 40 + (index as usize * 611) % 3_500 };
    let mut frame = noise(index, length);
    frame[0] = if key_frame { 0x10 } else { 0x11 };
    frame
}

fn audio_frame(index: u32) -> Vec<u8> {
    noise(1_000 + index, 1 + index as usize % 100)
}

/// Sends key frames until every receiver has one.
async fn get_going(sender: &mut EncryptedSender, receivers: &[&EncryptedReceiver]) {
    let mut timestamp = 0;
    eventually("the first frame everywhere", async || {
        sender.send(&video_frame(0), timestamp).await.unwrap();
        timestamp += 1;
        receivers.iter().all(|receiver| receiver.stats().opened > 0)
    })
    .await;
}

async fn next(receiver: &mut EncryptedReceiver) -> ReceivedFrame {
    tokio::time::timeout(PATIENCE, receiver.next()).await.expect("in time").expect("not ended")
}

async fn collect(receiver: &mut EncryptedReceiver, count: u32) -> Vec<(u32, Vec<u8>)> {
    let mut frames = Vec::new();
    while frames.len() < count as usize {
        let frame = next(receiver).await;
        if frame.rtp_timestamp >= FIRST_TIMESTAMP {
            frames.push((frame.rtp_timestamp, frame.data.to_vec()));
        }
    }
    frames
}

/// All runs of eight bytes in the encrypted part of these frames.
fn runs(codec: Codec, frames: &[(u32, Vec<u8>)]) -> HashSet<&[u8]> {
    let secret = |frame| &frame[clear_length(codec, frame).unwrap()..];
    frames.iter().flat_map(|(_, frame)| secret(frame).windows(8)).collect()
}

fn holds_any(recording: &Recording, runs: &HashSet<&[u8]>) -> bool {
    let mut payloads = recording.packets.iter().map(|packet| &packet.payload);
    payloads.any(|payload| payload.windows(8).any(|window| runs.contains(window)))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_frame_arrives_equal_and_the_relay_saw_none_of_it() {
    let relay = relay().await;
    let (_publisher, [mut video, mut audio]) = publish(&relay, "camera").await;
    let (_one, mut one) = subscribe(&relay, "camera").await;
    let (_two, mut two) = subscribe(&relay, "camera").await;
    get_going(&mut video, &[&one[0], &two[0]]).await;

    let (mut video_sent, mut audio_sent) = (Vec::new(), Vec::new());
    let receive = async |[video, audio]: &mut [EncryptedReceiver; 2]| {
        tokio::join!(collect(video, VIDEO_FRAMES), collect(audio, AUDIO_FRAMES))
    };
    let send = async {
        for index in 0..AUDIO_FRAMES {
            if index < VIDEO_FRAMES {
                let (frame, timestamp) = (video_frame(index), FIRST_TIMESTAMP + index * 3_000);
                video.send(&frame, timestamp).await.unwrap();
                video_sent.push((timestamp, frame));
            }
            let (frame, timestamp) = (audio_frame(index), FIRST_TIMESTAMP + index * 960);
            audio.send(&frame, timestamp).await.unwrap();
            audio_sent.push((timestamp, frame));
            tokio::time::sleep(Duration::from_millis(4)).await;
        }
    };
    let ((), first, second) = tokio::join!(send, receive(&mut one), receive(&mut two));
    for (video, audio) in [first, second] {
        assert!(video == video_sent, "video differs");
        assert!(audio == audio_sent, "audio differs");
    }
    for receiver in one.iter().chain(&two) {
        assert_eq!((receiver.stats().undecryptable, receiver.stats().losses), (0, 0));
    }

    let recording = relay.recording("camera").unwrap();
    assert!(!recording.truncated && recording.packets.len() > 100);
    for (codec, sent) in [(Codec::Vp8, &video_sent), (Codec::Opus, &audio_sent)] {
        assert!(!holds_any(&recording, &runs(codec, sent)), "{codec} in the clear");
    }
    // The search would have found it.
    let mut leaky = recording.clone();
    leaky.packets[50].payload = video_sent[7].1[3..].to_vec().into();
    assert!(holds_any(&leaky, &runs(Codec::Vp8, &video_sent)));

    // With the key, the same recording is the same video.
    let (mut assembler, mut frames) = (Assembler::new(Codec::Vp8), Vec::new());
    let mut decryptor = decryptor(Codec::Vp8);
    for packet in recording.packets.into_iter().filter(|packet| packet.kind == Kind::Video) {
        let (sequence, timestamp, marker) = (packet.sequence, packet.timestamp, packet.marker);
        let media = MediaPacket { sequence, timestamp, marker, payload: packet.payload };
        assembler.handle_packet(media, packet.received);
        while let Some(frame) = assembler.poll_frame() {
            let mut plain = Vec::new();
            let now = Timestamp::from(SystemTime::now());
            decryptor.decrypt_into(&frame.data, now, &mut plain).unwrap();
            frames.push((frame.rtp_timestamp, plain));
        }
    }
    frames.retain(|(timestamp, _)| *timestamp >= FIRST_TIMESTAMP);
    assert!(frames == video_sent, "the recording differs");
    relay.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_a_key_frame_reaches_the_encoder() {
    let relay = relay().await;
    let (_publisher, [mut video, _audio]) = publish(&relay, "camera").await;
    let (_subscriber, [mut receiver, _]) = subscribe(&relay, "camera").await;
    // No key frame yet: the receiver must ask for one, whatever the relay asks for.
    let delta = video_frame(1);
    eventually("the first frame", async || {
        video.send(&delta, 0).await.unwrap();
        receiver.stats().opened > 0
    })
    .await;
    let asked = tokio::time::timeout(PATIENCE, video.key_frame_requested());
    asked.await.expect("a request in time");
    eventually("the receiver's own request", async || {
        relay.stats("camera").unwrap().plis_received > 0
    })
    .await;
    assert!(receiver.stats().key_frames_asked > 0);

    video.send(&video_frame(0), FIRST_TIMESTAMP).await.unwrap();
    let frame = loop {
        let frame = next(&mut receiver).await;
        if frame.rtp_timestamp == FIRST_TIMESTAMP {
            break frame;
        }
        assert!(!frame.key_frame && frame.data == delta);
    };
    assert!(frame.key_frame && frame.data == video_frame(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_nothing_is_delivered() {
    let relay = relay().await;
    let (_publisher, [mut video, _audio]) = publish(&relay, "camera").await;
    let url = format!("http://{}/whep/camera", relay.local_addr());
    let other = FrameDecryptor::from_secret(Codec::Vp8, CipherSuite::default(), &secret(2));
    let (_stranger, mut receivers) = connect_subscriber(&url, [other]).await.unwrap();
    eventually("frames arrive", async || {
        video.send(&video_frame(0), 0).await.unwrap();
        receivers[0].stats().received >= 5
    })
    .await;
    let stats = receivers[0].stats();
    assert_eq!((stats.opened, stats.undecryptable), (0, stats.received));
    let nothing = tokio::time::timeout(Duration::from_millis(100), receivers[0].next()).await;
    assert!(nothing.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_cannot_be_encrypted_is_not_sent_at_all() {
    let relay = relay().await;
    let (_publisher, [mut video, _audio]) = publish(&relay, "camera").await;
    let (_subscriber, [receiver, _]) = subscribe(&relay, "camera").await;
    get_going(&mut video, &[&receiver]).await;
    // Everything sent so far has arrived once the count stands still.
    let mut before = 0;
    eventually("quiet", async || {
        let now = relay.stats("camera").unwrap().packets;
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::mem::replace(&mut before, now) == now
    })
    .await;
    let refused = video.send(&[0x11, 1, 2], 1).await;
    assert!(matches!(refused, Err(SendError::Encrypt(EncryptError::Syntax))), "{refused:?}");
    video.send(&[], 2).await.unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(300) {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(relay.stats("camera").unwrap().packets, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_bad_network_lost_packets_come_again_and_no_frame_is_altered() {
    let relay = relay().await;
    let network = LossyNetwork::new(relay.local_addr(), 20).await;
    let (_publisher, [mut video, _audio]) = publish(&relay, "camera").await;
    let url = format!("http://{}/whep/camera", network.address);
    let (_subscriber, mut receivers) =
        connect_subscriber(&url, [decryptor(Codec::Vp8)]).await.unwrap();
    let mut receiver = receivers.remove(0);
    get_going(&mut video, &[&receiver]).await;

    let send = async {
        for index in 0..=200 {
            let timestamp = FIRST_TIMESTAMP + index * 3_000;
            video.send(&video_frame(index), timestamp).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Key frames until the end has arrived: the last packets may be lost as well.
        loop {
            video.send(&video_frame(0), u32::MAX).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let receive = async {
        let (mut indices, mut after_loss) = (Vec::new(), 0);
        loop {
            let frame = next(&mut receiver).await;
            after_loss += u32::from(frame.after_loss);
            if frame.rtp_timestamp == u32::MAX {
                return (indices, after_loss);
            }
            if frame.rtp_timestamp >= FIRST_TIMESTAMP {
                let index = (frame.rtp_timestamp - FIRST_TIMESTAMP) / 3_000;
                assert!(frame.data == video_frame(index), "frame {index} is altered");
                indices.push(index);
            }
        }
    };
    let (indices, after_loss) = tokio::select! {
        received = receive => received,
        () = send => return,
    };
    assert!(indices.is_sorted(), "out of order: {indices:?}");
    // About 28 of 560 packets are dropped; without retransmission each would cost a frame.
    let missing = 201 - indices.len();
    assert!(missing <= 10, "{missing} of 201 frames are missing");
    assert!(missing == 0 || after_loss > 0, "{missing} frames are missing, and nothing says so");
    assert!(network.dropped() >= 10, "only {} packets were dropped", network.dropped());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_frame_is_wanted_after_a_change_of_keys() {
    let relay = relay().await;
    let room = RoomKeys::without_invite(RoomId::from_name("!room"));
    let mut endpoint = Endpoint::new(Identity::generate()).unwrap();
    endpoint.enter(room.clone());
    let now = Timestamp::from(SystemTime::now());
    let stream = endpoint.publish(room.room(), Publish::new("v").track(Codec::Vp8), now).unwrap();
    let encryptor = endpoint.encryptor(stream, endpoint.tracks(stream)[0].id).unwrap();
    let url = format!("http://{}/whip/keys", relay.local_addr());
    let (_connection, mut senders) = connect_publisher(&url, [encryptor]).await.unwrap();
    let sender = &mut senders[0];
    let mut timestamp = 0;
    // Whether one is wanted after a frame like this.
    let mut wants = async |sender: &mut EncryptedSender, first: u8| {
        timestamp += 3_000;
        sender.send(&[first; 100], timestamp).await.unwrap();
        let wanted = sender.key_frame_requested();
        tokio::time::timeout(Duration::from_millis(100), wanted).await.is_ok()
    };
    let (key_frame, delta) = (0x10, 0x31);
    wants(sender, key_frame).await;
    assert!(!wants(sender, delta).await);
    endpoint.handle_timeout(now + Duration::from_secs(61));
    assert!(wants(sender, delta).await, "the first frame of a step is no key frame");
    assert!(!wants(sender, delta).await);
    endpoint.handle_timeout(now + Duration::from_secs(122));
    assert!(!wants(sender, key_frame).await, "it is one");
}

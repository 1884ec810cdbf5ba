//! A track in several layers, before and behind an SFU. That a real one relays them is shown by
//! `scripts/testbed-janus`.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use olmcast::{
    media::FrameEncryptor,
    primitives::{Codec, Timestamp},
    rtc::{EncryptedSender, SendError, connect_subscriber, media_engine, setting_engine},
};
use tokio::time::timeout;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCSessionDescription,
};

use crate::{PATIENCE, decryptor, encryptor, relay};

struct Ignore;
impl PeerConnectionEventHandler for Ignore {}

async fn connection() -> impl PeerConnection {
    let (media_engine, interceptors) = media_engine().unwrap();
    PeerConnectionBuilder::new()
        .with_media_engine(media_engine)
        .with_interceptor_registry(interceptors)
        .with_setting_engine(setting_engine())
        .with_handler(Arc::new(Ignore))
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build()
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_offered_from_the_highest_on_and_named_in_packets_only() {
    let connection = connection().await;
    let rids = ["h", "m", "l"];
    let layers = EncryptedSender::add_simulcast(&connection, "v", encryptor(Codec::Vp8), &rids);
    let layers = layers.await.unwrap();
    assert_eq!(layers.iter().map(|layer| layer.rid().unwrap()).collect::<Vec<_>>(), rids);

    let offer = connection.create_offer(None).await.unwrap().sdp;
    assert!(offer.contains("a=simulcast:send h;m;l\r\n"), "{offer}");
    for rid in rids {
        assert!(offer.contains(&format!("a=rid:{rid} send\r\n")), "{offer}");
    }
    for extension in ["sdes:mid", "sdes:rtp-stream-id"] {
        assert!(offer.contains(extension), "{offer}");
    }
    assert!(!offer.contains("a=ssrc:"), "{offer}");
    assert_eq!(connection.get_senders().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_nobody_could_tell_apart_are_refused() {
    let connection = connection().await;
    let add = async |codec, rids: &[&str]| {
        let layers = EncryptedSender::add_simulcast(&connection, "v", encryptor(codec), rids);
        layers.await.err()
    };
    for codec in [Codec::Vp9, Codec::Av1, Codec::Opus] {
        let refused = add(codec, &["h", "l"]).await;
        assert!(matches!(refused, Some(SendError::NoSimulcast(no)) if no == codec), "{refused:?}");
    }
    for rids in [&[][..], &["h"], &["h", "h"], &["h", "m;l"], &["h", ""], &["a", "b", "c", "d"]] {
        let refused = add(Codec::Vp8, rids).await;
        assert!(matches!(refused, Some(SendError::Rids)), "{rids:?}: {refused:?}");
    }
    assert!(connection.get_senders().await.is_empty(), "nothing is left behind");
}

#[test]
fn whichever_layer_the_sfu_chooses_its_frames_open() {
    let mut layers: [FrameEncryptor; 3] = {
        let first = encryptor(Codec::Vp8);
        [first.clone(), first.clone(), first]
    };
    let mut decryptor = decryptor(Codec::Vp8);
    let now = Timestamp::from(SystemTime::now());
    for picture in 0..3_000_u32 {
        let plain = |layer: usize| [0x11, layer as u8, picture as u8, (picture >> 8) as u8, 7];
        let sent: Vec<_> = layers
            .iter_mut()
            .enumerate()
            .map(|(layer, encryptor)| encryptor.encrypt(&plain(layer)).unwrap())
            .collect();
        // Another layer each second, and of the picture in which it changes both.
        let (old, new) = ((picture.max(1) - 1) as usize / 30 % 3, picture as usize / 30 % 3);
        let chosen = if old == new { vec![new] } else { vec![new, old] };
        for layer in chosen {
            let mut opened = Vec::new();
            decryptor.decrypt_into(&sent[layer], now, &mut opened).unwrap();
            assert_eq!(opened, plain(layer));
        }
    }
}

/// A frame of a layer, a key frame if asked for.
fn frame(layer: u8, number: u32, is_key_frame: bool) -> Vec<u8> {
    let mut frame = vec![if is_key_frame { 0x10 } else { 0x31 }, 2, 0, 0x9D, 1, 0x2A, 64, 0, 36, 0];
    frame.push(layer);
    frame.extend(number.to_be_bytes());
    frame.resize(200 * (4 - usize::from(layer)), layer);
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_goes_on_when_the_relay_changes_layers() {
    let relay = relay().await;
    let connection = connection().await;
    let rids = ["h", "m", "l"];
    let mut layers = EncryptedSender::add_simulcast(&connection, "v", encryptor(Codec::Vp8), &rids)
        .await
        .unwrap();
    let offer = connection.create_offer(None).await.unwrap();
    connection.set_local_description(offer).await.unwrap();
    // Host candidates of one socket are there at once, or nearly.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let offer = connection.local_description().await.unwrap().sdp;
    let url = format!("http://{}/whip/layers", relay.local_addr());
    let request = reqwest::Client::new().post(url).header("content-type", "application/sdp");
    let answer = request.body(offer).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{answer:?}");
    let answer = RTCSessionDescription::answer(answer.text().await.unwrap()).unwrap();
    connection.set_remote_description(answer).await.unwrap();

    // All layers for a while, then only those below the highest.
    let sending = tokio::spawn(async move {
        let start = Instant::now();
        for number in 0.. {
            let is_first_gone = start.elapsed() > Duration::from_secs(4);
            for (index, layer) in layers.iter_mut().enumerate() {
                let asked = timeout(Duration::ZERO, layer.key_frame_requested()).await.is_ok();
                if index == 0 && is_first_gone {
                    continue;
                }
                let is_key_frame = asked || number % 100 == 0;
                // Not connected at first.
                let frame = frame(index as u8, number, is_key_frame);
                let _ = layer.send(&frame, number * 3_000).await;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let url = format!("http://{}/whep/layers", relay.local_addr());
    let (_connection, mut receivers) =
        connect_subscriber(&url, [decryptor(Codec::Vp8)]).await.unwrap();
    let mut seen = Vec::new();
    let until_lower = async {
        loop {
            let received = receivers[0].next().await.unwrap();
            let layer = received.data[10];
            let number = u32::from_be_bytes(received.data[11..15].try_into().unwrap());
            assert_eq!(received.data, frame(layer, number, received.key_frame));
            seen.push(layer);
            if seen.iter().filter(|layer| **layer == 1).count() > 20 {
                return;
            }
        }
    };
    timeout(PATIENCE, until_lower).await.expect("no lower layer came");
    assert!(seen.contains(&0), "the highest layer came first");
    assert_eq!(receivers[0].stats().undecryptable, 0);
    sending.abort();
}

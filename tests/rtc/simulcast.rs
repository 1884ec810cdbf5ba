//! A track in several layers, before and behind an SFU. That a real one relays them is shown by
//! `scripts/testbed-janus`.

use std::{sync::Arc, time::SystemTime};

use olmcast::{
    media::FrameEncryptor,
    primitives::{Codec, Timestamp},
    rtc::{EncryptedSender, SendError, media_engine, setting_engine},
};
use webrtc::peer_connection::{PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler};

use crate::{decryptor, encryptor};

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

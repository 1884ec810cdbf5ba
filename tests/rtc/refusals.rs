//! What does not work says why.

use std::sync::Arc;

use olmcast::{
    primitives::Codec,
    rtc::{
        ConnectError, EncryptedSender, SendError, connect_publisher, connect_subscriber,
        media_engine, setting_engine,
    },
};
use webrtc::peer_connection::{PeerConnectionBuilder, PeerConnectionEventHandler};

use crate::{decryptor, encryptor, publish, relay};

struct Ignore;
impl PeerConnectionEventHandler for Ignore {}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_cannot_serve_is_told_apart_from_one_that_is_not_there() {
    let relay = relay().await;
    let at = relay.local_addr();
    let subscribe = async |url: String| {
        connect_subscriber(&url, [decryptor(Codec::Vp8)]).await.map(drop).unwrap_err()
    };
    let error = subscribe(format!("http://{at}/whep/nobody")).await;
    assert!(matches!(&error, ConnectError::Refused { status: 404, .. }), "{error}");
    assert!(error.to_string().contains("no live publisher"), "{error}");
    for url in ["nonsense", "http://", "mailto:a@b"] {
        assert!(matches!(subscribe(url.into()).await, ConnectError::Url(_)), "{url}");
    }
    relay.shutdown().await;
    let error = subscribe(format!("http://{at}/whep/camera")).await;
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_about_to_be_published_is_waited_for() {
    let relay = relay().await;
    let late = async {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        publish(&relay, "camera").await
    };
    let _both = tokio::join!(late, crate::subscribe(&relay, "camera"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_stream_and_a_second_video_track_are_refused() {
    let relay = relay().await;
    let _publisher = publish(&relay, "camera").await;
    let url = format!("http://{}/whip/camera", relay.local_addr());
    let error = connect_publisher(&url, [encryptor(Codec::Opus)]).await.unwrap_err();
    assert!(matches!(error, ConnectError::Refused { status: 409, .. }), "{error}");
    let two = [encryptor(Codec::Vp8), encryptor(Codec::Vp8)];
    let error = connect_publisher(&url, two).await.unwrap_err();
    assert!(matches!(error, ConnectError::TooManyTracks), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_on_a_connection_that_is_not_up_says_so() {
    let (media_engine, interceptors) = media_engine().unwrap();
    let connection = PeerConnectionBuilder::new()
        .with_media_engine(media_engine)
        .with_interceptor_registry(interceptors)
        .with_setting_engine(setting_engine())
        .with_handler(Arc::new(Ignore))
        .with_udp_addrs(vec!["127.0.0.1:0"])
        .build()
        .await
        .unwrap();
    let connection: Arc<dyn webrtc::peer_connection::PeerConnection> = Arc::new(connection);
    let sender = EncryptedSender::add(&*connection, "video", encryptor(Codec::Vp8)).await;
    let mut sender = sender.unwrap();
    let refused = sender.send(&[0x10; 500], 0).await;
    assert!(matches!(refused, Err(SendError::NotConnected)), "{refused:?}");
    let offer = connection.create_offer(None).await.unwrap();
    connection.set_local_description(offer).await.unwrap();
    let refused = sender.send(&[0x10; 500], 0).await;
    assert!(matches!(refused, Err(SendError::NotConnected)), "{refused:?}");
    connection.close().await.unwrap();
}

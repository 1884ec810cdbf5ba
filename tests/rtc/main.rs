//! Encrypted frames through a real relay on loopback.
#![cfg(feature = "rtc")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod codecs;
mod ends;
mod lossy;
mod media;
mod refusals;
mod simulcast;

use std::time::{Duration, Instant};

use olmcast::{
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{Codec, Secret},
    rtc::{Connection, EncryptedReceiver, EncryptedSender, connect_publisher, connect_subscriber},
    sframe::CipherSuite,
};
use olmcast_relay::{Relay, RelayConfig};

/// Generous: a loaded two-core machine runs several of these tests at once.
const PATIENCE: Duration = Duration::from_secs(10);

async fn relay() -> Relay {
    Relay::bind(RelayConfig { record: true, ..Default::default() }).await.unwrap()
}

fn secret(byte: u8) -> Secret<32> {
    Secret::fill(|bytes| bytes.fill(byte))
}

fn encryptor(codec: Codec) -> FrameEncryptor {
    FrameEncryptor::from_secret(codec, CipherSuite::default(), &secret(1)).unwrap()
}

fn decryptor(codec: Codec) -> FrameDecryptor {
    FrameDecryptor::from_secret(codec, CipherSuite::default(), &secret(1))
}

/// Video and audio, in this order.
async fn publish(relay: &Relay, stream: &str) -> (Connection, [EncryptedSender; 2]) {
    let url = format!("http://{}/whip/{stream}", relay.local_addr());
    let encryptors = [encryptor(Codec::Vp8), encryptor(Codec::Opus)];
    let (connection, senders) = connect_publisher(&url, encryptors).await.unwrap();
    (connection, senders.try_into().unwrap())
}

/// Video and audio, in this order.
async fn subscribe(relay: &Relay, stream: &str) -> (Connection, [EncryptedReceiver; 2]) {
    let url = format!("http://{}/whep/{stream}", relay.local_addr());
    let decryptors = [decryptor(Codec::Vp8), decryptor(Codec::Opus)];
    let (connection, receivers) = connect_subscriber(&url, decryptors).await.unwrap();
    (connection, receivers.try_into().unwrap())
}

/// Waits until `holds`, up to [`PATIENCE`].
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

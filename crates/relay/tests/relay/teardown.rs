//! Whoever goes, the others notice.

use std::time::{Duration, Instant};

use olmcast_relay::{Relay, RelayConfig};

use crate::client::{Publisher, Subscriber, delete, post};
use crate::{eventually, relay};

/// Status of a WHEP request that is right in everything but, perhaps, its stream.
async fn whep_status(relay: &Relay, stream: &str) -> reqwest::StatusCode {
    let mut client = crate::client::Client::new().await;
    crate::client::receive_only(&client).await;
    let offer = client.offer().await;
    let status = post(relay.local_addr(), &format!("/whep/{stream}"), offer).await.status();
    client.pc.close().await.unwrap();
    status
}

async fn live_pair(relay: &Relay) -> (Publisher, Subscriber) {
    let mut publisher = Publisher::connect(relay.local_addr(), "camera").await;
    let mut subscriber = Subscriber::connect(relay.local_addr(), "camera").await;
    // The subscriber's connection has no track to look at before the first packet.
    eventually("the first packet", async || {
        publisher.send_video(&[0x10; 50], 0).await;
        !subscriber.packets.is_empty()
    })
    .await;
    subscriber.next().await;
    (publisher, subscriber)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_publisher_ends_its_stream_and_frees_the_name() {
    let relay = relay().await;
    let (publisher, subscriber) = live_pair(&relay).await;
    assert_eq!(delete(relay.local_addr(), &publisher.location).await, 200);
    assert_eq!(whep_status(&relay, "camera").await, 404);
    assert_eq!(delete(relay.local_addr(), &publisher.location).await, 404);
    eventually("the subscriber notices", async || subscriber.client.closed_by_peer().await).await;
    eventually("the publisher notices", async || publisher.client.closed_by_peer().await).await;
    assert!(relay.stats("camera").unwrap().packets > 0, "counters outlive the stream");

    let again = Publisher::connect(relay.local_addr(), "camera").await;
    assert_eq!(whep_status(&relay, "camera").await, 201);
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_closes_its_connection_ends_its_stream_at_once() {
    let relay = relay().await;
    let (publisher, subscriber) = live_pair(&relay).await;
    let start = Instant::now();
    publisher.client.pc.close().await.unwrap();
    eventually("the subscriber notices", async || subscriber.client.closed_by_peer().await).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(whep_status(&relay, "camera").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_publisher_ends_its_stream() {
    let relay = relay().await;
    // A runtime of its own, so that it can vanish without any goodbye.
    let doomed = tokio::runtime::Runtime::new().unwrap();
    let at = relay.local_addr();
    let mut publisher = doomed.spawn(Publisher::connect(at, "camera")).await.unwrap();
    let subscriber = Subscriber::connect(at, "camera").await;
    eventually("the first packet", async || {
        publisher.send_video(&[0x10; 50], 0).await;
        !subscriber.packets.is_empty()
    })
    .await;

    doomed.shutdown_background();
    let start = Instant::now();
    eventually("the subscriber notices", async || subscriber.client.closed_by_peer().await).await;
    assert!(start.elapsed() > Duration::from_secs(1), "that was a goodbye, not a kill");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(whep_status(&relay, "camera").await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_goes_frees_its_seat() {
    let config = RelayConfig { max_subscribers: 1, ..Default::default() };
    let relay = Relay::bind(config).await.unwrap();
    let (mut publisher, first) = live_pair(&relay).await;
    assert_eq!(whep_status(&relay, "camera").await, 503);
    assert_eq!(delete(relay.local_addr(), &first.location).await, 200);
    eventually("the seat is free", async || {
        let gone = relay.stats("camera").unwrap().subscribers == 0;
        gone && whep_status(&relay, "camera").await == 201
    })
    .await;
    publisher.send_video(&[0x10; 50], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stops_says_goodbye_and_leaves_nothing_behind() {
    let relay = relay().await;
    let at = relay.local_addr();
    let (publisher, subscriber) = live_pair(&relay).await;
    let stop = tokio::time::timeout(Duration::from_secs(3), relay.shutdown());
    stop.await.expect("stops in time");
    eventually("the publisher notices", async || publisher.client.closed_by_peer().await).await;
    eventually("the subscriber notices", async || subscriber.client.closed_by_peer().await).await;
    assert!(tokio::net::TcpStream::connect(at).await.is_err(), "still listening");
}

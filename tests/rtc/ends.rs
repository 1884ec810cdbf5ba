//! How a connection ends, and how the application hears of it.

use std::time::{Duration, Instant};

use olmcast::rtc::{Connection, ConnectionState};

use crate::{PATIENCE, eventually, publish, relay, subscribe};

async fn over(connection: &Connection) -> ConnectionState {
    let mut state = connection.state();
    let over = async { state.wait_for(|state| state.is_over()).await.map(|state| *state) };
    tokio::time::timeout(PATIENCE, over).await.expect("it ends in time").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_that_closes_ends_the_stream_for_its_subscribers() {
    let relay = relay().await;
    let (publisher, [mut video, _audio]) = publish(&relay, "camera").await;
    let (subscriber, [mut receiver, _]) = subscribe(&relay, "camera").await;
    eventually("the first frame", async || {
        video.send(&[0x10; 500], 0).await.unwrap();
        receiver.stats().opened > 0
    })
    .await;

    let start = Instant::now();
    let mut state = publisher.state();
    publisher.close().await;
    assert_eq!(*state.borrow_and_update(), ConnectionState::Closed);
    // It has told the relay: the name is free at once.
    let _again = publish(&relay, "camera").await;
    assert_eq!(over(&subscriber).await, ConnectionState::Closed);
    let rest = async { while receiver.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, rest).await.expect("the receiver ends, too");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(video.send(&[0x10; 500], 1).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_dropped_is_gone_at_the_relay() {
    let relay = relay().await;
    let (_publisher, [mut video, _audio]) = publish(&relay, "camera").await;
    let (subscriber, [receiver, _]) = subscribe(&relay, "camera").await;
    eventually("the first frame", async || {
        video.send(&[0x10; 500], 0).await.unwrap();
        receiver.stats().opened > 0
    })
    .await;
    assert_eq!(relay.stats("camera").unwrap().subscribers, 1);
    let start = Instant::now();
    drop(subscriber);
    eventually("it is gone", async || relay.stats("camera").unwrap().subscribers == 0).await;
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_is_noticed_by_both_sides() {
    // A runtime of its own, so that it can vanish without any goodbye.
    let doomed = tokio::runtime::Runtime::new().unwrap();
    let relay = doomed.spawn(relay()).await.unwrap();
    let (publisher, [mut video, _audio]) = publish(&relay, "camera").await;
    let (subscriber, [mut receiver, _]) = subscribe(&relay, "camera").await;
    eventually("the first frame", async || {
        video.send(&[0x10; 500], 0).await.unwrap();
        receiver.stats().opened > 0
    })
    .await;

    std::mem::forget(relay);
    doomed.shutdown_background();
    let start = Instant::now();
    let mut state = subscriber.state();
    let interrupted = state.wait_for(|state| *state == ConnectionState::Interrupted);
    tokio::time::timeout(PATIENCE, interrupted).await.expect("first the silence").unwrap();
    assert_eq!(over(&subscriber).await, ConnectionState::Lost);
    assert_eq!(over(&publisher).await, ConnectionState::Lost);
    let rest = async { while receiver.next().await.is_some() {} };
    tokio::time::timeout(PATIENCE, rest).await.expect("the receiver ends, too");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

//! Two nodes of one service: real servers on one NATS, and devices at both.

use std::time::{Duration, Instant};

use olmcast::{
    client::connection::{ConnectionEvent, DownReason},
    primitives::{Invite, StreamId},
    protocol::service::RefusalCode,
    server::{Limits, Server, ServerConfig, StoreConfig},
};

use crate::fixture::*;

const STREAM: StreamId = StreamId::from_bytes([7; 16]);

/// Two nodes. None without NATS, which scripts/test has.
#[allow(clippy::print_stderr, reason = "whoever runs this should know")]
async fn two() -> Option<[Server; 2]> {
    let store = store();
    if !matches!(store, StoreConfig::Nats(_)) {
        eprintln!("no NATS in OLMCAST_TEST_STORE: nothing was tried with two nodes");
        return None;
    }
    let node = async || {
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        config.store = store.clone();
        Server::bind(config).await.unwrap()
    };
    Some([node().await, node().await])
}

/// The same room, by way of each node.
fn invites(nodes: &[Server; 2]) -> [Invite; 2] {
    let first = invite(&nodes[0]);
    let [one, two] = nodes.each_ref().map(|node| node.local_addr().to_string());
    let second = first.to_link().replace(&one, &two).parse().unwrap();
    [first, second]
}

#[tokio::test]
async fn devices_at_two_nodes_are_in_one_room() {
    let Some(nodes) = two().await else { return };
    let [here, there] = invites(&nodes);
    let (room, a, b) = (here.room(), Device::new(), Device::new());
    let mut at_a = a.connect(&here).await;
    at_a.handle().set_state(room, STREAM, b"offer").unwrap();
    at_a.handle().send(b.id(), b"before it came").unwrap();
    tokio::time::sleep(A_WHILE).await;

    // B finds its mail and what A publishes, in whatever order, and A hears of B.
    let mut at_b = b.open(&there);
    let (mut collected, mut found) = (false, false);
    while !(collected && found) {
        match wait_for(&mut at_b, |event| *event != ConnectionEvent::Up).await {
            ConnectionEvent::Mail { bytes, .. } => {
                assert_eq!(&*bytes, b"before it came");
                collected = true;
            }
            ConnectionEvent::Entered { roster, state, .. } => {
                assert_eq!(roster, [a.id()]);
                assert_eq!((state.len(), &*state[0].bytes), (1, &b"offer"[..]));
                found = true;
            }
            other => panic!("{other:?}"),
        }
    }
    let came = ConnectionEvent::Present { room, device: b.id() };
    wait_for(&mut at_a, |event| *event == came).await;

    // Mail, broadcasts, states and ends cross in both directions.
    at_a.handle().send(b.id(), b"there").unwrap();
    at_b.handle().send(a.id(), b"back").unwrap();
    assert_eq!((mail(&mut at_b).await, mail(&mut at_a).await), ("there".into(), "back".into()));
    at_b.handle().broadcast(room, b"all").unwrap();
    let heard = ConnectionEvent::Broadcast { room, from: b.id(), bytes: b"all".into() };
    wait_for(&mut at_a, |event| *event == heard).await;
    at_a.handle().clear_state(room, STREAM, b"end").unwrap();
    let bytes = Some(b"end".into());
    let ended = ConnectionEvent::StateCleared { room, device: a.id(), stream: STREAM, bytes };
    wait_for(&mut at_b, |event| *event == ended).await;

    at_b.close().await;
    let gone = ConnectionEvent::Gone { room, device: b.id() };
    wait_for(&mut at_a, |event| *event == gone).await;
}

#[tokio::test]
async fn a_device_that_comes_to_another_node_is_replaced_at_the_first_and_never_gone() {
    let Some(nodes) = two().await else { return };
    let [here, there] = invites(&nodes);
    let (room, a, b) = (here.room(), Device::new(), Device::new());
    let mut at_a = a.connect(&here).await;
    let mut first = b.connect(&here).await;
    let came = ConnectionEvent::Present { room, device: b.id() };
    wait_for(&mut at_a, |event| *event == came).await;

    let mut second = b.connect(&there).await;
    let replaced = DownReason::Refused(RefusalCode::Replaced);
    wait_for(&mut first, |e| *e == ConnectionEvent::Down { reason: replaced.clone() }).await;
    at_a.handle().send(b.id(), b"where are you").unwrap();
    assert_eq!(mail(&mut second).await, "where are you");
    second.handle().broadcast(room, b"here").unwrap();
    // It may be said to have gone and come, but in the end it is there.
    let (mut present, mut heard) = (true, false);
    while let Ok(Some(event)) = tokio::time::timeout(A_WHILE, at_a.next()).await {
        match event {
            ConnectionEvent::Present { .. } => present = true,
            ConnectionEvent::Gone { .. } => present = false,
            ConnectionEvent::Broadcast { .. } => heard = true,
            _ => {}
        }
    }
    assert!(present && heard, "present {present}, heard {heard}");
}

#[tokio::test]
async fn when_a_node_ends_its_devices_are_gone_and_find_each_other_at_the_other() {
    let Some(nodes) = two().await else { return };
    let [here, there] = invites(&nodes);
    let (room, a, b) = (here.room(), Device::new(), Device::new());
    let mut at_a = a.connect(&here).await;
    let at_b = b.connect(&there).await;
    let came = ConnectionEvent::Present { room, device: b.id() };
    wait_for(&mut at_a, |event| *event == came).await;
    at_b.handle().send(a.id(), b"last words").unwrap();
    assert_eq!(mail(&mut at_a).await, "last words");

    let [stays, goes] = nodes;
    goes.shutdown().await;
    let gone = ConnectionEvent::Gone { room, device: b.id() };
    wait_for(&mut at_a, |event| *event == gone).await;
    at_a.handle().send(b.id(), b"come over").unwrap();
    drop(at_b);
    let mut at_b = b.open(&here);
    assert_eq!(mail(&mut at_b).await, "come over");
    drop(stays);
}

#[tokio::test]
async fn limits_hold_over_all_nodes() {
    let Some([mut one, mut two]) = two().await else { return };
    let limits = limits(|limits| limits.room_members = 2);
    let store = store();
    for node in [&mut one, &mut two] {
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        (config.store, config.limits) = (store.clone(), Limits::clone(&limits));
        *node = Server::bind(config).await.unwrap();
    }
    let nodes = [one, two];
    let [here, there] = invites(&nodes);
    let _members = [Device::new().connect(&here).await, Device::new().connect(&there).await];
    for invite in [&here, &there] {
        let mut third = Device::new().open(invite);
        let (room, code) = (invite.room(), RefusalCode::RoomFull);
        let refused = ConnectionEvent::RoomRefused { room, code };
        wait_for(&mut third, |event| *event == refused).await;
    }
}

#[tokio::test]
async fn when_a_node_vanishes_without_a_word_its_devices_are_gone_at_the_other() {
    let Some(mut nodes) = two().await else { return };
    let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
    config.store = store();
    nodes[0] = Server::bind(config.clone()).await.unwrap();
    // With a runtime of its own, which stops in the middle of everything.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    nodes[1] = runtime.spawn(Server::bind(config)).await.unwrap().unwrap();
    let [here, there] = invites(&nodes);
    let (room, a, b) = (here.room(), Device::new(), Device::new());
    let mut at_a = a.connect(&here).await;
    let at_b = b.connect(&there).await;
    at_b.handle().set_state(room, STREAM, b"offer").unwrap();
    let came = ConnectionEvent::Present { room, device: b.id() };
    wait_for(&mut at_a, |event| *event == came).await;
    wait_for(&mut at_a, |event| matches!(event, ConnectionEvent::State { .. })).await;

    runtime.shutdown_background();
    let vanished = Instant::now();
    let gone = ConnectionEvent::Gone { room, device: b.id() };
    tokio::time::timeout(Duration::from_secs(9), async {
        wait_for(&mut at_a, |event| *event == gone).await;
    })
    .await
    .expect("its device should be gone");
    let after = vanished.elapsed();
    assert!(after > Duration::from_secs(3), "{after:?}: somebody said a word");
    drop(at_b);
    let _at_b = b.connect(&here).await;
    wait_for(&mut at_a, |event| *event == came).await;
}

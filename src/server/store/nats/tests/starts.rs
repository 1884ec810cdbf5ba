use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::PathBuf,
};

use super::servers::{self, Servers};
use crate::server::{
    doorbells::Doorbells,
    store::{
        Store, StoreError,
        conformance::limits,
        nats::{Nats, NatsConfig, NatsError, layout::SHARDS},
    },
};

async fn refusal(config: &NatsConfig) -> NatsError {
    match Nats::open(config, limits(), Doorbells::default()).await {
        Ok(_) => panic!("it should be refused"),
        Err(error) => error,
    }
}

/// What such a server says before anything else, and then to each ping.
fn old_server(version: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://somebody:password@{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let info = format!(
                r#"INFO {{"server_id":"OLD","version":"{version}","proto":1,"headers":true,"max_payload":1048576,"jetstream":true}}"#
            );
            write!(stream, "{info}\r\n").unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            for line in lines.map_while(Result::ok) {
                if line.starts_with("PING") {
                    write!(stream, "PONG\r\n").unwrap();
                }
            }
        }
    });
    url
}

#[tokio::test]
async fn a_server_older_than_2_11_is_refused() {
    for version in ["2.9.0", "2.10.29"] {
        let refused = refusal(&NatsConfig::new([old_server(version)])).await;
        assert!(matches!(&refused, NatsError::TooOld { version: v, .. } if v == version));
        let text = refused.to_string();
        assert!(text.contains(version) && text.contains("update it to 2.11"), "{text}");
        assert!(!text.contains("password"), "{text}");
    }
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused() {
    if !servers::are_here() {
        return;
    }
    let server = Servers::without_jetstream();
    let refused = refusal(&server.config()).await;
    assert!(matches!(refused, NatsError::NoJetStream { .. }), "{refused}");
}

#[tokio::test]
async fn nobody_at_the_address_and_too_few_servers_are_told_apart() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = refusal(&NatsConfig::new([format!("nats://{nobody}")])).await;
    assert!(matches!(refused, NatsError::Connect { .. }), "{refused}");
    if !servers::are_here() {
        return;
    }
    let mut config = Servers::shared_single();
    config.replicas = 3;
    let refused = refusal(&config).await;
    assert!(matches!(refused, NatsError::Stream { .. }), "{refused}");
    assert!(refused.to_string().contains("as many servers as replicas"), "{refused}");
}

#[tokio::test]
async fn what_is_no_configuration_is_refused_before_anybody_is_asked() {
    let good = NatsConfig::new(["nats://127.0.0.1:1"]);
    let mut bad = vec![NatsConfig::new(Vec::<String>::new())];
    for replicas in [0, 2, 5] {
        bad.push(NatsConfig { replicas, ..good.clone() });
    }
    for prefix in ["", "a.b", "a b", "*", ">", "ä"] {
        bad.push(NatsConfig { prefix: prefix.into(), ..good.clone() });
    }
    for config in bad {
        assert!(matches!(refusal(&config).await, NatsError::Config(_)), "{config:?}");
    }
    let missing = PathBuf::from("/nowhere/olmcast.creds");
    let config = NatsConfig { credentials: Some(missing), ..good };
    assert!(matches!(refusal(&config).await, NatsError::Credentials { .. }));
}

#[test]
fn passwords_in_addresses_are_not_shown() {
    let config = NatsConfig::new(["nats://user:secret@one:4222", "tls://token@two", "three"]);
    let shown = format!("{config:?}");
    assert!(!shown.contains("secret") && !shown.contains("token"), "{shown}");
    assert!(shown.contains("nats://one:4222, tls://two, nats://three"), "{shown}");
}

#[tokio::test]
async fn a_prefix_of_another_layout_is_refused() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let store = Nats::open(&config, limits(), Doorbells::default()).await.unwrap();
    let stored = (2_u32, SHARDS, store.instance());
    let bytes = postcard::to_stdvec(&stored).unwrap();
    let subject = format!("{}.layout", config.prefix);
    let context = &store.shared.nats.context;
    context.publish(subject, bytes.into()).await.unwrap().await.unwrap();
    let refused = refusal(&config).await;
    assert!(matches!(refused, NatsError::Layout { .. }), "{refused}");
}

#[tokio::test]
async fn a_store_that_was_closed_is_not_ready_and_refuses() {
    if !servers::are_here() {
        return;
    }
    let store = Nats::open(&Servers::shared_single(), limits(), Doorbells::default()).await;
    let store = store.unwrap();
    store.close().await;
    assert!(matches!(store.ready().await, Err(StoreError::Unavailable(_))));
    let device = crate::server::store::conformance::device();
    assert!(matches!(store.device(&device).await, Err(StoreError::Unavailable(_))));
}

//! What those who watch over a service see.

use std::{net::SocketAddr, time::Duration};

use olmcast::{
    protocol::service::{ClientFrame, RefusalCode, Subject},
    server::{Limits, Server, ServerConfig},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::fixture::*;

async fn observed(change: impl FnOnce(&mut ServerConfig)) -> Server {
    let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
    config.metrics = Some(([127, 0, 0, 1], 0).into());
    change(&mut config);
    Server::bind(config).await.unwrap()
}

async fn get(at: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

async fn expect(at: SocketAddr, line: &str) {
    let seen = async {
        while !get(at, "/metrics").await.1.lines().any(|other| other == line) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(PATIENCE / 2, seen).await.is_err() {
        panic!("no {line} in\n{}", get(at, "/metrics").await.1);
    }
}

#[tokio::test]
async fn connections_mail_refusals_and_requests_are_counted() {
    let limits = limits(|limits| limits.sockets_per_address = 4);
    let server = observed(|config| config.limits = limits).await;
    let (public, private) = (server.local_addr(), server.metrics_addr().unwrap());
    expect(private, "olmcast_connections 0").await;
    let version = concat!("olmcast_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1");
    expect(private, version).await;

    let device = Device::new();
    let (mut raw, _) = device.raw(&server).await;
    expect(private, "olmcast_connections 1").await;
    expect(private, "olmcast_unauthenticated_sockets 0").await;
    let room = invite(&server).room();
    raw.send(&ClientFrame::Send { request: 1, to: device.id(), bytes: b"x".into() }).await;
    raw.send(&ClientFrame::Broadcast { room, bytes: b"x".into() }).await;
    expect(private, "olmcast_mail_total{result=\"accepted\"} 1").await;
    expect(private, "olmcast_frames_total{result=\"accepted\"} 1").await;
    expect(private, "olmcast_frames_total{result=\"not_in_room\"} 1").await;

    assert_eq!(get(public, "/nothing").await.0, 404);
    expect(private, "olmcast_http_requests_total{status=\"404\"} 1").await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(TcpStream::connect(public).await.unwrap());
    }
    expect(private, "olmcast_unauthenticated_sockets 4").await;
    expect(private, "olmcast_turned_away_sockets_total{result=\"sockets_per_address\"} 1").await;
    drop((raw, waiting));
    expect(private, "olmcast_connections 0").await;
    expect(private, "olmcast_unauthenticated_sockets 0").await;
}

#[tokio::test]
async fn what_is_counted_is_not_told_on_the_public_address() {
    let server = observed(|_| ()).await;
    assert_eq!(get(server.local_addr(), "/metrics").await.0, 404);
    assert_eq!(get(server.metrics_addr().unwrap(), "/metrics").await.0, 200);
    assert!(serve(Limits::default()).await.metrics_addr().is_none());
}

#[tokio::test]
async fn a_service_that_is_told_to_end_says_that_it_is_not_ready_before_devices_are_cut() {
    let server = observed(|config| config.drain_delay = 3 * A_WHILE).await;
    let (public, private) = (server.local_addr(), server.metrics_addr().unwrap());
    for at in [public, private] {
        assert_eq!(get(at, "/readyz").await, (200, "ready\n".to_owned()));
        assert_eq!(get(at, "/healthz").await.0, 200);
    }
    let device = Device::new();
    let (mut raw, _) = device.raw(&server).await;
    let (begun, end) = (std::time::Instant::now(), tokio::spawn(server.shutdown()));
    tokio::time::sleep(A_WHILE / 3).await;
    for at in [public, private] {
        assert_eq!(get(at, "/readyz").await, (503, "shutting down\n".to_owned()));
        assert_eq!(get(at, "/healthz").await.0, 200);
    }
    // Still served.
    raw.send(&ClientFrame::Send { request: 1, to: device.id(), bytes: b"x".into() }).await;
    assert!(!matches!(
        raw.receive().await,
        olmcast::protocol::service::ServerFrame::Refused { .. }
    ));
    raw.receive().await;
    raw.expect_refusal(Subject::Connection, RefusalCode::ShuttingDown).await;
    assert!(begun.elapsed() >= 3 * A_WHILE);
    drop(raw);
    end.await.unwrap();
    assert!(begun.elapsed() < 3 * A_WHILE + Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(TcpStream::connect(public).await.is_err());
}

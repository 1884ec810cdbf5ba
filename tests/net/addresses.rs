//! Somebody at another address who wants everybody's place.

use std::net::SocketAddr;

use olmcast::{
    client::connection::ConnectionEvent,
    protocol::service::{ClientFrame, MAX_PAYLOAD, RefusalCode, ServerFrame, Subject},
    server::Limits,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::fixture::*;

async fn from(address: &str, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0))?;
    socket.connect(to).await
}

/// Whether the service has closed this socket, or does so soon.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(A_WHILE, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_slow_sockets_do_not_keep_another_address_waiting() {
    // Fewer places in all than the attacker has sockets; time-outs that nobody lives to see.
    let server = serve(limits(|limits| {
        limits.sockets = 128;
        limits.accept_rate = 0;
        limits.head_timeout = 6 * PATIENCE;
        limits.handshake_timeout = 6 * PATIENCE;
    }))
    .await;
    let address = server.local_addr();
    let mut sockets = Vec::new();
    for number in 0..2000 {
        // Once the queue of the listening socket is full, connecting hangs.
        let Ok(stream) = timeout(PATIENCE, from("127.0.0.2", address)).await else { break };
        let Ok(mut stream) = stream else { continue };
        // Silent, slow, and half of a device.
        let said: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            _ => UPGRADE,
        };
        let _ = stream.write_all(said).await;
        sockets.push(stream);
    }
    assert!(sockets.len() > 1900, "{}", sockets.len());
    let begun = std::time::Instant::now();
    let invite = invite(&server);
    let honest: Vec<_> = (0..20).map(|_| Device::new()).collect();
    for device in &honest {
        let mut connection = device.open(&invite);
        wait_for(&mut connection, |e| matches!(e, ConnectionEvent::Entered { .. })).await;
    }
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    // The first ones have their places still, and only those.
    let mut open = 0;
    for stream in &mut sockets[..200] {
        open += usize::from(timeout(A_WHILE / 30, stream.read_u8()).await.is_err());
    }
    assert!(open <= 64, "{open}");
}

const UPGRADE: &[u8] = b"GET /v1/connect HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

#[tokio::test]
async fn a_socket_keeps_its_place_until_its_device_has_authenticated() {
    let server = serve(limits(|limits| limits.sockets_per_address = 2)).await;
    let (device, name) = (Device::new(), server.local_addr().to_string());
    let (mut first, nonce) = Raw::dial(&server).await;
    let (_second, _) = Raw::dial(&server).await;
    let mut third = TcpStream::connect(server.local_addr()).await.unwrap();
    assert!(is_closed(&mut third).await);
    first.authenticate(&device, &name, &nonce).await;
    let (_third, _) = Raw::dial(&server).await;
    let mut fourth = TcpStream::connect(server.local_addr()).await.unwrap();
    assert!(is_closed(&mut fourth).await);
}

#[tokio::test]
async fn of_whoever_has_not_authenticated_little_is_read() {
    let server = serve(Limits::default()).await;
    let (mut raw, nonce) = Raw::dial(&server).await;
    // A message of 100,000 bytes that never comes to its end.
    let mut part = vec![0x82, 0xFF];
    part.extend(100_000_u64.to_be_bytes());
    part.extend([0; 10_000]);
    raw.0.get_mut().write_all(&part).await.unwrap();
    raw.expect_refusal(Subject::Connection, RefusalCode::TooLarge).await;
    raw.expect_close().await;
    // Of a device it is read to its end.
    let device = Device::new();
    assert_ne!(device.raw(&server).await.1, nonce);
    let (mut raw, _) = device.raw(&server).await;
    let bytes = vec![0; MAX_PAYLOAD].into();
    raw.send(&ClientFrame::Send { request: 1, to: Device::new().id(), bytes }).await;
    assert_eq!(raw.receive().await, ServerFrame::Accepted { request: 1 });
}

#[tokio::test]
async fn many_identities_of_one_address_leave_room_for_another_address() {
    let server = serve(limits(|limits| {
        limits.connections_per_address = 2;
        limits.sockets_per_address = 0;
    }))
    .await;
    let invite = invite(&server);
    let device = Device::new();
    let mut attackers = Vec::new();
    for _ in 0..2 {
        attackers.push(raw_from("127.0.0.2", server.local_addr()).await.expect("refused"));
    }
    assert!(raw_from("127.0.0.2", server.local_addr()).await.is_none());
    let _honest = device.connect(&invite).await;
    attackers.pop();
    let again = async {
        while raw_from("127.0.0.2", server.local_addr()).await.is_none() {
            tokio::time::sleep(A_WHILE / 10).await;
        }
    };
    timeout(PATIENCE, again).await.expect("a place that was given up is not given out again");
}

/// An authenticated device at another address; none if the service has no place for it.
async fn raw_from(address: &str, to: SocketAddr) -> Option<Raw> {
    let device = Device::new();
    let stream = from(address, to).await.unwrap();
    let url = format!("ws://{to}/v1/connect");
    let (socket, _) = tokio_tungstenite::client_async(url, stream).await.ok()?;
    let mut raw = Raw(socket);
    let olmcast::protocol::service::ServerFrame::Challenge { nonce } = raw.receive().await else {
        panic!("no challenge");
    };
    match raw.authenticate(&device, &to.to_string(), &nonce).await {
        olmcast::protocol::service::ServerFrame::Welcome { .. } => Some(raw),
        _ => None,
    }
}

#[tokio::test]
async fn too_many_new_sockets_and_too_many_requests_are_refused_to_their_address_alone() {
    let server = serve(limits(|limits| {
        limits.accept_rate = 1;
        limits.accept_burst = 3;
        limits.request_rate = 1;
        limits.request_burst = 2;
    }))
    .await;
    let ask = async |address: &str, path: &str| {
        let mut stream = from(address, server.local_addr()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = String::new();
        let _ = timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("no answer");
        answer.split(' ').nth(1).unwrap_or("closed").to_owned()
    };
    let status = async |address: &str| ask(address, "/v1/nothing").await;
    assert_eq!(status("127.0.0.2").await, "404");
    assert_eq!(status("127.0.0.2").await, "404");
    assert_eq!(status("127.0.0.2").await, "429");
    assert_eq!(status("127.0.0.2").await, "closed");
    assert_eq!(status("127.0.0.3").await, "404");
    for _ in 0..2 {
        assert_eq!(ask("127.0.0.4", "/healthz").await, "200", "health is not limited");
    }
    assert_eq!(status("127.0.0.4").await, "404");
}

#[tokio::test]
async fn a_service_without_limits_per_address_takes_all_from_one() {
    let server = serve(limits(|limits| {
        limits.connections_per_address = 0;
        limits.sockets_per_address = 0;
        limits.accept_rate = 0;
        limits.request_rate = 0;
    }))
    .await;
    let mut sockets = Vec::new();
    for _ in 0..Limits::default().sockets_per_address * 2 {
        sockets.push(TcpStream::connect(server.local_addr()).await.unwrap());
    }
    let last = sockets.last_mut().unwrap();
    assert!(!is_closed(last).await);
}

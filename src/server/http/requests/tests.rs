use std::{sync::Arc, time::Instant};

use axum::{body::Bytes, routing::post};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{mpsc, watch},
};

use super::*;
use crate::server::{
    Limits, Phase, doorbells::Doorbells, http::Allowance, hub::Hub, metrics::Metrics, names::Names,
    store::memory::Memory,
};

/// A socket to a service with a route that reads its request's body, as the directory's do.
fn socket(limits: Limits) -> (DuplexStream, watch::Sender<Phase>) {
    let (phase, phases) = watch::channel(Phase::Running);
    let bells = Doorbells::default();
    let store = Arc::new(Memory::new([0; 16], limits.clone(), bells.clone()));
    let hub = Arc::new(Hub::new(limits, store, bells));
    let service = Service::new(hub, Names::new(Vec::new()), phases, Arc::new(Metrics::new()));
    let local = ([127, 0, 0, 1], 7600).into();
    let visitor = Visitor {
        local,
        address: std::net::IpAddr::from([10, 0, 0, 1]).into(),
        place: Arc::default(),
        allowance: Allowance::default(),
        _alive: mpsc::channel(1).0,
    };
    let length = post(|body: Bytes| async move { body.len().to_string() });
    let slow = get(|| async { sleep(Duration::from_millis(200)).await });
    let routes = Router::new().route("/length", length).route("/slow", slow);
    let router = bounded(routes, &service);
    let (here, there) = duplex(1 << 20);
    tokio::spawn(serve(there, local, visitor, service, router));
    (here, phase)
}

/// What comes back before the service hangs up.
async fn answer(socket: &mut DuplexStream, request: &str) -> String {
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(10), socket.read_to_string(&mut answer)).await;
    read.expect("still open").unwrap();
    answer
}

fn limits(time: Duration) -> Limits {
    Limits { request_timeout: time, head_timeout: time, request_body: 1000, ..Limits::default() }
}

const SOON: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_body_that_comes_too_slowly_ends_its_request_and_its_socket() {
    let (mut socket, _phase) = socket(limits(SOON));
    let begun = Instant::now();
    let request = "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf";
    let answer = answer(&mut socket, request).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(begun.elapsed() >= SOON);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let large = "x".repeat(1001);
    for body in [
        format!("Content-Length: 1001\r\n\r\n{large}"),
        format!("Transfer-Encoding: chunked\r\n\r\n3e9\r\n{large}\r\n0\r\n\r\n"),
    ] {
        let (mut socket, _phase) = socket(limits(SOON));
        let request = format!("POST /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{body}");
        let answer = answer(&mut socket, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    let (mut socket, _phase) = socket(limits(SOON));
    let request = format!(
        "POST /length HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n{}",
        "x".repeat(1000)
    );
    assert!(answer(&mut socket, &request).await.ends_with("\r\n\r\n1000"));
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_or_is_too_large_ends_the_socket() {
    let (mut slow, _phase) = socket(limits(SOON));
    assert!(!answer(&mut slow, "GET /length HTTP/1.1\r\nX-Slow: ").await.contains("200"));
    // After a request, too.
    let (mut idle, _phase) = socket(limits(SOON));
    assert!(answer(&mut idle, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.contains("200 OK"));
    let (mut large, _phase) = socket(limits(Duration::from_secs(60)));
    let head = format!("GET /slow HTTP/1.1\r\nHost: x\r\nX-Large: {}\r\n", "x".repeat(2 * HEAD));
    assert!(answer(&mut large, &head).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn what_was_asked_before_the_end_is_still_answered() {
    let (mut socket, phase) = socket(limits(Duration::from_secs(60)));
    tokio::spawn(async move {
        sleep(Duration::from_millis(50)).await;
        phase.send_replace(Phase::Draining);
        phase.closed().await;
    });
    let answer = answer(&mut socket, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

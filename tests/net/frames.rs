use futures_util::{SinkExt, StreamExt};
use olmcast::{
    protocol::service::{ClientFrame, MAX_FRAME, MAX_PAYLOAD, RefusalCode, ServerFrame, Subject},
    server::Limits,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::Message;

use crate::fixture::*;

#[tokio::test]
async fn what_is_no_frame_is_refused_with_a_word_and_the_service_lives_on() {
    let server = serve(Limits::default()).await;
    let whole = ClientFrame::Ack { sequence: 1 }.encode().unwrap();
    for (bytes, code) in [
        (vec![], RefusalCode::Malformed),
        (b"GET / HTTP/1.1".to_vec(), RefusalCode::UnsupportedVersion),
        (vec![2; 100], RefusalCode::UnsupportedVersion),
        (vec![1, 200], RefusalCode::Malformed),
        (vec![1; 100], RefusalCode::Malformed),
        ([whole.as_slice(), &[0]].concat(), RefusalCode::Malformed),
        (whole[..2].to_vec(), RefusalCode::Malformed),
        // So large that the socket gives up on it.
        (vec![1; 2 * MAX_FRAME + 1], RefusalCode::TooLarge),
    ] {
        let size = bytes.len();
        // Before authentication, and after it.
        let (mut raw, _) = Raw::dial(&server).await;
        raw.send_bytes(bytes.clone()).await;
        let refused = ServerFrame::Refused { subject: Subject::Connection, code };
        assert_eq!(raw.receive().await, refused, "{size} bytes");
        raw.expect_close().await;
        let (mut raw, _) = Device::new().raw(&server).await;
        raw.send_bytes(bytes).await;
        assert_eq!(raw.receive().await, refused, "{size} bytes");
        raw.expect_close().await;
    }
    let (mut raw, _) = Device::new().raw(&server).await;
    raw.0.send(Message::Text("hello".into())).await.unwrap();
    raw.expect_refusal(Subject::Connection, RefusalCode::Malformed).await;

    // So much that the sender may still be sending when it is hung up on: it need not hear why.
    let (mut raw, _) = Device::new().raw(&server).await;
    let _ = raw.0.send(Message::Binary(vec![1; 8 << 20].into())).await;
    while let Some(Ok(_)) = raw.0.next().await {}

    let (invite, device) = (invite(&server), Device::new());
    let mut connection = device.connect(&invite).await;
    connection.handle().send(device.id(), b"alive").unwrap();
    assert_eq!(mail(&mut connection).await, "alive");
}

#[tokio::test]
async fn a_message_that_is_only_too_large_costs_nobody_the_connection() {
    let server = serve(Limits::default()).await;
    let device = Device::new();
    let (mut raw, _) = device.raw(&server).await;
    // By hand: our own encoder refuses it.
    let mut bytes = vec![1, 3, 9];
    bytes.extend(device.id().as_bytes());
    bytes.extend([0x81, 0x80, 0x04]); // a length of 65537
    bytes.extend(vec![0; MAX_PAYLOAD + 1]);
    raw.send_bytes(bytes).await;
    raw.expect_refusal(Subject::Connection, RefusalCode::TooLarge).await;
    raw.send(&ClientFrame::Send { request: 1, to: Device::new().id(), bytes: b"".into() }).await;
    assert_eq!(raw.receive().await, ServerFrame::Accepted { request: 1 });
}

#[tokio::test]
async fn who_authenticates_twice_is_hung_up_on() {
    let server = serve(Limits::default()).await;
    let device = Device::new();
    let (mut raw, nonce) = device.raw(&server).await;
    let name = server.local_addr().to_string();
    let answer = raw.authenticate(&device, &name, &nonce).await;
    let (subject, code) = (Subject::Connection, RefusalCode::Malformed);
    assert_eq!(answer, ServerFrame::Refused { subject, code });
    raw.expect_close().await;
}

#[tokio::test]
async fn the_service_says_that_it_is_healthy() {
    let server = serve(Limits::default()).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok\n"));
}

use olmcast::{
    client::connection::{ConnectionEvent, DownReason},
    primitives::{Invite, StreamId},
    protocol::service::{Authentication, ClientFrame, RefusalCode, ServerFrame, Subject},
    server::{Limits, Server, ServerConfig},
};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use crate::fixture::*;

const HANG_UP: Subject = Subject::Connection;

#[tokio::test]
async fn a_stranger_with_another_rooms_invite_is_refused_at_the_door() {
    let server = serve(Limits::default()).await;
    let (room, other) = (invite(&server), invite(&server));
    let (a, stranger) = (Device::new(), Device::new());
    let mut at_a = a.connect(&room).await;
    at_a.handle().set_state(room.room(), StreamId::from_bytes([1; 16]), b"offer").unwrap();

    let (mut raw, nonce) = stranger.raw(&server).await;
    let (door, wrong) = (room.door_key().unwrap(), other.door_key().unwrap());
    let (id, subject) = (stranger.id(), Subject::Room(room.room()));
    for (door, signature) in [
        // Its own key, properly signed; the room's public key with its own signature; and the
        // room's true signature for another challenge, or for another device.
        (wrong.public(), wrong.sign(&nonce, &id)),
        (door.public(), wrong.sign(&nonce, &id)),
        (door.public(), door.sign(&[0; 32], &id)),
        (door.public(), door.sign(&nonce, &a.id())),
    ] {
        raw.send(&ClientFrame::Enter { room: room.room(), door, signature }).await;
        raw.expect_refusal(subject, RefusalCode::WrongDoor).await;
    }

    // Outside it can neither speak nor listen.
    raw.send(&ClientFrame::Broadcast { room: room.room(), bytes: b"noise".into() }).await;
    raw.expect_refusal(subject, RefusalCode::NotInRoom).await;
    let (room_id, stream) = (room.room(), StreamId::from_bytes([2; 16]));
    let in_stream = Subject::Stream { room: room_id, stream };
    raw.send(&ClientFrame::SetState { room: room_id, stream, bytes: b"fake".into() }).await;
    raw.expect_refusal(in_stream, RefusalCode::NotInRoom).await;
    raw.send(&ClientFrame::ClearState { room: room_id, stream, bytes: b"fake".into() }).await;
    raw.expect_refusal(in_stream, RefusalCode::NotInRoom).await;
    at_a.handle().broadcast(room.room(), b"for members").unwrap();
    let more = StreamId::from_bytes([3; 16]);
    at_a.handle().set_state(room.room(), more, b"offer").unwrap();
    raw.send(&ClientFrame::Send { request: 1, to: id, bytes: b"still here".into() }).await;
    tokio::time::sleep(A_WHILE).await;
    // Mail to oneself and its confirmation, in whatever order.
    for _ in 0..2 {
        let frame = raw.receive().await;
        let is_own = matches!(frame, ServerFrame::Accepted { .. } | ServerFrame::Mail { .. });
        assert!(is_own, "{frame:?}");
    }
    silence(&mut at_a).await;
}

#[tokio::test]
async fn the_wrong_invite_is_reported_by_the_connection() {
    let server = serve(Limits::default()).await;
    let (room, other) = (invite(&server), invite(&server));
    let device = Device::new();
    let mut connection = device.connect(&room).await;
    connection.handle().enter(other.room(), room.door_key().unwrap()).unwrap();
    let event = wait_for(&mut connection, |_| true).await;
    let code = RefusalCode::WrongDoor;
    assert_eq!(event, ConnectionEvent::RoomRefused { room: other.room(), code });
}

#[tokio::test]
async fn a_signature_for_another_server_or_another_challenge_is_refused() {
    let server = serve(Limits::default()).await;
    let (device, name) = (Device::new(), server.local_addr().to_string());

    // What a hostile server would pass on: signed for its own name.
    let (mut raw, nonce) = Raw::dial(&server).await;
    let answer = raw.authenticate(&device, "evil.example:7600", &nonce).await;
    let refused = |code| ServerFrame::Refused { subject: HANG_UP, code };
    assert_eq!(answer, refused(RefusalCode::WrongServerName));
    raw.expect_close().await;

    // What it would send next: the same signature with the right name beside it.
    let (mut raw, nonce) = Raw::dial(&server).await;
    let evil = Authentication { server: "evil.example:7600", nonce: &nonce };
    let signature = device.sign(evil);
    let frame = ClientFrame::Authenticate { device: device.id(), server: name.clone(), signature };
    raw.send(&frame).await;
    assert_eq!(raw.receive().await, refused(RefusalCode::WrongSignature));
    raw.expect_close().await;

    // A recorded answer to an earlier challenge.
    let (_, earlier) = device.raw(&server).await;
    let (mut raw, nonce) = Raw::dial(&server).await;
    assert_ne!(nonce, earlier);
    let answer = raw.authenticate(&device, &name, &earlier).await;
    assert_eq!(answer, refused(RefusalCode::WrongSignature));

    // Somebody else's id.
    let (mut raw, nonce) = Raw::dial(&server).await;
    let signed = Authentication { server: &name, nonce: &nonce };
    let signature = Device::new().sign(signed);
    raw.send(&ClientFrame::Authenticate { device: device.id(), server: name, signature }).await;
    assert_eq!(raw.receive().await, refused(RefusalCode::WrongSignature));
}

#[tokio::test]
async fn nothing_is_done_before_authentication_and_it_may_not_take_for_ever() {
    let server = serve(limits(|limits| {
        limits.handshake_timeout = A_WHILE;
    }))
    .await;
    let (mut raw, _) = Raw::dial(&server).await;
    raw.send(&ClientFrame::Ack { sequence: 1 }).await;
    raw.expect_refusal(HANG_UP, RefusalCode::NotAuthenticated).await;
    raw.expect_close().await;

    let (mut raw, _) = Raw::dial(&server).await;
    raw.expect_refusal(HANG_UP, RefusalCode::Silent).await;
    raw.expect_close().await;
}

#[tokio::test]
async fn a_service_goes_by_its_configured_names_or_without_any_by_its_address() {
    let public = "keys.example.org:443".to_owned();
    for names in [vec![public.clone()], vec![]] {
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        config.names = names.clone();
        let server = Server::bind(config).await.unwrap();
        let address = server.local_addr();
        let (local, itself) = (format!("localhost:{}", address.port()), address.to_string());
        for name in [&public, &local, &itself] {
            let (mut raw, nonce) = Raw::dial(&server).await;
            let welcome = match raw.authenticate(&Device::new(), name, &nonce).await {
                ServerFrame::Welcome { .. } => true,
                ServerFrame::Refused { code: RefusalCode::WrongServerName, .. } => false,
                other => panic!("{other:?}"),
            };
            // What a device calls its own machine is not what it calls a public service.
            assert_eq!(welcome, names.is_empty() == (*name != public), "{name} {names:?}");
        }
    }
}

#[tokio::test]
async fn at_the_limit_of_connections_the_next_one_is_told_so_and_let_in_later() {
    let server = serve(limits(|limits| limits.connections = 1)).await;
    let invite = invite(&server);
    let first = Device::new().connect(&invite).await;
    let mut second = Device::new().open(&invite);
    let reason = DownReason::Refused(RefusalCode::Busy);
    let event = wait_for(&mut second, |_| true).await;
    assert_eq!(event, ConnectionEvent::Down { reason });
    first.close().await;
    assert_eq!(wait_for(&mut second, |_| true).await, ConnectionEvent::Up);
}

#[tokio::test]
async fn a_server_that_is_no_key_service_and_one_that_is_not_there_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let invite = Invite::generate(listener.local_addr().unwrap().to_string()).unwrap();
    let mut connection = Device::new().open(&invite);
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    let reason = DownReason::NotAKeyService(404);
    assert_eq!(wait_for(&mut connection, |_| true).await, ConnectionEvent::Down { reason });
    drop((listener, stream));
    match wait_for(&mut connection, |_| true).await {
        ConnectionEvent::Down { reason: DownReason::Unreachable(_) } => {}
        other => panic!("{other:?}"),
    }
}

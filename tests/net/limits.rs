//! Somebody with many devices at one address, who wants all of what is there for everybody.

use std::net::SocketAddr;

use olmcast::{
    primitives::{Invite, RoomId, StreamId},
    protocol::service::{ClientFrame, RefusalCode, ServerFrame, Subject},
    server::{Limits, Server},
};
use tokio::net::TcpSocket;
use tokio_tungstenite::client_async;

use crate::fixture::*;

const HERE: &str = "127.0.0.1";
const ELSEWHERE: &str = "127.0.0.2";

/// An authenticated device at this address, with its challenge.
async fn connect(device: &Device, address: &str, server: &Server) -> (Raw, [u8; 32]) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
    let stream = socket.connect(server.local_addr()).await.unwrap();
    let name = server.local_addr().to_string();
    let mut raw = Raw(client_async(format!("ws://{name}/v1/connect"), stream).await.unwrap().0);
    let ServerFrame::Challenge { nonce } = raw.receive().await else { panic!("no challenge") };
    raw.authenticate(device, &name, &nonce).await;
    (raw, nonce)
}

/// What becomes of mail.
async fn mail(raw: &mut Raw, to: &Device, bytes: usize) -> Result<(), RefusalCode> {
    let bytes = vec![0; bytes].into();
    raw.send(&ClientFrame::Send { request: 1, to: to.id(), bytes }).await;
    loop {
        match raw.receive().await {
            ServerFrame::Accepted { .. } => return Ok(()),
            ServerFrame::Refused { subject: Subject::Request(1), code } => return Err(code),
            ServerFrame::Mail { .. } | ServerFrame::Present { .. } | ServerFrame::Gone { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn enter(
    raw: &mut Raw,
    device: &Device,
    invite: &Invite,
    nonce: &[u8; 32],
) -> Result<(), RefusalCode> {
    let door = invite.door_key().unwrap();
    let signature = door.sign(nonce, &device.id());
    let (room, door) = (invite.room(), door.public());
    raw.send(&ClientFrame::Enter { room, door, signature }).await;
    match raw.receive().await {
        ServerFrame::Entered { .. } => Ok(()),
        ServerFrame::Refused { code, .. } => Err(code),
        other => panic!("{other:?}"),
    }
}

/// What becomes of a room state of so many bytes.
async fn set(raw: &mut Raw, room: &Invite, number: u8, bytes: usize) -> Result<(), RefusalCode> {
    let (room, stream) = (room.room(), StreamId::from_bytes([number; 16]));
    raw.send(&ClientFrame::SetState { room, stream, bytes: vec![0; bytes].into() }).await;
    let subject = Subject::Stream { room, stream };
    match answered(raw).await {
        None => Ok(()),
        Some(ServerFrame::Refused { subject: other, code }) if other == subject => Err(code),
        other => panic!("{other:?}"),
    }
}

/// Waits until all was done that was asked. Returns what was said to it, if anything.
async fn answered(raw: &mut Raw) -> Option<ServerFrame> {
    // What has no answer if all is well comes before this, which is always refused.
    let room = RoomId::from_bytes([3; 32]);
    raw.send(&ClientFrame::Broadcast { room, bytes: b"".into() }).await;
    let mut said = None;
    loop {
        match raw.receive().await {
            ServerFrame::Refused { subject, .. } if subject == Subject::Room(room) => return said,
            other => said = Some(other),
        }
    }
}

#[tokio::test]
async fn many_identities_that_write_to_themselves_leave_others_room_for_mail() {
    let server = serve(limits(|limits| {
        (limits.stranger_rate_per_address, limits.stranger_burst_per_address) = (1, 50_000);
        limits.stranger_bytes = 100_000;
    }))
    .await;
    let mut refused = 0;
    for _ in 0..16 {
        let device = Device::new();
        let (mut raw, _) = connect(&device, HERE, &server).await;
        for _ in 0..4 {
            match mail(&mut raw, &device, 10_000).await {
                Ok(()) => {}
                Err(code) => {
                    assert_eq!(code, RefusalCode::RateLimited);
                    refused += 1;
                }
            }
        }
    }
    assert_eq!(refused, 60, "four were within the rate");
    let (honest, friend) = (Device::new(), Device::new());
    let (mut raw, _) = connect(&honest, ELSEWHERE, &server).await;
    assert_eq!(mail(&mut raw, &friend, 10_000).await, Ok(()));
}

#[tokio::test]
async fn many_identities_that_know_one_another_leave_others_room_for_mail() {
    let server = serve(limits(|limits| {
        (limits.mail_rate_per_address, limits.mail_burst_per_address) = (1, 50_000);
        // NATS keeps mail in four parts, each with its share.
        limits.store_bytes = 400_000;
    }))
    .await;
    let (invite, away) = (invite(&server), Device::new());
    let (mut raw, nonce) = connect(&away, HERE, &server).await;
    raw.enter(&away, &invite, &nonce).await;
    drop(raw);
    let mut taken = 0;
    for _ in 0..8 {
        let device = Device::new();
        let (mut raw, nonce) = connect(&device, HERE, &server).await;
        raw.enter(&device, &invite, &nonce).await;
        for _ in 0..6 {
            match mail(&mut raw, &away, 10_000).await {
                Ok(()) => taken += 1,
                Err(code) => assert_eq!(code, RefusalCode::RateLimited),
            }
        }
    }
    assert_eq!(taken, 4);
    let honest = Device::new();
    let (mut raw, nonce) = connect(&honest, ELSEWHERE, &server).await;
    raw.enter(&honest, &invite, &nonce).await;
    assert_eq!(mail(&mut raw, &away, 10_000).await, Ok(()));
}

#[tokio::test]
async fn whoever_connects_again_has_no_fresh_allowance_of_room_changes() {
    let server = serve(limits(|limits| {
        (limits.room_rate_per_address, limits.room_burst_per_address) = (1, 3);
    }))
    .await;
    let mut entered = 0;
    for _ in 0..8 {
        let device = Device::new();
        let (mut raw, nonce) = connect(&device, HERE, &server).await;
        match enter(&mut raw, &device, &invite(&server), &nonce).await {
            Ok(()) => entered += 1,
            Err(code) => assert_eq!(code, RefusalCode::RateLimited),
        }
    }
    assert!((3..6).contains(&entered), "{entered}; one more each second that this takes");
    let device = Device::new();
    let (mut raw, nonce) = connect(&device, ELSEWHERE, &server).await;
    assert_eq!(enter(&mut raw, &device, &invite(&server), &nonce).await, Ok(()));
}

#[tokio::test]
async fn invented_rooms_and_what_is_said_in_them_are_bounded() {
    let server = serve(limits(|limits| {
        (limits.rooms, limits.state_bytes, limits.room_state_bytes) = (2, 3000, 2000);
    }))
    .await;
    let device = Device::new();
    let (mut raw, nonce) = connect(&device, HERE, &server).await;
    let rooms = [invite(&server), invite(&server)];
    for room in &rooms {
        assert_eq!(enter(&mut raw, &device, room, &nonce).await, Ok(()));
    }
    let third = enter(&mut raw, &device, &invite(&server), &nonce).await;
    assert_eq!(third, Err(RefusalCode::QuotaExceeded));
    let quota = Err(RefusalCode::QuotaExceeded);
    assert_eq!(set(&mut raw, &rooms[0], 1, 800).await, Ok(()));
    assert_eq!(set(&mut raw, &rooms[0], 2, 800).await, Ok(()));
    assert_eq!(set(&mut raw, &rooms[0], 3, 800).await, quota, "the room");
    assert_eq!(set(&mut raw, &rooms[1], 1, 800).await, Ok(()));
    assert_eq!(set(&mut raw, &rooms[1], 2, 800).await, quota, "all rooms");
    assert_eq!(set(&mut raw, &rooms[0], 1, 800).await, Ok(()), "said again");
}

#[tokio::test]
async fn the_devices_of_one_address_share_what_it_may_have_of_rooms() {
    let server = serve(limits(|limits| {
        (limits.rooms_per_address, limits.state_bytes_per_address) = (3, 2500);
    }))
    .await;
    let room = invite(&server);
    let (first, second, honest) = (Device::new(), Device::new(), Device::new());
    let (mut at_first, nonce) = connect(&first, HERE, &server).await;
    for room in [&room, &invite(&server), &room] {
        assert_eq!(enter(&mut at_first, &first, room, &nonce).await, Ok(()));
    }
    let (mut at_second, own) = connect(&second, HERE, &server).await;
    let other = invite(&server);
    assert_eq!(enter(&mut at_second, &second, &other, &own).await, Ok(()));
    let quota = Err(RefusalCode::QuotaExceeded);
    assert_eq!(enter(&mut at_second, &second, &room, &own).await, quota);
    // Larger, smaller, and as large again; each counts for its largest.
    for bytes in [500, 1000, 0, 1000] {
        assert_eq!(set(&mut at_first, &room, 1, bytes).await, Ok(()));
    }
    assert_eq!(set(&mut at_second, &other, 1, 1000).await, Ok(()));
    assert_eq!(set(&mut at_second, &other, 2, 100).await, quota);
    assert_eq!(set(&mut at_second, &other, 1, 1500).await, quota);
    let (mut elsewhere, nonce) = connect(&honest, ELSEWHERE, &server).await;
    assert_eq!(enter(&mut elsewhere, &honest, &invite(&server), &nonce).await, Ok(()));
    // Whoever goes gives its share back.
    let (room, stream) = (room.room(), StreamId::from_bytes([1; 16]));
    at_first.send(&ClientFrame::ClearState { room, stream, bytes: b"".into() }).await;
    at_first.send(&ClientFrame::Leave { room }).await;
    assert_eq!(answered(&mut at_first).await, None);
    assert_eq!(set(&mut at_second, &other, 2, 100).await, Ok(()));
    assert_eq!(enter(&mut at_second, &second, &invite(&server), &own).await, Ok(()));
}

#[tokio::test]
async fn a_service_without_these_limits_per_address_takes_all_from_one() {
    let server = serve(limits(|limits| {
        (limits.mail_rate_per_address, limits.mail_burst_per_address) = (0, 1);
        (limits.stranger_rate_per_address, limits.stranger_burst_per_address) = (0, 1);
        (limits.room_rate_per_address, limits.room_burst_per_address) = (0, 1);
    }))
    .await;
    let device = Device::new();
    let (mut raw, nonce) = connect(&device, HERE, &server).await;
    let away = Device::new();
    for _ in 0..Limits::default().stranger_lane {
        assert_eq!(mail(&mut raw, &away, 10_000).await, Ok(()));
    }
    for _ in 0..20 {
        assert_eq!(enter(&mut raw, &device, &invite(&server), &nonce).await, Ok(()));
    }
}

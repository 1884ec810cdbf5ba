use olmcast::{
    client::connection::ConnectionEvent,
    primitives::StreamId,
    protocol::service::{ClientFrame, Payload, RefusalCode, RoomState, ServerFrame},
    server::Limits,
};

use crate::fixture::*;

const STREAM: StreamId = StreamId::from_bytes([5; 16]);

#[tokio::test]
async fn a_broadcast_reaches_the_others_in_the_room_and_nobody_else() {
    let server = serve(Limits::default()).await;
    let (invite, elsewhere) = (invite(&server), invite(&server));
    let (a, b, c) = (Device::new(), Device::new(), Device::new());
    let mut at_a = a.connect(&invite).await;
    let mut at_b = b.connect(&invite).await;
    let mut at_c = c.connect(&elsewhere).await;
    let room = invite.room();
    wait_for(&mut at_a, |e| *e == ConnectionEvent::Present { room, device: b.id() }).await;
    at_a.handle().broadcast(room, b"beacon").unwrap();
    let bytes = Payload::from(b"beacon");
    let expected = ConnectionEvent::Broadcast { room, from: a.id(), bytes };
    assert_eq!(wait_for(&mut at_b, |_| true).await, expected);
    silence(&mut at_a).await;
    silence(&mut at_c).await;
}

#[tokio::test]
async fn newcomers_learn_of_streams_and_all_learn_of_their_end() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let (a, b, c) = (Device::new(), Device::new(), Device::new());
    let (at_a, mut at_b) = (a.connect(&invite).await, b.connect(&invite).await);
    let (room, device, stream) = (invite.room(), a.id(), STREAM);
    at_a.handle().set_state(room, stream, b"offer").unwrap();
    let bytes = Payload::from(b"offer");
    let state = ConnectionEvent::State { room, device, stream, bytes: bytes.clone() };
    assert_eq!(wait_for(&mut at_b, |_| true).await, state);

    let mut at_c = c.open(&invite);
    let entered = wait_for(&mut at_c, |e| *e != ConnectionEvent::Up).await;
    let state = vec![RoomState { device, stream, bytes }];
    assert_eq!(entered, ConnectionEvent::Entered { room, roster: vec![a.id(), b.id()], state });

    at_a.handle().clear_state(room, stream, b"end").unwrap();
    let bytes = Some(Payload::from(b"end"));
    let cleared = ConnectionEvent::StateCleared { room, device, stream, bytes };
    assert_eq!(wait_for(&mut at_c, |_| true).await, cleared);
    wait_for(&mut at_b, |event| *event == cleared).await;
}

#[tokio::test]
async fn the_streams_of_a_device_that_stays_away_are_dropped() {
    let server = serve(limits(|limits| limits.state_grace = A_WHILE)).await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let (at_a, mut at_b) = (a.connect(&invite).await, b.connect(&invite).await);
    let (room, device, stream) = (invite.room(), a.id(), STREAM);
    at_a.handle().set_state(room, stream, b"offer").unwrap();
    wait_for(&mut at_b, |e| matches!(e, ConnectionEvent::State { .. })).await;
    drop(at_a);
    let gone = ConnectionEvent::Gone { room, device };
    assert_eq!(wait_for(&mut at_b, |_| true).await, gone);
    let dropped = ConnectionEvent::StateCleared { room, device, stream, bytes: None };
    assert_eq!(wait_for(&mut at_b, |_| true).await, dropped);
}

#[tokio::test]
async fn a_room_has_limits_that_are_named_when_they_are_met() {
    let server = serve(limits(|limits| {
        limits.streams_per_device = 1;
        limits.room_members = 1;
        limits.room_payload = 5;
    }))
    .await;
    let (invite, a) = (invite(&server), Device::new());
    let mut at_a = a.connect(&invite).await;
    let (room, second) = (invite.room(), StreamId::from_bytes([6; 16]));
    at_a.handle().set_state(room, STREAM, b"offer").unwrap();
    at_a.handle().set_state(room, second, b"offer").unwrap();
    let code = RefusalCode::QuotaExceeded;
    let expected = ConnectionEvent::StateRefused { room, stream: second, code };
    assert_eq!(wait_for(&mut at_a, |_| true).await, expected);
    at_a.handle().broadcast(room, b"beacon").unwrap();
    let code = RefusalCode::TooLarge;
    assert_eq!(wait_for(&mut at_a, |_| true).await, ConnectionEvent::RoomRefused { room, code });

    let mut at_b = Device::new().open(&invite);
    let event = wait_for(&mut at_b, |e| *e != ConnectionEvent::Up).await;
    assert_eq!(event, ConnectionEvent::RoomRefused { room, code: RefusalCode::RoomFull });
}

#[tokio::test]
async fn who_reads_too_slowly_loses_broadcasts_but_gets_a_true_picture_and_costs_others_nothing() {
    let server = serve(limits(|limits| {
        limits.room_rate = 1_000_000;
        limits.room_rate_burst = 1_000_000;
        limits.rate = 1_000_000_000;
        limits.rate_burst = 1_000_000_000;
        limits.room_rate_per_address = 0;
        // It writes to itself to keep the pace.
        limits.stranger_lane = 1000;
    }))
    .await;
    let (invite, a, slow, b) = (invite(&server), Device::new(), Device::new(), Device::new());
    let room = invite.room();
    let (mut at_slow, nonce) = slow.raw(&server).await;
    at_slow.enter(&slow, &invite, &nonce).await;
    let (mut at_b, nonce) = b.raw(&server).await;
    at_b.enter(&b, &invite, &nonce).await;
    let (mut at_a, nonce) = a.raw(&server).await;
    at_a.enter(&a, &invite, &nonce).await;

    // Far more than socket buffers and outbox hold, while `slow` reads nothing and `b` all.
    let count: u64 = 4000;
    let reader = tokio::spawn(async move {
        let mut seen = 0;
        loop {
            match at_b.receive().await {
                ServerFrame::State { .. } => seen += 1,
                ServerFrame::StateCleared { .. } => return seen,
                _ => {}
            }
        }
    });
    for n in 0..count {
        let mut bytes = vec![0; 8000];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        let broadcast = ClientFrame::Broadcast { room, bytes: bytes.clone().into() };
        at_a.send(&broadcast).await;
        at_a.send(&ClientFrame::SetState { room, stream: STREAM, bytes: bytes.into() }).await;
        // A pace that a reader can hold.
        if n % 64 == 0 {
            at_a.send(&ClientFrame::Send { request: n, to: a.id(), bytes: b"".into() }).await;
            while !matches!(at_a.receive().await, ServerFrame::Accepted { request } if request == n)
            {
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
    let other = StreamId::from_bytes([6; 16]);
    at_a.send(&ClientFrame::ClearState { room, stream: other, bytes: b"".into() }).await;
    let seen = tokio::time::timeout(PATIENCE, reader).await.unwrap().unwrap();
    assert!(seen > count / 2, "the reader saw {seen} of {count}");

    // Now `slow` reads: not everything, but the last picture it gets is the true one.
    let (mut broadcasts, mut fresh, mut last) = (0, 0, 0);
    while last < count - 1 {
        let mut note = |bytes: &Payload| {
            last = u64::from_be_bytes(bytes[..8].try_into().unwrap());
        };
        match at_slow.receive().await {
            ServerFrame::Broadcast { .. } => broadcasts += 1,
            ServerFrame::State { bytes, .. } => note(&bytes),
            ServerFrame::Entered { state, .. } => {
                fresh += 1;
                note(&state[0].bytes);
            }
            _ => {}
        }
    }
    assert!(fresh > 0 && broadcasts < count, "{fresh} pictures, {broadcasts} broadcasts");
}

use std::{net::SocketAddr, time::Duration};

use olmcast::{
    client::connection::{ConnectionEvent, DownReason},
    primitives::{Invite, StreamId},
    protocol::service::{ClientFrame, Payload, RefusalCode, RoomState, ServerFrame, Subject},
    server::{Limits, Server, ServerConfig},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{fake_service::FakeService, fixture::*};

fn is_down(event: &ConnectionEvent) -> bool {
    matches!(event, ConnectionEvent::Down { .. })
}

#[tokio::test]
async fn after_a_crash_of_the_service_the_connection_restores_everything_by_itself() {
    let server = serve(Limits::default()).await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let (room, address) = (invite.room(), server.local_addr());
    let mut at_a = a.connect(&invite).await;
    let stream = StreamId::from_bytes([5; 16]);
    at_a.handle().set_state(room, stream, b"offer").unwrap();
    // Some mail, so that sequences of the old instance are past those of the new one.
    for _ in 0..5 {
        at_a.handle().send(a.id(), b"before").unwrap();
        assert_eq!(mail(&mut at_a).await, "before");
    }

    drop(server);
    let down = wait_for(&mut at_a, |_| true).await;
    assert_eq!(down, ConnectionEvent::Down { reason: DownReason::Lost });
    // Given while nobody is there to take it.
    at_a.handle().send(b.id(), b"meanwhile").unwrap();
    at_a.handle().broadcast(room, b"lost").unwrap();
    tokio::time::sleep(A_WHILE).await;

    let server = serve_at(address, Limits::default()).await;
    wait_for(&mut at_a, |event| *event == ConnectionEvent::Up).await;
    let entered = wait_for(&mut at_a, |_| true).await;
    assert_eq!(entered, ConnectionEvent::Entered { room, roster: vec![], state: vec![] });

    // The memory of the new service is what `a` has told it.
    let mut at_b = b.open(&invite);
    let state = vec![RoomState { device: a.id(), stream, bytes: Payload::from(b"offer") }];
    let entered = ConnectionEvent::Entered { room, roster: vec![a.id()], state };
    let mail_to_b = ConnectionEvent::Mail { from: a.id(), bytes: Payload::from(b"meanwhile") };
    let mut expected = vec![ConnectionEvent::Up, entered, mail_to_b];
    wait_for(&mut at_b, |event| {
        expected.retain(|expected| expected != event);
        expected.is_empty()
    })
    .await;
    at_b.handle().send(a.id(), b"after").unwrap();
    assert_eq!(mail(&mut at_a).await, "after");
    server.shutdown().await;
}

#[tokio::test]
async fn a_service_that_shuts_down_says_so_to_everybody_and_is_quick_about_it() {
    let server = serve(Limits::default()).await;
    let (invite, a) = (invite(&server), Device::new());
    let mut at_a = a.connect(&invite).await;
    let (mut silent, _) = Raw::dial(&server).await;
    tokio::time::timeout(Duration::from_secs(4), server.shutdown()).await.unwrap();
    let reason = DownReason::Refused(RefusalCode::ShuttingDown);
    assert_eq!(wait_for(&mut at_a, is_down).await, ConnectionEvent::Down { reason });
    let (subject, code) = (Subject::Connection, RefusalCode::ShuttingDown);
    assert_eq!(silent.receive().await, ServerFrame::Refused { subject, code });
    silent.expect_close().await;
    match wait_for(&mut at_a, is_down).await {
        ConnectionEvent::Down { reason: DownReason::Unreachable(_) } => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn mail_that_comes_again_after_a_lost_connection_is_handed_out_once() {
    // The device dials the relay and signs that name, so the service has to go by it.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
    config.names = vec![listener.local_addr().unwrap().to_string()];
    let invite = Invite::generate(config.names[0].clone()).unwrap();
    let server = Server::bind(config).await.unwrap();
    let relay = Relay::start(listener, server.local_addr());
    let a = Device::new();
    let mut at_a = a.connect(&invite).await;
    at_a.handle().send(a.id(), b"once").unwrap();
    // It has arrived, but is neither handed out nor acked when the connection breaks.
    tokio::time::sleep(A_WHILE).await;
    relay.cut();
    tokio::time::sleep(2 * A_WHILE).await;
    let mut seen = 0;
    let mut ups = 0;
    while let Ok(Some(event)) = tokio::time::timeout(3 * A_WHILE, at_a.next()).await {
        match event {
            ConnectionEvent::Mail { .. } => seen += 1,
            ConnectionEvent::Up => ups += 1,
            _ => {}
        }
    }
    assert_eq!((seen, ups), (1, 1), "one mail, and one reconnect behind it");
}

#[tokio::test]
async fn mail_of_an_old_instance_is_not_acked_to_a_new_one() {
    // A service of our own making, to see what the device says.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let invite = Invite::generate(listener.local_addr().unwrap().to_string()).unwrap();
    let device = Device::new();
    let mut connection = device.open(&invite);
    let mail = |sequence| {
        let (from, bytes) = (device.id(), Payload::from(b"mail"));
        ServerFrame::Mail { sequence, from, bytes }
    };

    let mut old = FakeService::accept(&listener, [1; 16]).await;
    old.say(&mail(50)).await;
    wait_for(&mut connection, |event| *event == ConnectionEvent::Up).await;
    tokio::time::sleep(A_WHILE).await;
    drop(old);
    let mut new = FakeService::accept(&listener, [2; 16]).await;
    new.say(&mail(7)).await;
    tokio::time::sleep(A_WHILE).await;

    let is_mail = |event: &ConnectionEvent| matches!(event, ConnectionEvent::Mail { .. });
    wait_for(&mut connection, is_mail).await;
    tokio::time::sleep(A_WHILE).await;
    wait_for(&mut connection, is_mail).await;
    // An ack of 50 would have made the new service forget mail that never arrived.
    assert_eq!(new.ack().await, 7);
}

/// A TCP relay whose connections can be cut.
struct Relay(watch::Sender<u32>);

impl Relay {
    fn start(listener: TcpListener, behind: SocketAddr) -> Self {
        let (cut, cuts) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(behind).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self(cut)
    }

    fn cut(&self) {
        self.0.send_modify(|n| *n += 1);
    }
}

#[tokio::test]
async fn a_room_that_cannot_be_entered_at_the_moment_is_asked_for_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let invite = Invite::generate(listener.local_addr().unwrap().to_string()).unwrap();
    let (room, device, stream) = (invite.room(), Device::new(), StreamId::from_bytes([4; 16]));
    let mut connection = device.open(&invite);
    connection.handle().set_state(room, stream, b"offer").unwrap();
    let mut service = FakeService::accept(&listener, [1; 16]).await;
    for code in [RefusalCode::Unavailable, RefusalCode::RateLimited] {
        assert!(matches!(service.hear().await, ClientFrame::Enter { .. }));
        assert!(matches!(service.hear().await, ClientFrame::SetState { .. }));
        service.say(&ServerFrame::Refused { subject: Subject::Room(room), code }).await;
        let (subject, code) = (Subject::Stream { room, stream }, RefusalCode::NotInRoom);
        service.say(&ServerFrame::Refused { subject, code }).await;
    }
    assert!(matches!(service.hear().await, ClientFrame::Enter { .. }));
    assert!(matches!(service.hear().await, ClientFrame::SetState { .. }));
    service.say(&ServerFrame::Entered { room, roster: vec![], state: vec![] }).await;
    // What passed is no news.
    assert_eq!(wait_for(&mut connection, |_| true).await, ConnectionEvent::Up);
    let entered = wait_for(&mut connection, |_| true).await;
    assert!(matches!(entered, ConnectionEvent::Entered { .. }), "{entered:?}");
}

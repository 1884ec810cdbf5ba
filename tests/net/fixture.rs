//! Devices, a service, and a client that may misbehave.

use std::{path::Path, time::Duration};

use futures_util::{SinkExt, StreamExt};
use olmcast::{
    client::connection::{Connection, ConnectionEvent},
    device::Identity,
    primitives::{DeviceId, Invite, Signature},
    protocol::service::{Authentication, ClientFrame, RefusalCode, ServerFrame, Subject},
    server::{Limits, Server, ServerConfig, StoreConfig},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Long enough for something that should not come to have come.
pub(crate) const A_WHILE: Duration = Duration::from_millis(300);

pub(crate) async fn serve(limits: Limits) -> Server {
    serve_at(([127, 0, 0, 1], 0).into(), limits).await
}

pub(crate) async fn serve_at(listen: std::net::SocketAddr, limits: Limits) -> Server {
    let mut config = ServerConfig::new(listen);
    config.limits = limits;
    config.store = store();
    Server::bind(config).await.unwrap()
}

/// Where services remember here: in memory, or as OLMCAST_TEST_STORE says, which is `redb` or the
/// address of a NATS server. Each has a place of its own.
pub(crate) fn store() -> StoreConfig {
    let place = Identity::generate().device().to_string();
    match std::env::var("OLMCAST_TEST_STORE").as_deref() {
        Err(_) | Ok("memory") => StoreConfig::Memory,
        Ok("redb") => {
            StoreConfig::Redb(Path::new(env!("CARGO_TARGET_TMPDIR")).join("stores").join(place))
        }
        #[cfg(feature = "nats")]
        Ok(url) => {
            let mut config = olmcast::server::NatsConfig::new([url]);
            config.prefix = place;
            StoreConfig::Nats(config)
        }
        #[cfg(not(feature = "nats"))]
        Ok(other) => panic!("OLMCAST_TEST_STORE={other} needs the feature nats"),
    }
}

pub(crate) fn invite(server: &Server) -> Invite {
    Invite::generate(server.local_addr().to_string()).unwrap()
}

pub(crate) struct Device {
    identity: Identity,
}

impl Device {
    pub(crate) fn new() -> Self {
        Self { identity: Identity::generate() }
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.identity.device()
    }

    pub(crate) fn sign(&self, authentication: Authentication<'_>) -> Signature {
        authentication.sign_with(|form| self.identity.signer().sign(form))
    }

    /// A connection of this device that is already in the invite's room.
    pub(crate) async fn connect(&self, invite: &Invite) -> Connection {
        let mut connection = self.open(invite);
        wait_for(&mut connection, |e| matches!(e, ConnectionEvent::Entered { .. })).await;
        connection
    }

    pub(crate) fn open(&self, invite: &Invite) -> Connection {
        let rooms = vec![(invite.room(), invite.door_key().unwrap())];
        Connection::open(invite.service(), self.identity.signer(), rooms)
    }

    /// A bare WebSocket of this device, authenticated; with its challenge.
    pub(crate) async fn raw(&self, server: &Server) -> (Raw, [u8; 32]) {
        let (mut raw, nonce) = Raw::dial(server).await;
        let name = server.local_addr().to_string();
        let answer = raw.authenticate(self, &name, &nonce).await;
        assert!(matches!(answer, ServerFrame::Welcome { .. }), "{answer:?}");
        (raw, nonce)
    }
}

/// The next event that meets the condition; others before it are skipped.
pub(crate) async fn wait_for(
    connection: &mut Connection,
    mut condition: impl FnMut(&ConnectionEvent) -> bool,
) -> ConnectionEvent {
    let found = async {
        loop {
            let event = connection.next().await.expect("the connection has ended");
            if condition(&event) {
                return event;
            }
        }
    };
    timeout(PATIENCE, found).await.expect("waited in vain")
}

/// The next mail's text.
pub(crate) async fn mail(connection: &mut Connection) -> String {
    match wait_for(connection, |e| matches!(e, ConnectionEvent::Mail { .. })).await {
        ConnectionEvent::Mail { bytes, .. } => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Asserts that nothing more comes for a while.
pub(crate) async fn silence(connection: &mut Connection) {
    if let Ok(event) = timeout(A_WHILE, connection.next()).await {
        panic!("expected silence, got {event:?}");
    }
}

/// A bare WebSocket.
pub(crate) struct Raw(pub(crate) WebSocketStream<TcpStream>);

impl Raw {
    /// Connects and takes the challenge.
    pub(crate) async fn dial(server: &Server) -> (Self, [u8; 32]) {
        let address = server.local_addr();
        let stream = TcpStream::connect(address).await.unwrap();
        let url = format!("ws://{address}/v1/connect");
        let mut raw = Self(client_async(url, stream).await.unwrap().0);
        match raw.receive().await {
            ServerFrame::Challenge { nonce } => (raw, nonce),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn authenticate(
        &mut self,
        device: &Device,
        name: &str,
        nonce: &[u8; 32],
    ) -> ServerFrame {
        let signature = device.sign(Authentication { server: name, nonce });
        let (device, server) = (device.id(), name.to_owned());
        self.send(&ClientFrame::Authenticate { device, server, signature }).await;
        self.receive().await
    }

    pub(crate) async fn enter(&mut self, device: &Device, invite: &Invite, nonce: &[u8; 32]) {
        let door = invite.door_key().unwrap();
        let signature = door.sign(nonce, &device.id());
        let (room, door) = (invite.room(), door.public());
        self.send(&ClientFrame::Enter { room, door, signature }).await;
        let entered = self.receive().await;
        assert!(matches!(entered, ServerFrame::Entered { .. }), "{entered:?}");
    }

    pub(crate) async fn send(&mut self, frame: &ClientFrame) {
        self.send_bytes(frame.encode().unwrap()).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: Vec<u8>) {
        self.0.send(Message::Binary(bytes.into())).await.unwrap();
    }

    pub(crate) async fn receive(&mut self) -> ServerFrame {
        // The patience is for the frame: pings do not renew it.
        let frame = async {
            loop {
                match self.0.next().await.expect("hung up").unwrap() {
                    Message::Binary(bytes) => return ServerFrame::decode(&bytes).unwrap(),
                    Message::Close(_) => panic!("closed"),
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, frame).await.expect("waited in vain")
    }

    pub(crate) async fn expect_refusal(&mut self, subject: Subject, code: RefusalCode) {
        assert_eq!(self.receive().await, ServerFrame::Refused { subject, code });
    }

    /// Asserts that the service has hung up.
    pub(crate) async fn expect_close(&mut self) {
        let closed = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(_))) | None | Some(Err(_)) => return,
                    Some(Ok(Message::Binary(bytes))) => panic!("{:?}", ServerFrame::decode(&bytes)),
                    Some(Ok(_)) => {}
                }
            }
        };
        timeout(PATIENCE, closed).await.expect("still open");
    }
}

/// The default limits, but for some.
pub(crate) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use olmcast::{
    device::Identity,
    primitives::{DeviceId, Invite},
    protocol::service::{Authentication, ClientFrame, PATH, ServerFrame},
};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// How long a service may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A device that speaks the service's language and has nothing else that costs anything.
pub(crate) struct Device {
    identity: Identity,
    /// Where it dials from.
    source: IpAddr,
}

impl Device {
    pub(crate) fn from(source: impl Into<IpAddr>) -> Self {
        Self { identity: Identity::generate(), source: source.into() }
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.identity.device()
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Connects and authenticates.
    pub(crate) async fn connect(&self, service: SocketAddr) -> anyhow::Result<Socket> {
        timeout(PATIENCE, self.dial(service)).await.context("no answer from the service")?
    }

    async fn dial(&self, service: SocketAddr) -> anyhow::Result<Socket> {
        let stream = connect_from(self.source, service).await?;
        // The library's own buffers are made for few connections, not for thousands.
        let config = WebSocketConfig::default().read_buffer_size(4 * 1024);
        let url = format!("ws://{service}{PATH}");
        let (stream, _) = client_async_with_config(url, stream, Some(config)).await?;
        let mut socket = Socket { stream, nonce: [0; 32], instance: [0; 16] };
        socket.nonce = match socket.next().await? {
            ServerFrame::Challenge { nonce } => nonce,
            other => bail!("expected a challenge: {other:?}"),
        };
        let server = service.to_string();
        let statement = Authentication { server: &server, nonce: &socket.nonce };
        let signature = statement.sign_with(|form| self.identity.signer().sign(form));
        let device = self.id();
        socket.send(&ClientFrame::Authenticate { device, server, signature }).await?;
        socket.instance = match socket.next().await? {
            ServerFrame::Welcome { instance } => instance,
            other => bail!("not welcome: {other:?}"),
        };
        Ok(socket)
    }
}

/// A TCP connection from a given address.
pub(crate) async fn connect_from(source: IpAddr, to: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(source, 0))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An authenticated connection, one frame at a time.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    nonce: [u8; 32],
    pub(crate) instance: [u8; 16],
}

impl Socket {
    /// Asks to be let into the invite's room.
    pub(crate) async fn knock(&mut self, device: &Device, invite: &Invite) -> anyhow::Result<()> {
        let (room, door) = (invite.room(), invite.door_key()?);
        let signature = door.sign(&self.nonce, &device.id());
        self.send(&ClientFrame::Enter { room, door: door.public(), signature }).await
    }

    /// Enters the invite's room. Whatever comes before that is passed over, mail as well.
    pub(crate) async fn enter(&mut self, device: &Device, invite: &Invite) -> anyhow::Result<()> {
        self.knock(device, invite).await?;
        let entered = async {
            loop {
                match self.next().await? {
                    ServerFrame::Entered { .. } => return Ok(()),
                    ServerFrame::Refused { subject, code } => bail!("{subject:?}: {code}"),
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, entered).await.context("not let in")?
    }

    /// Hands a frame over, to go with the next flush.
    pub(crate) async fn feed(&mut self, frame: &ClientFrame) -> anyhow::Result<()> {
        Ok(self.stream.feed(Message::Binary(frame.encode()?.into())).await?)
    }

    /// Bytes that need not be a frame.
    pub(crate) async fn send_bytes(&mut self, bytes: Vec<u8>) -> anyhow::Result<()> {
        Ok(self.stream.send(Message::Binary(bytes.into())).await?)
    }

    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.stream.flush().await?)
    }

    pub(crate) async fn send(&mut self, frame: &ClientFrame) -> anyhow::Result<()> {
        self.feed(frame).await?;
        self.flush().await
    }

    /// The next frame. Safe to cancel.
    pub(crate) async fn next(&mut self) -> anyhow::Result<ServerFrame> {
        loop {
            match self.stream.next().await.context("the service hung up")?? {
                Message::Binary(bytes) => return Ok(ServerFrame::decode(&bytes)?),
                Message::Close(reason) => bail!("the service hung up: {reason:?}"),
                _ => {}
            }
        }
    }
}

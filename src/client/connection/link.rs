use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{
    DownReason,
    dial::{Socket, websocket},
};
use crate::{
    client::Trust,
    device::Signer,
    primitives::ServiceAddress,
    protocol::service::{Authentication, ClientFrame, FrameError, ServerFrame},
};

/// How long it may take from dialling to the welcome.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// An authenticated connection.
pub(super) struct Link {
    pub(super) socket: Socket,
    /// The challenge, which room doors sign, too.
    pub(super) nonce: [u8; 32],
    pub(super) instance: [u8; 16],
}

/// Dials and authenticates.
pub(super) async fn dial(
    service: &ServiceAddress,
    trust: &Trust,
    signer: &Signer,
) -> Result<Link, DownReason> {
    let handshake = async {
        let mut socket = websocket(service, trust).await?;
        let nonce = match receive(&mut socket).await? {
            ServerFrame::Challenge { nonce } => nonce,
            other => return Err(unexpected(other)),
        };
        let host = service.host();
        let authentication = Authentication { server: host, nonce: &nonce };
        let signature = authentication.sign_with(|form| signer.sign(form));
        let frame = ClientFrame::Authenticate {
            device: signer.device(),
            server: host.to_owned(),
            signature,
        };
        send(&mut socket, &frame).await?;
        match receive(&mut socket).await? {
            ServerFrame::Welcome { instance } => Ok(Link { socket, nonce, instance }),
            other => Err(unexpected(other)),
        }
    };
    timeout(HANDSHAKE, handshake).await.unwrap_or(Err(DownReason::Silent))
}

async fn receive(socket: &mut Socket) -> Result<ServerFrame, DownReason> {
    loop {
        let message = socket.next().await.ok_or(DownReason::Lost)?;
        if let Some(bytes) = binary(message)? {
            return ServerFrame::decode(&bytes).map_err(DownReason::Frame);
        }
    }
}

async fn send(socket: &mut Socket, frame: &ClientFrame) -> Result<(), DownReason> {
    let bytes = frame.encode().map_err(DownReason::Frame)?;
    socket.send(Message::Binary(bytes.into())).await.map_err(|_| DownReason::Lost)
}

/// The bytes of a frame; none if the message was a sign of life only.
pub(super) fn binary(
    message: Result<Message, tungstenite::Error>,
) -> Result<Option<Bytes>, DownReason> {
    match message {
        Ok(Message::Binary(bytes)) => Ok(Some(bytes)),
        Ok(Message::Ping(_) | Message::Pong(_)) => Ok(None),
        Ok(Message::Text(_) | Message::Frame(_)) => Err(DownReason::Frame(FrameError::Malformed)),
        Err(tungstenite::Error::Capacity(_)) => Err(DownReason::Frame(FrameError::TooLarge)),
        Ok(Message::Close(_)) | Err(_) => Err(DownReason::Lost),
    }
}

fn unexpected(frame: ServerFrame) -> DownReason {
    match frame {
        ServerFrame::Refused { code, .. } => DownReason::Refused(code),
        _ => DownReason::Frame(FrameError::Malformed),
    }
}

//! From an address to a WebSocket.

use std::{error::Error, io};

use rustls::{CertificateError, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, client::IntoClientRequest, protocol::WebSocketConfig},
};

use super::DownReason;
use crate::{
    client::Trust,
    primitives::{ServiceAddress, Transport},
    protocol::service::{MAX_FRAME, PATH, RefusalCode},
};

/// What is read at a time. The WebSocket library zeroes so much before each read, and its default
/// of 128 KiB costs more than all else that a small frame needs.
const READ: usize = 4 * 1024;

/// A connection, encrypted or not.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Connects as the address says, and in no other way.
pub(super) async fn websocket(
    service: &ServiceAddress,
    trust: &Trust,
) -> Result<Socket, DownReason> {
    let transport = service.transport();
    let (scheme, usual_port) = match transport {
        Transport::Tls => ("wss", 443),
        Transport::Plain => ("ws", 80),
    };
    let request = format!("{scheme}://{}{PATH}", service.host())
        .into_client_request()
        .map_err(|error| DownReason::Unreachable(error.to_string()))?;
    let host = request.uri().host().unwrap_or_default().to_owned();
    let port = request.uri().port_u16().unwrap_or(usual_port);
    let stream = TcpStream::connect(format!("{host}:{port}"))
        .await
        .map_err(|error| DownReason::Unreachable(error.to_string()))?;
    // Small frames that somebody waits for; failing to set it costs only time.
    let _ = stream.set_nodelay(true);
    let stream: Box<dyn Stream> = match transport {
        Transport::Plain => Box::new(stream),
        Transport::Tls => Box::new(encrypt(stream, &host, trust).await?),
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .max_message_size(Some(2 * MAX_FRAME))
        .max_frame_size(Some(2 * MAX_FRAME));
    let connected = client_async_with_config(request, stream, Some(config)).await;
    connected.map(|(socket, _)| socket).map_err(|error| no_websocket(&error, transport))
}

async fn encrypt(
    stream: TcpStream,
    host: &str,
    trust: &Trust,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, DownReason> {
    let config = trust.client_config().map_err(|error| DownReason::Untrusted(error.to_string()))?;
    let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name).map_err(|e| DownReason::Unreachable(e.to_string()))?;
    TlsConnector::from(config).connect(name, stream).await.map_err(|error| no_tls(&error))
}

fn no_tls(error: &io::Error) -> DownReason {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(reason)) => DownReason::Untrusted(match reason {
            CertificateError::UnknownIssuer => "nobody trusted has signed it".to_owned(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "it has expired".to_owned()
            }
            other => other.to_string(),
        }),
        _ => DownReason::NoTls(error.to_string()),
    }
}

fn no_websocket(error: &tungstenite::Error, transport: Transport) -> DownReason {
    match error {
        tungstenite::Error::Http(response) if response.status().as_u16() == 503 => {
            DownReason::Refused(RefusalCode::Busy)
        }
        tungstenite::Error::Http(response) => {
            DownReason::NotAKeyService(response.status().as_u16())
        }
        // Somebody listens there and does not speak HTTP.
        tungstenite::Error::Protocol(_) | tungstenite::Error::HttpFormat(_)
            if transport == Transport::Plain =>
        {
            DownReason::NotPlain(error.to_string())
        }
        tungstenite::Error::Io(inner)
            if transport == Transport::Tls
                && inner.source().is_some_and(|s| s.is::<rustls::Error>()) =>
        {
            DownReason::NoTls(inner.to_string())
        }
        other => DownReason::Unreachable(other.to_string()),
    }
}

//! WHIP (RFC 9725) and WHEP clients: one HTTP request up, one answer down, then media.

use std::{net::IpAddr, sync::Arc, time::Duration};

use reqwest::{Url, header};
use rtc::rtp_transceiver::{
    RTCRtpTransceiverDirection, RTCRtpTransceiverInit, rtp_sender::RtpCodecKind,
};
use tokio::sync::{mpsc, oneshot};
use webrtc::{
    error::Error, media_stream::track_remote::TrackRemote, peer_connection::RTCSessionDescription,
};

use super::{
    connection::{ConnectError, Connection, ConnectionState, Peer},
    engine,
    receiver::EncryptedReceiver,
    sender::EncryptedSender,
};
use crate::{
    media::{FrameDecryptor, FrameEncryptor},
    primitives::Codec,
};

/// For the HTTP exchange.
const REQUEST: Duration = Duration::from_secs(10);
/// For ICE and DTLS after it.
const CONNECT: Duration = Duration::from_secs(10);
/// A stream is announced before its media is at the relay: for so long it is asked for again.
const PATIENCE: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Host candidates take milliseconds: this only bounds a stack that is stuck.
const GATHER: Duration = Duration::from_secs(5);
/// An answer of two tracks has about 2 KiB. More than this is not read.
const MAX_ANSWER: usize = 64 << 10;
/// An error text is cut to so many characters.
const MAX_REASON: usize = 500;

/// Publishes tracks through a WHIP endpoint: one sender for each encryptor, in their order, at
/// most one of video and one of audio. Returns when media can flow.
///
/// # Errors
/// Any of [`ConnectError`]. Nothing is left behind.
pub async fn connect_publisher(
    whip_url: &str,
    encryptors: impl IntoIterator<Item = FrameEncryptor>,
) -> Result<(Connection, Vec<EncryptedSender>), ConnectError> {
    let endpoint = Endpoint::new(whip_url).await?;
    // A publisher receives nothing.
    let (tracks, _) = mpsc::channel(1);
    let peer = Peer::new(endpoint.local, tracks).await?;
    let mut kinds = Kinds::default();
    let mut senders = Vec::new();
    for encryptor in encryptors {
        let kind = kinds.add(encryptor.codec())?;
        let sender = EncryptedSender::add(&*peer.connection, &kind.to_string(), encryptor).await?;
        senders.push(sender);
    }
    Ok((endpoint.connect(peer, Duration::ZERO).await?, senders))
}

/// Subscribes through a WHEP endpoint: one receiver for each decryptor, in their order, at most
/// one of video and one of audio. Returns when media can flow; frames follow as they are sent. A
/// stream that the relay does not know (404) is asked for again for three seconds: its publisher
/// may just be about to connect.
///
/// # Errors
/// Any of [`ConnectError`]. Nothing is left behind.
pub async fn connect_subscriber(
    whep_url: &str,
    decryptors: impl IntoIterator<Item = FrameDecryptor>,
) -> Result<(Connection, Vec<EncryptedReceiver>), ConnectError> {
    let endpoint = Endpoint::new(whep_url).await?;
    let (tracks_tx, tracks) = mpsc::channel(4);
    let mut peer = Peer::new(endpoint.local, tracks_tx).await?;
    let mut kinds = Kinds::default();
    let (mut receivers, mut waiting) = (Vec::new(), Vec::new());
    for decryptor in decryptors {
        let kind = kinds.add(decryptor.codec())?;
        let direction = RTCRtpTransceiverDirection::Recvonly;
        let init = RTCRtpTransceiverInit { direction, ..Default::default() };
        peer.connection.add_transceiver_from_kind(kind, Some(init)).await?;
        let (track_tx, track) = oneshot::channel();
        waiting.push((kind, track_tx));
        receivers.push(EncryptedReceiver::pending(track, decryptor));
    }
    // When it ends with the connection, receivers that still wait end, too.
    peer.tasks.spawn(hand_out(tracks, waiting));
    Ok((endpoint.connect(peer, PATIENCE).await?, receivers))
}

/// Gives every track that arrives to the receiver of its kind.
async fn hand_out(
    mut tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    mut waiting: Vec<(RtpCodecKind, oneshot::Sender<Arc<dyn TrackRemote>>)>,
) {
    while !waiting.is_empty() {
        let Some(track) = tracks.recv().await else { return };
        let kind = track.kind().await;
        if let Some(index) = waiting.iter().position(|(waits_for, _)| *waits_for == kind) {
            // An error only says that the receiver was dropped.
            let _ = waiting.swap_remove(index).1.send(track);
        }
    }
}

/// The kinds of the tracks so far: SDP and WHEP tell tracks apart by nothing else here.
#[derive(Default)]
struct Kinds(Vec<RtpCodecKind>);

impl Kinds {
    fn add(&mut self, codec: Codec) -> Result<RtpCodecKind, ConnectError> {
        let kind = engine::kind(codec);
        if self.0.contains(&kind) {
            return Err(ConnectError::TooManyTracks);
        }
        self.0.push(kind);
        Ok(kind)
    }
}

/// A WHIP or WHEP URL, and the local address that leads to its host.
struct Endpoint {
    url: Url,
    local: IpAddr,
    http: reqwest::Client,
}

impl Endpoint {
    async fn new(url: &str) -> Result<Self, ConnectError> {
        let invalid = || ConnectError::Url(url.to_owned());
        let url = Url::parse(url).map_err(|_| invalid())?;
        if url.scheme() != "http" {
            return Err(invalid());
        }
        let host = url.host_str().ok_or_else(invalid)?.to_owned();
        let port = url.port_or_known_default().ok_or_else(invalid)?;
        let local = route_to(&host, port)
            .await
            .map_err(|source| ConnectError::Route { host: format!("{host}:{port}"), source })?;
        let http = reqwest::Client::builder()
            .timeout(REQUEST)
            .build()
            .map_err(|source| ConnectError::Unreachable { url: url.to_string(), source })?;
        Ok(Self { url, local, http })
    }

    /// Offers what was added to the peer, and waits until media can flow. A stream that is not
    /// there yet is asked for again during `patience`.
    async fn connect(self, mut peer: Peer, patience: Duration) -> Result<Connection, ConnectError> {
        let offer = peer.connection.create_offer(None).await?;
        peer.connection.set_local_description(offer).await?;
        let gathering = peer.gathered.wait_for(|done| *done);
        let gathered = matches!(tokio::time::timeout(GATHER, gathering).await, Ok(Ok(_)));
        let offer = peer.connection.local_description().await.filter(|_| gathered);
        let offer = offer
            .ok_or_else(|| ConnectError::WebRtc(Error::Other("no ICE candidate".to_owned())))?;
        let start = tokio::time::Instant::now();
        let (session, answer) = loop {
            match self.post(offer.sdp.clone()).await {
                Err(ConnectError::Refused { status: 404, .. }) if start.elapsed() < patience => {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => break answer?,
            }
        };
        let connection = Connection { peer, session, http: self.http };

        // From here on the relay has a session: end it if it comes to nothing.
        match settle(&connection.peer, answer).await {
            Ok(()) => Ok(connection),
            Err(error) => {
                connection.close().await;
                Err(error)
            }
        }
    }

    async fn post(&self, offer: String) -> Result<(Url, String), ConnectError> {
        let unreachable = |source| ConnectError::Unreachable { url: self.url.to_string(), source };
        let request = self.http.post(self.url.clone());
        let request = request.header(header::CONTENT_TYPE, "application/sdp").body(offer);
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            text.extend_from_slice(&chunk);
            if text.len() > MAX_ANSWER {
                break;
            }
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        let refused = |reason: &str| ConnectError::Refused {
            status,
            reason: reason.trim().chars().take(MAX_REASON).collect(),
        };
        if status != 201 {
            return Err(refused(&text));
        }
        let session = location.and_then(|location| self.url.join(&location).ok());
        Ok((session.ok_or_else(|| refused("the answer names no session"))?, text))
    }
}

async fn settle(peer: &Peer, answer: String) -> Result<(), ConnectError> {
    let answer = RTCSessionDescription::answer(answer)?;
    peer.connection.set_remote_description(answer).await?;
    let mut state = peer.state.clone();
    let settled = state.wait_for(|state| *state == ConnectionState::Connected || state.is_over());
    match tokio::time::timeout(CONNECT, settled).await {
        Ok(Ok(state)) if *state == ConnectionState::Connected => Ok(()),
        _ => Err(ConnectError::NoMedia(CONNECT)),
    }
}

/// The local address from which packets to that host leave. Nothing is sent.
async fn route_to(host: &str, port: u16) -> std::io::Result<IpAddr> {
    // A URL writes an IPv6 address in brackets.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut last = None;
    for remote in tokio::net::lookup_host((host, port)).await? {
        let any: IpAddr = match remote.ip() {
            IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = tokio::net::UdpSocket::bind((any, 0)).await?;
        match socket.connect(remote).await {
            Ok(()) => return Ok(socket.local_addr()?.ip()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| std::io::ErrorKind::AddrNotAvailable.into()))
}

use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, close_code};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream::FuturesUnordered};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tracing::{debug, info};

use super::{
    Phase,
    http::{Place, Service, Visitor},
    hub::{Attachment, Hub, MAIL_BATCH, Told},
    rate::Rate,
    store::StoredMail,
};
use crate::{
    primitives::DeviceId,
    protocol::service::{
        Authentication, ClientFrame, FrameError, RefusalCode, ServerFrame, Subject,
    },
};

mod conversation;
mod share;

use conversation::Conversation;
use share::Share;

/// How long the other side may take to make room for one frame.
const WRITE: Duration = Duration::from_secs(10);

/// How long a socket with unread bytes in it stays open, for the other side to read the reason.
const LINGER: Duration = Duration::from_millis(250);

/// Messages of one device that may be under way to the store; then it is not read from.
const UNDER_WAY: usize = 256;

/// How long to wait before a store is asked again that could not answer.
const UNAVAILABLE: Duration = Duration::from_millis(250);

/// Longest server name a device may have dialled; no host name is longer.
const LONGEST_NAME: usize = 300;

/// Why a connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The other side hung up or does not read any more; nothing can be said to it.
    Lost,
    /// We hang up and say why.
    Refused(RefusalCode),
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::Refused(match error {
            FrameError::UnsupportedVersion(_) => RefusalCode::UnsupportedVersion,
            FrameError::TooLarge => RefusalCode::TooLarge,
            FrameError::Malformed => RefusalCode::Malformed,
        })
    }
}

/// Serves one device, from the challenge to the end.
pub(super) async fn serve(socket: WebSocket, service: Service, visitor: Visitor) {
    let mut wire = Wire { socket, heard: Instant::now(), quiet_until: Instant::now() };
    let mut phase = service.phase.clone();
    let end = tokio::select! {
        end = converse(&mut wire, &service, &visitor) => end,
        // Before anything was said, too: a service that ends serves no handshake.
        end = over(&mut phase) => end,
    };
    if let End::Refused(code) = end {
        wire.hang_up(code).await;
    }
}

/// Resolves when the service ends.
async fn over(phase: &mut tokio::sync::watch::Receiver<Phase>) -> End {
    match phase.wait_for(|phase| *phase == Phase::Draining).await {
        Ok(_) => End::Refused(RefusalCode::ShuttingDown),
        // The server was dropped.
        Err(_) => End::Lost,
    }
}

async fn converse(wire: &mut Wire, service: &Service, visitor: &Visitor) -> End {
    let limits = &service.hub.limits;
    let mut nonce = [0; 32];
    if getrandom::fill(&mut nonce).is_err() {
        return End::Refused(RefusalCode::Busy);
    }
    let authenticated =
        timeout(limits.handshake_timeout, authenticate(wire, service, visitor, &nonce));
    let (device, _place) = match authenticated.await {
        Ok(Ok(authenticated)) => authenticated,
        Ok(Err(end)) => {
            debug!(?end, "not authenticated");
            return end;
        }
        Err(_) => return End::Refused(RefusalCode::Silent),
    };
    let attachment = service.hub.attach(device);
    info!(device = device.short(), "connected");
    let end = run(wire, service, visitor, attachment, device, nonce).await;
    info!(device = device.short(), ?end, "disconnected");
    end
}

async fn authenticate(
    wire: &mut Wire,
    service: &Service,
    visitor: &Visitor,
    nonce: &[u8; 32],
) -> Result<(DeviceId, Place), End> {
    wire.send(&ServerFrame::Challenge { nonce: *nonce }).await?;
    let (device, server, signature) = loop {
        match wire.receive().await?.map(|bytes| ClientFrame::decode(&bytes)) {
            Some(Ok(ClientFrame::Authenticate { device, server, signature })) => {
                break (device, server, signature);
            }
            Some(Ok(_)) => return Err(End::Refused(RefusalCode::NotAuthenticated)),
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    };
    if server.len() > LONGEST_NAME || !service.names.accept(&server, visitor.local) {
        return Err(End::Refused(RefusalCode::WrongServerName));
    }
    Authentication { server: &server, nonce }
        .verify(&device, &signature)
        .map_err(|_| End::Refused(RefusalCode::WrongSignature))?;
    let place = visitor.admit(service).ok_or(End::Refused(RefusalCode::Busy))?;
    wire.send(&ServerFrame::Welcome { instance: service.hub.store.instance() }).await?;
    Ok((device, place))
}

/// The conversation with an authenticated device.
async fn run(
    wire: &mut Wire,
    service: &Service,
    visitor: &Visitor,
    mut attachment: Attachment,
    device: DeviceId,
    nonce: [u8; 32],
) -> End {
    let hub: &Hub = &service.hub;
    let mut conversation = Conversation {
        hub,
        metrics: &service.metrics,
        device,
        nonce,
        rate: Rate::new(&hub.limits),
        addresses: &service.addresses,
        address: visitor.address,
        share: Share::default(),
    };
    let mut pings = interval(hub.limits.ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The last mail this connection was sent.
    let mut sent = 0;
    let mut under_way = FuturesUnordered::new();
    wire.heard = Instant::now();
    loop {
        let silent_at = wire.heard + hub.limits.idle_timeout;
        let mail = attachment.mail.clone();
        let step = tokio::select! {
            received = wire.receive(), if under_way.len() < UNDER_WAY => match received {
                Ok(Some(bytes)) => conversation.answer(wire, &bytes).await.map(|mail| {
                    under_way.extend(mail);
                }),
                Ok(None) => Ok(()),
                Err(end) => Err(end),
            },
            Some(outcome) = under_way.next() => conversation.settle(wire, outcome).await,
            told = attachment.outbox.recv() => match told {
                None => Err(End::Refused(RefusalCode::Replaced)),
                Some(told) => tell(wire, &mut attachment, told).await,
            },
            () = mail.notified() => deliver(wire, hub, &attachment, &device, &mut sent).await,
            _ = pings.tick() => wire.write(Message::Ping(Bytes::new())).await,
            () = sleep_until(silent_at.into()) => Err(End::Refused(RefusalCode::Silent)),
        };
        if let Err(end) = step {
            return end;
        }
    }
}

/// Passes on what the hub has for this device. Whatever is long is encoded here and now, so that
/// whoever asks for much, or reads slowly, keeps nobody else waiting.
async fn tell(wire: &mut Wire, attachment: &mut Attachment, told: Told) -> Result<(), End> {
    let rooms = match (attachment.catch_up(), told) {
        (None, Told::Frame(frame)) => return wire.send_encoded(frame).await,
        (None, Told::Picture(room)) => vec![room],
        (Some(rooms), _) => {
            debug!("too slow, gets a fresh picture");
            rooms
        }
    };
    for room in rooms {
        wire.send_all(attachment.picture(room)).await?;
    }
    Ok(())
}

/// Sends the next batch of mail, and comes back for more after the others had their turn.
async fn deliver(
    wire: &mut Wire,
    hub: &Hub,
    attachment: &Attachment,
    device: &DeviceId,
    sent: &mut u64,
) -> Result<(), End> {
    let batch = match hub.mail_after(device, *sent).await {
        Ok(batch) => batch,
        Err(RefusalCode::Unavailable) => {
            // Not all of it: other things have their turn meanwhile.
            sleep(UNAVAILABLE).await;
            attachment.mail.notify_one();
            return Ok(());
        }
        Err(code) => return Err(End::Refused(code)),
    };
    if batch.len() == MAIL_BATCH {
        attachment.mail.notify_one();
    }
    if let Some(last) = batch.last() {
        *sent = last.sequence;
    }
    let frames = batch.into_iter().map(|StoredMail { sequence, from, bytes }| ServerFrame::Mail {
        sequence,
        from,
        bytes,
    });
    wire.send_all(frames).await
}

/// The socket, one frame at a time.
struct Wire {
    socket: WebSocket,
    /// When the other side last gave a sign of life.
    heard: Instant,
    /// When to read on, after something came too fast.
    quiet_until: Instant,
}

impl Wire {
    /// One binary message, or nothing if it was a sign of life only. Safe to cancel.
    async fn receive(&mut self) -> Result<Option<Bytes>, End> {
        if self.quiet_until > Instant::now() {
            sleep_until(self.quiet_until.into()).await;
        }
        let message = match self.socket.recv().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => {
                debug!(%error, "reading failed");
                return Err(match too_large(&error) {
                    true => End::Refused(RefusalCode::TooLarge),
                    false => End::Lost,
                });
            }
            None => return Err(End::Lost),
        };
        self.heard = Instant::now();
        match message {
            Message::Binary(bytes) => Ok(Some(bytes)),
            Message::Text(_) => Err(End::Refused(RefusalCode::Malformed)),
            Message::Ping(_) | Message::Pong(_) => Ok(None),
            Message::Close(_) => Err(End::Lost),
        }
    }

    /// Reads no more for a while, the longer the more came. Otherwise whoever floods costs us as much
    /// after its limit as before: what is refused has been read.
    fn read_slower(&mut self, bytes: usize) {
        let pause = Duration::from_millis(10) + Duration::from_micros(bytes as u64);
        self.quiet_until = Instant::now() + pause;
    }

    async fn send(&mut self, frame: &ServerFrame) -> Result<(), End> {
        match frame.encode() {
            Ok(bytes) => self.send_encoded(bytes.into()).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Sends them together, so that a batch takes one write of the socket.
    async fn send_all(&mut self, frames: impl IntoIterator<Item = ServerFrame>) -> Result<(), End> {
        for frame in frames {
            let bytes = frame.encode()?.into();
            let message = Message::Binary(bytes);
            self.within_time(async |socket| socket.feed(message).await).await?;
        }
        self.within_time(async |socket| socket.flush().await).await
    }

    async fn send_encoded(&mut self, bytes: Bytes) -> Result<(), End> {
        self.write(Message::Binary(bytes)).await
    }

    async fn write(&mut self, message: Message) -> Result<(), End> {
        self.within_time(async |socket| socket.send(message).await).await
    }

    async fn within_time(
        &mut self,
        write: impl AsyncFnOnce(&mut WebSocket) -> Result<(), axum::Error>,
    ) -> Result<(), End> {
        let begun = Instant::now();
        match timeout(WRITE, write(&mut self.socket)).await {
            Ok(Ok(())) => {
                // Room was made after a wait: the other side reads, though we could not listen.
                if begun.elapsed() > Duration::from_millis(100) {
                    self.heard = Instant::now();
                }
                Ok(())
            }
            Ok(Err(_)) | Err(_) => Err(End::Lost),
        }
    }

    /// Says why, closes, and waits a moment for the other side to do so too: a socket closed
    /// with unread bytes in it resets the connection, and the reason would be lost.
    async fn hang_up(&mut self, code: RefusalCode) {
        let refused = ServerFrame::Refused { subject: Subject::Connection, code };
        let close = match code {
            RefusalCode::ShuttingDown => close_code::AWAY,
            _ => close_code::POLICY,
        };
        let reason = format!("{code:?}").into();
        let goodbye = async {
            self.send(&refused).await?;
            self.write(Message::Close(Some(CloseFrame { code: close, reason }))).await?;
            while let Some(Ok(_)) = self.socket.recv().await {}
            if code == RefusalCode::TooLarge {
                // What is above the socket's limit cannot be read to its end.
                sleep(LINGER).await;
            }
            Ok::<(), End>(())
        };
        let _ = timeout(Duration::from_secs(1), goodbye).await;
    }
}

/// Whether reading failed because a message was above the limit. The type of the error is of the
/// WebSocket library behind axum and not exported, so its text has to tell; a mistake costs no
/// more than the reason for hanging up.
fn too_large(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.to_string().contains("too long") {
            return true;
        }
        source = error.source();
    }
    false
}

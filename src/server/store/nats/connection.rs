use std::{
    error::Error as _,
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_nats::{
    Client, ConnectOptions, Event,
    connection::State,
    jetstream::{
        self, Context, ErrorCode,
        context::{ContextBuilder, PublishAckFuture, PublishError, PublishErrorKind},
        message::PublishMessage,
        response::Response,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{NatsConfig, NatsError};
use crate::server::store::StoreError;

/// How long a server may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(3);
/// How long one operation may take, with all that waits in the client before it.
const OPERATION: Duration = Duration::from_secs(5);
/// The longest pause between two attempts to connect again.
const RECONNECT: Duration = Duration::from_secs(1);
/// Pauses after a stream had no leader.
const ELECTION: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(300)];
/// Messages that wait for their acknowledgement; more of them wait before they are sent.
const IN_FLIGHT: usize = 4096;
/// The first version whose batches of direct reads and whose checks of what a subject holds do
/// what the store relies on.
const OLDEST: (i64, i64, i64) = (2, 11, 0);

/// A connection to the servers, which comes back by itself.
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) context: Context,
    /// Counts up each time it is there, or may have lost something.
    pub(super) connected: watch::Receiver<u64>,
    /// By our own wish.
    closed: AtomicBool,
}

/// Why a stream did not take a message.
#[derive(Debug)]
pub(super) enum NotStored {
    /// The subject holds as many as it may.
    SubjectFull,
    /// The stream does.
    StreamFull,
    /// The subject has changed since.
    Changed,
    /// Nobody heard of it: a stream without a leader.
    Nobody,
    /// It is not known whether it did.
    Unavailable(StoreError),
}

impl Connection {
    pub(super) async fn open(config: &NatsConfig) -> Result<Self, NatsError> {
        let servers = config.servers();
        let (connections, mut connected) = watch::channel(0_u64);
        let mut options = ConnectOptions::new()
            .name("olmcast key service")
            .request_timeout(Some(ANSWER))
            .connection_timeout(ANSWER)
            .ping_interval(Duration::from_secs(2))
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| {
                let pause = u32::try_from(attempts).unwrap_or(u32::MAX);
                Duration::from_millis(50).saturating_mul(pause).min(RECONNECT)
            })
            .event_callback(move |event| {
                match &event {
                    Event::Connected | Event::SlowConsumer(_) => {
                        connections.send_modify(|count| *count += 1);
                    }
                    _ => {}
                }
                async move {
                    match event {
                        Event::Connected => info!("connected to NATS"),
                        Event::Draining | Event::Closed => debug!("leaving NATS"),
                        event => warn!(%event, "NATS"),
                    }
                }
            });
        if let Some(path) = &config.authorities {
            options = options.add_root_certificates(path.clone());
        }
        if let Some(path) = &config.credentials {
            let failed = |source| NatsError::Credentials { path: path.clone(), source };
            options = options.credentials_file(path).await.map_err(failed)?;
        }
        let connecting = timeout(OPERATION, options.connect(config.urls.clone())).await;
        let refused = |reason: String| NatsError::Connect { servers: servers.clone(), reason };
        let client = match connecting {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(refused(error.kind().to_string())),
            Err(_) => return Err(refused("no answer".into())),
        };
        let (major, minor, patch) = OLDEST;
        if !client.is_server_compatible(major, minor, patch) {
            let version = client.server_info().version;
            return Err(NatsError::TooOld { servers, version });
        }
        let context = ContextBuilder::new()
            .timeout(ANSWER)
            .ack_timeout(ANSWER)
            .max_ack_inflight(IN_FLIGHT)
            .backpressure_on_inflight(true)
            .build(client.clone());
        // The first connection is no news to anybody.
        let _ = timeout(ANSWER, connected.changed()).await;
        let account = timeout(OPERATION, context.query_account()).await;
        let reason = match account {
            Ok(Ok(_)) => {
                let closed = AtomicBool::new(false);
                return Ok(Self { client, context, connected, closed });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".into(),
        };
        Err(NatsError::NoJetStream { servers, reason })
    }

    /// Whether there is a connection. Without one the client would keep what it is given and send
    /// it when nobody waits for it any more.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self.client.connection_state() {
            _ if self.closed.load(Ordering::Relaxed) => Err(unavailable("the store was closed")),
            State::Connected => Ok(()),
            _ => Err(unavailable("not connected to NATS")),
        }
    }

    /// Ends the connection when everything that was sent has left.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let _ = within(self.client.drain()).await;
    }

    /// Asks JetStream for something.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        what: String,
        request: &(impl Serialize + Sync),
    ) -> Result<Result<T, jetstream::Error>, StoreError> {
        self.check()?;
        match within(self.context.request(what, request)).await? {
            Ok(Response::Ok(answer)) => Ok(Ok(answer)),
            // The cluster is electing, or out of resources: not an answer to the question.
            Ok(Response::Err { error }) if error.code() == 503 => Err(unavailable(error)),
            Ok(Response::Err { error }) => Ok(Err(error)),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Hands a message to its stream; the order of these calls is the order in it.
    pub(super) async fn send(
        &self,
        subject: String,
        message: PublishMessage,
    ) -> Result<PublishAckFuture, NotStored> {
        self.check().map_err(NotStored::Unavailable)?;
        let sent = within(self.context.send_publish(subject, message)).await;
        sent.map_err(NotStored::Unavailable)?.map_err(not_stored)
    }

    /// Waits until a message is stored: its sequence.
    pub(super) async fn stored(acknowledged: PublishAckFuture) -> Result<u64, NotStored> {
        match within(acknowledged.into_future()).await {
            Ok(Ok(stored)) => Ok(stored.sequence),
            Ok(Err(error)) => Err(not_stored(error)),
            Err(error) => Err(NotStored::Unavailable(error)),
        }
    }

    /// Both; again if nobody has heard of it, which changes nothing.
    pub(super) async fn store(
        &self,
        subject: String,
        message: PublishMessage,
    ) -> Result<u64, NotStored> {
        for pause in ELECTION {
            match Self::stored(self.send(subject.clone(), message.clone()).await?).await {
                Err(NotStored::Nobody) => sleep(pause).await,
                known => return known,
            }
        }
        Self::stored(self.send(subject, message).await?).await
    }

    /// Deletes one message. True if it was there: of all who try, one is told so.
    pub(super) async fn delete(&self, stream: &str, sequence: u64) -> Result<bool, StoreError> {
        let request = Delete { seq: sequence, no_erase: true };
        match self.ask::<Deleted>(format!("STREAM.MSG.DELETE.{stream}"), &request).await? {
            Ok(Deleted { success }) => Ok(success),
            Err(error) if error.error_code() == ErrorCode::SEQUENCE_NOT_FOUND => Ok(false),
            // The same, from where the store itself was asked. This code has other causes too, and
            // the text alone tells them apart.
            Err(error)
                if error.error_code() == ErrorCode::STREAM_MESSAGE_DELETE_FAILED
                    && GONE.iter().any(|text| error.to_string().contains(text)) =>
            {
                Ok(false)
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// Deletes the messages of a subject, up to the first that stays if there is one.
    pub(super) async fn purge(
        &self,
        stream: &str,
        filter: String,
        first: Option<u64>,
    ) -> Result<(), StoreError> {
        let request = Purge { filter, seq: first };
        let purged = self.ask::<Purged>(format!("STREAM.PURGE.{stream}"), &request).await?;
        purged.map(drop).map_err(unavailable)
    }
}

#[derive(Serialize)]
struct Purge {
    filter: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
}

#[derive(Deserialize)]
struct Purged {}

#[derive(Serialize)]
struct Delete {
    seq: u64,
    /// Nothing here is secret, so nothing need be overwritten.
    no_erase: bool,
}

#[derive(Deserialize)]
struct Deleted {
    success: bool,
}

/// What a server says of a message that was deleted before, or was in a stream that was made anew.
const GONE: [&str; 3] = ["no message found", "deleted message", "stream store EOF"];

/// Bounds an operation.
pub(super) async fn within<T>(operation: impl Future<Output = T>) -> Result<T, StoreError> {
    timeout(OPERATION, operation).await.map_err(|_| unavailable("NATS took too long to answer"))
}

pub(super) fn unavailable(reason: impl ToString) -> StoreError {
    StoreError::Unavailable(reason.to_string())
}

fn not_stored(error: PublishError) -> NotStored {
    match error.kind() {
        PublishErrorKind::WrongLastSequence => return NotStored::Changed,
        PublishErrorKind::StreamNotFound => return NotStored::Nobody,
        _ => {}
    }
    let source = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    match source.map(jetstream::Error::error_code) {
        Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => NotStored::Changed,
        Some(ErrorCode::STREAM_STORE_FAILED) => {
            // One code for all limits; only the text tells which.
            let text = error.to_string();
            if text.contains("per subject exceeded") {
                NotStored::SubjectFull
            } else if text.contains("exceeded") {
                NotStored::StreamFull
            } else {
                NotStored::Unavailable(unavailable(text))
            }
        }
        _ => NotStored::Unavailable(unavailable(error)),
    }
}

impl NotStored {
    /// As an error of whatever has no use for the other reasons.
    pub(super) fn into_unavailable(self) -> StoreError {
        match self {
            Self::Unavailable(error) => error,
            full @ (Self::SubjectFull | Self::StreamFull) => {
                unavailable(format!("NATS has no room: {full:?}"))
            }
            Self::Changed => unavailable("NATS has a newer value"),
            Self::Nobody => unavailable("NATS is choosing who leads the stream"),
        }
    }
}

//! The relay's handle: start, look inside, stop.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::{Error, RelayConfig};
use crate::http;
use crate::name::StreamName;
use crate::recording::{Recorder, Recording};
use crate::refusal::Refusal;
use crate::registry::Registry;
use crate::stream::StreamStats;

/// HTTP connections served at the same time; more wait in the listen queue.
const MAX_CONNECTIONS: usize = 256;
/// A client has this long to send a request's head. hyper ignores it without a timer.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// A client has this long to send an offer and take the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A running relay. Dropping it stops the relay; [`shutdown`](Self::shutdown) also waits for it.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    local_addr: SocketAddr,
}

/// What requests and sessions share.
pub(crate) struct Shared {
    pub(crate) media: IpAddr,
    pub(crate) registry: Arc<Registry>,
    pub(crate) recorder: Option<Arc<Recorder>>,
    /// Cancelled when the relay stops.
    pub(crate) stop: CancellationToken,
    tasks: TaskTracker,
}

impl Shared {
    /// Runs a session until it ends by itself or by [`Shared::stop`].
    pub(crate) fn run(
        &self,
        session: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Refusal> {
        if self.stop.is_cancelled() {
            return Err(Refusal::Closing);
        }
        self.tasks.spawn(session);
        Ok(())
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("media", &self.media).finish_non_exhaustive()
    }
}

impl Relay {
    /// Starts a relay in the current tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`], [`Error::WildcardMedia`] or [`Error::Media`] when an address of
    /// `config` cannot be used.
    pub async fn bind(config: RelayConfig) -> Result<Self, Error> {
        let media = config.media.unwrap_or(config.listen.ip());
        if media.is_unspecified() {
            return Err(Error::WildcardMedia(media));
        }
        // Every connection binds a port of its own later; find out now that they can.
        tokio::net::UdpSocket::bind((media, 0))
            .await
            .map_err(|source| Error::Media { address: media, source })?;
        let listen = |source| Error::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(Shared {
            media,
            registry: Arc::new(Registry::new(config.max_streams, config.max_subscribers)),
            recorder: config.record.then(|| Arc::new(Recorder::new(config.record_limit))),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let router = http::router(Arc::clone(&shared));
        shared.tasks.spawn(serve(listener, router, shared.stop.clone()));
        tracing::info!("relay serves WHIP and WHEP on http://{local_addr}, media on {media}");
        Ok(Self { shared, local_addr })
    }

    /// Where HTTP is served.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Counters of a stream that is live or among the last 64 that ended.
    #[must_use]
    pub fn stats(&self, stream: &str) -> Option<StreamStats> {
        self.shared.registry.stats(&StreamName::parse(stream)?)
    }

    /// What was received of a stream, live or ended; `None` if nothing was recorded. A new
    /// publisher of the same name starts a new recording.
    #[must_use]
    pub fn recording(&self, stream: &str) -> Option<Recording> {
        self.shared.recorder.as_ref()?.recording(&StreamName::parse(stream)?)
    }

    /// Ends every session, closes every connection and waits until all tasks have ended.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    // Dropped with this future, and every HTTP connection with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = connections.join_next(), if connections.len() >= MAX_CONNECTIONS => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                while connections.try_join_next().is_some() {}
                match accepted {
                    Ok((socket, _)) => {
                        connections.spawn(connection(socket, router.clone()));
                    }
                    Err(error) => {
                        // Out of file descriptors, mostly: retrying at once would spin.
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
    }
}

async fn connection(socket: TcpStream, router: Router) {
    let service = TowerToHyperService::new(router);
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        // One request per connection keeps the time limit below a limit per request.
        .keep_alive(false)
        .serve_connection(TokioIo::new(socket), service);
    match tokio::time::timeout(REQUEST_TIMEOUT, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("HTTP connection: {error}"),
        Err(_) => tracing::debug!("HTTP connection took too long"),
    }
}

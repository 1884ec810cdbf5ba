//! The key service: it carries messages that it can neither read nor forge, and decides nothing.
//!
//! `GET /v1/connect` is the WebSocket that devices speak
//! [`protocol::service`](crate::protocol::service) over; `GET /healthz` answers when the process is
//! up, `GET /readyz` when devices should come to it. `GET /metrics` is answered on a listener of
//! its own, if there is one, since it is nobody else's business. Public keys and mail are kept as
//! [`StoreConfig`] says. Who is in which room is known only as long as connections live: a service
//! that restarts is told again by its devices.
//!
//! ```text
//! http        accepts connections, upgrades them          names    what the service is called
//! tls         its certificate                             metrics  what it counts
//! addresses   what one address may take up
//! connection  one device: authenticate, then converse     rate     how fast one may talk
//! hub         where connections meet                      rooms    who is where, with what streams
//! directory   public keys of devices, over HTTP           store    what is remembered
//! bus, nodes  the other nodes of the service, if several share a store
//! ```
//!
//! ```no_run
//! # async fn run() -> Result<(), olmcast::server::ServerError> {
//! use olmcast::server::{Server, ServerConfig};
//!
//! let server = Server::bind(ServerConfig::new(([127, 0, 0, 1], 7600).into())).await?;
//! println!("key service at {}", server.local_addr());
//! // … until the process is told to end:
//! server.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod addresses;
mod bus;
mod connection;
mod directory;
mod doorbells;
mod http;
mod hub;
mod limits;
mod metrics;
mod names;
mod nodes;
mod opened;
mod rate;
mod rooms;
mod snapshot;
mod store;
mod tls;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tracing::{info, warn};

pub use limits::Limits;
#[cfg(feature = "nats")]
pub use store::nats::{NatsConfig, NatsError};
pub use tls::{Tls, TlsError};

use self::{
    doorbells::Doorbells, http::Service, hub::Hub, metrics::Metrics, names::Names, opened::Opened,
    tls::Current,
};
use crate::primitives::Timestamp;

/// Connections that the system keeps until they are accepted; it may allow fewer. All devices come
/// at once when a service has restarted. `TcpListener::bind` asks for 128, and who finds no place
/// tries again after a second.
const BACKLOG: u32 = 4096;

/// How long connections may take to end when the service shuts down.
const DRAIN: Duration = Duration::from_secs(3);

/// How often rooms forget what is out of date, and every how many times of those the store does.
const EXPIRE_EVERY: Duration = Duration::from_millis(500);
const STORE_EVERY: u32 = 10;

/// What a key service needs to know to start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerConfig {
    /// Where to listen; port 0 picks a free port.
    pub listen: SocketAddr,
    /// The `name:port`s by which devices dial this service; it goes by no others then. Without any
    /// it goes by the address at which it is reached, and on this machine by `localhost`: enough
    /// as long as nothing stands between device and service.
    pub names: Vec<String>,
    /// What is granted.
    pub limits: Limits,
    /// Where it remembers.
    pub store: StoreConfig,
    /// Its certificate. Without one it speaks in the clear: for one machine, or behind something
    /// that does TLS for it.
    pub tls: Option<Tls>,
    /// Where `/metrics` is answered, and `/healthz` and `/readyz` as well. In the clear, and to
    /// everybody who can reach it; it never is on the public address.
    pub metrics: Option<SocketAddr>,
    /// How long the service goes on after it was told to end, while `/readyz` says so: what
    /// balances load needs some time to look.
    pub drain_delay: Duration,
}

/// Where a key service remembers the directory and mail.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreConfig {
    /// In memory: everything is gone with the process.
    #[default]
    Memory,
    /// In one file of this folder, which is made if it is not there. One process at a time.
    Redb(std::path::PathBuf),
    /// On NATS JetStream, together with all other nodes of the same service.
    #[cfg(feature = "nats")]
    Nats(NatsConfig),
}

impl ServerConfig {
    /// A service at this address, without further names, with the default limits, in memory, in
    /// the clear, and without metrics.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            names: Vec::new(),
            limits: Limits::default(),
            store: StoreConfig::Memory,
            tls: None,
            metrics: None,
            drain_delay: Duration::ZERO,
        }
    }
}

/// Why a key service did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address is taken, not this machine's, or not allowed.
    #[error("cannot listen on {address}: {source}; choose another address or port")]
    Listen {
        /// Where the service should have listened.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// Its certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness,
    /// The other nodes of the service cannot be joined, with the reason.
    #[error("cannot join the other nodes of this service: {0}")]
    Nodes(String),
    /// NATS cannot be used.
    #[cfg(feature = "nats")]
    #[error(transparent)]
    Nats(#[from] NatsError),
    /// The store cannot be used.
    #[error("the store in {folder} cannot be opened: {reason}")]
    Store {
        /// The folder.
        folder: std::path::PathBuf,
        /// What is wrong, and what to do about it.
        reason: String,
    },
}

/// Whether the service goes on. When the sender is gone, everything ends without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Still at work, but `/readyz` says that it will end.
    Leaving,
    Draining,
}

/// A running key service. Dropping it cuts all connections; see [`Server::shutdown`].
pub struct Server {
    address: SocketAddr,
    metrics: Option<SocketAddr>,
    tls: Option<Current>,
    drain_delay: Duration,
    phase: watch::Sender<Phase>,
    /// Yields `None` when the last task has ended: each holds a sender.
    ended: mpsc::Receiver<()>,
    tasks: Vec<AbortOnDrop>,
    opened: Opened,
}

/// The time by the wall clock, and not by the process's own: what is remembered outlives the process,
/// and what was signed names the time of another machine.
fn now() -> Timestamp {
    SystemTime::now().into()
}

/// Has everything forgotten that is out of date.
async fn expire(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(EXPIRE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u32.. {
        ticks.tick().await;
        hub.expire();
        if tick.is_multiple_of(STORE_EVERY)
            && let Err(error) = hub.store.expire(now()).await
        {
            warn!(%error, "what is out of date is not forgotten");
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Server {
    /// Starts a key service. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`ServerError::Listen`] if an address cannot be listened on; [`ServerError::Tls`],
    /// [`ServerError::Randomness`].
    pub async fn bind(config: ServerConfig) -> Result<Self, ServerError> {
        let tls = config.tls.map(Current::load).transpose()?;
        let (listener, address) = listen(config.listen).await?;
        let observed = match config.metrics {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let (bells, counted) = (Doorbells::default(), Arc::new(Metrics::new()));
        let commits = counted.commits.clone();
        let opened = Opened::new(&config.store, &config.limits, bells.clone(), commits).await?;
        let hub = Arc::new(Hub::new(config.limits, opened.store.clone(), bells));
        opened.join(&hub).await?;
        let (phase, phases) = watch::channel(Phase::Running);
        let (alive, ended) = mpsc::channel(1);
        let names = Names::new(config.names);
        let service = Service::new(hub.clone(), names, phases, counted);
        let expire = tokio::spawn(expire(hub));
        let mut tasks = vec![AbortOnDrop(expire)];
        let metrics = observed.as_ref().map(|(_, address)| *address);
        if let Some((listener, _)) = observed {
            tasks.push(AbortOnDrop(tokio::spawn(http::observe(listener, service.clone()))));
        }
        tasks.push(AbortOnDrop(tokio::spawn(http::accept(listener, tls.clone(), service, alive))));
        info!(%address, tls = tls.is_some(), "key service up");
        let drain_delay = config.drain_delay;
        Ok(Self { address, metrics, tls, drain_delay, phase, ended, tasks, opened })
    }

    /// Where the service listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where `/metrics` is answered, if anywhere.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// Reads the certificate's files again, for new connections. Nothing changes without TLS, or
    /// if they cannot be used.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), Current::reload)
    }

    /// Resolves when the store has failed (a full disk, say) and nothing can be kept any more, with
    /// the reason. Whoever runs the service should end it then, and start it again when that is
    /// mended: what was taken over is safe, and devices send the rest again.
    pub async fn failed(&self) -> String {
        self.opened.store.failed().await.to_string()
    }

    /// Lets `/readyz` say that the service ends, and waits for
    /// [`drain_delay`](ServerConfig::drain_delay). Then it stops listening, tells every device why,
    /// and returns when all connections have ended, or after three seconds.
    pub async fn shutdown(mut self) {
        info!(address = %self.address, "key service shutting down");
        self.phase.send_replace(Phase::Leaving);
        tokio::time::sleep(self.drain_delay).await;
        self.phase.send_replace(Phase::Draining);
        // Whatever does not end in time is cut when the sender of the phase is dropped.
        let _ = tokio::time::timeout(DRAIN, self.ended.recv()).await;
        self.tasks.clear();
        self.opened.close().await;
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let failed = |source| ServerError::Listen { address, source };
    let bind = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // As `TcpListener::bind` does: a service that is started again finds its port free.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = bind().map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

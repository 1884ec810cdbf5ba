//! From a listening socket to a device or a request.
//!
//! A socket that is no device's holds one of `Limits::sockets` places, and one of its address's,
//! from before its TLS handshake until its device has authenticated or it is closed. Every wait in
//! between is bounded. So whoever keeps sockets open and says nothing, or says it slowly, takes
//! places that are its own and not those of others.

mod metered;
mod observed;
mod requests;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{
    Phase,
    addresses::{Address, Addresses, Held, Over},
    hub::Hub,
    metrics::Metrics,
    names::Names,
    tls::Current,
};

pub(super) use metered::Allowance;
pub(super) use observed::observe;

/// How long the store may take to say that it is usable.
const READY: Duration = Duration::from_secs(2);

/// What every connection shares.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) hub: Arc<Hub>,
    pub(super) names: Arc<Names>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) addresses: Arc<Addresses>,
    devices: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
}

impl Service {
    pub(super) fn new(
        hub: Arc<Hub>,
        names: Names,
        phase: watch::Receiver<Phase>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let places = |number: usize| Arc::new(Semaphore::new(number.min(Semaphore::MAX_PERMITS)));
        let limits = &hub.limits;
        Self {
            addresses: Arc::new(Addresses::new(limits)),
            devices: places(limits.connections),
            sockets: places(limits.sockets),
            names: Arc::new(names),
            hub,
            phase,
            metrics,
        }
    }

    /// Whether devices should come to this process; if not, why.
    async fn ready(&self) -> Result<(), String> {
        if *self.phase.borrow() != Phase::Running {
            return Err("shutting down".to_owned());
        }
        match timeout(READY, self.hub.store.ready()).await {
            Ok(ready) => ready.map_err(|error| error.to_string()),
            Err(_) => Err("the store does not answer".to_owned()),
        }
    }
}

/// A place among the sockets or among the devices, until it is dropped.
pub(super) struct Place {
    gauge: Gauge,
    _address: Held,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(gauge: &Gauge, address: Held, permit: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self { gauge: gauge.clone(), _address: address, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// Who is on the other side of a socket, before it is known which device.
#[derive(Clone)]
pub(super) struct Visitor {
    /// The address at which it reached the service.
    pub(super) local: SocketAddr,
    pub(super) address: Address,
    /// Its place among the sockets. A request's socket keeps it until it is closed, a device's
    /// until it has authenticated.
    place: Arc<Mutex<Option<Place>>>,
    /// What is read of its socket.
    allowance: Allowance,
    /// Held as long as anything is done for it, so that the server knows when all has ended.
    _alive: mpsc::Sender<()>,
}

impl Visitor {
    /// Exchanges the place among the sockets for one among the devices. None if there is none.
    pub(super) fn admit(&self, service: &Service) -> Option<Place> {
        let Ok(permit) = service.devices.clone().try_acquire_owned() else {
            service.metrics.turned_away("connections");
            return None;
        };
        let Some(address) = service.addresses.connect(self.address) else {
            service.metrics.turned_away("connections_per_address");
            return None;
        };
        self.allowance.lift();
        drop(self.place.lock().unwrap_or_else(PoisonError::into_inner).take());
        Some(Place::take(&service.metrics.connections, address, permit))
    }
}

/// Accepts connections until the service ends.
///
/// A loop of our own and not `axum::serve`, whose connections have no time-out for a request's
/// head and outlive it when it is dropped.
pub(super) async fn accept(
    listener: TcpListener,
    tls: Option<Current>,
    service: Service,
    alive: mpsc::Sender<()>,
) {
    let router = requests::router(service.clone());
    let mut phase = service.phase.clone();
    let mut requests = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = service.sockets.clone().acquire_owned() => permit,
            () = over(&mut phase) => break,
            Some(_) = requests.join_next() => continue,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = over(&mut phase) => break,
            Some(_) = requests.join_next() => continue,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, mostly: trying again at once would only spin.
                warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let address = Address::from(peer.ip());
        let held = match service.addresses.accept(address) {
            Ok(held) => held,
            Err(over) => {
                service.metrics.turned_away(match over {
                    Over::Sockets => "sockets_per_address",
                    Over::Rate => "accept_rate",
                });
                debug!(%peer, ?over, "turned away");
                continue;
            }
        };
        let Ok(local) = stream.local_addr() else { continue };
        let place = Place::take(&service.metrics.sockets, held, permit);
        let place = Arc::new(Mutex::new(Some(place)));
        let visitor = Visitor {
            local,
            address,
            place,
            allowance: Allowance::default(),
            _alive: alive.clone(),
        };
        let tls = tls.as_ref().map(Current::acceptor);
        requests.spawn(socket(stream, peer, tls, visitor, service.clone(), router.clone()));
    }
    drop(listener);
    // Requests come to their end; devices have their own tasks, which see the phase themselves.
    // Whatever takes too long is cut by `Server::shutdown`.
    while requests.join_next().await.is_some() {}
}

/// Resolves when the service ends.
async fn over(phase: &mut watch::Receiver<Phase>) {
    // An error says that the server was dropped.
    let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
}

async fn socket(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<tokio_rustls::TlsAcceptor>,
    visitor: Visitor,
    service: Service,
    router: Router,
) {
    // Small frames that somebody waits for; failing to set it costs only time.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return requests::serve(stream, peer, visitor, service, router).await;
    };
    let mut phase = service.phase.clone();
    let encrypted = tokio::select! {
        encrypted = timeout(service.hub.limits.head_timeout, tls.accept(stream)) => encrypted,
        () = over(&mut phase) => return,
    };
    match encrypted {
        Ok(Ok(stream)) => requests::serve(stream, peer, visitor, service, router).await,
        Ok(Err(error)) => debug!(%peer, %error, "no TLS"),
        Err(_) => debug!(%peer, "the TLS handshake took too long"),
    }
}

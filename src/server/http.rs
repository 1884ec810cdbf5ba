use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    extract::{State, WebSocketUpgrade},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{Request, body::Incoming, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
    time::sleep,
};
use tracing::{debug, warn};

use super::{Phase, connection, hub::Hub, names::Names};
use crate::protocol::service::{MAX_FRAME, PATH};

/// How long a request's head may take to arrive.
const HEAD: Duration = Duration::from_secs(5);

/// What is read of a device's socket at a time. The WebSocket library zeroes so much before each
/// read, and its default of 128 KiB costs more than all else that a small frame needs.
const READ: usize = 4 * 1024;

/// Connections that may be in the making or asking for their health, besides the devices.
const ASIDE: usize = 512;

/// What every connection shares.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) hub: Arc<Hub>,
    pub(super) names: Arc<Names>,
    pub(super) phase: watch::Receiver<Phase>,
    devices: Arc<Semaphore>,
    sockets: Arc<Semaphore>,
    /// Held by every task, so that the server knows when all have ended.
    alive: mpsc::Sender<()>,
}

/// The address at which the service was reached by this connection.
#[derive(Clone, Copy)]
struct Local(SocketAddr);

impl Service {
    pub(super) fn new(
        hub: Arc<Hub>,
        names: Names,
        phase: watch::Receiver<Phase>,
        alive: mpsc::Sender<()>,
    ) -> Self {
        let devices = hub.limits.connections.min(Semaphore::MAX_PERMITS - ASIDE);
        Self {
            hub,
            names: Arc::new(names),
            phase,
            devices: Arc::new(Semaphore::new(devices)),
            sockets: Arc::new(Semaphore::new(ASIDE)),
            alive,
        }
    }
}

/// Accepts connections until the service ends.
///
/// A loop of our own and not `axum::serve`, whose connections have no time-out for a request's
/// head and outlive it when it is dropped.
pub(super) async fn accept(listener: TcpListener, service: Service) {
    let router = Router::new()
        .route(PATH, get(connect))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(service.clone());
    let mut phase = service.phase.clone();
    let mut requests = JoinSet::new();
    loop {
        let permit = tokio::select! {
            permit = service.sockets.clone().acquire_owned() => permit,
            _ = phase.changed() => break,
            Some(_) = requests.join_next() => continue,
        };
        let Ok(permit) = permit else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.changed() => break,
            Some(_) = requests.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                requests.spawn(request(stream, peer, router.clone(), permit));
            }
            Err(error) => {
                // Out of file descriptors, mostly: trying again at once would only spin.
                warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    // Requests end here; devices have their own tasks, which see the phase themselves.
    requests.shutdown().await;
}

async fn request(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    _permit: OwnedSemaphorePermit,
) {
    let Ok(local) = stream.local_addr() else { return };
    // Small frames that somebody waits for; failing to set it costs only time.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Local(local));
        router.call(request)
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = served.await {
        debug!(%peer, %error, "request failed");
    }
}

async fn connect(
    State(service): State<Service>,
    Extension(Local(local)): Extension<Local>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(permit) = service.devices.clone().try_acquire_owned() else {
        warn!("at the limit of connections");
        let text = "the key service is at its limit of connections; try again later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    // Twice the largest frame, so that what is too large can still be read and refused with a
    // word. What is larger than that ends the connection.
    let upgrade = upgrade
        .read_buffer_size(READ)
        .max_message_size(2 * MAX_FRAME)
        .max_frame_size(2 * MAX_FRAME);
    upgrade.on_upgrade(move |socket| async move {
        let alive = service.alive.clone();
        connection::serve(socket, service, local).await;
        drop((permit, alive));
    })
}

//! The listener for those who watch over the service: what it counts, and whether it is well.

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tracing::{debug, warn};

use super::{Service, requests};

/// Sockets that may be open at a time.
const SOCKETS: usize = 64;

/// What a monitoring system expects of this text.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers on the private listener until the server is dropped: also while it drains, which is
/// when somebody wants to look.
pub(crate) async fn observe(listener: TcpListener, service: Service) {
    let router = Router::new().route("/metrics", get(metrics)).merge(requests::health());
    let (limits, mut sockets) = (service.hub.limits.clone(), JoinSet::new());
    let router = router.with_state(service);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if sockets.len() < SOCKETS => accepted,
            Some(_) = sockets.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(limits.head_timeout).await;
                continue;
            }
        };
        let served = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            // One request for each socket, so that none stays.
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let longest = limits.request_timeout + limits.head_timeout;
        sockets.spawn(async move {
            if let Ok(Err(error)) = timeout(longest, served).await {
                debug!(%error, "request failed");
            }
        });
    }
}

async fn metrics(State(service): State<Service>) -> Response {
    match service.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, FORMAT)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

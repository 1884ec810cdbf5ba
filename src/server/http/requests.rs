//! One socket's requests.

use std::{convert::Infallible, net::SocketAddr, pin::pin, time::Duration};

use axum::{
    Extension, Router,
    body::Body,
    extract::{DefaultBodyLimit, State, WebSocketUpgrade},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::{Request, body::Incoming, service::Service as _};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{Service, Visitor, metered::Metered, over};
use crate::{
    protocol::service::{MAX_FRAME, PATH},
    server::{connection, directory},
};

/// What is read of a device's socket at a time. The WebSocket library zeroes so much before each
/// read, and its default of 128 KiB costs more than all else that a small frame needs.
const READ: usize = 4 * 1024;

/// What is read of a WebSocket until its device has authenticated, which takes some 400 bytes.
const UNKNOWN: usize = 4 * 1024;

/// What a request's head may hold; a socket that sends more is closed. hyper's default of some
/// 400 KiB would be two gigabytes for all the sockets that may be open.
const HEAD: usize = 16 * 1024;

/// How long one socket may go on asking, so that it comes to an end even if nobody reads the
/// answers.
const LONGEST: Duration = Duration::from_secs(60);

/// Everything that can be asked for on the public listener.
pub(super) fn router(service: Service) -> Router {
    let (store, names) = (service.hub.store.clone(), service.names.clone());
    let (metrics, addresses) = (service.metrics.clone(), service.addresses.clone());
    let directory = directory::router(store, names, metrics, addresses, &service.hub.limits);
    let routes = Router::new().route(PATH, get(connect)).merge(health());
    bounded(routes.with_state(service.clone()).merge(directory), &service)
}

/// The same, with no more of a request's body than may be read.
fn bounded(routes: Router, service: &Service) -> Router {
    routes.layer(DefaultBodyLimit::max(service.hub.limits.request_body))
}

/// Whether the process runs, and whether devices should come to it.
pub(super) fn health() -> Router<Service> {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

async fn ready(State(service): State<Service>) -> Response {
    match service.ready().await {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

/// Answers requests until the socket is a device's, or is closed.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: SocketAddr,
    visitor: Visitor,
    service: Service,
    router: Router,
) {
    let limits = &service.hub.limits;
    let mut phase = service.phase.clone();
    let router = TowerToHyperService::new(router);
    let stream = Metered::new(stream, visitor.allowance.clone());
    let answers = hyper::service::service_fn(|mut request: Request<Incoming>| {
        let (visitor, service, router) = (visitor.clone(), service.clone(), router.clone());
        async move {
            let path = request.uri().path();
            let response = if is_free(path) || service.addresses.request(visitor.address) {
                request.extensions_mut().insert(visitor);
                let answer = router.call(request);
                match timeout(service.hub.limits.request_timeout, answer).await {
                    Ok(Ok(response)) => response,
                    Err(_) => too_slow(),
                }
            } else {
                too_fast()
            };
            service.metrics.request(response.status().as_u16());
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(HEAD);
    let mut served = pin!(builder.serve_connection(TokioIo::new(stream), answers).with_upgrades());
    let result = tokio::select! {
        result = served.as_mut() => Ok(result),
        () = over(&mut phase) => Err(()),
        () = sleep(LONGEST) => Err(()),
    };
    let result = match result {
        Ok(result) => result,
        Err(()) => {
            // What was asked is still answered.
            served.as_mut().graceful_shutdown();
            match timeout(limits.request_timeout, served).await {
                Ok(result) => result,
                Err(_) => return debug!(%peer, "cut off"),
            }
        }
    };
    if let Err(error) = result {
        debug!(%peer, %error, "request failed");
    }
}

/// Devices are limited otherwise, and whoever watches over the service must not hear from a limit
/// that it is ill.
fn is_free(path: &str) -> bool {
    [PATH, "/healthz", "/readyz"].contains(&path)
}

fn too_fast() -> Response {
    let text = "too many requests from this address; try again in a second\n";
    let again = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
    (StatusCode::TOO_MANY_REQUESTS, again, text).into_response()
}

fn too_slow() -> Response {
    // The rest of the request would be taken for the next one's head.
    let close = [(header::CONNECTION, HeaderValue::from_static("close"))];
    (StatusCode::REQUEST_TIMEOUT, close, Body::from("the request took too long\n")).into_response()
}

async fn connect(
    State(service): State<Service>,
    Extension(visitor): Extension<Visitor>,
    upgrade: WebSocketUpgrade,
) -> Response {
    // Looked at again when the device has authenticated; this spares those who wait in vain.
    let full = if service.devices.available_permits() == 0 {
        Some("connections")
    } else if !service.addresses.may_connect(visitor.address) {
        Some("connections_per_address")
    } else {
        None
    };
    if let Some(limit) = full {
        warn!(limit, "at the limit of connections");
        service.metrics.turned_away(limit);
        let text = "the key service is at its limit of connections; try again later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    }
    // Twice the largest frame, so that what is too large can still be read and refused with a
    // word. What is larger than that ends the connection.
    let upgrade = upgrade
        .read_buffer_size(READ)
        .max_message_size(2 * MAX_FRAME)
        .max_frame_size(2 * MAX_FRAME);
    visitor.allowance.limit(UNKNOWN);
    upgrade.on_upgrade(move |socket| connection::serve(socket, service, visitor))
}

#[cfg(test)]
mod tests;

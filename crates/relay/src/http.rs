//! WHIP (RFC 9725) and WHEP over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use crate::egress::{self, Egress};
use crate::ingest;
use crate::kind::Kind;
use crate::name::{SessionId, StreamName};
use crate::offer::{Offer, Role};
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::relay::Shared;
use crate::stream::Stream;

/// An offer of two tracks with candidates has about 4 KiB.
const MAX_OFFER: usize = 64 << 10;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/whip/{stream}", post(publish))
        .route("/whip/{stream}/{session}", delete(unpublish))
        .route("/whep/{stream}", post(subscribe))
        .route("/whep/{stream}/{session}", delete(unsubscribe))
        .layer(DefaultBodyLimit::max(MAX_OFFER))
        .with_state(shared)
}

async fn publish(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let (name, offer) = read(&name, &headers, &body, Role::Publisher)?;
    let mut place = shared.registry.reserve(&name)?;
    let mut peer = Peer::new(shared.media).await?;
    let Offer { description, .. } = &offer;
    peer.set_offer(description.clone()).await?;
    let answer = peer.answer().await?;

    let session = SessionId::random().map_err(Refusal::internal)?;
    let ended = shared.stop.child_token();
    let stream = Arc::new(Stream::new(name.clone(), session, offer.kinds(), ended));
    if let Some(recorder) = &shared.recorder {
        recorder.start(&name);
    }
    place.open(Arc::clone(&stream));
    shared.run(ingest::run(peer, place, stream, shared.recorder.clone()))?;
    tracing::info!("stream {name} is published with {:?}", offer.kinds());
    Ok(created(&format!("/whip/{name}/{session}"), answer))
}

async fn subscribe(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let (name, offer) = read(&name, &headers, &body, Role::Subscriber)?;
    let stream = shared.registry.stream(&name).ok_or(Refusal::UnknownStream(name))?;
    let kinds: Vec<Kind> = offer.kinds().iter().copied().filter(|kind| stream.has(*kind)).collect();
    if kinds.is_empty() {
        return Err(Refusal::sdp("the stream has no track of a kind that is asked for"));
    }
    let seat = shared.registry.seat()?;
    let mut peer = Peer::new(shared.media).await?;
    peer.set_offer(offer.description).await?;
    let mut tracks = Vec::with_capacity(kinds.len());
    for kind in kinds {
        tracks.push(Egress::add(&peer, kind, &stream.name).await?);
    }
    let answer = peer.answer().await?;
    let mut routes = Vec::with_capacity(tracks.len());
    for track in tracks {
        routes.push(track.negotiated().await?);
    }

    let session = SessionId::random().map_err(Refusal::internal)?;
    let stop = stream.add_subscriber(session);
    let location = format!("/whep/{}/{session}", stream.name);
    shared.run(egress::run(peer, seat, stream, session, routes, stop))?;
    Ok(created(&location, answer))
}

async fn unpublish(
    State(shared): State<Arc<Shared>>,
    Path((name, session)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let name = StreamName::parse(&name).ok_or(Refusal::StreamName)?;
    let session = SessionId::parse(&session).ok_or(Refusal::UnknownSession)?;
    shared.registry.end(&name, session)?;
    Ok(StatusCode::OK)
}

async fn unsubscribe(
    State(shared): State<Arc<Shared>>,
    Path((name, session)): Path<(String, String)>,
) -> Result<StatusCode, Refusal> {
    let name = StreamName::parse(&name).ok_or(Refusal::StreamName)?;
    let session = SessionId::parse(&session).ok_or(Refusal::UnknownSession)?;
    let stream = shared.registry.stream(&name).ok_or(Refusal::UnknownSession)?;
    stream.remove_subscriber(session).ok_or(Refusal::UnknownSession)?.cancel();
    Ok(StatusCode::OK)
}

fn read(
    name: &str,
    headers: &HeaderMap,
    body: &[u8],
    role: Role,
) -> Result<(StreamName, Offer), Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if !essence.trim().eq_ignore_ascii_case("application/sdp") {
        return Err(Refusal::ContentType);
    }
    let name = StreamName::parse(name).ok_or(Refusal::StreamName)?;
    let text = std::str::from_utf8(body).map_err(Refusal::sdp)?;
    Ok((name, Offer::parse(text, role)?))
}

fn created(location: &str, answer: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/sdp"), (header::LOCATION, location)];
    (StatusCode::CREATED, headers, answer).into_response()
}

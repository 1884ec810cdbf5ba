//! WHIP (RFC 9725) and WHEP over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};

use crate::codec::Codec;
use crate::egress::{self, Egress};
use crate::ingest;
use crate::kind::Kind;
use crate::layer_choice::LayerChoice;
use crate::name::{SessionId, StreamName};
use crate::offer::{Offer, Role};
use crate::peer::Peer;
use crate::refusal::Refusal;
use crate::relay::Shared;
use crate::stream::{Stream, Track};

/// An offer of two tracks with candidates has about 4 KiB, a browser's with all its codecs 10.
const MAX_BODY: usize = 64 << 10;

type Body = Result<Bytes, BytesRejection>;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/whip/{stream}", post(publish))
        .route("/whip/{stream}/{session}", delete(unpublish))
        .route("/whep/{stream}", post(subscribe))
        .route("/whep/{stream}/{session}", delete(unsubscribe))
        .route("/whep/{stream}/{session}/layer", post(choose_layer))
        .fallback(|| async { Refusal::UnknownPath })
        .method_not_allowed_fallback(|| async { Refusal::Method })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(shared)
}

async fn publish(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (name, offer) = read(&name, &headers, body, Role::Publisher)?;
    let mut place = shared.registry.reserve(&name)?;
    // One codec for each track: what subscribers can be promised does not change later.
    let mut tracks = Vec::with_capacity(offer.tracks.len());
    for track in offer.tracks {
        let codec = *track.codecs.first().ok_or(Refusal::Codec(track.kind))?;
        tracks.push(Track::new(codec, track.rids));
    }
    let codecs: Vec<Codec> = tracks.iter().map(|track| track.codec).collect();
    let simulcast = tracks.iter().any(|track| !track.rids.is_empty());
    let mut peer = Peer::new(shared.media, &codecs, simulcast).await?;
    peer.set_offer(offer.description).await?;
    let answer = peer.answer().await?;

    let session = SessionId::random().map_err(Refusal::internal)?;
    let ended = shared.stop.child_token();
    for track in &tracks {
        tracing::info!("stream {name} has {} {:?}", track.codec, track.rids);
    }
    let stream = Arc::new(Stream::new(name.clone(), session, tracks, ended));
    if let Some(recorder) = &shared.recorder {
        recorder.start(&name);
    }
    place.open(Arc::clone(&stream));
    shared.run(ingest::run(peer, place, stream, shared.recorder.clone()))?;
    Ok(created(&format!("/whip/{name}/{session}"), answer))
}

async fn subscribe(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (name, offer) = read(&name, &headers, body, Role::Subscriber)?;
    let stream = shared.registry.stream(&name).ok_or(Refusal::UnknownStream(name))?;
    let (mut codecs, mut mid) = (Vec::new(), None);
    for wanted in &offer.tracks {
        let Some(track) = stream.track(wanted.kind) else { continue };
        if !wanted.codecs.contains(&track.codec) {
            return Err(Refusal::StreamCodec(track.codec));
        }
        codecs.push(track.codec);
        if wanted.kind == Kind::Video {
            mid = wanted.mid.clone();
        }
    }
    if codecs.is_empty() {
        return Err(Refusal::sdp("the stream has no track of a kind that is asked for"));
    }
    let seat = shared.registry.seat()?;
    let mut peer = Peer::new(shared.media, &codecs, false).await?;
    peer.set_offer(offer.description).await?;
    let mut tracks = Vec::with_capacity(codecs.len());
    for codec in codecs {
        tracks.push(Egress::add(&peer, codec, &stream.name).await?);
    }
    let answer = peer.answer().await?;
    let mut routes = Vec::with_capacity(tracks.len());
    for track in tracks {
        routes.push(track.negotiated().await?);
    }

    let session = SessionId::random().map_err(Refusal::internal)?;
    let location = format!("/whep/{}/{session}", stream.name);
    let mut response = created(&location, answer);
    if mid.is_some() && stream.track(Kind::Video).is_some_and(|video| video.layers() > 1) {
        let link = format!("<{location}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\"");
        let link = link.parse().map_err(Refusal::internal)?;
        response.headers_mut().insert(header::LINK, link);
    }
    let orders = stream.add_subscriber(session, mid);
    shared.run(egress::run(peer, seat, stream, session, routes, orders))?;
    Ok(response)
}

async fn choose_layer(
    State(shared): State<Arc<Shared>>,
    Path((name, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let name = StreamName::parse(&name).ok_or(Refusal::StreamName)?;
    let session = SessionId::parse(&session).ok_or(Refusal::UnknownSession)?;
    let stream = shared.registry.stream(&name).ok_or(Refusal::UnknownSession)?;
    let body = bytes(body)?;
    if !body.is_empty() {
        expect_type(&headers, "application/json")?;
    }
    let choice = LayerChoice::parse(&body)?;
    let (media, encoding) = (choice.media_id.as_deref(), choice.encoding_id.as_deref());
    let layers = stream.choose(session, media, encoding)?;
    tracing::debug!("a subscriber of stream {name} chooses layer {encoding:?}");
    let json = serde_json::json!({ "encodingId": encoding, "layers": layers });
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    Ok((StatusCode::OK, content_type, json.to_string()).into_response())
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
    body: Body,
    role: Role,
) -> Result<(StreamName, Offer), Refusal> {
    expect_type(headers, "application/sdp")?;
    let name = StreamName::parse(name).ok_or(Refusal::StreamName)?;
    let body = bytes(body)?;
    let text = std::str::from_utf8(&body).map_err(Refusal::sdp)?;
    Ok((name, Offer::parse(text, role)?))
}

fn expect_type(headers: &HeaderMap, expected: &'static str) -> Result<(), Refusal> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case(expected) {
        Ok(())
    } else {
        Err(Refusal::ContentType(expected))
    }
}

fn bytes(body: Body) -> Result<Bytes, Refusal> {
    body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLong(MAX_BODY),
        _ => Refusal::Body(error.body_text()),
    })
}

fn created(location: &str, answer: String) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/sdp"), (header::LOCATION, location)];
    (StatusCode::CREATED, headers, answer).into_response()
}

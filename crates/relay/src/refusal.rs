//! Why a request is refused: a status and a sentence that says what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::codec::Codec;
use crate::kind::Kind;
use crate::name::StreamName;
use crate::rids;

/// Seconds after which it is worth asking a full relay again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no such stream: {0} has no live publisher")]
    UnknownStream(StreamName),
    #[error("no such session: it has ended or never was")]
    UnknownSession,
    #[error(
        "nothing is here: publish to /whip/{{stream}} or subscribe to /whep/{{stream}} with POST"
    )]
    UnknownPath,
    #[error("this method is not served here; the Allow header has those that are")]
    Method,
    #[error("stream {0} already has a live publisher; choose a new stream id")]
    Taken(StreamName),
    #[error("the body must have content-type {0}")]
    ContentType(&'static str),
    #[error("the body is over the limit of {0} bytes")]
    TooLong(usize),
    #[error("the body did not arrive: {0}")]
    Body(String),
    #[error("a stream id has 1 to {} characters out of A-Z a-z 0-9 - _", StreamName::MAX_LEN)]
    StreamName,
    #[error("bad SDP offer: {0}")]
    Sdp(String),
    #[error("bad SDP offer: more than one {0} track; publish another stream instead")]
    TooManyTracks(Kind),
    #[error("bad SDP offer: more than {} simulcast layers", rids::MAX)]
    TooManyLayers,
    #[error("bad SDP offer: the {0} section does not offer {codecs}", codecs = supported(*.0))]
    Codec(Kind),
    #[error("the stream's {kind} is {codec}, which the offer does not have", kind = .0.kind(), codec = .0)]
    StreamCodec(Codec),
    #[error("bad SDP offer: a publisher must send, a subscriber must receive")]
    Direction,
    #[error("bad layer selection: {0}")]
    BadLayer(String),
    #[error("no such layer: {0}")]
    UnknownLayer(String),
    #[error("the relay is full; try again later or on another relay")]
    Full,
    #[error("the relay is shutting down")]
    Closing,
    #[error("the relay cannot answer: {0}")]
    Internal(String),
}

impl Refusal {
    pub(crate) fn sdp(error: impl std::fmt::Display) -> Self {
        Self::Sdp(error.to_string())
    }

    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        Self::Internal(error.to_string())
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownStream(_) | Self::UnknownSession | Self::UnknownPath => {
                StatusCode::NOT_FOUND
            }
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Taken(_) => StatusCode::CONFLICT,
            Self::ContentType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLong(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(_)
            | Self::StreamName
            | Self::Sdp(_)
            | Self::Codec(_)
            | Self::Direction
            | Self::BadLayer(_) => StatusCode::BAD_REQUEST,
            // RFC 9725 §4.2: well-formed, but more than is supported.
            Self::TooManyTracks(_)
            | Self::TooManyLayers
            | Self::StreamCodec(_)
            | Self::UnknownLayer(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Full | Self::Closing => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// The codecs of a kind as a list to read.
fn supported(kind: Kind) -> String {
    let names: Vec<String> = Codec::of_kind(kind).map(|codec| codec.to_string()).collect();
    names.join(" or ")
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = format!("{self}\n");
        let status = self.status();
        tracing::debug!(%status, "refused: {self}");
        let content_type = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
        let mut response = (status, content_type, text).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

//! Why a request is refused: a status and a sentence that says what to do.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::kind::Kind;
use crate::name::StreamName;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no such stream: {0} has no live publisher")]
    UnknownStream(StreamName),
    #[error("no such session: it has ended or never was")]
    UnknownSession,
    #[error("stream {0} already has a live publisher; choose a new stream id")]
    Taken(StreamName),
    #[error("the body must be an SDP offer with content-type application/sdp")]
    ContentType,
    #[error("a stream id has 1 to {} characters out of A-Z a-z 0-9 - _", StreamName::MAX_LEN)]
    StreamName,
    #[error("bad SDP offer: {0}")]
    Sdp(String),
    #[error("bad SDP offer: more than one {0} track; publish another stream instead")]
    TooManyTracks(Kind),
    #[error("bad SDP offer: the {0} section does not offer {encoding}", encoding = .0.encoding())]
    Codec(Kind),
    #[error("bad SDP offer: a publisher must send, a subscriber must receive")]
    Direction,
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
            Self::UnknownStream(_) | Self::UnknownSession => StatusCode::NOT_FOUND,
            Self::Taken(_) => StatusCode::CONFLICT,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::StreamName
            | Self::Sdp(_)
            | Self::TooManyTracks(_)
            | Self::Codec(_)
            | Self::Direction => StatusCode::BAD_REQUEST,
            Self::Full | Self::Closing => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let text = format!("{self}\n");
        tracing::debug!(status = %self.status(), "refused: {self}");
        (self.status(), [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
    }
}

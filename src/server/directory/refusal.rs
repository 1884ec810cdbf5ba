use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tracing::warn;

use crate::{
    primitives::Timestamp,
    protocol::{
        directory::{DirectoryErrorCode as Code, DirectoryRefusal, SCHEME},
        service::RefusalCode,
    },
    server::store::StoreError,
};

/// A request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: Code,
    message: String,
    server_time: Option<Timestamp>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), server_time: None, retry_after: None }
    }

    pub(super) fn at(self, now: Timestamp) -> Self {
        Self { server_time: Some(now), ..self }
    }

    pub(super) fn rate_limited(wait: Duration) -> Self {
        let message = "too many requests in too short a time; slow down and try again";
        Self { retry_after: Some(wait), ..Self::new(Code::RateLimited, message) }
    }

    /// Too many devices that are new here came from one address.
    pub(super) fn too_many_new() -> Self {
        let message = "too many new devices from this address; try again in a minute, or raise new_devices_per_address at the service";
        let retry_after = Some(Duration::from_mins(1));
        Self { retry_after, ..Self::new(Code::RateLimited, message) }
    }

    fn status(&self) -> StatusCode {
        match self.code {
            Code::MalformedAuthorization | Code::ClockSkew | Code::WrongSignature => {
                StatusCode::UNAUTHORIZED
            }
            Code::WrongServerName => StatusCode::MISDIRECTED_REQUEST,
            Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Code::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::Malformed | Code::WrongKeySignature => StatusCode::BAD_REQUEST,
            Code::Replayed | Code::DeviceKeysMissing => StatusCode::CONFLICT,
            Code::QuotaExceeded => StatusCode::FORBIDDEN,
            Code::UnknownDevice | Code::NoKey => StatusCode::NOT_FOUND,
            Code::Unavailable | Code::Unknown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Refused(RefusalCode::QuotaExceeded) => Self::new(
                Code::QuotaExceeded,
                "the directory holds as much of this device, or as many devices, as it may; wait until keys are claimed, or raise the service's limits",
            ),
            StoreError::Refused(RefusalCode::RateLimited) => {
                Self::rate_limited(Duration::from_secs(10))
            }
            StoreError::Replayed => Self::new(
                Code::Replayed,
                "this very request was carried out before; sign a new one with another nonce",
            ),
            StoreError::UnknownDevice => Self::new(
                Code::DeviceKeysMissing,
                "the directory does not have this device's keys; upload device_keys as well",
            ),
            StoreError::Refused(_) | StoreError::Unavailable(_) | StoreError::Failed(_) => {
                // What is wrong inside is for the operator.
                warn!(%error, "the directory's store refused");
                let message = "the service cannot do this now; try again in a moment";
                let retry_after = Some(Duration::from_secs(1));
                Self { retry_after, ..Self::new(Code::Unavailable, message) }
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status();
        let server_time = self.server_time.map(Timestamp::unix_millis);
        let body = DirectoryRefusal { error: self.code, message: self.message, server_time };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(SCHEME));
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::{Directory, rates::PerDevice, refusal::Refusal};
use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::directory::{
        Authorization, AuthorizationError, DirectoryErrorCode as Code, DirectoryRequest,
    },
    server::{self, addresses::Address, http::Visitor, store::Once},
};

/// How far the device's clock may be from the service's, either way.
const SKEW: Duration = Duration::from_secs(60);

/// A request that a device has signed.
pub(super) struct Signed {
    pub(super) device: DeviceId,
    /// To be given to the store, so that the request is carried out once.
    pub(super) once: Once,
    /// When it came.
    pub(super) now: Timestamp,
    /// From where.
    pub(super) address: Address,
    body: Bytes,
}

impl Signed {
    /// Checks who sent a request, and counts it.
    pub(super) async fn check(
        directory: &Directory,
        request: Request,
        rate: &PerDevice,
    ) -> Result<Self, Refusal> {
        let now = server::now();
        let authorization = read_header(&request)?;
        let visitor = request.extensions().get::<Visitor>();
        let (local, address) =
            visitor.map(|visitor| (visitor.local, visitor.address)).ok_or_else(wrong_name)?;
        check_name(directory, &authorization, local)?;
        check_time(&authorization, now)?;

        let method = request.method().clone();
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let body = Bytes::from_request(request, directory).await.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                Refusal::new(Code::BodyTooLarge, "the body is too large; upload fewer keys")
            } else {
                Refusal::new(Code::Malformed, "the body did not arrive whole; send it again")
            }
        })?;
        let Authorization { device, server, time, nonce, signature } = authorization;
        let (method, server) = (method.as_str(), server.as_str());
        DirectoryRequest { method, path: &path, server, time, nonce: &nonce, body: &body }
            .verify(&device, &signature)
            .map_err(|_| {
                Refusal::new(
                    Code::WrongSignature,
                    "the signature is not this device's, or not for this request; sign method, path, server, time, nonce and the body as they are sent",
                )
            })?;
        rate.count(&device).map_err(Refusal::rate_limited)?;

        let mut id = Sha256::new();
        id.update(device.as_bytes());
        id.update(nonce);
        // Longer than it is accepted here: the clocks of a service's nodes differ.
        let once = Once { id: id.finalize().into(), until: time + 2 * SKEW };
        Ok(Self { device, once, now, address, body })
    }

    /// What the body says.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let malformed = |error: serde_json::Error| {
            let message = format!("the body cannot be read ({error}); see /v1/openapi.json");
            Refusal::new(Code::Malformed, message)
        };
        // Fields that nobody knows are passed over however deep they are, but this is no place to
        // find out what the next program in the way makes of them.
        serde_json::from_slice::<serde_json::Value>(&self.body).map_err(malformed)?;
        serde_json::from_slice(&self.body).map_err(malformed)
    }
}

fn read_header(request: &Request) -> Result<Authorization, Refusal> {
    let mut headers = request.headers().get_all(header::AUTHORIZATION).iter();
    let read = match (headers.next(), headers.next()) {
        (Some(header), None) => header.to_str().ok().and_then(|text| text.parse().ok()),
        _ => None,
    };
    read.ok_or_else(|| Refusal::new(Code::MalformedAuthorization, AuthorizationError.to_string()))
}

fn check_name(
    directory: &Directory,
    authorization: &Authorization,
    local: SocketAddr,
) -> Result<(), Refusal> {
    match directory.names.accept(&authorization.server, local) {
        true => Ok(()),
        false => Err(wrong_name()),
    }
}

fn wrong_name() -> Refusal {
    let message = "the service does not go by the name that was dialled; dial one of its names, or add this name to its configuration";
    Refusal::new(Code::WrongServerName, message)
}

fn check_time(authorization: &Authorization, now: Timestamp) -> Result<(), Refusal> {
    if now.since(authorization.time).max(authorization.time.since(now)) <= SKEW {
        return Ok(());
    }
    let message = "the device's clock and the service's are more than a minute apart; set the clock, or sign again by server_time";
    Err(Refusal::new(Code::ClockSkew, message).at(now))
}

use axum::{
    Json,
    extract::{Path, Request, State},
    http::header,
    response::IntoResponse,
};
use utoipa::openapi::{
    InfoBuilder, OpenApiBuilder,
    security::{ApiKey, ApiKeyValue, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Directory, authorization::Signed, refusal::Refusal};
use crate::{
    primitives::DeviceId,
    protocol::{
        KeysUpload,
        directory::{
            CLAIM_PATH, ClaimedKey, DirectoryErrorCode as Code, DirectoryRefusal, KeysClaim,
            KeysClaimed, KeysFound, KeysUploaded, UPLOAD_PATH,
        },
    },
    server::store::Claimed,
};

/// All routes, each with its description.
pub(super) fn documented() -> OpenApiRouter<Directory> {
    let info = InfoBuilder::new()
        .title("olmcast key directory")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Signed public keys of devices. The service can withhold keys or serve old ones, but \
             not forge them: check every signature. Text fields of 43 characters are 32 bytes in \
             unpadded base64, those of 86 are Ed25519 signatures.",
        ))
        .build();
    let mut router = OpenApiRouter::with_openapi(OpenApiBuilder::new().info(info).build())
        .routes(routes!(upload))
        .routes(routes!(query))
        .routes(routes!(claim))
        .routes(routes!(document));
    let header = ApiKeyValue::with_description(
        "Authorization",
        "`Olmcast device=ID, server=HOST:PORT, time=MILLISECONDS, nonce=BASE64, signature=BASE64`: \
         the device's signature over method, path, server as it was dialled, time, a 16-byte nonce \
         and the SHA-256 of the body.",
    );
    let scheme = SecurityScheme::ApiKey(ApiKey::Header(header));
    router
        .get_openapi_mut()
        .components
        .get_or_insert_default()
        .add_security_scheme("device", scheme);
    router
}

/// This document
///
/// OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    responses((status = 200, description = "What you are reading", content_type = "application/json"))
)]
async fn document(State(directory): State<Directory>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], directory.document)
}

/// Publish keys
///
/// In the name of the device that signs the request. Every key in it carries that device's
/// signature. One-time keys whose number is not above all earlier ones are passed over, so an
/// upload may be repeated. A device that was started anew has none of the earlier ones, and says so
/// with its first upload: they are handed out no more.
#[utoipa::path(
    post,
    path = UPLOAD_PATH,
    security(("device" = [])),
    request_body = KeysUpload,
    responses(
        (status = 200, description = "Taken over", body = KeysUploaded),
        (status = 400, description = "`malformed`, `wrong_key_signature`", body = DirectoryRefusal),
        (status = 401, description = "`malformed_authorization`, `clock_skew`, `wrong_signature`", body = DirectoryRefusal),
        (status = 403, description = "`quota_exceeded`", body = DirectoryRefusal),
        (status = 409, description = "`replayed`, `device_keys_missing`", body = DirectoryRefusal),
        (status = 413, description = "`body_too_large`", body = DirectoryRefusal),
        (status = 421, description = "`wrong_server_name`", body = DirectoryRefusal),
        (status = 429, description = "`rate_limited`, with Retry-After", body = DirectoryRefusal),
        (status = 503, description = "`unavailable`, with Retry-After", body = DirectoryRefusal),
    )
)]
async fn upload(
    State(directory): State<Directory>,
    request: Request,
) -> Result<Json<KeysUploaded>, Refusal> {
    let signed = Signed::check(&directory, request, &directory.rates.uploads).await?;
    let upload: KeysUpload = signed.read()?;
    // The store would refuse them, but each costs a signature to check.
    if upload.one_time_keys.len() > directory.one_time_keys {
        let message = format!(
            "a device may have {} one-time keys in the directory; upload fewer",
            directory.one_time_keys
        );
        return Err(Refusal::new(Code::QuotaExceeded, message));
    }
    upload.verify(&signed.device).map_err(|_| {
        let message = "a key in this upload is not signed by the device that uploads it; a device uploads its own keys only";
        Refusal::new(Code::WrongKeySignature, message)
    })?;
    let Signed { device, once, now, address, .. } = signed;
    // Places for devices are there for all. The store refuses whoever brings no device keys.
    if upload.device_keys.is_some()
        && directory.store.device(&device).await?.is_none()
        && !directory.addresses.new_device(address)
    {
        return Err(Refusal::too_many_new());
    }
    let left = directory.store.upload(once, device, upload, now).await?;
    Ok(Json(KeysUploaded { one_time_keys: left as u64 }))
}

/// Look a device up
///
/// For anybody; nothing is used up.
#[utoipa::path(
    get,
    path = "/v1/keys/{device}",
    params(("device" = String, Path, description = "The device's id: 43 characters", min_length = 43, max_length = 43)),
    responses(
        (status = 200, description = "Found", body = KeysFound),
        (status = 400, description = "`malformed`", body = DirectoryRefusal),
        (status = 404, description = "`unknown_device`", body = DirectoryRefusal),
        (status = 429, description = "Too many requests from this address, with Retry-After"),
        (status = 503, description = "`unavailable`, with Retry-After", body = DirectoryRefusal),
    )
)]
async fn query(
    State(directory): State<Directory>,
    Path(device): Path<String>,
) -> Result<impl IntoResponse, Refusal> {
    let device: DeviceId = device.parse().map_err(|_| {
        Refusal::new(Code::Malformed, "this is no device id; it has 43 characters of base64")
    })?;
    let Some(record) = directory.store.device(&device).await? else {
        let message = "the directory has nothing of this device; check the id, or wait until the device was online";
        return Err(Refusal::new(Code::UnknownDevice, message));
    };
    let found = KeysFound {
        device_keys: record.keys,
        fallback_key: record.fallback.is_some(),
        one_time_keys: record.one_time_keys as u64,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(found)))
}

/// Claim a key for a first message
///
/// Each one-time key is handed out once. When there is none, or when too many of this device were
/// claimed in too short a time, its fallback key is.
#[utoipa::path(
    post,
    path = CLAIM_PATH,
    security(("device" = [])),
    request_body = KeysClaim,
    responses(
        (status = 200, description = "A key", body = KeysClaimed),
        (status = 400, description = "`malformed`", body = DirectoryRefusal),
        (status = 401, description = "`malformed_authorization`, `clock_skew`, `wrong_signature`", body = DirectoryRefusal),
        (status = 404, description = "`no_key`: the device is unknown or has none left", body = DirectoryRefusal),
        (status = 409, description = "`replayed`", body = DirectoryRefusal),
        (status = 413, description = "`body_too_large`", body = DirectoryRefusal),
        (status = 421, description = "`wrong_server_name`", body = DirectoryRefusal),
        (status = 429, description = "`rate_limited`, with Retry-After", body = DirectoryRefusal),
        (status = 503, description = "`unavailable`, with Retry-After", body = DirectoryRefusal),
    )
)]
async fn claim(
    State(directory): State<Directory>,
    request: Request,
) -> Result<Json<KeysClaimed>, Refusal> {
    let signed = Signed::check(&directory, request, &directory.rates.claims).await?;
    let KeysClaim { device } = signed.read()?;
    // An unknown device is counted, and answered, like one without keys.
    let spare = directory.rates.targets.count(&device).is_err();
    let key = directory.store.claim(signed.once, &device, spare).await?;
    // After the claim: its key may be of the device's very first upload, and would be lost with a
    // device that was not known yet.
    let record = directory.store.device(&device).await?;
    match (record, key) {
        (Some(record), Some(key)) => {
            let (key, went_out) = match key {
                Claimed::OneTime(key) => (ClaimedKey::OneTimeKey(key), "one_time_key"),
                Claimed::Fallback(key) => (ClaimedKey::FallbackKey(key), "fallback_key"),
            };
            directory.metrics.claim(went_out);
            Ok(Json(KeysClaimed { device_keys: record.keys, key }))
        }
        _ => {
            directory.metrics.claim("none");
            let message = "there is no key to begin with; check the device's id, or try again when it was online";
            Err(Refusal::new(Code::NoKey, message))
        }
    }
}

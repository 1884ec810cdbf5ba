//! The directory of keys, asked over one kept connection.

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use olmcast::{
    primitives::{DeviceId, Timestamp},
    protocol::{
        PublicKey,
        directory::{
            Authorization, CLAIM_PATH, DeviceKeys, DirectoryErrorCode, DirectoryRefusal,
            DirectoryRequest, FallbackKey, KeysClaim, KeysClaimed, KeysFound, KeysUpload,
            KeysUploaded, OneTimeKey, QUERY_PATH, UPLOAD_PATH,
        },
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::timeout;
use vodozemac::Curve25519PublicKey;

use super::device::{Device, connect_from};

/// How long the directory may take for one answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A request that was signed and is good for once.
#[derive(Clone)]
pub(crate) struct Signed {
    path: &'static str,
    server: String,
    authorization: String,
    body: Bytes,
}

/// What the directory answered.
pub(crate) enum Answer<T> {
    Done(T),
    Refused(DirectoryErrorCode),
}

/// A kept connection to a directory.
pub(crate) struct Directory(SendRequest<Full<Bytes>>);

impl Signed {
    /// Asks for a key of `device`.
    pub(crate) fn claim(
        claimer: &Device,
        server: SocketAddr,
        device: DeviceId,
    ) -> anyhow::Result<Self> {
        Self::new(claimer, server, CLAIM_PATH, &KeysClaim { device })
    }

    /// Uploads keys of the device.
    pub(crate) fn upload(
        device: &Device,
        server: SocketAddr,
        upload: &KeysUpload,
    ) -> anyhow::Result<Self> {
        Self::new(device, server, UPLOAD_PATH, upload)
    }

    fn new(
        device: &Device,
        server: SocketAddr,
        path: &'static str,
        body: &impl Serialize,
    ) -> anyhow::Result<Self> {
        Self::anything(device, server, path, serde_json::to_vec(body)?)
    }

    /// Any body.
    pub(crate) fn anything(
        device: &Device,
        server: SocketAddr,
        path: &'static str,
        body: Vec<u8>,
    ) -> anyhow::Result<Self> {
        let (server, nonce) = (server.to_string(), rand::random());
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let time = Timestamp::from_unix_millis(u64::try_from(since.as_millis())?);
        let request = DirectoryRequest {
            method: "POST",
            path,
            server: &server,
            time,
            nonce: &nonce,
            body: &body,
        };
        let signature = request.sign_with(|form| device.identity().signer().sign(form));
        let device = device.id();
        let authorization =
            Authorization { device, server: server.clone(), time, nonce, signature }.to_string();
        Ok(Self { path, server, authorization, body: body.into() })
    }
}

/// A device's keys, and one-time keys with these numbers, which nobody has the secrets of.
pub(crate) fn keys_of(device: &Device, numbers: impl Iterator<Item = u64>) -> KeysUpload {
    let signer = device.identity().signer();
    let curve25519 = device.identity().curve25519();
    let keys = DeviceKeys::sign_with(device.id(), curve25519, |form| signer.sign(form));
    let one_time_key = |number| OneTimeKey::sign_with(number, any_key(), |form| signer.sign(form));
    let one_time_keys = numbers.map(one_time_key).collect();
    KeysUpload { device_keys: Some(keys), one_time_keys, ..KeysUpload::default() }
}

/// The same, with a fallback key.
pub(crate) fn keys_and_fallback_of(
    device: &Device,
    numbers: impl Iterator<Item = u64>,
) -> KeysUpload {
    let signer = device.identity().signer();
    let fallback_key = Some(FallbackKey::sign_with(any_key(), |form| signer.sign(form)));
    KeysUpload { fallback_key, ..keys_of(device, numbers) }
}

fn any_key() -> PublicKey {
    PublicKey(Curve25519PublicKey::from_bytes(rand::random()))
}

impl Directory {
    pub(crate) async fn open(source: IpAddr, service: SocketAddr) -> anyhow::Result<Self> {
        let stream = timeout(PATIENCE, connect_from(source, service)).await??;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // It ends with the sender.
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Uploads keys; how many one-time keys are left now.
    pub(crate) async fn upload(&mut self, upload: Signed) -> anyhow::Result<Answer<KeysUploaded>> {
        self.ask(upload).await
    }

    pub(crate) async fn claim(&mut self, claim: Signed) -> anyhow::Result<Answer<KeysClaimed>> {
        self.ask(claim).await
    }

    /// What the directory has of a device.
    pub(crate) async fn query(
        &mut self,
        server: SocketAddr,
        device: DeviceId,
    ) -> anyhow::Result<Answer<KeysFound>> {
        let request =
            Request::get(format!("{QUERY_PATH}{device}")).header(HOST, server.to_string());
        self.send(request.body(Full::default())?).await
    }

    async fn ask<T: DeserializeOwned>(&mut self, signed: Signed) -> anyhow::Result<Answer<T>> {
        let request = Request::post(signed.path)
            .header(HOST, signed.server)
            .header(AUTHORIZATION, signed.authorization)
            .header(CONTENT_TYPE, "application/json");
        self.send(request.body(Full::new(signed.body))?).await
    }

    async fn send<T: DeserializeOwned>(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<Answer<T>> {
        let answer = async {
            self.0.ready().await?;
            let answer = self.0.send_request(request).await?;
            let status = answer.status();
            Ok::<_, anyhow::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        let (status, body) = timeout(PATIENCE, answer).await.context("no answer")??;
        if status == StatusCode::OK {
            return Ok(Answer::Done(serde_json::from_slice(&body)?));
        }
        match serde_json::from_slice::<DirectoryRefusal>(&body) {
            Ok(refusal) => Ok(Answer::Refused(refusal.error)),
            // The limit per address stands before the directory.
            Err(_) if status == StatusCode::TOO_MANY_REQUESTS => {
                Ok(Answer::Refused(DirectoryErrorCode::RateLimited))
            }
            Err(_) => bail!("the directory answers {status}: {}", String::from_utf8_lossy(&body)),
        }
    }
}

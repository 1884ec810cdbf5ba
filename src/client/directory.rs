//! The directory of public keys, asked over HTTP. Whatever it answers, only what the device in
//! question has signed is believed.

mod error;
mod request;

use std::{
    fmt,
    sync::{Arc, OnceLock, atomic::AtomicI64},
};

use serde::{Serialize, de::DeserializeOwned};

pub use error::DirectoryError;

use super::Trust;
use crate::{
    device::Signer,
    primitives::{DeviceId, ServiceAddress},
    protocol::{
        KeysUpload,
        directory::{
            CLAIM_PATH, KeysClaim, KeysClaimed, KeysFound, KeysUploaded, QUERY_PATH, UPLOAD_PATH,
        },
    },
};
use request::Ask;

/// The directory of a key service, asked by one device. Clones share their connections.
///
/// Connections that are lost are made again, and requests repeated, for some seconds.
#[derive(Clone)]
pub struct Directory(Arc<Inner>);

struct Inner {
    service: ServiceAddress,
    trust: Trust,
    signer: Signer,
    http: OnceLock<reqwest::Client>,
    /// How many milliseconds the service's clock is ahead of ours, as far as it complained.
    ahead: AtomicI64,
}

impl Directory {
    /// The directory of a key service. Nothing is asked yet. A device signs its requests for the
    /// service by exactly the name that is dialled.
    pub fn new(service: &ServiceAddress, trust: &Trust, signer: Signer) -> Self {
        Self(Arc::new(Inner {
            service: service.clone(),
            trust: trust.clone(),
            signer,
            http: OnceLock::new(),
            ahead: AtomicI64::new(0),
        }))
    }

    /// Publishes keys of this device. Returns how many one-time keys the directory has of it now.
    ///
    /// # Errors
    /// Every [`DirectoryError`] but [`DirectoryError::Forged`].
    pub async fn upload(&self, upload: &KeysUpload) -> Result<u64, DirectoryError> {
        let uploaded: KeysUploaded = self.post(UPLOAD_PATH, upload).await?;
        Ok(uploaded.one_time_keys)
    }

    /// What is known of a device; its keys are really its own.
    ///
    /// # Errors
    /// Every [`DirectoryError`]; of a device that is not known, [`DirectoryError::Refused`] with
    /// [`UnknownDevice`](crate::protocol::directory::DirectoryErrorCode::UnknownDevice).
    pub async fn query(&self, device: &DeviceId) -> Result<KeysFound, DirectoryError> {
        let found: KeysFound = self.0.ask(Ask::Get(&format!("{QUERY_PATH}{device}"))).await?;
        if found.device_keys.device != *device {
            return Err(DirectoryError::Forged(*device));
        }
        found.device_keys.verify().map_err(|_| DirectoryError::Forged(*device))?;
        Ok(found)
    }

    /// Takes a key to begin a session with a device; it is really that device's. Who asks tells the
    /// service whom it wants to talk to.
    ///
    /// # Errors
    /// Every [`DirectoryError`]; if there is none, [`DirectoryError::Refused`] with
    /// [`NoKey`](crate::protocol::directory::DirectoryErrorCode::NoKey).
    pub async fn claim(&self, device: &DeviceId) -> Result<KeysClaimed, DirectoryError> {
        let claimed: KeysClaimed = self.post(CLAIM_PATH, &KeysClaim { device: *device }).await?;
        claimed.verify(device).map_err(|_| DirectoryError::Forged(*device))?;
        Ok(claimed)
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, DirectoryError> {
        let body = serde_json::to_vec(body).map_err(|_| DirectoryError::Unreadable)?;
        self.0.ask(Ask::Post(path, body)).await
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").field("service", &self.0.service).finish_non_exhaustive()
    }
}

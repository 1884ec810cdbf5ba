//! What a device publishes about itself, for anybody to look up: its signed keys.
//!
//! ```text
//! device                          directory                        somebody else
//!   | ── KeysUpload (signed) ───▶  |                                     |
//!   | ◀─────── KeysUploaded ────── |                                     |
//!   |                              |  ◀── GET /v1/keys/{device} ──────── |
//!   |                              |  ───────────────── KeysFound ─────▶ |
//!   |                              |  ◀── KeysClaim (signed) ─────────── |
//!   |                              |  ─────────────── KeysClaimed ─────▶ |  checks each signature
//! ```
//!
//! It serves first contact and verification. Stream keys never depend on it: a subscriber sends
//! a one-time key of its own with each `Subscribe`.
//!
//! Signatures cover the fields themselves behind their lengths, not the JSON they travel in.

mod answers;
mod request;
#[cfg(test)]
mod snapshots;

use serde::{Deserialize, Serialize};

pub use answers::{
    ClaimedKey, DirectoryErrorCode, DirectoryRefusal, KeysClaim, KeysClaimed, KeysFound,
    KeysUploaded,
};
pub use request::{Authorization, AuthorizationError, DirectoryRequest, SCHEME};

use super::PublicKey;
use crate::primitives::{DeviceId, Signature, SignatureMismatch, SigningForm, length_prefixed};

/// Where keys are uploaded.
pub const UPLOAD_PATH: &str = "/v1/keys/upload";
/// Where keys are claimed.
pub const CLAIM_PATH: &str = "/v1/keys/claim";
/// Where a device is looked up, by its id behind this.
pub const QUERY_PATH: &str = "/v1/keys/";

/// A device's long-lived keys. Its Ed25519 key is the [`DeviceId`] itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DeviceKeys {
    /// The device, which is also its public Ed25519 key.
    #[cfg_attr(feature = "server", schema(value_type = String, min_length = 43, max_length = 43))]
    pub device: DeviceId,
    /// The key that Olm sessions with the device begin with.
    #[cfg_attr(feature = "server", schema(value_type = String, min_length = 43, max_length = 43))]
    pub curve25519: PublicKey,
    /// By the device, over both.
    #[cfg_attr(feature = "server", schema(value_type = String, min_length = 86, max_length = 86))]
    pub signature: Signature,
}

impl DeviceKeys {
    /// Has a device's keys signed by it.
    pub fn sign_with(
        device: DeviceId,
        curve25519: PublicKey,
        sign: impl FnOnce(SigningForm<'_>) -> Signature,
    ) -> Self {
        let payload = fields(&[device.as_bytes(), curve25519.0.as_bytes()]);
        Self { device, curve25519, signature: sign(form("DeviceKeys", &payload)) }
    }

    /// Checks that the device itself signed its keys.
    ///
    /// # Errors
    /// [`SignatureMismatch`] if it did not, or if its id is no valid Ed25519 key.
    pub fn verify(&self) -> Result<(), SignatureMismatch> {
        let payload = fields(&[self.device.as_bytes(), self.curve25519.0.as_bytes()]);
        form("DeviceKeys", &payload).verify(&self.device, &self.signature)
    }
}

/// A key for one first message to a device, handed out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct OneTimeKey {
    /// Greater than that of every key which this device has uploaded before: a service takes no
    /// key whose number it has seen, so that an upload which is repeated brings no key back.
    pub number: u64,
    /// The key.
    #[cfg_attr(feature = "server", schema(value_type = String, min_length = 43, max_length = 43))]
    pub key: PublicKey,
    /// By the device, over number and key.
    #[cfg_attr(feature = "server", schema(value_type = String, min_length = 86, max_length = 86))]
    pub signature: Signature,
}

impl OneTimeKey {
    /// Has a one-time key signed by its device.
    pub fn sign_with(
        number: u64,
        key: PublicKey,
        sign: impl FnOnce(SigningForm<'_>) -> Signature,
    ) -> Self {
        let payload = fields(&[&number.to_be_bytes(), key.0.as_bytes()]);
        Self { number, key, signature: sign(form("OneTimeKey", &payload)) }
    }

    /// Checks that `device` signed this key under this number.
    ///
    /// # Errors
    /// [`SignatureMismatch`] if it did not, or if its id is no valid Ed25519 key.
    pub fn verify(&self, device: &DeviceId) -> Result<(), SignatureMismatch> {
        let payload = fields(&[&self.number.to_be_bytes(), self.key.0.as_bytes()]);
        form("OneTimeKey", &payload).verify(device, &self.signature)
    }
}

/// What is handed out when all one-time keys are used up; it may go out many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct FallbackKey {
    /// The key.
    #[cfg_attr(feature = "server", schema(value_type = String, min_length = 43, max_length = 43))]
    pub key: PublicKey,
    /// By the device, over the key.
    #[cfg_attr(feature = "server", schema(value_type = String, min_length = 86, max_length = 86))]
    pub signature: Signature,
}

impl FallbackKey {
    /// Has a fallback key signed by its device.
    pub fn sign_with(key: PublicKey, sign: impl FnOnce(SigningForm<'_>) -> Signature) -> Self {
        Self { key, signature: sign(form("FallbackKey", &fields(&[key.0.as_bytes()]))) }
    }

    /// Checks that `device` signed this key as its fallback key.
    ///
    /// # Errors
    /// [`SignatureMismatch`] if it did not, or if its id is no valid Ed25519 key.
    pub fn verify(&self, device: &DeviceId) -> Result<(), SignatureMismatch> {
        let payload = fields(&[self.key.0.as_bytes()]);
        form("FallbackKey", &payload).verify(device, &self.signature)
    }
}

/// What a device uploads, all at once or in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct KeysUpload {
    /// Its keys; needed before anything else is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_keys: Option<DeviceKeys>,
    /// Whether this device has forgotten the one-time keys from before, since it was started anew:
    /// the service is to hand out none of them any more. Their numbers stay seen, so that an upload
    /// which is repeated brings none back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub replace_one_time_keys: bool,
    /// More one-time keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_time_keys: Vec<OneTimeKey>,
    /// The fallback key, which replaces the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_key: Option<FallbackKey>,
}

impl KeysUpload {
    /// Checks that all of it is `device`'s own, each signature included.
    ///
    /// # Errors
    /// [`SignatureMismatch`] if anything is not.
    pub fn verify(&self, device: &DeviceId) -> Result<(), SignatureMismatch> {
        if let Some(keys) = &self.device_keys {
            if keys.device != *device {
                return Err(SignatureMismatch);
            }
            keys.verify()?;
        }
        if let Some(key) = &self.fallback_key {
            key.verify(device)?;
        }
        self.one_time_keys.iter().try_for_each(|key| key.verify(device))
    }
}

fn fields(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    for field in fields {
        length_prefixed(&mut out, field);
    }
    out
}

fn form<'a>(kind: &'a str, payload: &'a [u8]) -> SigningForm<'a> {
    SigningForm { kind, room: None, recipient: None, payload }
}

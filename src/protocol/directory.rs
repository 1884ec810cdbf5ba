//! What a device publishes about itself, for anybody to look up: its signed keys.
//!
//! It serves first contact and verification. Stream keys never depend on it: a subscriber sends
//! a one-time key of its own with each `Subscribe`.

use serde::{Deserialize, Serialize};

use super::PublicKey;
use crate::primitives::{DeviceId, Signature};

/// A device's long-lived keys. Its Ed25519 key is the [`DeviceId`] itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceKeys {
    /// The device, which is also its public Ed25519 key.
    pub device: DeviceId,
    /// The key that Olm sessions with the device begin with.
    pub curve25519: PublicKey,
    /// By the device, over both.
    pub signature: Signature,
}

/// A key for one first message to a device, handed out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimeKey {
    /// Greater than that of every key which this device has uploaded before: a service takes no
    /// key whose number it has seen, so that an upload which is repeated brings no key back.
    pub number: u64,
    /// The key.
    pub key: PublicKey,
    /// By the device, over number and key.
    pub signature: Signature,
}

/// What is handed out when all one-time keys are used up; it may go out many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackKey {
    /// The key.
    pub key: PublicKey,
    /// By the device, over the key.
    pub signature: Signature,
}

/// What a device uploads, all at once or in parts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysUpload {
    /// Its keys; needed before anything else is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_keys: Option<DeviceKeys>,
    /// More one-time keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_time_keys: Vec<OneTimeKey>,
    /// The fallback key, which replaces the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback_key: Option<FallbackKey>,
}

use serde::{Deserialize, Serialize};

use super::{DeviceKeys, FallbackKey, OneTimeKey};
use crate::primitives::{DeviceId, SignatureMismatch};

/// Keys were taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct KeysUploaded {
    /// One-time keys of the device that are left now.
    pub one_time_keys: u64,
}

/// What the directory has of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct KeysFound {
    /// Its keys. Check the signature: the directory may not be honest.
    pub device_keys: DeviceKeys,
    /// Whether there is a fallback key.
    pub fallback_key: bool,
    /// One-time keys that are left.
    pub one_time_keys: u64,
}

/// Asks for a key with which to begin a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct KeysClaim {
    /// With whom.
    #[cfg_attr(feature = "server", schema(value_type = String, min_length = 43, max_length = 43))]
    pub device: DeviceId,
}

/// All that is needed to begin a session with a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct KeysClaimed {
    /// Its keys. Check the signature: the directory may not be honest.
    pub device_keys: DeviceKeys,
    /// The key for the first message. Check its signature.
    pub key: ClaimedKey,
}

impl KeysClaimed {
    /// Checks that these are keys of `device`, each signed by it.
    ///
    /// # Errors
    /// [`SignatureMismatch`] if they are another's or forged.
    pub fn verify(&self, device: &DeviceId) -> Result<(), SignatureMismatch> {
        if self.device_keys.device != *device {
            return Err(SignatureMismatch);
        }
        self.device_keys.verify()?;
        match &self.key {
            ClaimedKey::OneTimeKey(key) => key.verify(device),
            ClaimedKey::FallbackKey(key) => key.verify(device),
        }
    }
}

/// A key for a first message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ClaimedKey {
    /// Handed out to nobody else.
    OneTimeKey(OneTimeKey),
    /// Handed out to others as well, since there was no other key to spare.
    FallbackKey(FallbackKey),
}

/// Why the directory did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
pub struct DirectoryRefusal {
    /// For programs.
    pub error: DirectoryErrorCode,
    /// For people: what to do.
    pub message: String,
    /// The service's time in milliseconds since the Unix epoch, where that helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_time: Option<u64>,
}

/// What was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DirectoryErrorCode {
    /// The `Authorization` header is missing or cannot be read.
    MalformedAuthorization,
    /// It was signed for a service of another name.
    WrongServerName,
    /// It was signed too long ago, or in the future.
    ClockSkew,
    /// It was not signed by this device, or not for this request.
    WrongSignature,
    /// Too many requests in too short a time.
    RateLimited,
    /// The body is too large.
    BodyTooLarge,
    /// The request cannot be read.
    Malformed,
    /// A key in the upload is not signed by the device that uploads it.
    WrongKeySignature,
    /// This very request was carried out before.
    Replayed,
    /// One-time keys or a fallback key of a device whose keys are not known.
    DeviceKeysMissing,
    /// The device has as much in the directory as it may have, or the directory is full.
    QuotaExceeded,
    /// The directory has nothing of this device.
    UnknownDevice,
    /// There is no key to begin a session with this device, whether it is known or not.
    NoKey,
    /// The service cannot do it now.
    Unavailable,
    /// A code of a later version.
    #[serde(other, skip_serializing)]
    Unknown,
}

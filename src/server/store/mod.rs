//! What the key service remembers: the directory of public keys, and mail.
//!
//! Every backend keeps this contract, and `conformance` tests it on each:
//!
//! - **Directory**: a claim hands out each one-time key at most once, whatever is killed when; then
//!   it hands out the fallback key. A request that was seen before is refused.
//! - **Mail**: at least once, with sequence numbers that increase for each device and are never
//!   used again within an instance; acks are cumulative; who sends is refused when there is no
//!   room, and nobody's mail is evicted. Once it is taken over it is as durable as the backend is.
//! - What fails changes nothing.
//!
//! Who is in which room is not here: it is true only as long as connections live (`server::rooms`).

mod mailboxes;
pub(super) mod memory;
#[cfg(feature = "nats")]
pub(super) mod nats;
pub(super) mod redb;

#[cfg(test)]
mod conformance;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::{
        DeviceKeys, FallbackKey, KeysUpload, OneTimeKey,
        service::{Payload, RefusalCode},
    },
};

/// Why a store did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreError {
    /// A limit, told to whoever asked.
    #[error("{0}")]
    Refused(RefusalCode),
    /// This very request was carried out before.
    #[error("this request was received before")]
    Replayed,
    /// One-time keys of a device whose keys were never uploaded.
    #[error("this device has not uploaded its keys")]
    UnknownDevice,
    /// Not now; the store tries to come back by itself.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// Never again in this process: what is on disk is whole, but nothing can be added.
    #[error("the store has failed: {0}")]
    Failed(String),
}

/// A signed request, remembered so that it is carried out once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Once {
    /// A hash of the device that signed it and of its nonce.
    pub(super) id: [u8; 32],
    /// When it is too old to be accepted anyway; always the same for the same request.
    pub(super) until: Timestamp,
}

/// What the directory has of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceRecord {
    pub(super) keys: DeviceKeys,
    pub(super) fallback: Option<FallbackKey>,
    /// One-time keys that are left.
    pub(super) one_time_keys: usize,
}

/// A key for a first message to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claimed {
    OneTime(OneTimeKey),
    Fallback(FallbackKey),
}

/// Mail that is handed in.
#[derive(Clone, Debug)]
pub(super) struct NewMail {
    pub(super) from: DeviceId,
    pub(super) to: DeviceId,
    /// Whether the two share no room.
    pub(super) stranger: bool,
    pub(super) bytes: Payload,
}

/// Mail that waits for its recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredMail {
    pub(super) sequence: u64,
    pub(super) from: DeviceId,
    pub(super) bytes: Payload,
}

/// Resolves when mail that was handed in is durable, or when it is known that it is not. It need
/// not be awaited for that to happen.
pub(super) type Durable = BoxFuture<'static, Result<(), StoreError>>;

/// The contract; see the module.
#[async_trait]
pub(super) trait Store: Send + Sync + 'static {
    /// What sequence numbers are counted within: the same for as long as the store remembers.
    fn instance(&self) -> [u8; 16];

    /// Takes over what a device publishes, whose signatures were checked. One-time keys whose
    /// number is not above all earlier ones are passed over; if the upload replaces them, those from
    /// before go out to nobody any more. Returns how many are left now.
    ///
    /// Refused: `QuotaExceeded` with more one-time keys than one device may have, or more devices
    /// than the directory holds.
    async fn upload(
        &self,
        once: Once,
        device: DeviceId,
        upload: KeysUpload,
        now: Timestamp,
    ) -> Result<usize, StoreError>;

    /// What is known of a device.
    async fn device(&self, device: &DeviceId) -> Result<Option<DeviceRecord>, StoreError>;

    /// Takes one key out; only the fallback key if the one-time keys are to be spared. None for a
    /// device that is unknown or has no key left, alike.
    async fn claim(
        &self,
        once: Once,
        device: &DeviceId,
        spare: bool,
    ) -> Result<Option<Claimed>, StoreError>;

    /// Hands mail in; the order of these calls is the order of the mail. When it is durable, the
    /// store wakes the recipient (`server::doorbells`).
    async fn submit(&self, mail: NewMail, now: Timestamp) -> Result<Durable, StoreError>;

    /// The oldest mail for a device behind a sequence number.
    async fn mail_after(
        &self,
        device: &DeviceId,
        sequence: u64,
        at_most: usize,
    ) -> Result<Vec<StoredMail>, StoreError>;

    /// Forgets a device's mail up to and including a sequence number. May take effect later.
    async fn ack(&self, device: &DeviceId, sequence: u64) -> Result<(), StoreError>;

    /// Forgets what is out of date.
    async fn expire(&self, now: Timestamp) -> Result<(), StoreError>;

    /// Whether it can be used now.
    async fn ready(&self) -> Result<(), StoreError>;

    /// Resolves when the store has failed for good.
    async fn failed(&self) -> StoreError;

    /// Makes durable what is still under way and lets go of files and connections.
    async fn close(&self);
}

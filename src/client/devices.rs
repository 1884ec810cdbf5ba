use super::{Client, ClientError};
use crate::{
    device::KnownDevice,
    endpoint::Endpoint,
    primitives::{DeviceId, Timestamp},
    protocol::PublicKey,
};

/// Whom this device knows, and what its user decides about them.
impl Client {
    /// All devices that are pinned, verified or blocked, by their ids.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn known_devices(&self) -> Result<Vec<KnownDevice>, ClientError> {
        self.call(|endpoint, _| endpoint.memory().trust().iter().cloned().collect()).await
    }

    /// Pins a device: see [`Endpoint::pin`].
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn pin(
        &self,
        device: DeviceId,
        curve25519: PublicKey,
        name: impl Into<String>,
    ) -> Result<(), ClientError> {
        let name = name.into();
        self.decide(move |endpoint, now| endpoint.pin(device, curve25519, &name, now)).await
    }

    /// Takes a device for verified: see [`Endpoint::mark_verified`].
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn mark_verified(
        &self,
        device: DeviceId,
        curve25519: PublicKey,
        name: impl Into<String>,
    ) -> Result<(), ClientError> {
        let name = name.into();
        self.decide(move |endpoint, now| endpoint.mark_verified(device, curve25519, &name, now))
            .await
    }

    /// Blocks a device: see [`Endpoint::block`].
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn block(&self, device: DeviceId) -> Result<(), ClientError> {
        self.decide(move |endpoint, now| endpoint.block(device, now)).await
    }

    /// Forgets a device: see [`Endpoint::forget`]. False if it was not known.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn forget(&self, device: DeviceId) -> Result<bool, ClientError> {
        self.decide(move |endpoint, now| endpoint.forget(device, now)).await
    }

    /// Opens the room again to whoever has its invite, after a kick or a block closed it: see
    /// [`Endpoint::reopen`]. False if it was open.
    ///
    /// # Errors
    /// [`ClientError::Ended`].
    pub async fn reopen_room(&self) -> Result<bool, ClientError> {
        let room = self.room_id;
        self.decide(move |endpoint, _| endpoint.reopen(room)).await
    }

    /// A decision of the user, which is done when it is kept.
    async fn decide<T: Send + 'static>(
        &self,
        decide: impl FnOnce(&mut Endpoint, Timestamp) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let decided = self.call(decide).await?;
        self.kept().await?;
        Ok(decided)
    }
}

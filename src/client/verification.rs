use std::fmt;

use tokio::sync::broadcast::{self, error::RecvError};

use super::{Client, ClientError, ClientEvent};
use crate::{
    endpoint::{Endpoint, EndpointError, VerificationPeer, VerificationState},
    primitives::{DeviceId, Timestamp},
};

impl Client {
    /// Asks a device of this room to verify each other; or takes part, if it has asked for that
    /// ([`Event::Verification`](crate::endpoint::Event::Verification) with
    /// [`Requested`](VerificationState::Requested)). To decline, cancel what this returns.
    ///
    /// ```no_run
    /// # use olmcast::{client::{Client, ClientError}, endpoint::VerificationState, primitives::DeviceId};
    /// # async fn run(client: Client, device: DeviceId) -> Result<(), ClientError> {
    /// let mut verification = client.verify(device).await?;
    /// loop {
    ///     match verification.changed().await? {
    ///         VerificationState::Comparing(short) => {
    ///             println!("{:?} or {:?}", short.emojis().map(|emoji| emoji.name), short.numbers());
    ///             // Once the user has compared them with what the other side shows:
    ///             verification.confirm().await?;
    ///         }
    ///         state if state.is_over() => break println!("{state}"),
    ///         state => println!("{state}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ClientError::Endpoint`] as [`Endpoint::verify`], [`ClientError::Ended`].
    pub async fn verify(&self, device: DeviceId) -> Result<Verification, ClientError> {
        let (client, events) = (self.clone(), self.events());
        // The handle is made there: if nobody waits for it any more, its drop cancels.
        let verifying = self.call(move |endpoint, now| {
            endpoint.verify(client.room_id, device, now)?;
            let number = endpoint.verification_number(device);
            let number = number.ok_or(EndpointError::NotVerifying)?;
            Ok::<_, EndpointError>(Verification { client, device, number, events, last: None })
        });
        Ok(verifying.await??)
    }

    /// Declines what a device has asked for, without taking part.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`] if it has not asked, [`ClientError::Ended`].
    pub async fn decline_verification(&self, device: DeviceId) -> Result<(), ClientError> {
        let declined = self.call(move |endpoint, now| match endpoint.verification(device) {
            Some(VerificationState::Requested) => endpoint.cancel_verification(device, now),
            _ => Err(EndpointError::NotVerifying),
        });
        Ok(declined.await??)
    }
}

/// The verification of another device. Dropping it before it is over cancels.
pub struct Verification {
    client: Client,
    device: DeviceId,
    /// Which one of this device it is: there may be a later one.
    number: u64,
    events: broadcast::Receiver<ClientEvent>,
    last: Option<VerificationState>,
}

impl Verification {
    /// The other device.
    pub fn device(&self) -> DeviceId {
        self.device
    }

    /// Whom it is with: what the device calls itself, as what it is known, and what speaks against
    /// it. Show that with what is to be compared.
    ///
    /// # Errors
    /// As [`changed`](Self::changed).
    pub async fn peer(&self) -> Result<VerificationPeer, ClientError> {
        let peer = self.call(|endpoint, device, _| endpoint.verification_peer(device)).await?;
        Ok(peer.ok_or(EndpointError::NotVerifying)?)
    }

    /// Waits for another state than the one that was returned last; first of all it returns the
    /// present one. [`Cancelled`](VerificationState::Cancelled) is the last and returned for ever;
    /// [`Verified`](VerificationState::Verified) may yet be taken back, if this client goes on.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`] if a later verification of the device has taken its place,
    /// [`ClientError::Ended`].
    pub async fn changed(&mut self) -> Result<VerificationState, ClientError> {
        loop {
            let state = self.call(|endpoint, device, _| endpoint.verification(device)).await?;
            let state = state.ok_or(EndpointError::NotVerifying)?;
            if matches!(state, VerificationState::Cancelled(_))
                || self.last.as_ref() != Some(&state)
            {
                self.last = Some(state.clone());
                return Ok(state);
            }
            // Events that were missed do no harm: the state itself is asked for each time.
            if matches!(self.events.recv().await, Err(RecvError::Closed)) {
                return Err(ClientError::Ended);
            }
        }
    }

    /// The user says that the other side shows the same emojis or numbers.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`] if there is nothing to compare, [`ClientError::Ended`].
    pub async fn confirm(&self) -> Result<(), ClientError> {
        Ok(self.call(|endpoint, device, now| endpoint.confirm_verification(device, now)).await??)
    }

    /// The user says that the other side shows other emojis or numbers.
    ///
    /// # Errors
    /// As [`confirm`](Self::confirm).
    pub async fn reject(&self) -> Result<(), ClientError> {
        Ok(self.call(|endpoint, device, now| endpoint.reject_verification(device, now)).await??)
    }

    /// The user does not want to go on.
    ///
    /// # Errors
    /// [`ClientError::Endpoint`] if it is over already, [`ClientError::Ended`].
    pub async fn cancel(&self) -> Result<(), ClientError> {
        Ok(self.call(|endpoint, device, now| endpoint.cancel_verification(device, now)).await??)
    }

    /// Does something with this verification, unless another has taken its place.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Endpoint, DeviceId, Timestamp) -> T + Send + 'static,
    ) -> Result<T, ClientError> {
        let (device, number) = (self.device, self.number);
        let called = self.client.call(move |endpoint, now| {
            if endpoint.verification_number(device) != Some(number) {
                return Err(EndpointError::NotVerifying);
            }
            Ok(call(endpoint, device, now))
        });
        Ok(called.await??)
    }
}

impl Drop for Verification {
    fn drop(&mut self) {
        let (device, number) = (self.device, self.number);
        self.client.calls.cast(move |endpoint, now| {
            if endpoint.verification_number(device) == Some(number) {
                // An error says that it is over.
                let _ = endpoint.cancel_verification(device, now);
            }
        });
    }
}

impl fmt::Debug for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verification").field("device", &self.device).finish_non_exhaustive()
    }
}

use crate::primitives::{DeviceId, Signature, SignatureMismatch, SigningForm, length_prefixed};

/// What a device signs to authenticate: `lp(server) ‖ lp(nonce)` as a
/// [`SigningForm`] of the kind `ServiceAuthentication`.
#[derive(Clone, Copy, Debug)]
pub struct Authentication<'a> {
    /// The service's `name:port`, as the device dialled it.
    pub server: &'a str,
    /// The nonce of this connection's challenge.
    pub nonce: &'a [u8; 32],
}

impl Authentication<'_> {
    /// Has the statement signed with the device key.
    pub fn sign_with(self, sign: impl FnOnce(SigningForm<'_>) -> Signature) -> Signature {
        sign(Self::form(&self.payload()))
    }

    /// Checks that `device` signed exactly this.
    ///
    /// # Errors
    /// [`SignatureMismatch`] if it did not, or if its id is no valid key.
    pub fn verify(self, device: &DeviceId, signature: &Signature) -> Result<(), SignatureMismatch> {
        Self::form(&self.payload()).verify(device, signature)
    }

    fn payload(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.server.len() + 40);
        length_prefixed(&mut out, self.server.as_bytes());
        length_prefixed(&mut out, self.nonce);
        out
    }

    fn form(payload: &[u8]) -> SigningForm<'_> {
        SigningForm { kind: "ServiceAuthentication", room: None, recipient: None, payload }
    }
}

use super::{DeviceId, RoomId, Signature, ed25519};

/// The signature does not belong to these bytes and this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match the device that claims it")]
pub struct SignatureMismatch;

/// Appends `bytes` behind its length as a big-endian `u32`, so that no two lists of fields have
/// the same encoding.
pub fn length_prefixed(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// What an olmcast signature covers.
///
/// `lp("olmcast/1 signed") ‖ lp(kind) ‖ lp(room or empty) ‖ lp(recipient or empty) ‖
/// lp(payload)`. The payload is covered as the exact bytes that travel, never re-serialized, and
/// the kind, the room and the recipient keep a signature from meaning anything elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct SigningForm<'a> {
    /// What kind of statement this is.
    pub kind: &'a str,
    /// The room it was made for.
    pub room: Option<&'a RoomId>,
    /// The only device it is meant for, if it is meant for one.
    pub recipient: Option<&'a DeviceId>,
    /// The statement, as it travels.
    pub payload: &'a [u8],
}

impl SigningForm<'_> {
    /// The bytes to sign.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.payload.len());
        length_prefixed(&mut out, b"olmcast/1 signed");
        length_prefixed(&mut out, self.kind.as_bytes());
        length_prefixed(&mut out, self.room.map_or(&[], |room| room.as_bytes()));
        length_prefixed(&mut out, self.recipient.map_or(&[], |device| device.as_bytes()));
        length_prefixed(&mut out, self.payload);
        out
    }

    /// Checks that `signer` signed exactly this (RFC 8032, strict: weak keys are refused).
    ///
    /// # Errors
    /// [`SignatureMismatch`] if it did not, or if its id is no valid Ed25519 key.
    pub fn verify(self, signer: &DeviceId, signature: &Signature) -> Result<(), SignatureMismatch> {
        let is_right = ed25519::verify(signer.as_bytes(), &self.to_bytes(), signature);
        if is_right { Ok(()) } else { Err(SignatureMismatch) }
    }
}

#[cfg(test)]
mod tests {
    use vodozemac::olm::Account;

    use super::*;

    #[test]
    fn a_signature_means_nothing_under_another_kind_room_recipient_or_payload() {
        let account = Account::new();
        let signer = DeviceId::from_bytes(*account.ed25519_key().as_bytes());
        let (room, recipient) = (RoomId::from_name("a"), DeviceId::from_bytes([1; 32]));
        let form = SigningForm {
            kind: "K",
            room: Some(&room),
            recipient: Some(&recipient),
            payload: b"p",
        };
        let signature = Signature::from_bytes(account.sign(form.to_bytes()).to_bytes());
        assert_eq!(form.verify(&signer, &signature), Ok(()));

        let other_room = RoomId::from_name("b");
        for wrong in [
            SigningForm { kind: "L", ..form },
            SigningForm { room: None, ..form },
            SigningForm { room: Some(&other_room), ..form },
            SigningForm { recipient: None, ..form },
            SigningForm { recipient: Some(&signer), ..form },
            SigningForm { payload: b"q", ..form },
            SigningForm { payload: b"", ..form },
        ] {
            assert_eq!(wrong.verify(&signer, &signature), Err(SignatureMismatch));
        }
        assert!(form.verify(&recipient, &signature).is_err());
    }
}

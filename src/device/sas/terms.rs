use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{
    primitives::{DeviceId, RoomId, VerificationId, length_prefixed},
    protocol::{PublicKey, VerificationStart},
};

/// One side of a verification, as it says that it is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) device: DeviceId,
    pub(crate) curve25519: PublicKey,
    pub(crate) name: String,
}

/// What both sides have said before either has shown its ephemeral key.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) room: RoomId,
    pub(super) id: VerificationId,
    pub(super) initiator: Party,
    pub(super) accepter: Party,
    /// The payloads, byte by byte as they travelled.
    pub(super) start: Vec<u8>,
    pub(super) accept: Vec<u8>,
}

impl Terms {
    /// Everything that must be the same on both sides. Fields are prefixed by their length, so that
    /// no two terms are written alike.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        length_prefixed(out, &VerificationStart::VERSION.to_be_bytes());
        length_prefixed(out, self.room.as_bytes());
        length_prefixed(out, self.id.as_bytes());
        for party in [&self.initiator, &self.accepter] {
            length_prefixed(out, party.device.as_bytes());
            length_prefixed(out, party.curve25519.0.as_bytes());
            length_prefixed(out, party.name.as_bytes());
        }
    }
}

/// What the accepter says of its ephemeral key before it has seen the initiator's. It covers the
/// start as well, so that nobody can have changed that without being noticed.
pub(super) fn commitment(key: PublicKey, start: &[u8]) -> [u8; 32] {
    let mut form = Vec::with_capacity(128 + start.len());
    length_prefixed(&mut form, b"olmcast/1 sas commitment");
    length_prefixed(&mut form, key.0.as_bytes());
    length_prefixed(&mut form, start);
    Sha256::digest(form).into()
}

/// Bytes as the text that the library takes.
pub(super) fn text(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

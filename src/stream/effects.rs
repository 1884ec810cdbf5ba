use std::{collections::VecDeque, time::Duration};

use rand::{RngExt, rngs::StdRng};
use serde::Serialize;

use super::{Event, Output, Recipient};
use crate::{
    device::{Identity, Pairwise},
    primitives::{DeviceId, RoomKeys, SigningForm, Timestamp},
    protocol::{Carrier, Envelope, Kind, OlmMessage, SignedMessage},
};

/// What a stream may use of the endpoint while it handles one input: who we are, the time,
/// randomness, and where effects go.
pub(crate) struct Effects<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) rng: &'a mut StdRng,
    pub(crate) outputs: &'a mut VecDeque<Output>,
    pub(crate) now: Timestamp,
}

impl Effects<'_> {
    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// A random name for a handover, request or renewal.
    pub(crate) fn random_id(&mut self) -> u64 {
        self.rng.random()
    }

    /// `duration` ± 20 %, so that many subscribers do not ask in step.
    pub(crate) fn jitter(&mut self, duration: Duration) -> Duration {
        duration.mul_f64(self.rng.random_range(0.8..1.2))
    }

    /// Sends an envelope; one that is too large to send is a defect of the caller's limits and
    /// is dropped like a lost one. Returns its bytes.
    pub(crate) fn send(&mut self, to: Recipient, envelope: &Envelope) -> &[u8] {
        let Ok(bytes) = envelope.encode() else { return &[] };
        self.outputs.push_back(Output::Send { to, bytes });
        match self.outputs.back() {
            Some(Output::Send { bytes, .. }) => bytes,
            _ => &[],
        }
    }

    /// Signs a message, with the proof of having the room's invite, and sends it.
    pub(crate) fn send_signed(
        &mut self,
        to: Recipient,
        keys: &RoomKeys,
        kind: Kind,
        message: &impl Serialize,
    ) -> &[u8] {
        let recipient = match to {
            Recipient::Device(device) => Some(device),
            _ => None,
        };
        let envelope = signed(self.identity, keys, kind, recipient, message);
        self.send(to, &envelope)
    }

    /// Encrypts a message to one device and sends it.
    pub(crate) fn send_olm(&mut self, olm: &mut Pairwise, message: OlmMessage) -> &[u8] {
        match olm.seal(message) {
            Ok(envelope) => {
                let to = Recipient::Device(olm.peer());
                self.send(to, &envelope)
            }
            // A session that cannot encrypt is broken; the subscriber's next `Subscribe` mends it.
            Err(_) => &[],
        }
    }
}

/// Signs a message, with the proof of having the room's invite.
pub(super) fn signed(
    identity: &Identity,
    keys: &RoomKeys,
    kind: Kind,
    recipient: Option<DeviceId>,
    message: &impl Serialize,
) -> Envelope {
    // These are our own plain structs; an empty payload would be refused by its reader.
    let payload = serde_json::to_vec(message).unwrap_or_default();
    signed_payload(identity, keys, kind, recipient, payload)
}

/// The same for what was written already.
pub(crate) fn signed_payload(
    identity: &Identity,
    keys: &RoomKeys,
    kind: Kind,
    recipient: Option<DeviceId>,
    payload: Vec<u8>,
) -> Envelope {
    let (room, sender) = (keys.room(), identity.device());
    let form = SigningForm {
        kind: kind.name(),
        room: Some(&room),
        recipient: recipient.as_ref(),
        payload: &payload,
    };
    let signature = identity.signer().sign(form);
    let proof = keys.admission_proof(&sender, &form.to_bytes());
    let message = SignedMessage { kind, room, recipient, payload, signature, proof };
    Envelope { sender, carrier: Carrier::Signed(message) }
}

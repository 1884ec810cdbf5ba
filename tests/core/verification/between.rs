//! Somebody in between, with everything but the devices' memory.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use olmcast::{
    primitives::RoomId,
    protocol::{PublicKey, VerificationAccept, VerificationKey},
};
use serde_json::{Value, json};
use vodozemac::sas::{EstablishedSas, Sas};

use super::{
    foreign::{Said, commitment},
    mutations::Way,
    *,
};

/// Somebody in between who has everything but the devices' memory: it agrees on a secret with each of
/// the two in the other's name.
pub(super) struct Between {
    room: RoomId,
    /// Whether it states a Curve25519 key of its own, so as to be able to read.
    own: Option<PublicKey>,
    /// With the initiator, and with the accepter.
    sas: [Option<Sas>; 2],
    ours: [PublicKey; 2],
    start: [Vec<u8>; 2],
    accept: [Vec<u8>; 2],
    keys: [Option<PublicKey>; 2],
    secrets: [Option<(Said, EstablishedSas)>; 2],
    initiator: Option<DeviceId>,
}

impl Between {
    pub(super) fn new(room: RoomId, own: Option<PublicKey>) -> Self {
        let sas = [Sas::new(), Sas::new()];
        let ours = [0, 1].map(|leg: usize| PublicKey(sas[leg].public_key()));
        Self {
            room,
            own,
            sas: sas.map(Some),
            ours,
            start: Default::default(),
            accept: Default::default(),
            keys: [None; 2],
            secrets: [None, None],
            initiator: None,
        }
    }

    fn states(&self, payload: &[u8]) -> Value {
        let mut json: Value = serde_json::from_slice(payload).unwrap();
        if let Some(own) = self.own {
            json["curve25519"] = serde_json::to_value(own).unwrap();
        }
        json
    }

    pub(super) fn change(&mut self, way: &Way<'_>) -> Option<Vec<u8>> {
        let (kind, payload) = (way.signed.kind, &way.signed.payload[..]);
        let by_initiator = self.initiator.is_none_or(|initiator| initiator == way.from);
        let payload = match kind {
            Kind::VerificationStart => {
                // Of two that cross, the smaller one's counts: the other is lost.
                if !by_initiator {
                    return Some(vec![]);
                }
                self.initiator = Some(way.from);
                self.start[0] = payload.to_vec();
                self.start[1] = serde_json::to_vec(&self.states(payload)).unwrap();
                self.start[1].clone()
            }
            Kind::VerificationAccept => {
                self.accept[1] = payload.to_vec();
                let mut accept: VerificationAccept =
                    serde_json::from_value(self.states(payload)).unwrap();
                accept.commitment = commitment(self.ours[0], &self.start[0]);
                self.accept[0] = serde_json::to_vec(&accept).unwrap();
                self.accept[0].clone()
            }
            Kind::VerificationKey => {
                let said: VerificationKey = serde_json::from_slice(payload).unwrap();
                let leg = usize::from(!by_initiator);
                self.keys[leg] = Some(said.key);
                let key = self.ours[1 - leg];
                self.agree(way);
                serde_json::to_vec(&VerificationKey { id: said.id, key }).unwrap()
            }
            Kind::VerificationMac | Kind::VerificationDone => {
                let purpose = if kind == Kind::VerificationMac { "mac" } else { "done" };
                // On the other leg it is the same side that says it.
                let leg = usize::from(by_initiator);
                let Some((said, secret)) = &self.secrets[leg] else { return Some(vec![]) };
                let mut json: Value = serde_json::from_slice(payload).unwrap();
                let mac = said.mac(secret, purpose, by_initiator);
                json["mac"] = json!(STANDARD_NO_PAD.encode(mac));
                serde_json::to_vec(&json).unwrap()
            }
            _ => return None,
        };
        Some(way.again(kind, way.keys, &payload))
    }

    /// Once both ephemeral keys are known.
    fn agree(&mut self, way: &Way<'_>) {
        let initiator = self.initiator.unwrap();
        let accepter = if way.from == initiator { way.to } else { way.from };
        for leg in 0..2 {
            if let (Some(theirs), true) = (self.keys[leg], self.sas[leg].is_some()) {
                let secret = self.sas[leg].take().unwrap().diffie_hellman(theirs.0).unwrap();
                let ours = self.ours[leg];
                let keys = if leg == 0 { [theirs, ours] } else { [ours, theirs] };
                let (start, accept) = (&self.start[leg], &self.accept[leg]);
                let said = Said::of(self.room, [initiator, accepter], keys, start, accept);
                self.secrets[leg] = Some((said, secret));
            }
        }
    }
}

//! A device with tools of its own, which knows nothing of olmcast but how its verification is
//! specified. It can say what an honest one would not.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use olmcast::{
    primitives::{RoomId, VerificationId, length_prefixed},
    protocol::{
        PublicKey, VerificationAccept, VerificationCancel, VerificationDone, VerificationKey,
        VerificationMac, VerificationMessage, VerificationStart,
    },
};
use sha2::{Digest, Sha256};
use vodozemac::{
    olm::Account,
    sas::{EstablishedSas, Mac, Sas, SasBytes},
};

use super::*;
use crate::tools::{Signs, encode, signed, signed_content};

/// The key that others encrypt to.
pub(super) fn curve25519_of(table: &mut Table, device: DeviceId) -> PublicKey {
    table.at(device).keys_upload(0, Timestamp::default()).device_keys.unwrap().curve25519
}

/// A right cancel of the verification that was started last.
pub(super) fn cancel(table: &Table, to: DeviceId, from: DeviceId) -> Vec<u8> {
    let started = |(_, _, bytes): &(_, _, Vec<u8>)| signed_content(bytes, KINDS[0]);
    let start: VerificationStart = table.log.iter().rev().find_map(started).unwrap();
    let cancel = VerificationCancel { id: start.id, reason: CancelReason::KeysDiffer };
    say(table, &table.endpoints[&from].signer(), to, &VerificationMessage::Cancel(cancel))
}

pub(super) fn say(
    table: &Table,
    signer: &impl Signs,
    to: DeviceId,
    message: &VerificationMessage,
) -> Vec<u8> {
    encode(&signed(signer, &table.keys(), Some(to), message.kind(), &message.payload()))
}

#[derive(Clone)]
pub(super) struct Who {
    pub(super) device: DeviceId,
    pub(super) curve25519: [u8; 32],
    pub(super) name: String,
}

/// What both sides must agree about.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) version: u16,
    pub(super) room: RoomId,
    pub(super) id: VerificationId,
    pub(super) initiator: Who,
    pub(super) accepter: Who,
    pub(super) keys: [[u8; 32]; 2],
    pub(super) start: Vec<u8>,
    pub(super) accept: Vec<u8>,
}

impl Said {
    /// From the payloads alone.
    pub(super) fn of(
        room: RoomId,
        devices: [DeviceId; 2],
        keys: [PublicKey; 2],
        start: &[u8],
        accept: &[u8],
    ) -> Self {
        let said: VerificationStart = serde_json::from_slice(start).unwrap();
        let answered: VerificationAccept = serde_json::from_slice(accept).unwrap();
        let who = |device, curve25519: PublicKey, name| {
            let curve25519 = *curve25519.0.as_bytes();
            Who { device, curve25519, name }
        };
        Self {
            version: 1,
            room,
            id: said.id,
            initiator: who(devices[0], said.curve25519, said.name),
            accepter: who(devices[1], answered.curve25519, answered.name),
            keys: keys.map(|key| *key.0.as_bytes()),
            start: start.to_vec(),
            accept: accept.to_vec(),
        }
    }

    fn form(&self) -> Vec<u8> {
        let mut form = Vec::new();
        let version = self.version.to_be_bytes();
        let mut fields: Vec<&[u8]> = vec![&version, self.room.as_bytes(), self.id.as_bytes()];
        for who in [&self.initiator, &self.accepter] {
            fields.extend([who.device.as_bytes(), &who.curve25519, who.name.as_bytes()] as [&[u8]; 3]);
        }
        fields.extend([&self.keys[0], &self.keys[1], &self.start[..], &self.accept[..]]);
        fields.into_iter().for_each(|field| length_prefixed(&mut form, field));
        form
    }

    pub(super) fn short(&self, secret: &EstablishedSas) -> SasBytes {
        let mut info = Vec::new();
        length_prefixed(&mut info, b"olmcast/1 sas short string");
        info.extend(self.form());
        secret.bytes(&STANDARD_NO_PAD.encode(info))
    }

    pub(super) fn mac(
        &self,
        secret: &EstablishedSas,
        purpose: &str,
        by_initiator: bool,
    ) -> [u8; 32] {
        let (input, info) = self.mac_of(purpose, by_initiator);
        secret.calculate_mac(&input, &info).as_bytes().try_into().unwrap()
    }

    pub(super) fn is_right(
        &self,
        secret: &EstablishedSas,
        purpose: &str,
        by_initiator: bool,
        mac: [u8; 32],
    ) -> bool {
        let (input, info) = self.mac_of(purpose, by_initiator);
        secret.verify_mac(&input, &info, &Mac::from_slice(&mac)).is_ok()
    }

    fn mac_of(&self, purpose: &str, by_initiator: bool) -> (String, String) {
        let (initiator, accepter) = (&self.initiator.device, &self.accepter.device);
        let way = if by_initiator { [initiator, accepter] } else { [accepter, initiator] };
        let mut info = Vec::new();
        length_prefixed(&mut info, format!("olmcast/1 sas {purpose}").as_bytes());
        way.iter().for_each(|device| length_prefixed(&mut info, device.as_bytes()));
        length_prefixed(&mut info, self.id.as_bytes());
        (STANDARD_NO_PAD.encode(self.form()), STANDARD_NO_PAD.encode(info))
    }
}

pub(super) fn commitment(key: PublicKey, start: &[u8]) -> [u8; 32] {
    let mut form = Vec::new();
    for field in [b"olmcast/1 sas commitment", key.0.as_bytes().as_slice(), start] {
        length_prefixed(&mut form, field);
    }
    Sha256::digest(form).into()
}

/// The other side of a verification with an endpoint.
pub(super) struct Foreign {
    pub(super) account: Account,
    pub(super) victim: DeviceId,
    pub(super) is_initiator: bool,
    pub(super) id: VerificationId,
    pub(super) start: Vec<u8>,
    pub(super) accept: Vec<u8>,
    sas: Option<Sas>,
    ours: PublicKey,
}

impl Foreign {
    /// The endpoint has asked us, or we ask it.
    pub(super) fn meet(table: &mut Table, is_initiator: bool) -> Self {
        let (account, sas) = (Account::new(), Sas::new());
        let (us, victim, ours) = (account.id(), table.a(), PublicKey(sas.public_key()));
        let start = if is_initiator {
            let start = VerificationStart {
                id: VerificationId::from_bytes([9; 16]),
                version: 1,
                curve25519: PublicKey(account.curve25519_key()),
                name: "Mallory".to_owned(),
                sequence: table.now,
            };
            VerificationMessage::Start(start).payload()
        } else {
            table.verify(victim, us);
            heard(table, us, KINDS[0]).unwrap()
        };
        let id = serde_json::from_slice::<VerificationStart>(&start).unwrap().id;
        let (sas, accept) = (Some(sas), Vec::new());
        Self { account, victim, is_initiator, id, start, accept, sas, ours }
    }

    pub(super) fn device(&self) -> DeviceId {
        self.account.id()
    }

    /// As it would answer; of an initiator, its start.
    pub(super) fn hello(&self) -> VerificationMessage {
        if self.is_initiator {
            return VerificationMessage::read(KINDS[0], &self.start).unwrap();
        }
        VerificationMessage::Accept(VerificationAccept {
            id: self.id,
            version: 1,
            curve25519: PublicKey(self.account.curve25519_key()),
            name: "Mallory".to_owned(),
            sequence: 1,
            commitment: commitment(self.ours, &self.start),
        })
    }

    pub(super) fn key(&self) -> VerificationMessage {
        VerificationMessage::Key(VerificationKey { id: self.id, key: self.ours })
    }

    pub(super) fn say(&self, table: &mut Table, message: &VerificationMessage) {
        let bytes = say(table, &self.account, self.victim, message);
        table.deliver(self.victim, &bytes);
    }

    /// Says hello with these words, and the victim's user takes part.
    pub(super) fn greet(&mut self, table: &mut Table, hello: &VerificationMessage) {
        self.say(table, hello);
        if self.is_initiator {
            self.start = hello.payload();
            if table.state(self.victim, self.device()) == Some(VerificationState::Requested) {
                table.verify(self.victim, self.device());
            }
            self.accept = heard(table, self.device(), KINDS[1]).unwrap_or_default();
        } else {
            self.accept = hello.payload();
        }
    }

    /// Goes on as far as the short string.
    pub(super) fn agree(&mut self, table: &mut Table) -> (Said, EstablishedSas) {
        let hello = self.hello();
        self.greet(table, &hello);
        self.say(table, &self.key());
        self.finish(table)
    }

    /// With the victim's key, which has been said.
    pub(super) fn finish(&mut self, table: &Table) -> (Said, EstablishedSas) {
        let key = heard(table, self.device(), KINDS[2]).unwrap();
        let key: VerificationKey = serde_json::from_slice(&key).unwrap();
        let secret = self.sas.take().unwrap().diffie_hellman(key.key.0).unwrap();
        let (devices, keys) = ([self.device(), self.victim], [self.ours, key.key]);
        let (mut devices, mut keys) = (devices, keys);
        if !self.is_initiator {
            devices.reverse();
            keys.reverse();
        }
        let said = Said::of(table.invite.room(), devices, keys, &self.start, &self.accept);
        (said, secret)
    }

    pub(super) fn mac(&self, said: &Said, secret: &EstablishedSas) -> VerificationMessage {
        let mac = said.mac(secret, "mac", self.is_initiator);
        VerificationMessage::Mac(VerificationMac { id: self.id, mac })
    }

    pub(super) fn done(&self, said: &Said, secret: &EstablishedSas) -> VerificationMessage {
        let mac = said.mac(secret, "done", self.is_initiator);
        VerificationMessage::Done(VerificationDone { id: self.id, mac })
    }

    pub(super) fn state(&self, table: &Table) -> Option<VerificationState> {
        table.state(self.victim, self.device())
    }
}

/// The last payload of this kind that somebody was sent.
pub(super) fn heard(table: &Table, who: DeviceId, kind: Kind) -> Option<Vec<u8>> {
    let payload = |(_, to, bytes): &(DeviceId, DeviceId, Vec<u8>)| {
        let Carrier::Signed(signed) = Envelope::decode(bytes).ok()?.carrier else { return None };
        (*to == who && signed.kind == kind).then_some(signed.payload)
    };
    table.log.iter().rev().find_map(payload)
}

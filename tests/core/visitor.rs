//! A subscriber with tools of its own, and the honest publisher that let it in.

use olmcast::{
    primitives::{DeviceId, StreamRef},
    protocol::{
        Carrier, Envelope, Kind, OlmCarrier, OlmMessage, OlmPlaintext, Place, PublicKey, Subscribe,
    },
};
use vodozemac::olm::{Account, OlmMessage as Ciphertext, Session, SessionConfig};

use crate::{
    network::Room,
    tools::{Signs, encode, signed},
};

pub(crate) struct Visitor {
    pub(crate) account: Account,
    pub(crate) olm: Session,
    pub(crate) place: Place,
    stream: StreamRef,
    /// What the publisher has said so far, and how much of the log was read for that.
    pub(crate) heard: Vec<OlmMessage>,
    read: usize,
}

impl Visitor {
    /// Asks, and is given the key. It confirms nothing yet.
    pub(crate) fn join(room: &mut Room) -> Self {
        let mut account = Account::new();
        let one_time_key = account.generate_one_time_keys(1).created[0];
        let stream = room.stream;
        let subscribe = Subscribe {
            name: String::new(),
            stream: stream.stream,
            curve25519: PublicKey(account.curve25519_key()),
            one_time_key: PublicKey(one_time_key),
            sequence: 1,
            claim: "a visitor".to_owned(),
        };
        let payload = serde_json::to_vec(&subscribe).unwrap();
        let keys = room.invite.room_keys();
        let to = Some(stream.publisher);
        let envelope = signed(&account, &keys, to, Kind::Subscribe, &payload);
        let read = room.net.log.len();
        room.net.deliver(stream.publisher, &encode(&envelope));
        room.net.run(200);
        let us = account.id();
        let first = room.net.log[read..].iter().position(|(_, to, _)| *to == Some(us)).unwrap();
        let Ciphertext::PreKey(message) = olm_of(&room.net.log[read + first].2).unwrap() else {
            panic!()
        };
        let created = account
            .create_inbound_session(SessionConfig::default(), message.identity_key(), &message)
            .unwrap();
        let heard = vec![OlmPlaintext::decode(&created.plaintext).unwrap().message];
        let place = Place::new(keys.room(), stream, us, stream.publisher);
        let read = read + first + 1;
        Self { account, olm: created.session, place, stream, heard, read }
    }

    pub(crate) fn id(&self) -> DeviceId {
        self.account.id()
    }

    /// Reads what the publisher has said since the last time.
    pub(crate) fn hear(&mut self, room: &Room) -> Vec<OlmMessage> {
        let us = self.id();
        let new = room.net.log[self.read..].iter().filter(|(_, to, _)| *to == Some(us));
        let mut said = Vec::new();
        for (_, _, bytes) in new {
            if let Some(message) = olm_of(bytes) {
                let plaintext = self.olm.decrypt(&message).unwrap();
                said.push(OlmPlaintext::decode(&plaintext).unwrap().message);
            }
        }
        self.read = room.net.log.len();
        self.heard.extend(said.iter().cloned());
        said
    }

    pub(crate) fn plaintext(&self, message: OlmMessage) -> Vec<u8> {
        OlmPlaintext { place: self.place, message }.encode().to_vec()
    }

    pub(crate) fn seal(&mut self, plaintext: &[u8]) -> Envelope {
        let (message_type, ciphertext) = self.olm.encrypt(plaintext).unwrap().to_parts();
        let carrier = Carrier::Olm(OlmCarrier {
            recipient: self.stream.publisher,
            stream: self.stream.stream,
            from_publisher: false,
            message_type: u8::try_from(message_type).unwrap(),
            ciphertext,
        });
        Envelope { sender: self.id(), carrier }
    }

    pub(crate) fn say(&mut self, room: &mut Room, message: OlmMessage) {
        let plaintext = self.plaintext(message);
        let bytes = encode(&self.seal(&plaintext));
        room.net.deliver(self.stream.publisher, &bytes);
    }
}

pub(crate) fn olm_of(bytes: &[u8]) -> Option<Ciphertext> {
    match Envelope::decode(bytes).ok()?.carrier {
        Carrier::Olm(carrier) => {
            Ciphertext::from_parts(usize::from(carrier.message_type), &carrier.ciphertext).ok()
        }
        _ => None,
    }
}

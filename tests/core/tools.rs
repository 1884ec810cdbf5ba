//! What anybody with tools of their own can make, and what an attack may not change.

use hkdf::Hkdf;
use olmcast::{
    device::Signer,
    endpoint::{HolderState, SubscriptionState},
    media::{self, FrameEncryptor, hazmat},
    primitives::{Codec, DeviceId, Position, RoomId, RoomKeys, Signature, SigningForm, StreamRef},
    protocol::{Carrier, Envelope, Kind, SignedMessage},
    sframe::{BaseKey, CipherSuite},
};
use sha2::Sha256;
use vodozemac::{megolm::GroupSession, olm::Account};

use crate::network::{Network, VIDEO};

/// Who can sign.
pub(crate) trait Signs {
    fn id(&self) -> DeviceId;
    fn sign_form(&self, form: SigningForm<'_>) -> Signature;
}

impl Signs for Account {
    fn id(&self) -> DeviceId {
        DeviceId::from_bytes(*self.ed25519_key().as_bytes())
    }
    fn sign_form(&self, form: SigningForm<'_>) -> Signature {
        Signature::from_bytes(self.sign(form.to_bytes()).to_bytes())
    }
}

impl Signs for Signer {
    fn id(&self) -> DeviceId {
        self.device()
    }
    fn sign_form(&self, form: SigningForm<'_>) -> Signature {
        self.sign(form)
    }
}

/// A statement signed as it must be, with `keys`' proof if they have one.
pub(crate) fn signed(
    signer: &impl Signs,
    keys: &RoomKeys,
    recipient: Option<DeviceId>,
    kind: Kind,
    payload: &[u8],
) -> Envelope {
    let room = keys.room();
    let form = SigningForm {
        kind: kind.name(),
        room: Some(&room),
        recipient: recipient.as_ref(),
        payload,
    };
    let signature = signer.sign_form(form);
    let proof = keys.admission_proof(&signer.id(), &form.to_bytes());
    let payload = payload.to_vec();
    let message = SignedMessage { kind, room, recipient, payload, signature, proof };
    Envelope { sender: signer.id(), carrier: Carrier::Signed(message) }
}

/// The wire form of any size, as an honest sender would not make it.
pub(crate) fn encode(envelope: &Envelope) -> Vec<u8> {
    postcard::to_extend(envelope, vec![1]).unwrap()
}

/// The content of a signed message, if it is of this kind.
pub(crate) fn signed_content<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    kind: Kind,
) -> Option<T> {
    match Envelope::decode(bytes).ok()?.carrier {
        Carrier::Signed(signed) if signed.kind == kind => {
            serde_json::from_slice(&signed.payload).ok()
        }
        _ => None,
    }
}

/// The video track's base key under a Megolm session at its current index, from nothing but the
/// specification.
pub(crate) fn base_key_under(
    session: &GroupSession,
    room: RoomId,
    stream: StreamRef,
    position: Position,
) -> [u8; 32] {
    let suite = CipherSuite::default();
    let bytes = session.session_key().to_bytes();
    let mut info = Vec::new();
    info.extend_from_slice(room.as_bytes());
    info.extend_from_slice(stream.publisher.as_bytes());
    info.extend_from_slice(stream.stream.as_bytes());
    info.extend_from_slice(&bytes[133..165]);
    info.extend_from_slice(&position.generation.0.to_be_bytes());
    info.extend_from_slice(&u32::from(position.step.get()).to_be_bytes());
    info.extend_from_slice(&VIDEO.0.to_be_bytes());
    info.extend_from_slice(&suite.id().to_be_bytes());
    let mut base_key = [0; 32];
    let prk = Hkdf::<Sha256>::new(Some(b"olmcast/1 base key"), &bytes[5..133]);
    prk.expand(&info, &mut base_key).unwrap();
    base_key
}

/// An encryptor of the video track under that key.
pub(crate) fn encryptor_under(
    session: &GroupSession,
    room: RoomId,
    stream: StreamRef,
    position: Position,
) -> FrameEncryptor {
    let base_key = base_key_under(session, room, stream, position);
    let base_key = BaseKey::fill(CipherSuite::default(), |out| out.copy_from_slice(&base_key));
    hazmat::with_kid(Codec::Vp8, base_key, media::key_id(position))
}

/// What no refused message may change, of every device that takes part.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct State(Vec<DeviceState>);

type DeviceState = (DeviceId, Option<Position>, Vec<HolderState>, Option<SubscriptionState>, usize);

pub(crate) fn state(net: &mut Network, stream: StreamRef) -> State {
    let devices: Vec<_> = net.nodes.keys().copied().collect();
    let of = |device: DeviceId| {
        let events = net.nodes[&device].events.len();
        let endpoint = net.endpoint(device);
        let (position, holders) =
            (endpoint.position(stream.stream), endpoint.holders(stream.stream));
        (device, position, holders, endpoint.subscription(stream), events)
    };
    State(devices.into_iter().map(of).collect())
}

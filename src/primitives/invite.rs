use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use vodozemac::Ed25519SecretKey;

use super::{DeviceId, RoomId, Secret, ServiceAddress, Signature, ed25519, length_prefixed};

/// Why a text is no invite link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InviteError {
    /// It begins with none of `olmcast://`, `olmcast+tls://` and `olmcast+plain://`.
    #[error(
        "an invite begins with olmcast://; paste the whole link that `olmcast room new` printed"
    )]
    Scheme,
    /// No host, or one with characters that no host has.
    #[error("the invite names no valid host; it looks like olmcast://HOST:PORT/ROOM#SECRET")]
    Host,
    /// The room is no 32-byte id.
    #[error("the invite's room is damaged; paste the link again, whole")]
    Room,
    /// The part behind `#` is missing or damaged. Some programs cut it when they make links.
    #[error(
        "the invite's secret (behind the #) is missing or damaged; paste the link again, whole"
    )]
    Secret,
    /// Secret and room are each well-formed but do not belong together.
    #[error("the invite's secret belongs to another room; paste the link again, whole")]
    Mismatch,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

/// What a member of a room keeps for it: its id and the keys that follow from the invite secret.
///
/// The room's id is a hash of the public door key, which follows from the secret. So a key
/// service needs no register of rooms to check a door signature, nobody can claim another's
/// room, and a service that lost its memory lets the same members in again.
#[derive(Clone)]
pub struct RoomKeys {
    room: RoomId,
    admission: Option<Secret<32>>,
}

impl RoomKeys {
    /// A room of the application's own, without an invite: admission is decided by other means
    /// (`Ask` or an allow list).
    pub fn without_invite(room: RoomId) -> Self {
        Self { room, admission: None }
    }

    /// The room these keys belong to.
    pub fn room(&self) -> RoomId {
        self.room
    }

    /// Whether the room has an invite, and so admission proofs.
    pub fn has_invite(&self) -> bool {
        self.admission.is_some()
    }

    /// HMAC-SHA-256 over `signer ‖ signed`: "whoever signed this has the invite". `None` for a
    /// room without an invite.
    pub fn admission_proof(&self, signer: &DeviceId, signed: &[u8]) -> Option<[u8; 32]> {
        Some(self.admission_mac(signer, signed)?.finalize().into_bytes().into())
    }

    /// Whether `proof` is the admission proof for these bytes, in constant time. False for a
    /// room without an invite.
    pub fn admits(&self, signer: &DeviceId, signed: &[u8], proof: &[u8; 32]) -> bool {
        self.admission_mac(signer, signed).is_some_and(|mac| mac.verify_slice(proof).is_ok())
    }

    fn admission_mac(&self, signer: &DeviceId, signed: &[u8]) -> Option<Hmac<Sha256>> {
        let key = self.admission.as_ref()?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose()).ok()?;
        mac.update(signer.as_bytes());
        mac.update(signed);
        Some(mac)
    }
}

impl fmt::Debug for RoomKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomKeys").field("room", &self.room).finish_non_exhaustive()
    }
}

/// The Ed25519 key that opens a room's door at the key service. It follows from the invite
/// secret and lets the service keep strangers out without learning that secret.
pub struct DoorKey(Ed25519SecretKey);

impl DoorKey {
    /// The public half, whose hash is the room's id.
    pub fn public(&self) -> [u8; 32] {
        *self.0.public_key().as_bytes()
    }

    /// Signs the service's challenge for one device and room.
    pub fn sign(&self, challenge: &[u8; 32], device: &DeviceId) -> Signature {
        let form = door_form(&room_of(&self.public()), challenge, device);
        Signature::from_bytes(self.0.sign(&form).to_bytes())
    }

    /// What a key service checks: `public` is the door of `room` and signed this challenge for
    /// this device.
    pub fn opens(
        public: &[u8; 32],
        room: &RoomId,
        challenge: &[u8; 32],
        device: &DeviceId,
        signature: &Signature,
    ) -> bool {
        room_of(public) == *room
            && ed25519::verify(public, &door_form(room, challenge, device), signature)
    }
}

impl fmt::Debug for DoorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoorKey").finish_non_exhaustive()
    }
}

fn room_of(door: &[u8; 32]) -> RoomId {
    let mut hash = Sha256::new();
    hash.update(b"olmcast/1 room");
    hash.update(door);
    RoomId::from_bytes(hash.finalize().into())
}

fn door_form(room: &RoomId, challenge: &[u8; 32], device: &DeviceId) -> Vec<u8> {
    let mut out = Vec::with_capacity(160);
    length_prefixed(&mut out, b"olmcast/1 door");
    length_prefixed(&mut out, room.as_bytes());
    length_prefixed(&mut out, challenge);
    length_prefixed(&mut out, device.as_bytes());
    out
}

/// An invitation into a room: where its key service is, and a 256-bit secret.
///
/// Written as `olmcast://HOST:PORT/ROOM#SECRET`, where the scheme says how the service is spoken to:
/// by TLS, unless it runs on this very machine (see [`ServiceAddress`]). Browsers and proxies do not
/// send what stands behind the `#`; share the link only through an end-to-end encrypted chat.
#[derive(Clone, PartialEq, Eq)]
pub struct Invite {
    service: ServiceAddress,
    room: RoomId,
    secret: Secret<32>,
}

impl Invite {
    /// Makes a new room at a key service: `name:port`, or with a scheme as [`ServiceAddress`] has
    /// them.
    ///
    /// # Errors
    /// [`InviteError::Host`] for an unusable host, [`InviteError::Randomness`] if the operating
    /// system has none.
    pub fn generate(service: impl AsRef<str>) -> Result<Self, InviteError> {
        let service = service.as_ref().parse()?;
        let mut filled = Ok(());
        let secret = Secret::fill(|bytes| filled = getrandom::fill(bytes));
        filled.map_err(|_| InviteError::Randomness)?;
        let room = room_of(&door_key(&secret)?.public());
        Ok(Self { service, room, secret })
    }

    /// The key service, and how it is spoken to.
    pub fn service(&self) -> &ServiceAddress {
        &self.service
    }

    /// The room.
    pub fn room(&self) -> RoomId {
        self.room
    }

    /// What a member's endpoint needs of this invite.
    pub fn room_keys(&self) -> RoomKeys {
        let derive = Hkdf::<Sha256>::new(None, self.secret.expose());
        let mut info = Vec::with_capacity(64);
        length_prefixed(&mut info, b"olmcast/1 admission");
        length_prefixed(&mut info, self.room.as_bytes());
        // 32 bytes are far below HKDF's limit, so the expansion cannot fail; were it to, there
        // would be no admission key at all rather than a known one.
        let mut derived = Ok(());
        let key = Secret::fill(|bytes| derived = derive.expand(&info, bytes));
        RoomKeys { room: self.room, admission: derived.is_ok().then_some(key) }
    }

    /// The key that opens the room's door at the service.
    ///
    /// # Errors
    /// [`InviteError::Secret`] if none can be derived.
    pub fn door_key(&self) -> Result<DoorKey, InviteError> {
        door_key(&self.secret)
    }
}

fn door_key(secret: &Secret<32>) -> Result<DoorKey, InviteError> {
    let mut derived = Ok(());
    let seed = Secret::<32>::fill(|bytes| {
        derived = Hkdf::<Sha256>::new(None, secret.expose()).expand(b"olmcast/1 door key", bytes);
    });
    derived.map_err(|_| InviteError::Secret)?;
    Ok(DoorKey(Ed25519SecretKey::from_slice(seed.expose())))
}

impl FromStr for Invite {
    type Err = InviteError;

    fn from_str(link: &str) -> Result<Self, InviteError> {
        let (place, secret) = match link.trim().split_once('#') {
            Some((place, secret)) => (place, Some(secret)),
            None => (link.trim(), None),
        };
        let (service, room) = ServiceAddress::split_link(place)?;
        let secret = secret.ok_or(InviteError::Secret)?;
        let room: RoomId = room.ok_or(InviteError::Room)?.parse().map_err(|_| InviteError::Room)?;
        let secret = zeroize::Zeroizing::new(
            URL_SAFE_NO_PAD.decode(secret).map_err(|_| InviteError::Secret)?,
        );
        let secret = Secret::from_slice(&secret).ok_or(InviteError::Secret)?;
        if room_of(&door_key(&secret)?.public()) != room {
            return Err(InviteError::Mismatch);
        }
        Ok(Self { service, room, secret })
    }
}

impl Invite {
    /// The whole link, secret included: show it to its owner only, and keep it out of logs.
    /// There is no `Display`, so that it cannot be printed by accident.
    pub fn to_link(&self) -> String {
        let secret = URL_SAFE_NO_PAD.encode(self.secret.expose());
        format!("{}/{}#{secret}", self.service, self.room)
    }
}

impl fmt::Debug for Invite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Invite")
            .field("service", &self.service)
            .field("room", &self.room)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::Transport;

    #[test]
    fn a_link_reads_back_and_a_damaged_one_says_what_is_wrong() {
        let invite = Invite::generate("localhost:7600").unwrap();
        let link = invite.to_link();
        assert_eq!(link.parse::<Invite>().unwrap(), invite);

        let other = Invite::generate("localhost:7600").unwrap().to_link();
        let (place, _) = link.split_once('#').unwrap();
        let (_, secret) = other.split_once('#').unwrap();
        for (bad, error) in [
            (link.replace("olmcast:", "https:"), InviteError::Scheme),
            (place.to_owned(), InviteError::Secret),
            (format!("{place}#"), InviteError::Secret),
            (link[..link.len() - 1].to_owned(), InviteError::Secret),
            (link.replace("localhost:7600", ""), InviteError::Host),
            (link.replace("localhost:7600", "local host"), InviteError::Host),
            ("olmcast://localhost/room#AAAA".to_owned(), InviteError::Room),
            (format!("{place}#{secret}"), InviteError::Mismatch),
        ] {
            assert_eq!(bad.parse::<Invite>().unwrap_err(), error, "{bad}");
        }
    }

    #[test]
    fn a_link_says_how_its_service_is_spoken_to() {
        for (server, scheme, transport) in [
            ("keys.example:443", "olmcast", Transport::Tls),
            ("127.0.0.1:7600", "olmcast", Transport::Plain),
            ("olmcast+plain://keys.example:80", "olmcast+plain", Transport::Plain),
            ("olmcast+tls://127.0.0.1:7600", "olmcast+tls", Transport::Tls),
        ] {
            let invite = Invite::generate(server).unwrap();
            let link = invite.to_link();
            assert_eq!(link.split_once("://").unwrap().0, scheme);
            let read: Invite = link.parse().unwrap();
            assert_eq!((read.service().transport(), &read), (transport, &invite));
            assert_eq!(read.service().host(), server.rsplit('/').next().unwrap());
        }
        // The scheme is not part of the room: who has one link can write the other.
        let tls = Invite::generate("olmcast+tls://localhost:1").unwrap();
        let plain: Invite = tls.to_link().replace("+tls", "").parse().unwrap();
        assert_eq!(plain.room(), tls.room());
        assert_ne!(plain, tls);
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let invite = Invite::generate("h:1").unwrap();
        let link = invite.to_link();
        let secret = link.split_once('#').unwrap().1;
        let shown = format!("{invite:?} {:?} {:?}", invite.room_keys(), invite.door_key().unwrap());
        assert!(!shown.contains(secret));
    }

    #[test]
    fn a_door_opens_only_with_its_own_key_challenge_and_device() {
        let invite = Invite::generate("h:1").unwrap();
        let stranger = Invite::generate("h:1").unwrap();
        let (door, other) = (invite.door_key().unwrap(), stranger.door_key().unwrap());
        let (device, challenge, room) = (DeviceId::from_bytes([3; 32]), [9; 32], invite.room());
        let signature = door.sign(&challenge, &device);
        assert!(DoorKey::opens(&door.public(), &room, &challenge, &device, &signature));
        assert!(!DoorKey::opens(&door.public(), &room, &[8; 32], &device, &signature));
        let someone = DeviceId::from_bytes([4; 32]);
        assert!(!DoorKey::opens(&door.public(), &room, &challenge, &someone, &signature));
        // A stranger's own key is not this room's door, whatever it signs.
        let honest = other.sign(&challenge, &device);
        assert!(!DoorKey::opens(&other.public(), &room, &challenge, &device, &honest));
        let forged = other.0.sign(&door_form(&room, &challenge, &device));
        let forged = Signature::from_bytes(forged.to_bytes());
        assert!(!DoorKey::opens(&other.public(), &room, &challenge, &device, &forged));
    }

    #[test]
    fn an_admission_proof_is_bound_to_signer_bytes_and_room() {
        let keys = Invite::generate("h:1").unwrap().room_keys();
        let others = Invite::generate("h:1").unwrap().room_keys();
        let (a, b) = (DeviceId::from_bytes([1; 32]), DeviceId::from_bytes([2; 32]));
        let proof = keys.admission_proof(&a, b"subscribe").unwrap();
        assert!(keys.admits(&a, b"subscribe", &proof));
        assert!(!keys.admits(&b, b"subscribe", &proof));
        assert!(!keys.admits(&a, b"subscribe!", &proof));
        assert!(!others.admits(&a, b"subscribe", &proof));
        assert!(!RoomKeys::without_invite(keys.room()).admits(&a, b"subscribe", &proof));
    }
}

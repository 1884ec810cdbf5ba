use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::name::{Look, looks, tidy};
use crate::{primitives::DeviceId, protocol::PublicKey};

/// Devices that are pinned because they were seen. When there are so many, no more are: whoever has
/// an invite can come with any number of devices, and must not push out others. What the user decided
/// is kept without a limit.
const MAX_SEEN: usize = 4096;

/// What is known of a device.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TrustState {
    /// It was never admitted to a stream of ours, nor we to one of its own.
    #[default]
    Unknown,
    /// Its keys and name are those that it had when it was first seen, or that the user pinned.
    Pinned,
    /// Its keys and name were compared by people: see
    /// [`Endpoint::verify`](crate::endpoint::Endpoint) and the device's card.
    Verified,
    /// The user blocked it: it gets nothing from us, and nothing is taken from it.
    Blocked,
}

impl fmt::Display for TrustState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Pinned => "seen before",
            Self::Verified => "verified",
            Self::Blocked => "blocked",
        })
    }
}

/// Why a device is not taken for what it says that it is. Its keys are withheld until the user
/// decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// The user blocked it.
    #[error("the device is blocked")]
    Blocked,
    /// It has another Curve25519 key than the one that was pinned or verified.
    #[error("the device has another Curve25519 key than before")]
    KeyChanged,
    /// Another device is known by this name, or by one that looks like it.
    #[error("another device is known by this name: {0}")]
    NameTaken(DeviceId),
}

/// A device that is known, and as what: the pin binds its two keys and its name to one another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownDevice {
    /// Its Ed25519 key.
    pub device: DeviceId,
    /// Its Curve25519 key, which Olm uses. `None` if it was blocked before that was seen.
    pub curve25519: Option<PublicKey>,
    /// The name that it had when it was pinned or verified; what it says later does not change it.
    /// Empty if it had none, or one that another device is known by: it may get one later.
    pub name: String,
    /// What is known of it; never [`TrustState::Unknown`].
    pub state: TrustState,
    /// Whether the user decided that. If not, it was pinned because it was seen.
    pub decided: bool,
}

/// The devices that this one knows.
///
/// A name is trusted only as far as it is bound to keys here: a device that bears a known name and
/// other keys is not trusted ([`Distrust`]) until the user pins or verifies it under that name, too.
/// So one user's devices may all have one name. A device that is known goes on being known by the
/// name of then, whatever it calls itself later.
#[derive(Clone, Debug, Default)]
pub struct TrustStore {
    devices: BTreeMap<DeviceId, Box<KnownDevice>>,
    /// How many of them the user did not decide about.
    seen: usize,
    /// Who is known by a name, whatever of it looks the same.
    names: BTreeSet<(Look, Half)>,
}

/// The first half of a device id: nobody can make another one that begins so, and there are many.
type Half = [u8; 16];

fn half(device: &DeviceId) -> Half {
    std::array::from_fn(|at| device.as_bytes()[at])
}

impl TrustStore {
    /// What is known of a device.
    pub fn state(&self, device: &DeviceId) -> TrustState {
        self.get(device).map_or(TrustState::Unknown, |known| known.state)
    }

    /// The device as it is known.
    pub fn get(&self, device: &DeviceId) -> Option<&KnownDevice> {
        self.devices.get(device).map(Box::as_ref)
    }

    /// All known devices, by their ids.
    pub fn iter(&self) -> impl Iterator<Item = &KnownDevice> {
        self.devices.values().map(Box::as_ref)
    }

    /// Compares what a device says of itself with what is known.
    ///
    /// # Errors
    /// Why it is not to be trusted.
    pub fn check(
        &self,
        device: &DeviceId,
        curve25519: &PublicKey,
        name: &str,
    ) -> Result<TrustState, Distrust> {
        let state = self.check_keys(device, curve25519)?;
        self.check_name(device, name).map(|()| state)
    }

    /// Whether no other device is known by a name.
    pub(crate) fn check_name(&self, device: &DeviceId, name: &str) -> Result<(), Distrust> {
        match self.known_as(device, &looks(name).collect::<Vec<_>>()) {
            Some(other) => Err(Distrust::NameTaken(other)),
            None => Ok(()),
        }
    }

    /// The same without regard to its name.
    pub(crate) fn check_keys(
        &self,
        device: &DeviceId,
        curve25519: &PublicKey,
    ) -> Result<TrustState, Distrust> {
        let Some(known) = self.get(device) else { return Ok(TrustState::Unknown) };
        if known.state == TrustState::Blocked {
            Err(Distrust::Blocked)
        } else if known.curve25519.is_some_and(|pinned| pinned != *curve25519) {
            Err(Distrust::KeyChanged)
        } else {
            Ok(known.state)
        }
    }

    /// A device that is known by a name that looks so, if this one is not.
    fn known_as(&self, device: &DeviceId, looks: &[Look]) -> Option<DeviceId> {
        let is_unknown_as = |look: &Look| !self.names.contains(&(*look, half(device)));
        looks.iter().find_map(|look| self.bearer(*look).filter(|_| is_unknown_as(look)))
    }

    /// The first of those who are known by a name that looks so.
    fn bearer(&self, look: Look) -> Option<DeviceId> {
        let (_, half) = self.names.range((look, [0; 16])..=(look, [255; 16])).next()?;
        let mut first = [0; 32];
        first[..half.len()].copy_from_slice(half);
        self.devices.range(DeviceId::from_bytes(first)..).next().map(|(device, _)| *device)
    }

    /// Pins a device that was not known, as what it says that it is. A name that another device is
    /// known by is not bound to it: that is for the user to say. True if that is news.
    pub(crate) fn see(&mut self, device: DeviceId, curve25519: PublicKey, name: &str) -> bool {
        let known = self.get(&device);
        let is_known = known.is_some();
        let decided = known.is_some_and(|known| known.decided);
        // A pin without a name has room for one.
        let is_complete =
            known.is_some_and(|known| known.state != TrustState::Pinned || !known.name.is_empty());
        if is_complete {
            return false;
        }
        let looks: Vec<_> = looks(name).collect();
        let is_taken = self.known_as(&device, &looks).is_some();
        let name = if is_taken { "" } else { name };
        if is_known && (is_taken || looks.is_empty()) {
            return false;
        }
        if self.check_keys(&device, &curve25519).is_err() || (!is_known && self.seen >= MAX_SEEN) {
            return false;
        }
        let looks = if is_taken { Vec::new() } else { looks };
        if is_known {
            self.forget(&device);
        }
        let (curve25519, name) = (Some(curve25519), tidy(name));
        let state = TrustState::Pinned;
        self.put_looking(KnownDevice { device, curve25519, name, state, decided }, &looks);
        true
    }

    /// The user says that this device has these keys and this name, and may have them even if others
    /// have that name, too. Whatever was known of it before is replaced.
    pub fn pin(&mut self, device: DeviceId, curve25519: PublicKey, name: &str) {
        self.decide(device, Some(curve25519), name, TrustState::Pinned);
    }

    /// The same, after people have compared keys and name.
    pub fn verify(&mut self, device: DeviceId, curve25519: PublicKey, name: &str) {
        self.decide(device, Some(curve25519), name, TrustState::Verified);
    }

    /// The user lets a device in although something speaks against it: it is pinned as what it says
    /// that it is. Whoever is verified stays so, under the name that people compared and no other. And
    /// with another key nobody gets another's name: the user was shown the key.
    pub(crate) fn accept(&mut self, device: DeviceId, curve25519: PublicKey, name: &str) {
        let keys = self.check_keys(&device, &curve25519);
        if keys == Ok(TrustState::Verified) {
            return;
        }
        let is_taken = self.check_name(&device, name).is_err();
        match self.get(&device).map(|known| known.name.clone()) {
            Some(known) if keys == Err(Distrust::KeyChanged) && is_taken => {
                self.pin(device, curve25519, &known);
            }
            _ => self.pin(device, curve25519, name),
        }
    }

    /// Blocks a device, known or not.
    pub fn block(&mut self, device: DeviceId) {
        let (curve25519, name) = self
            .get(&device)
            .map_or((None, String::new()), |known| (known.curve25519, known.name.clone()));
        self.decide(device, curve25519, &name, TrustState::Blocked);
    }

    /// Forgets a device, blocked or not. False if it was not known.
    pub fn forget(&mut self, device: &DeviceId) -> bool {
        let Some(known) = self.devices.remove(device) else { return false };
        self.seen -= usize::from(!known.decided);
        for look in looks(&known.name) {
            self.names.remove(&(look, half(device)));
        }
        true
    }

    fn decide(
        &mut self,
        device: DeviceId,
        curve25519: Option<PublicKey>,
        name: &str,
        state: TrustState,
    ) {
        self.put(KnownDevice { device, curve25519, name: tidy(name), state, decided: true });
    }

    /// Keeps this instead of what was known of the device.
    pub(crate) fn put(&mut self, known: KnownDevice) {
        self.forget(&known.device);
        let looks: Vec<_> = looks(&known.name).collect();
        self.put_looking(known, &looks);
    }

    /// Puts a device in that is not here, with what its name looks like.
    fn put_looking(&mut self, known: KnownDevice, looks: &[Look]) {
        self.seen += usize::from(!known.decided);
        // A blocked device does not keep its name from others.
        if known.state != TrustState::Blocked {
            self.names.extend(looks.iter().map(|look| (*look, half(&known.device))));
        }
        self.devices.insert(known.device, Box::new(known));
    }
}

impl Serialize for TrustStore {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for TrustStore {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut store = Self::default();
        for known in Vec::<KnownDevice>::deserialize(deserializer)? {
            store.put(KnownDevice { name: tidy(&known.name), ..known });
        }
        Ok(store)
    }
}

#[cfg(test)]
mod tests;

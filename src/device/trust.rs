use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use unicode_security::confusable_detection::skeleton;

use crate::{
    primitives::DeviceId,
    protocol::{PublicKey, Subscribe},
};

/// Devices that are kept only because they were seen. When there are more, the oldest is forgotten;
/// those that the user decided about are kept for ever.
const MAX_PINNED: usize = 4096;
/// The longest name of a device that is kept, in bytes.
pub const MAX_NAME: usize = Subscribe::MAX_NAME;

/// What is known of a device.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum TrustState {
    /// It was never admitted to a stream of ours, nor we to one of its own.
    #[default]
    Unknown,
    /// Its keys and name are those that it had when it was first seen.
    Pinned,
    /// Its keys and name were compared by people: see [`sas`](super::sas) and
    /// [`DeviceCard`](super::DeviceCard).
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
    pub name: String,
    /// What is known of it; never [`TrustState::Unknown`].
    pub state: TrustState,
}

/// The devices that this one knows.
///
/// A name is trusted only as far as it is bound to keys here: a device that bears a known name and
/// other keys is not trusted ([`Distrust`]) until the user pins or verifies it under that name, too.
#[derive(Clone, Debug, Default)]
pub struct TrustStore {
    devices: BTreeMap<DeviceId, (u64, KnownDevice)>,
    /// Those that are only pinned, the oldest first.
    pinned: BTreeMap<u64, DeviceId>,
    /// Who is known by a name, whatever of it looks the same.
    names: BTreeMap<String, BTreeSet<DeviceId>>,
    next: u64,
}

impl TrustStore {
    /// What is known of a device.
    pub fn state(&self, device: &DeviceId) -> TrustState {
        self.get(device).map_or(TrustState::Unknown, |known| known.state)
    }

    /// The device as it is known.
    pub fn get(&self, device: &DeviceId) -> Option<&KnownDevice> {
        self.devices.get(device).map(|(_, known)| known)
    }

    /// All known devices, by their ids.
    pub fn iter(&self) -> impl Iterator<Item = &KnownDevice> {
        self.devices.values().map(|(_, known)| known)
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
        let known = self.get(device);
        let state = known.map_or(TrustState::Unknown, |known| known.state);
        if state == TrustState::Blocked {
            return Err(Distrust::Blocked);
        }
        if known.and_then(|known| known.curve25519).is_some_and(|pinned| pinned != *curve25519) {
            return Err(Distrust::KeyChanged);
        }
        let look = look(name);
        match self.names.get(&look) {
            Some(bearers) if !bearers.contains(device) => {
                Err(bearers.first().map_or(Distrust::KeyChanged, |by| Distrust::NameTaken(*by)))
            }
            _ => Ok(state),
        }
    }

    /// Pins a device that was not known, as what it says that it is. True if that is news.
    pub(crate) fn see(&mut self, device: DeviceId, curve25519: PublicKey, name: &str) -> bool {
        if self.devices.contains_key(&device) {
            return false;
        }
        self.put(device, Some(curve25519), name, TrustState::Pinned);
        true
    }

    /// The user says that this device has these keys and this name, and may have them even if others
    /// have that name, too. Whatever was known of it before is replaced.
    pub fn pin(&mut self, device: DeviceId, curve25519: PublicKey, name: &str) {
        self.put(device, Some(curve25519), name, TrustState::Pinned);
    }

    /// The same, after people have compared keys and name.
    pub fn verify(&mut self, device: DeviceId, curve25519: PublicKey, name: &str) {
        self.put(device, Some(curve25519), name, TrustState::Verified);
    }

    /// Blocks a device, known or not.
    pub fn block(&mut self, device: DeviceId) {
        let (curve25519, name) = self
            .get(&device)
            .map_or((None, String::new()), |known| (known.curve25519, known.name.clone()));
        self.put(device, curve25519, &name, TrustState::Blocked);
    }

    /// Forgets a device, blocked or not. False if it was not known.
    pub fn forget(&mut self, device: &DeviceId) -> bool {
        let Some((number, known)) = self.devices.remove(device) else { return false };
        self.pinned.remove(&number);
        let look = look(&known.name);
        if let Some(bearers) = self.names.get_mut(&look) {
            bearers.remove(device);
            if bearers.is_empty() {
                self.names.remove(&look);
            }
        }
        true
    }

    fn put(
        &mut self,
        device: DeviceId,
        curve25519: Option<PublicKey>,
        name: &str,
        state: TrustState,
    ) {
        self.forget(&device);
        let name = cut(name);
        let number = self.next;
        self.next += 1;
        if state == TrustState::Pinned {
            if self.pinned.len() >= MAX_PINNED
                && let Some((_, oldest)) = self.pinned.pop_first()
            {
                self.forget(&oldest);
            }
            self.pinned.insert(number, device);
        }
        let look = look(name);
        // Whoever has no name is nobody in particular; a blocked device does not keep its name from
        // others.
        if !look.is_empty() && state != TrustState::Blocked {
            self.names.entry(look).or_default().insert(device);
        }
        let known = KnownDevice { device, curve25519, name: name.to_owned(), state };
        self.devices.insert(device, (number, known));
    }
}

/// What a name looks like to people: without what no reader sees, and with one letter for those
/// that look alike (Unicode Technical Standard #39).
fn look(name: &str) -> String {
    let plain: String = skeleton(&cut(name).to_lowercase()).collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// A name as far as it is kept.
fn cut(name: &str) -> &str {
    let name = name.trim();
    &name[..name.floor_char_boundary(MAX_NAME)]
}

impl Serialize for TrustStore {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut in_order: Vec<_> = self.devices.values().collect();
        in_order.sort_by_key(|(number, _)| *number);
        serializer.collect_seq(in_order.into_iter().map(|(_, known)| known))
    }
}

impl<'de> Deserialize<'de> for TrustStore {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut store = Self::default();
        for known in Vec::<KnownDevice>::deserialize(deserializer)? {
            store.put(known.device, known.curve25519, &known.name, known.state);
        }
        Ok(store)
    }
}

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{
    primitives::DeviceId,
    protocol::{RosterDigest, RosterHash},
};

/// Who holds a stream's key, or is being handed it now, for the digest that all of them are told.
///
/// The hash has three levels, by the first half and the first of the ids' bytes: with ten thousand
/// holders, one that comes or goes costs the hashes of some 70 ids, instead of all. What is told is
/// worked out when it is told, so a crowd that comes at once costs that once.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// By the first four bits, none of them empty.
    groups: BTreeMap<u8, Group>,
    holders: u32,
    version: u64,
    hash: Option<RosterHash>,
}

#[derive(Debug, Default)]
struct Group {
    /// By the first byte, none of them empty.
    buckets: BTreeMap<u8, Bucket>,
    hash: Option<[u8; 32]>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// In order. There are few, and a set of its own for each would take four times as much.
    devices: Vec<DeviceId>,
    hash: Option<[u8; 32]>,
}

impl Group {
    fn hash(&self) -> [u8; 32] {
        self.hash.unwrap_or_else(|| {
            let mut hash = Sha256::new();
            for (first, bucket) in &self.buckets {
                hash.update([*first]);
                hash.update(bucket.hash());
            }
            hash.finalize().into()
        })
    }
}

impl Bucket {
    fn hash(&self) -> [u8; 32] {
        self.hash.unwrap_or_else(|| {
            let mut hash = Sha256::new();
            self.devices.iter().for_each(|device| hash.update(device.as_bytes()));
            hash.finalize().into()
        })
    }
}

impl Census {
    /// Counts a device, if it was not.
    pub(super) fn insert(&mut self, device: DeviceId) {
        let first = device.as_bytes()[0];
        let group = self.groups.entry(first >> 4).or_default();
        let bucket = group.buckets.entry(first).or_default();
        if let Err(at) = bucket.devices.binary_search(&device) {
            bucket.devices.reserve_exact(1);
            bucket.devices.insert(at, device);
            bucket.hash = None;
            group.hash = None;
            self.holders = self.holders.saturating_add(1);
            self.changed();
        }
    }

    /// Counts a device no more.
    pub(super) fn remove(&mut self, device: DeviceId) {
        let first = device.as_bytes()[0];
        let Some(group) = self.groups.get_mut(&(first >> 4)) else { return };
        let Some(bucket) = group.buckets.get_mut(&first) else { return };
        if let Ok(at) = bucket.devices.binary_search(&device) {
            bucket.devices.remove(at);
            bucket.hash = None;
            group.hash = None;
            if bucket.devices.is_empty() {
                group.buckets.remove(&first);
            }
            if group.buckets.is_empty() {
                self.groups.remove(&(first >> 4));
            }
            self.holders = self.holders.saturating_sub(1);
            self.changed();
        }
    }

    fn changed(&mut self) {
        self.version += 1;
        self.hash = None;
    }

    /// What holders are to be told now; it is worked out once.
    pub(super) fn announce(&mut self) -> RosterDigest {
        if self.hash.is_none() {
            for group in self.groups.values_mut().filter(|group| group.hash.is_none()) {
                for bucket in group.buckets.values_mut() {
                    bucket.hash = Some(bucket.hash());
                }
                group.hash = Some(group.hash());
            }
            self.hash = Some(self.hash());
        }
        self.digest()
    }

    /// The same, for ourselves.
    pub(super) fn digest(&self) -> RosterDigest {
        let hash = self.hash.unwrap_or_else(|| self.hash());
        RosterDigest { version: self.version, holders: self.holders, hash }
    }

    fn hash(&self) -> RosterHash {
        let mut hashes = Vec::with_capacity(1024);
        hashes.extend_from_slice(b"olmcast/1 roster");
        for (first, group) in &self.groups {
            hashes.push(*first);
            hashes.extend_from_slice(&group.hash());
        }
        RosterHash::of(&hashes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn device(first: u8, last: u8) -> DeviceId {
        let mut bytes = [7; 32];
        (bytes[0], bytes[31]) = (first, last);
        DeviceId::from_bytes(bytes)
    }

    /// The definition: a hash over the hashes for each half byte, of the hashes for each byte, of
    /// the ids that begin with it, in order.
    fn naive(devices: &BTreeSet<DeviceId>) -> RosterHash {
        let mut outer = b"olmcast/1 roster".to_vec();
        for half in 0..16 {
            let mut inner = Vec::new();
            for first in half * 16..=half * 16 + 15 {
                let ids: Vec<u8> = devices
                    .iter()
                    .filter(|device| device.as_bytes()[0] == first)
                    .flat_map(|device| *device.as_bytes())
                    .collect();
                if !ids.is_empty() {
                    inner.push(first);
                    inner.extend_from_slice(&Sha256::digest(&ids));
                }
            }
            if !inner.is_empty() {
                outer.push(half);
                outer.extend_from_slice(&Sha256::digest(&inner));
            }
        }
        RosterHash(Sha256::digest(&outer)[..16].try_into().unwrap())
    }

    proptest! {
        #[test]
        fn after_whatever_changes_the_digest_is_that_of_the_devices_that_are_there(
            changes in prop::collection::vec((14_u8..18, 0_u8..4, any::<bool>(), any::<bool>()), 1..60),
        ) {
            let (mut census, mut devices) = (Census::default(), BTreeSet::new());
            let mut told = census.announce();
            for (first, last, comes, is_told) in changes {
                let device = device(first, last);
                let is_change = match comes {
                    true => { census.insert(device); devices.insert(device) }
                    false => { census.remove(device); devices.remove(&device) }
                };
                let digest = if is_told { census.announce() } else { census.digest() };
                prop_assert_eq!(digest, census.digest());
                prop_assert_eq!(digest.hash, naive(&devices));
                prop_assert_eq!(digest.holders as usize, devices.len());
                prop_assert_eq!(digest.version, told.version + u64::from(is_change));
                prop_assert_eq!(digest.hash == told.hash, !is_change);
                told = digest;
            }
        }
    }

    #[test]
    fn a_device_is_not_the_same_under_another_first_byte() {
        let hash = |devices: &[DeviceId]| {
            let mut census = Census::default();
            devices.iter().for_each(|device| census.insert(*device));
            census.announce().hash
        };
        let (a, b) = (device(1, 1), device(2, 1));
        assert_ne!(hash(&[a]), hash(&[b]));
        assert_ne!(hash(&[a]), hash(&[]));
        assert_eq!(hash(&[a, b]), hash(&[b, a]));
    }
}

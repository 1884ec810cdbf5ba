use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::{
    primitives::DeviceId,
    protocol::{RosterDigest, RosterHash},
};

/// Who holds a stream's key, or is being handed it now, for the digest that all of them are told.
///
/// The hash has two levels, by the ids' first bytes: with ten thousand holders, one that comes or
/// goes costs some 40 ids and 256 hashes, instead of all ids. What is told is worked out when it is
/// told, so a crowd that comes at once costs that once.
#[derive(Debug, Default)]
pub(super) struct Census {
    /// Devices by the first byte of their id, none of them empty.
    buckets: BTreeMap<u8, Bucket>,
    holders: u32,
    version: u64,
    hash: Option<RosterHash>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// In order. There are few, and a set of its own for each would take four times as much.
    devices: Vec<DeviceId>,
    hash: Option<[u8; 32]>,
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
        let bucket = self.buckets.entry(device.as_bytes()[0]).or_default();
        if let Err(at) = bucket.devices.binary_search(&device) {
            bucket.devices.reserve_exact(1);
            bucket.devices.insert(at, device);
            bucket.hash = None;
            self.holders = self.holders.saturating_add(1);
            self.changed();
        }
    }

    /// Counts a device no more.
    pub(super) fn remove(&mut self, device: DeviceId) {
        let first = device.as_bytes()[0];
        let Some(bucket) = self.buckets.get_mut(&first) else { return };
        if let Ok(at) = bucket.devices.binary_search(&device) {
            bucket.devices.remove(at);
            bucket.hash = None;
            if bucket.devices.is_empty() {
                self.buckets.remove(&first);
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
            for bucket in self.buckets.values_mut() {
                bucket.hash = Some(bucket.hash());
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
        let mut hashes = b"olmcast/1 roster".to_vec();
        for (first, bucket) in &self.buckets {
            hashes.push(*first);
            hashes.extend_from_slice(&bucket.hash());
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

    /// The definition: a hash of the hash of each first byte's ids in order.
    fn naive(devices: &BTreeSet<DeviceId>) -> RosterHash {
        let mut outer = b"olmcast/1 roster".to_vec();
        for first in 0..=255 {
            let ids: Vec<u8> = devices
                .iter()
                .filter(|device| device.as_bytes()[0] == first)
                .flat_map(|device| *device.as_bytes())
                .collect();
            if !ids.is_empty() {
                outer.push(first);
                outer.extend_from_slice(&Sha256::digest(&ids));
            }
        }
        RosterHash(Sha256::digest(&outer)[..16].try_into().unwrap())
    }

    proptest! {
        #[test]
        fn after_whatever_changes_the_digest_is_that_of_the_devices_that_are_there(
            changes in prop::collection::vec((0_u8..4, 0_u8..4, any::<bool>(), any::<bool>()), 1..60),
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

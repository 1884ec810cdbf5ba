use std::collections::{BTreeSet, HashMap, HashSet, VecDeque, hash_map::Entry};

use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::{DeviceKeys, FallbackKey, KeysUpload, OneTimeKey, service::RefusalCode},
    server::{
        Limits,
        store::{Claimed, DeviceRecord, Once, StoreError},
    },
};

/// Requests that are remembered at a time. Who signs them is limited in how many; this is for very
/// many devices together.
const REQUESTS: usize = 1 << 20;

/// The public keys of devices, and the requests that were carried out.
#[derive(Default)]
pub(in crate::server) struct Directory {
    devices: HashMap<DeviceId, Device>,
    /// When each device was last heard of: the oldest first.
    by_age: BTreeSet<(Timestamp, DeviceId)>,
    requests: Requests,
}

struct Device {
    keys: DeviceKeys,
    fallback: Option<FallbackKey>,
    /// In the order of their numbers.
    one_time_keys: VecDeque<OneTimeKey>,
    /// The highest number so far, whatever has become of its key.
    highest: Option<u64>,
    uploaded: Timestamp,
}

impl Directory {
    /// See [`Store::upload`](crate::server::store::Store::upload).
    pub(in crate::server) fn upload(
        &mut self,
        once: Once,
        device: DeviceId,
        upload: KeysUpload,
        limits: &Limits,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.requests.check(&once)?;
        let count = self.devices.len();
        let (mut known, mut left) = (None, 0);
        if let Some(device) = self.devices.get(&device) {
            known = device.highest;
            left = if upload.replace_one_time_keys { 0 } else { device.one_time_keys.len() };
        } else if upload.device_keys.is_none() {
            return Err(StoreError::UnknownDevice);
        } else if count >= limits.directory_devices {
            return Err(StoreError::Refused(RefusalCode::QuotaExceeded));
        }
        let fresh = above(known, upload.one_time_keys);
        if left + fresh.len() > limits.one_time_keys {
            return Err(StoreError::Refused(RefusalCode::QuotaExceeded));
        }
        // From here on nothing fails.
        let entry = match (self.devices.entry(device), upload.device_keys) {
            (Entry::Occupied(entry), keys) => {
                let entry = entry.into_mut();
                self.by_age.remove(&(entry.uploaded, device));
                if let Some(keys) = keys {
                    entry.keys = keys;
                }
                entry
            }
            (Entry::Vacant(entry), Some(keys)) => entry.insert(Device {
                keys,
                fallback: None,
                one_time_keys: VecDeque::new(),
                highest: None,
                uploaded: now,
            }),
            (Entry::Vacant(_), None) => return Err(StoreError::UnknownDevice),
        };
        if upload.fallback_key.is_some() {
            entry.fallback = upload.fallback_key;
        }
        if upload.replace_one_time_keys {
            entry.one_time_keys.clear();
        }
        entry.highest = fresh.last().map(|key| key.number).or(entry.highest);
        entry.one_time_keys.extend(fresh);
        entry.uploaded = now;
        self.by_age.insert((now, device));
        self.requests.remember(once);
        Ok(entry.one_time_keys.len())
    }

    /// See [`Store::device`](crate::server::store::Store::device).
    pub(in crate::server) fn device(&self, device: &DeviceId) -> Option<DeviceRecord> {
        let device = self.devices.get(device)?;
        Some(DeviceRecord {
            keys: device.keys.clone(),
            fallback: device.fallback,
            one_time_keys: device.one_time_keys.len(),
        })
    }

    /// See [`Store::claim`](crate::server::store::Store::claim).
    pub(in crate::server) fn claim(
        &mut self,
        once: Once,
        device: &DeviceId,
        spare: bool,
    ) -> Result<Option<Claimed>, StoreError> {
        self.requests.check(&once)?;
        let claimed = self.devices.get_mut(device).and_then(|device| {
            let key = if spare { None } else { device.one_time_keys.pop_front() };
            let key = key.map(Claimed::OneTime);
            key.or(device.fallback.map(Claimed::Fallback))
        });
        self.requests.remember(once);
        Ok(claimed)
    }

    /// Forgets devices that have uploaded nothing for `device_ttl`, and requests that are too old
    /// to come again.
    pub(in crate::server) fn expire(&mut self, limits: &Limits, now: Timestamp) {
        self.requests.expire(now);
        while let Some(&(uploaded, device)) = self.by_age.first()
            && uploaded + limits.device_ttl < now
        {
            self.by_age.pop_first();
            self.devices.remove(&device);
        }
    }
}

/// Of these keys, those whose number is above `highest`, in the order of their numbers, each once.
fn above(highest: Option<u64>, mut keys: Vec<OneTimeKey>) -> Vec<OneTimeKey> {
    keys.retain(|key| highest.is_none_or(|highest| key.number > highest));
    keys.sort_by_key(|key| key.number);
    keys.dedup_by_key(|key| key.number);
    keys
}

/// The requests that were carried out, as long as they could come again.
#[derive(Default)]
struct Requests {
    ids: HashSet<[u8; 32]>,
    by_age: BTreeSet<(Timestamp, [u8; 32])>,
}

impl Requests {
    fn check(&self, once: &Once) -> Result<(), StoreError> {
        if self.ids.contains(&once.id) {
            return Err(StoreError::Replayed);
        }
        // Forgetting one instead would let it be replayed.
        if self.ids.len() >= REQUESTS {
            return Err(StoreError::Refused(RefusalCode::RateLimited));
        }
        Ok(())
    }

    fn remember(&mut self, once: Once) {
        self.ids.insert(once.id);
        self.by_age.insert((once.until, once.id));
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some(&(until, id)) = self.by_age.first()
            && until < now
        {
            self.by_age.pop_first();
            self.ids.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use vodozemac::Curve25519PublicKey;

    use super::*;
    use crate::{primitives::Signature, protocol::PublicKey};

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);
    const A: DeviceId = DeviceId::from_bytes([0xA0; 32]);
    const B: DeviceId = DeviceId::from_bytes([0xB0; 32]);
    const SIGNATURE: Signature = Signature::from_bytes([0x51; 64]);

    /// A directory, its limits, and a source of requests.
    struct Test {
        directory: Directory,
        limits: Limits,
        requests: u8,
    }

    impl Test {
        fn new() -> Self {
            let limits = Limits {
                one_time_keys: 5,
                directory_devices: 2,
                device_ttl: Duration::from_secs(100),
                ..Limits::default()
            };
            Self { directory: Directory::default(), limits, requests: 0 }
        }

        fn once(&mut self) -> Once {
            self.requests += 1;
            Once { id: [self.requests; 32], until: NOW + Duration::from_secs(60) }
        }

        fn upload(&mut self, device: DeviceId, numbers: &[u64]) -> Result<usize, StoreError> {
            let once = self.once();
            let keys = upload(Some(device), numbers);
            self.directory.upload(once, device, keys, &self.limits, NOW)
        }

        fn claim(&mut self, device: DeviceId) -> Option<Claimed> {
            let once = self.once();
            self.directory.claim(once, &device, false).unwrap()
        }

        fn numbers(&mut self, device: DeviceId) -> Vec<u64> {
            std::iter::from_fn(|| match self.claim(device) {
                Some(Claimed::OneTime(key)) => Some(key.number),
                _ => None,
            })
            .collect()
        }
    }

    fn key(byte: u8) -> PublicKey {
        PublicKey(Curve25519PublicKey::from_bytes([byte; 32]))
    }

    fn upload(device: Option<DeviceId>, numbers: &[u64]) -> KeysUpload {
        let one_time = |&number| OneTimeKey { number, key: key(9), signature: SIGNATURE };
        let keys = |device| DeviceKeys { device, curve25519: key(8), signature: SIGNATURE };
        KeysUpload {
            device_keys: device.map(keys),
            replace_one_time_keys: false,
            one_time_keys: numbers.iter().map(one_time).collect(),
            fallback_key: None,
        }
    }

    fn fallback(byte: u8) -> KeysUpload {
        let fallback_key = Some(FallbackKey { key: key(byte), signature: SIGNATURE });
        KeysUpload { fallback_key, ..KeysUpload::default() }
    }

    #[test]
    fn each_key_goes_out_once_then_the_fallback_key_again_and_again() {
        let mut test = Test::new();
        assert_eq!(test.upload(A, &[1, 2]), Ok(2));
        let once = test.once();
        assert_eq!(test.directory.upload(once, A, fallback(3), &test.limits, NOW), Ok(2));
        assert_eq!(test.numbers(A), [1, 2]);
        for _ in 0..3 {
            assert!(matches!(test.claim(A), Some(Claimed::Fallback(held)) if held.key == key(3)));
        }
        let record = test.directory.device(&A).unwrap();
        assert_eq!((record.one_time_keys, record.keys.device), (0, A));
        assert!(record.fallback.is_some());
    }

    #[test]
    fn a_key_whose_number_was_seen_does_not_come_back() {
        let mut test = Test::new();
        assert_eq!(test.upload(A, &[3, 4]), Ok(2));
        assert_eq!(test.numbers(A), [3, 4]);
        assert_eq!(test.upload(A, &[3, 4]), Ok(0), "the same upload again");
        assert_eq!(test.upload(A, &[2, 6, 5, 6, 4]), Ok(2), "each once, in whatever order");
        assert_eq!(test.numbers(A), [5, 6]);
    }

    #[test]
    fn unknown_and_exhausted_are_alike() {
        let mut test = Test::new();
        assert_eq!(test.upload(A, &[]), Ok(0));
        assert_eq!(test.claim(A), None);
        assert_eq!(test.claim(B), None);
        assert_eq!(test.directory.device(&B), None);
    }

    #[test]
    fn nothing_is_taken_before_the_device_keys() {
        let mut test = Test::new();
        for keys in [upload(None, &[1]), fallback(3), KeysUpload::default()] {
            let once = test.once();
            let refused = test.directory.upload(once, A, keys, &test.limits, NOW);
            assert_eq!(refused, Err(StoreError::UnknownDevice));
        }
        assert_eq!(test.directory.device(&A), None);
        let once = test.once();
        test.upload(A, &[]).unwrap();
        assert_eq!(test.directory.upload(once, A, upload(None, &[1]), &test.limits, NOW), Ok(1));
    }

    #[test]
    fn a_request_is_carried_out_once_and_one_that_failed_may_come_again() {
        let mut test = Test::new();
        let once = test.once();
        let mut keys = upload(Some(A), &[1, 2, 3, 4, 5, 6]);
        let mut put =
            |keys: &KeysUpload| test.directory.upload(once, A, keys.clone(), &test.limits, NOW);
        assert_eq!(put(&keys), Err(StoreError::Refused(RefusalCode::QuotaExceeded)));
        keys.one_time_keys.pop();
        assert_eq!(put(&keys), Ok(5));
        assert_eq!(put(&keys), Err(StoreError::Replayed));
        assert_eq!(test.directory.claim(once, &A, false), Err(StoreError::Replayed));
        let once = test.once();
        assert!(test.directory.claim(once, &A, false).unwrap().is_some());
        assert_eq!(test.directory.claim(once, &A, false), Err(StoreError::Replayed));
        assert_eq!(test.directory.device(&A).unwrap().one_time_keys, 4);
    }

    #[test]
    fn a_request_is_forgotten_when_it_is_out_of_date_and_not_before() {
        let mut test = Test::new();
        let once = test.once();
        assert_eq!(test.directory.claim(once, &A, false), Ok(None));
        test.directory.expire(&test.limits, once.until);
        assert_eq!(test.directory.claim(once, &A, false), Err(StoreError::Replayed));
        test.directory.expire(&test.limits, once.until + Duration::from_millis(1));
        assert_eq!(test.directory.claim(once, &A, false), Ok(None));
        assert_eq!(test.directory.requests.by_age.len(), 1);
    }

    #[test]
    fn more_keys_or_devices_than_allowed_are_refused_and_change_nothing() {
        let mut test = Test::new();
        let refused = Err(StoreError::Refused(RefusalCode::QuotaExceeded));
        assert_eq!(test.upload(A, &[1, 2, 3]), Ok(3));
        assert_eq!(test.upload(A, &[4, 5, 6]), refused);
        assert_eq!(test.upload(A, &[1, 2, 3, 4, 5]), Ok(5), "three of them are passed over");
        assert_eq!(test.upload(B, &[]), Ok(0));
        assert_eq!(test.upload(DeviceId::from_bytes([1; 32]), &[]), refused);
        assert_eq!(test.upload(A, &[]), Ok(5), "who is known goes on");
    }

    #[test]
    fn a_device_is_forgotten_when_it_uploads_nothing_for_its_time() {
        let mut test = Test::new();
        let later = NOW + Duration::from_secs(60);
        test.upload(A, &[1]).unwrap();
        test.upload(B, &[1]).unwrap();
        let once = test.once();
        test.directory.upload(once, B, KeysUpload::default(), &test.limits, later).unwrap();
        test.directory.expire(&test.limits, NOW + Duration::from_secs(100));
        assert!(test.directory.device(&A).is_some());
        test.directory.expire(&test.limits, NOW + Duration::from_secs(101));
        assert!(test.directory.device(&A).is_none() && test.directory.device(&B).is_some());
        test.directory.expire(&test.limits, later + Duration::from_secs(101));
        assert!(test.directory.device(&B).is_none());
        assert!(test.directory.by_age.is_empty());
    }
}

use std::{collections::VecDeque, time::Duration};

use super::Identity;
use crate::{
    primitives::{Timestamp, overwrite_drawn},
    protocol::{DeviceKeys, FallbackKey, KeysUpload, OneTimeKey, PublicKey},
};

/// One-time keys whose private half is kept, the newest: those at the service, and those that were
/// claimed and may still come in a first message. Older ones are forgotten, since whoever takes the
/// device could read with them, and since each makes every copy of the account slower.
const HELD: usize = 200;

/// How long a fallback key is handed out. The one before it is kept as well.
const FALLBACK_FOR: Duration = Duration::from_hours(7 * 24);

/// The keys that a device publishes in the directory.
///
/// They have nothing to do with those in `Subscribe`s: of the account's one-time keys, these here
/// are known by name, and no others are ever published.
#[derive(Default)]
pub(crate) struct KeyPool {
    /// The last number that was given to a key.
    last: u64,
    /// Keys that the service is not known to have. They are offered again, with their numbers, so
    /// that failed uploads make no more and more of them.
    unpublished: VecDeque<OneTimeKey>,
    /// All keys that are held, the oldest first.
    held: VecDeque<PublicKey>,
    fallback: Option<(FallbackKey, Timestamp)>,
    /// Whether the service is known to hand out none of the keys that this device had before it was
    /// started, whose private halves are gone.
    is_alone: bool,
}

impl KeyPool {
    /// What to upload to have so many one-time keys more at the service.
    pub(crate) fn upload(
        &mut self,
        identity: &Identity,
        one_time_keys: usize,
        now: Timestamp,
    ) -> KeysUpload {
        if !self.is_alone {
            // If the service had an upload and its answer was lost, it does not take those keys
            // again. They are still held, for whoever has claimed one.
            self.unpublished.clear();
        }
        let one_time_keys = one_time_keys.min(HELD);
        let missing = one_time_keys.saturating_sub(self.unpublished.len());
        self.generate(identity, missing, now);
        KeysUpload {
            device_keys: Some(device_keys(identity)),
            replace_one_time_keys: !self.is_alone,
            one_time_keys: self.unpublished.iter().take(one_time_keys).copied().collect(),
            fallback_key: self.fallback(identity, now),
        }
    }

    /// The service has taken an upload over.
    pub(crate) fn published(&mut self, upload: &KeysUpload) {
        self.is_alone |= upload.replace_one_time_keys;
        let highest = upload.one_time_keys.iter().map(|key| key.number).max();
        self.unpublished.retain(|key| highest.is_none_or(|highest| key.number > highest));
    }

    fn generate(&mut self, identity: &Identity, count: usize, now: Timestamp) {
        let created = {
            let mut account = identity.account();
            let created = account.generate_one_time_keys(count).created;
            overwrite_drawn();
            // What is published is known here; the account need not offer it.
            account.mark_keys_as_published();
            created
        };
        let signer = identity.signer();
        for key in created.into_iter().map(PublicKey) {
            // By the time, so that a device which has forgotten its last number does not start over.
            self.last = self.last.saturating_add(1).max(now.unix_millis());
            let key = OneTimeKey::sign_with(self.last, key, |form| signer.sign(form));
            self.unpublished.push_back(key);
            self.held.push_back(key.key);
        }
        while self.held.len() > HELD
            && let Some(oldest) = self.held.pop_front()
        {
            identity.forget_one_time_key(oldest);
        }
    }

    fn fallback(&mut self, identity: &Identity, now: Timestamp) -> Option<FallbackKey> {
        let current = self.fallback.filter(|(_, since)| now.since(*since) < FALLBACK_FOR);
        if current.is_none() {
            let key = {
                let mut account = identity.account();
                account.generate_fallback_key();
                overwrite_drawn();
                // The one just made: the account shows it until it is marked as published.
                let created = account.fallback_key().into_values().next();
                account.mark_keys_as_published();
                created
            };
            let signer = identity.signer();
            let sign = |key| FallbackKey::sign_with(PublicKey(key), |form| signer.sign(form));
            self.fallback = key.map(|key| (sign(key), now));
        }
        self.fallback.map(|(key, _)| key)
    }
}

fn device_keys(identity: &Identity) -> DeviceKeys {
    let signer = identity.signer();
    DeviceKeys::sign_with(identity.device(), identity.curve25519(), |form| signer.sign(form))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vodozemac::olm::{Account, OlmMessage, SessionConfig};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);

    fn numbers(upload: &KeysUpload) -> Vec<u64> {
        upload.one_time_keys.iter().map(|key| key.number).collect()
    }

    /// Whether a first message that was made with a key can be read.
    fn opens(identity: &Identity, key: PublicKey) -> bool {
        let sender = Account::new();
        let ours = identity.curve25519().0;
        let mut session =
            sender.create_outbound_session(SessionConfig::default(), ours, key.0).unwrap();
        let OlmMessage::PreKey(message) = session.encrypt("hello").unwrap() else { panic!() };
        let mut account = identity.copy_of_account();
        let config = SessionConfig::default();
        account.create_inbound_session(config, sender.curve25519_key(), &message).is_ok()
    }

    #[test]
    fn all_that_is_uploaded_is_the_devices_own_and_can_be_used() {
        let (identity, mut pool) = (Identity::generate(), KeyPool::default());
        let upload = pool.upload(&identity, 50, NOW);
        assert_eq!(upload.verify(&identity.device()), Ok(()));
        assert_eq!(numbers(&upload), (0..50).map(|n| NOW.unix_millis() + n).collect::<Vec<_>>());
        assert!(upload.one_time_keys.iter().all(|key| opens(&identity, key.key)));
        assert!(opens(&identity, upload.fallback_key.unwrap().key));
    }

    #[test]
    fn numbers_increase_even_if_the_clock_goes_back() {
        let (identity, mut pool) = (Identity::generate(), KeyPool::default());
        let mut seen = Vec::new();
        for now in [NOW, NOW, NOW - Duration::from_secs(1000), NOW + Duration::from_secs(1000)] {
            let upload = pool.upload(&identity, 3, now);
            pool.published(&upload);
            seen.extend(numbers(&upload));
        }
        assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
        assert_eq!(seen[9], NOW.unix_millis() + 1_000_000);
    }

    #[test]
    fn keys_that_were_not_taken_over_are_offered_again() {
        let (identity, mut pool) = (Identity::generate(), KeyPool::default());
        let started = pool.upload(&identity, 0, NOW);
        pool.published(&started);
        let first = pool.upload(&identity, 5, NOW);
        assert_eq!(pool.upload(&identity, 5, NOW), first);
        let fewer = pool.upload(&identity, 2, NOW);
        assert_eq!(fewer.one_time_keys, first.one_time_keys[..2]);
        pool.published(&fewer);
        let more = pool.upload(&identity, 5, NOW);
        assert_eq!(more.one_time_keys[..3], first.one_time_keys[2..]);
        pool.published(&more);
        let next = pool.upload(&identity, 5, NOW);
        assert!(next.one_time_keys.iter().all(|key| !more.one_time_keys.contains(key)));
        pool.published(&KeysUpload::default());
    }

    #[test]
    fn until_that_was_taken_over_each_upload_replaces_the_keys_from_before_with_new_ones() {
        let (identity, mut pool) = (Identity::generate(), KeyPool::default());
        let first = pool.upload(&identity, 5, NOW);
        let second = pool.upload(&identity, 5, NOW);
        assert!(first.replace_one_time_keys && second.replace_one_time_keys);
        // They may have been taken over, and would not be again.
        assert!(numbers(&second).iter().min() > numbers(&first).iter().max());
        let all = first.one_time_keys.iter().chain(&second.one_time_keys);
        assert!(all.into_iter().all(|key| opens(&identity, key.key)));
        pool.published(&second);
        let third = pool.upload(&identity, 5, NOW);
        assert!(!third.replace_one_time_keys);
        pool.published(&third);
        assert!(!pool.upload(&identity, 5, NOW).replace_one_time_keys);
    }

    #[test]
    fn the_oldest_keys_are_forgotten_and_the_account_keeps_a_bound() {
        let (identity, mut pool) = (Identity::generate(), KeyPool::default());
        let subscribing = identity.one_time_key().unwrap();
        let mut uploads = Vec::new();
        for _ in 0..6 {
            uploads.push(pool.upload(&identity, 50, NOW));
            pool.published(uploads.last().unwrap());
        }
        let held = |upload: &KeysUpload| {
            upload.one_time_keys.iter().filter(|key| opens(&identity, key.key)).count()
        };
        assert_eq!(uploads.iter().map(held).collect::<Vec<_>>(), [0, 0, 50, 50, 50, 50]);
        assert!(opens(&identity, subscribing), "that of a Subscribe is none of them");
    }

    #[test]
    fn the_keys_of_a_subscribe_are_never_published() {
        let (identity, mut pool) = (Identity::generate(), KeyPool::default());
        let mut published = BTreeSet::new();
        let mut subscribing = Vec::new();
        for _ in 0..5 {
            subscribing.push(identity.one_time_key().unwrap());
            let upload = pool.upload(&identity, 5, NOW);
            pool.published(&upload);
            published.extend(upload.one_time_keys.iter().map(|key| *key.key.0.as_bytes()));
        }
        assert_eq!(published.len(), 25);
        assert!(subscribing.iter().all(|key| !published.contains(key.0.as_bytes())));
    }

    #[test]
    fn a_fallback_key_is_replaced_each_week_and_the_last_one_still_opens() {
        let (identity, mut pool) = (Identity::generate(), KeyPool::default());
        let mut at = |days: u64| {
            let now = NOW + Duration::from_hours(24 * days);
            pool.upload(&identity, 0, now).fallback_key.unwrap().key
        };
        let (first, same, second) = (at(0), at(6), at(7));
        assert_eq!(first, same);
        assert_ne!(first, second);
        assert!(opens(&identity, first) && opens(&identity, second));
        let third = at(14);
        assert!(!opens(&identity, first) && opens(&identity, second) && opens(&identity, third));
    }
}

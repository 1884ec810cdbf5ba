use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use olmcast::primitives::DeviceId;

/// What became of one-time keys.
#[derive(Default)]
pub(super) struct KeyLedger(Mutex<HashMap<DeviceId, Keys>>);

/// One device's keys, by their numbers.
#[derive(Default)]
struct Keys {
    /// Whose upload was confirmed.
    uploaded: HashSet<u64>,
    issued: HashSet<u64>,
    twice: u64,
    /// Claims that the service says it has carried out, whose answer came to nobody.
    unseen: u64,
}

impl KeyLedger {
    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, Keys>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn uploaded(&self, owner: DeviceId, numbers: impl Iterator<Item = u64>) {
        self.lock().entry(owner).or_default().uploaded.extend(numbers);
    }

    pub(super) fn issued(&self, owner: DeviceId, number: u64) {
        let mut owners = self.lock();
        let keys = owners.entry(owner).or_default();
        if !keys.issued.insert(number) {
            keys.twice += 1;
        }
    }

    /// A claim was carried out, but its answer was cut off: some key is gone.
    pub(super) fn unseen(&self, owner: DeviceId) {
        self.lock().entry(owner).or_default().unseen += 1;
    }

    pub(super) fn issued_twice(&self) -> u64 {
        self.lock().values().map(|keys| keys.twice).sum()
    }

    pub(super) fn answered(&self) -> u64 {
        self.lock().values().map(|keys| keys.issued.len() as u64).sum()
    }

    /// Keys of a device that the directory should still have.
    pub(super) fn left(&self, owner: &DeviceId) -> usize {
        self.lock().get(owner).map_or(0, |keys| keys.uploaded.difference(&keys.issued).count())
    }

    /// Once nothing is left to be claimed: keys that went out to nobody.
    pub(super) fn lost(&self) -> u64 {
        let missing = |keys: &Keys| keys.uploaded.difference(&keys.issued).count() as u64;
        self.lock().values().map(|keys| missing(keys).saturating_sub(keys.unseen)).sum()
    }

    /// For those who wait.
    pub(super) fn counts(&self) -> String {
        let owners = self.lock();
        let uploaded: usize = owners.values().map(|keys| keys.uploaded.len()).sum();
        let issued: usize = owners.values().map(|keys| keys.issued.len()).sum();
        let unseen: u64 = owners.values().map(|keys| keys.unseen).sum();
        format!("{uploaded} keys uploaded, {issued} handed out, {unseen} with a lost answer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: DeviceId = DeviceId::from_bytes([1; 32]);

    #[test]
    fn a_key_is_lost_if_it_went_out_neither_to_somebody_nor_with_an_answer_that_was_cut_off() {
        let ledger = KeyLedger::default();
        ledger.uploaded(OWNER, 1..=5);
        for number in [1, 2, 9] {
            ledger.issued(OWNER, number);
        }
        assert_eq!((ledger.lost(), ledger.issued_twice()), (3, 0));
        assert_eq!(ledger.left(&OWNER), 3);
        ledger.unseen(OWNER);
        assert_eq!(ledger.lost(), 2);
        ledger.issued(OWNER, 2);
        assert_eq!((ledger.lost(), ledger.issued_twice()), (2, 1));
        ledger.unseen(DeviceId::from_bytes([2; 32]));
        assert_eq!(ledger.lost(), 2, "somebody else's");
    }
}

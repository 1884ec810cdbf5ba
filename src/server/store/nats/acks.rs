use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::primitives::DeviceId;

/// Acks that are still to be carried out: the highest of each device, and one task for each.
#[derive(Default)]
pub(super) struct Acks(Mutex<HashMap<DeviceId, u64>>);

impl Acks {
    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if there is no task for this device yet.
    pub(super) fn add(&self, device: DeviceId, sequence: u64) -> bool {
        match self.lock().entry(device) {
            Entry::Occupied(mut highest) => {
                let highest = highest.get_mut();
                *highest = sequence.max(*highest);
                false
            }
            Entry::Vacant(none) => {
                none.insert(sequence);
                true
            }
        }
    }

    pub(super) fn get(&self, device: &DeviceId) -> u64 {
        self.lock().get(device).copied().unwrap_or(0)
    }

    /// True if there is nothing more to do for this device.
    pub(super) fn finish(&self, device: &DeviceId, sequence: u64) -> bool {
        let mut acks = self.lock();
        if acks.get(device).is_some_and(|highest| *highest > sequence) {
            return false;
        }
        acks.remove(device);
        true
    }
}

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// A map behind a mutex.
#[derive(Default)]
pub(super) struct Store(Mutex<HashMap<u64, Vec<u8>>>);

impl Store {
    /// Puts a record in, and takes the one before out.
    pub(super) fn turn_over(&self, key: u64, bytes: usize) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        records.insert(key, vec![0; bytes]);
        records.remove(&key.wrapping_sub(1));
    }
}

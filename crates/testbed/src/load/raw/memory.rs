use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// A map behind a mutex.
#[derive(Default)]
pub(super) struct Store(Mutex<(u64, HashMap<u64, Vec<u8>>)>);

impl Store {
    /// Puts a record in, and takes another one out.
    pub(super) fn turn_over(&self, old: Option<u64>, bytes: usize) -> u64 {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, records) = &mut *store;
        *last += 1;
        records.insert(*last, vec![0; bytes]);
        if let Some(old) = old {
            records.remove(&old);
        }
        *last
    }
}

//! A store with a directory and without mail. It goes when the memory store has both.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::Directory;
use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::KeysUpload,
    server::{
        Limits,
        store::{Claimed, DeviceRecord, Durable, NewMail, Once, Store, StoreError, StoredMail},
    },
};

pub(in crate::server) struct DirectoryOnly {
    limits: Limits,
    directory: Mutex<Directory>,
}

impl DirectoryOnly {
    pub(in crate::server) fn new(limits: Limits) -> Self {
        Self { limits, directory: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_mail() -> StoreError {
    StoreError::Unavailable("this store has no mail".to_owned())
}

#[async_trait]
impl Store for DirectoryOnly {
    fn instance(&self) -> [u8; 16] {
        [0; 16]
    }

    async fn upload(
        &self,
        once: Once,
        device: DeviceId,
        upload: KeysUpload,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        self.lock().upload(once, device, upload, &self.limits, now)
    }

    async fn device(&self, device: &DeviceId) -> Result<Option<DeviceRecord>, StoreError> {
        Ok(self.lock().device(device))
    }

    async fn claim(&self, once: Once, device: &DeviceId) -> Result<Option<Claimed>, StoreError> {
        self.lock().claim(once, device)
    }

    async fn submit(&self, _: NewMail, _: Timestamp) -> Result<Durable, StoreError> {
        Err(no_mail())
    }

    async fn mail_after(
        &self,
        _: &DeviceId,
        _: u64,
        _: usize,
    ) -> Result<Vec<StoredMail>, StoreError> {
        Err(no_mail())
    }

    async fn ack(&self, _: &DeviceId, _: u64) -> Result<(), StoreError> {
        Err(no_mail())
    }

    async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        self.lock().expire(&self.limits, now);
        Ok(())
    }

    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn failed(&self) -> StoreError {
        std::future::pending().await
    }

    async fn close(&self) {}
}

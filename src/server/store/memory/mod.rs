//! The store that forgets with its process.

mod directory;

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::directory::Directory;
use super::{
    Claimed, DeviceRecord, Durable, NewMail, Once, Store, StoreError, StoredMail,
    mailboxes::Mailboxes,
};
use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::KeysUpload,
    server::{Limits, doorbells::Doorbells},
};

pub(in crate::server) struct Memory {
    instance: [u8; 16],
    limits: Limits,
    bells: Doorbells,
    mailboxes: Mutex<Mailboxes>,
    directory: Mutex<Directory>,
}

impl Memory {
    pub(in crate::server) fn new(instance: [u8; 16], limits: Limits, bells: Doorbells) -> Self {
        let (mailboxes, directory) = (Mutex::default(), Mutex::default());
        Self { instance, limits, bells, mailboxes, directory }
    }
}

/// No method leaves anything half changed, so a poisoned lock is as good as a whole one.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Store for Memory {
    fn instance(&self) -> [u8; 16] {
        self.instance
    }

    async fn upload(
        &self,
        once: Once,
        device: DeviceId,
        upload: KeysUpload,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        lock(&self.directory).upload(once, device, upload, &self.limits, now)
    }

    async fn device(&self, device: &DeviceId) -> Result<Option<DeviceRecord>, StoreError> {
        Ok(lock(&self.directory).device(device))
    }

    async fn claim(
        &self,
        once: Once,
        device: &DeviceId,
        spare: bool,
    ) -> Result<Option<Claimed>, StoreError> {
        lock(&self.directory).claim(once, device, spare)
    }

    async fn submit(&self, mail: NewMail, now: Timestamp) -> Result<Durable, StoreError> {
        let to = mail.to;
        let mut mailboxes = lock(&self.mailboxes);
        let waiting = mailboxes.send(mail, &self.limits, now).map_err(StoreError::Refused)?;
        mailboxes.durable_up_to(waiting.mail.sequence);
        drop(mailboxes);
        self.bells.ring(&to);
        Ok(Box::pin(std::future::ready(Ok(()))))
    }

    async fn mail_after(
        &self,
        device: &DeviceId,
        sequence: u64,
        at_most: usize,
    ) -> Result<Vec<StoredMail>, StoreError> {
        Ok(lock(&self.mailboxes).after(device, sequence, at_most))
    }

    async fn ack(&self, device: &DeviceId, sequence: u64) -> Result<(), StoreError> {
        lock(&self.mailboxes).ack(device, sequence);
        Ok(())
    }

    async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        let expired = lock(&self.mailboxes).expire(now).len();
        if expired > 0 {
            tracing::debug!(expired, "dropped mail that nobody collected");
        }
        lock(&self.directory).expire(&self.limits, now);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::server::store::conformance::{Backend, conformance};

    struct InMemory;

    impl Backend for InMemory {
        async fn start() -> Self {
            Self
        }

        async fn open(&self, limits: Limits, bells: Doorbells) -> Arc<dyn Store> {
            Arc::new(Memory::new([1; 16], limits, bells))
        }
    }

    conformance!(InMemory);
}

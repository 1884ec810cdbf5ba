use std::collections::BTreeMap;

use async_nats::jetstream::message::PublishMessage;
use futures_util::future::{join_all, try_join_all};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{
    Shared,
    connection::{Connection, NotStored, unavailable},
    reads::Found,
};
use crate::{
    primitives::DeviceId,
    protocol::{DeviceKeys, FallbackKey, KeysUpload, OneTimeKey, service::RefusalCode},
    server::store::{Claimed, DeviceRecord, Once, StoreError},
};

/// Keys that are looked at together, of which one is drawn: few contenders draw the same.
const DRAWN_FROM: usize = 16;
/// How often something is tried again that others were faster at.
const TRIES: usize = 64;

/// What is stored of a device.
#[derive(Clone, Serialize, Deserialize)]
struct Stored {
    keys: DeviceKeys,
    fallback: Option<FallbackKey>,
    /// The highest number of a one-time key that was seen.
    highest: Option<u64>,
}

impl Shared {
    /// Remembers a request, or refuses one that was seen.
    async fn first_time(&self, once: Once) -> Result<(), StoreError> {
        let message = PublishMessage::build().expected_last_subject_sequence(0);
        match self.nats.store(self.layout.once(&once.id), message).await {
            Ok(_) => Ok(()),
            Err(NotStored::Changed | NotStored::SubjectFull) => Err(StoreError::Replayed),
            Err(other) => Err(other.into_unavailable()),
        }
    }

    async fn record(&self, device: &DeviceId) -> Result<Option<(u64, Stored)>, StoreError> {
        let stream = self.layout.device_stream(device);
        let Some((revision, bytes)) = self.nats.last(&stream, &self.layout.device(device)).await?
        else {
            return Ok(None);
        };
        // Whoever cannot read it must not write it either.
        let stored = postcard::from_bytes(&bytes).map_err(unavailable)?;
        Ok(Some((revision, stored)))
    }

    async fn keys_left(&self, device: &DeviceId) -> Result<usize, StoreError> {
        let (stream, subject) = (self.layout.keys_stream(device), self.layout.keys(device));
        let left = self.nats.count(&stream, &subject).await?;
        Ok(usize::try_from(left).unwrap_or(usize::MAX))
    }

    pub(super) async fn upload(
        &self,
        once: Once,
        device: DeviceId,
        upload: KeysUpload,
    ) -> Result<usize, StoreError> {
        let refused = Err(StoreError::Refused(RefusalCode::QuotaExceeded));
        let mut seen = false;
        for _ in 0..TRIES {
            let found = self.record(&device).await?;
            let Some(keys) =
                upload.device_keys.as_ref().or(found.as_ref().map(|(_, stored)| &stored.keys))
            else {
                return Err(StoreError::UnknownDevice);
            };
            let highest = found.as_ref().and_then(|(_, stored)| stored.highest);
            // Each number once, in their order.
            let new: BTreeMap<u64, OneTimeKey> = (upload.one_time_keys.iter())
                .filter(|key| highest.is_none_or(|highest| key.number > highest))
                .map(|key| (key.number, *key))
                .collect();
            let stay = found.is_some() && !upload.replace_one_time_keys;
            let left = if stay { self.keys_left(&device).await? } else { 0 };
            if left + new.len() > self.limits.one_time_keys {
                return refused;
            }
            if found.is_none() && self.devices().await? >= self.limits.directory_devices {
                return refused;
            }
            if !seen {
                self.first_time(once).await?;
                seen = true;
            }
            let fallback = found.as_ref().and_then(|(_, stored)| stored.fallback);
            let stored = Stored {
                keys: keys.clone(),
                fallback: upload.fallback_key.or(fallback),
                highest: new.last_key_value().map(|(number, _)| *number).or(highest),
            };
            let revision = found.map_or(0, |(revision, _)| revision);
            let bytes = postcard::to_stdvec(&stored).map_err(unavailable)?;
            let message = PublishMessage::build()
                .payload(bytes.into())
                .expected_last_subject_sequence(revision);
            // First that their numbers were seen, then the keys: if this ends between the two,
            // keys are lost, but none comes back. A device that hears of no success asks again, so
            // that those which are replaced go as well.
            match self.nats.store(self.layout.device(&device), message).await {
                Ok(_) => {}
                Err(NotStored::Changed) => continue,
                Err(other) => return Err(other.into_unavailable()),
            }
            if upload.replace_one_time_keys {
                let (stream, subject) =
                    (self.layout.keys_stream(&device), self.layout.keys(&device));
                self.nats.purge(&stream, subject, None).await?;
            }
            self.add_keys(&device, new.into_values()).await?;
            return self.keys_left(&device).await;
        }
        Err(unavailable("too many uploads of one device at the same time"))
    }

    async fn add_keys(
        &self,
        device: &DeviceId,
        keys: impl Iterator<Item = OneTimeKey>,
    ) -> Result<(), StoreError> {
        let subject = self.layout.keys(device);
        let mut sent = Vec::new();
        for key in keys {
            let bytes = postcard::to_stdvec(&key).map_err(unavailable)?;
            let message = PublishMessage::build().payload(bytes.into());
            let acknowledged = self.nats.send(subject.clone(), message).await;
            sent.push(acknowledged.map_err(NotStored::into_unavailable)?);
        }
        for stored in join_all(sent.into_iter().map(Connection::stored)).await {
            match stored {
                // Another upload of this device at the same time took the last places.
                Ok(_) | Err(NotStored::SubjectFull) => {}
                Err(other) => return Err(other.into_unavailable()),
            }
        }
        Ok(())
    }

    async fn devices(&self) -> Result<usize, StoreError> {
        let streams: Vec<_> = self.layout.device_streams().collect();
        let counts = try_join_all(streams.iter().map(|stream| self.nats.count_all(stream))).await?;
        Ok(usize::try_from(counts.iter().sum::<u64>()).unwrap_or(usize::MAX))
    }

    pub(super) async fn device(
        &self,
        device: &DeviceId,
    ) -> Result<Option<DeviceRecord>, StoreError> {
        let Some((_, Stored { keys, fallback, .. })) = self.record(device).await? else {
            return Ok(None);
        };
        let one_time_keys = self.keys_left(device).await?;
        Ok(Some(DeviceRecord { keys, fallback, one_time_keys }))
    }

    pub(super) async fn claim(
        &self,
        once: Once,
        device: &DeviceId,
        spare: bool,
    ) -> Result<Option<Claimed>, StoreError> {
        self.first_time(once).await?;
        let stream = self.layout.keys_stream(device);
        for _ in 0..TRIES {
            let mut keys = if spare { Vec::new() } else { self.some_keys(device).await? };
            if keys.is_empty() {
                let record = self.record(device).await?;
                let fallback = record.and_then(|(_, stored)| stored.fallback);
                return Ok(fallback.map(Claimed::Fallback));
            }
            keys.shuffle(&mut rand::rng());
            for Found { sequence, bytes } in keys {
                // An answer that is lost burns a key, which is better than a key that goes out
                // twice: nothing is tried again here.
                if !self.nats.delete(&stream, sequence).await? {
                    continue;
                }
                if let Ok(key) = postcard::from_bytes(&bytes) {
                    return Ok(Some(Claimed::OneTime(key)));
                }
            }
        }
        Err(unavailable("too many claims of one device's keys at the same time"))
    }

    async fn some_keys(&self, device: &DeviceId) -> Result<Vec<Found>, StoreError> {
        let (stream, subject) = (self.layout.keys_stream(device), self.layout.keys(device));
        let keys = self.nats.read(&stream, &subject, 1, DRAWN_FROM).await?.found;
        if !keys.is_empty() {
            return Ok(keys);
        }
        // A replica that is behind does not know of the last upload.
        let first = self.nats.first(&stream, &subject).await?;
        Ok(first
            .map(|(sequence, bytes)| Found { sequence, bytes: bytes.into() })
            .into_iter()
            .collect())
    }
}

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::tables::{DEVICES, ONE_TIME_KEYS, REFRESHED, REQUESTS};
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
const REMEMBERED: u64 = 1 << 20;

/// Rows that are forgotten at a time.
const AT_ONCE: usize = 1024;

/// A row of [`DEVICES`].
#[derive(Serialize, Deserialize)]
struct Device {
    keys: DeviceKeys,
    fallback: Option<FallbackKey>,
    /// The greatest number of a one-time key that was ever uploaded.
    last_number: u64,
    refreshed: u64,
}

/// What became of a request: an answer for whoever asked, or the file's own failure.
type Outcome<T> = Result<Result<T, StoreError>, redb::Error>;

/// The directory within one transaction. A request that is refused has written nothing.
pub(super) struct Directory<'t> {
    devices: Table<'t, [u8; 32], &'static [u8]>,
    refreshed: Table<'t, (u64, [u8; 32]), ()>,
    one_time_keys: Table<'t, ([u8; 32], u64), &'static [u8]>,
    requests: Table<'t, (u64, [u8; 32]), ()>,
}

impl<'t> Directory<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            devices: transaction.open_table(DEVICES)?,
            refreshed: transaction.open_table(REFRESHED)?,
            one_time_keys: transaction.open_table(ONE_TIME_KEYS)?,
            requests: transaction.open_table(REQUESTS)?,
        })
    }

    pub(super) fn upload(
        &mut self,
        once: Once,
        device: DeviceId,
        upload: &KeysUpload,
        limits: &Limits,
        now: Timestamp,
    ) -> Outcome<usize> {
        let id = device.as_bytes();
        if let Err(refused) = self.check(once)? {
            return Ok(Err(refused));
        }
        let known = read::<Device>(&self.devices, id)?;
        let quota = Ok(Err(StoreError::Refused(RefusalCode::QuotaExceeded)));
        if known.is_none() && self.devices.len()? >= limits.directory_devices as u64 {
            return quota;
        }
        let before = known.as_ref().map(|known| known.refreshed);
        let mut record = match (known, &upload.device_keys) {
            (Some(known), keys) => Device { keys: keys.clone().unwrap_or(known.keys), ..known },
            (None, Some(keys)) => {
                Device { keys: keys.clone(), fallback: None, last_number: 0, refreshed: 0 }
            }
            (None, None) => return Ok(Err(StoreError::UnknownDevice)),
        };
        // In the order of their numbers, so that none shuts out another of the same upload.
        let mut new: Vec<_> = upload.one_time_keys.iter().collect();
        new.retain(|key| key.number > record.last_number);
        new.sort_by_key(|key| key.number);
        new.dedup_by_key(|key| key.number);
        let before_these =
            if upload.replace_one_time_keys { 0 } else { count(&self.one_time_keys, id)? };
        let left = before_these + new.len();
        if left > limits.one_time_keys {
            return quota;
        }

        self.remember(once)?;
        if upload.replace_one_time_keys {
            self.one_time_keys.retain_in(all_of(id), |_, _| false)?;
        }
        for key in new {
            let bytes = postcard::to_stdvec(key).map_err(encoding)?;
            self.one_time_keys.insert((*id, key.number), bytes.as_slice())?;
            record.last_number = key.number;
        }
        record.fallback = upload.fallback_key.or(record.fallback);
        record.refreshed = now.unix_millis();
        if let Some(before) = before {
            self.refreshed.remove((before, *id))?;
        }
        self.refreshed.insert((record.refreshed, *id), ())?;
        let bytes = postcard::to_stdvec(&record).map_err(encoding)?;
        self.devices.insert(*id, bytes.as_slice())?;
        Ok(Ok(left))
    }

    pub(super) fn claim(
        &mut self,
        once: Once,
        device: &DeviceId,
        spare: bool,
    ) -> Outcome<Option<Claimed>> {
        let id = device.as_bytes();
        if let Err(refused) = self.check(once)? {
            return Ok(Err(refused));
        }
        self.remember(once)?;
        let oldest = self.one_time_keys.range(all_of(id))?.next().transpose()?;
        let oldest = oldest.map(|(at, bytes)| (at.value(), decode::<OneTimeKey>(bytes.value())));
        if let Some((at, key)) = oldest.filter(|_| !spare) {
            self.one_time_keys.remove(at)?;
            return Ok(Ok(Some(Claimed::OneTime(key?))));
        }
        let record = read::<Device>(&self.devices, id)?;
        Ok(Ok(record.and_then(|record| record.fallback).map(Claimed::Fallback)))
    }

    fn check(&self, once: Once) -> Outcome<()> {
        if self.requests.get(at(once))?.is_some() {
            return Ok(Err(StoreError::Replayed));
        }
        let many = self.requests.len()? >= REMEMBERED;
        Ok(if many { Err(StoreError::Refused(RefusalCode::RateLimited)) } else { Ok(()) })
    }

    fn remember(&mut self, once: Once) -> Result<(), redb::Error> {
        self.requests.insert(at(once), ())?;
        Ok(())
    }

    /// Forgets some of what is out of date; what is left is forgotten by the next call.
    pub(super) fn expire(&mut self, limits: &Limits, now: Timestamp) -> Result<(), redb::Error> {
        let over = (0, [0; 32])..(now.unix_millis(), [0; 32]);
        for request in first(&self.requests, over)? {
            self.requests.remove(request)?;
        }
        let stale = (0, [0; 32])..((now - limits.device_ttl).unix_millis(), [0; 32]);
        for (refreshed, id) in first(&self.refreshed, stale)? {
            self.refreshed.remove((refreshed, id))?;
            self.devices.remove(id)?;
            self.one_time_keys.retain_in(all_of(&id), |_, _| false)?;
        }
        Ok(())
    }
}

/// What is known of a device, read beside all writing.
pub(super) fn device(
    database: &redb::Database,
    device: &DeviceId,
) -> Result<Option<DeviceRecord>, redb::Error> {
    use redb::ReadableDatabase;
    let transaction = database.begin_read()?;
    let id = device.as_bytes();
    let Some(record) = read::<Device>(&transaction.open_table(DEVICES)?, id)? else {
        return Ok(None);
    };
    let one_time_keys = count(&transaction.open_table(ONE_TIME_KEYS)?, id)?;
    Ok(Some(DeviceRecord { keys: record.keys, fallback: record.fallback, one_time_keys }))
}

fn at(once: Once) -> (u64, [u8; 32]) {
    (once.until.unix_millis(), once.id)
}

fn all_of(id: &[u8; 32]) -> std::ops::RangeInclusive<([u8; 32], u64)> {
    (*id, 0)..=(*id, u64::MAX)
}

/// At most as many as one device may have.
fn count(
    keys: &impl ReadableTable<([u8; 32], u64), &'static [u8]>,
    id: &[u8; 32],
) -> Result<usize, redb::Error> {
    let mut count = 0;
    for row in keys.range(all_of(id))? {
        row?;
        count += 1;
    }
    Ok(count)
}

fn first(
    table: &Table<'_, (u64, [u8; 32]), ()>,
    range: std::ops::Range<(u64, [u8; 32])>,
) -> Result<Vec<(u64, [u8; 32])>, redb::Error> {
    let rows = table.range(range)?.take(AT_ONCE);
    rows.map(|row| Ok(row?.0.value())).collect()
}

fn read<T: for<'de> Deserialize<'de>>(
    table: &impl ReadableTable<[u8; 32], &'static [u8]>,
    id: &[u8; 32],
) -> Result<Option<T>, redb::Error> {
    table.get(id)?.map(|bytes| decode(bytes.value())).transpose()
}

pub(super) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, redb::Error> {
    postcard::from_bytes(bytes).map_err(encoding)
}

/// Rows have checksums, so that one which cannot be read was written by a fault of ours.
pub(super) fn encoding(error: postcard::Error) -> redb::Error {
    redb::Error::Corrupted(format!("a row cannot be read or written: {error}"))
}

//! The store in one file, for a service on one machine.
//!
//! One thread writes, and commits together whatever came while the disk was busy with the last
//! commit (`writer`). Nothing is answered before it is durable. Mail is in memory as well, where it
//! is counted and read; its bytes are bounded by `Limits::store_bytes`. The directory is on disk
//! only.

mod directory;
mod tables;
mod writer;

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};

use async_trait::async_trait;
use prometheus_client::metrics::histogram::Histogram;
use redb::{Builder, Database, ReadableDatabase, ReadableTable};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_blocking,
};
use tracing::{debug, info};

use self::{
    tables::{INSTANCE, LAYOUT, LAYOUT_KEY, MAIL, NUMBERS, SEQUENCE_KEY},
    writer::{Answer, Ending, Operation, State, Writer},
};
use super::{
    Claimed, DeviceRecord, Durable, NewMail, Once, Store, StoreError, StoredMail,
    mailboxes::Mailboxes,
};
use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::KeysUpload,
    server::{Limits, doorbells::Doorbells},
};

/// The file in the data folder, and what it is called until it is complete.
const FILE: &str = "olmcast.redb";
const NEW: &str = "olmcast.redb.new";

/// Locked by the process that uses the folder.
const LOCK: &str = "lock";

/// What redb may keep of the file in memory. Its own default is a gigabyte.
const CACHE: usize = 64 << 20;

/// Operations that wait for the writer; who comes then waits for a place.
const QUEUE: usize = 8192;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum OpenError {
    #[error("it cannot be made or read: {0}")]
    Folder(io::Error),
    #[error("another process uses it; end that one, or use another folder")]
    Locked,
    #[error("it has layout {0}, and this build reads layout {LAYOUT}; use the build that wrote it")]
    Layout(u64),
    #[error("{0}")]
    Database(redb::Error),
}

impl From<redb::Error> for OpenError {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            other => Self::Database(other),
        }
    }
}

pub(in crate::server) struct Redb {
    instance: [u8; 16],
    limits: Limits,
    database: Arc<Database>,
    mailboxes: Arc<Mutex<Mailboxes>>,
    /// Always there; see `drop`.
    operations: Option<mpsc::Sender<Operation>>,
    writer: Option<JoinHandle<()>>,
    state: watch::Receiver<State>,
    /// None in tests without a file.
    lock: Option<File>,
}

impl Redb {
    /// Opens the file in this folder, or makes both.
    pub(in crate::server) fn open(
        folder: &Path,
        limits: Limits,
        bells: Doorbells,
        commits: Histogram,
    ) -> Result<Self, OpenError> {
        make(folder).map_err(OpenError::Folder)?;
        let lock = lock(folder)?;
        let started = Instant::now();
        let path = folder.join(FILE);
        if !path.exists() {
            begin(folder)?;
        }
        let database = builder().open(&path).map_err(redb::Error::from)?;
        let mut store = Self::new(database, limits, bells, commits)?;
        store.lock = Some(lock);
        let (file, elapsed) = (path.display(), started.elapsed());
        info!(%file, ?elapsed, "the store is open");
        Ok(store)
    }

    fn new(
        database: Database,
        limits: Limits,
        bells: Doorbells,
        commits: Histogram,
    ) -> Result<Self, OpenError> {
        let instance = prepare(&database)?.map_err(OpenError::Layout)?;
        let mailboxes = Arc::new(Mutex::new(load(&database)?));
        let database = Arc::new(database);
        let (operations, queue) = mpsc::channel(QUEUE);
        let (states, state) = watch::channel(State::Open);
        let writer = Writer {
            database: database.clone(),
            limits: limits.clone(),
            mailboxes: mailboxes.clone(),
            bells,
            commits,
            state: Ending(states),
        };
        let thread = thread::Builder::new().name("olmcast-store".to_owned());
        let writer = thread.spawn(move || writer.run(queue)).map_err(OpenError::Folder)?;
        let (operations, writer) = (Some(operations), Some(writer));
        Ok(Self { instance, limits, database, mailboxes, operations, writer, state, lock: None })
    }

    fn mailboxes(&self) -> MutexGuard<'_, Mailboxes> {
        self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the writer's queue.
    async fn place(&self) -> Result<mpsc::Permit<'_, Operation>, StoreError> {
        let operations = self.operations.as_ref().ok_or_else(|| ended(&self.state))?;
        operations.reserve().await.map_err(|_| ended(&self.state))
    }

    /// Has something written and waits until it is durable.
    async fn write<T>(
        &self,
        operation: impl FnOnce(Answer<T>) -> Operation,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.place().await?.send(operation(answer));
        match answered.await {
            Ok(result) => result,
            Err(_) => Err(after_the_end(self.state.clone()).await),
        }
    }
}

impl Drop for Redb {
    fn drop(&mut self) {
        // The writer ends when it has written what waits, and then the file can be opened again.
        self.operations = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE);
    builder
}

/// Keeps other processes out of the folder.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let lock = private(&folder.join(LOCK)).map_err(OpenError::Folder)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked),
        Err(TryLockError::Error(error)) => Err(OpenError::Folder(error)),
    }
}

/// Opens a file, which is made if it is not there, for its owner only.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes the file under another name first: one that was begun and not finished cannot be opened,
/// and a service that is killed in its first moment must start the next time.
fn begin(folder: &Path) -> Result<(), OpenError> {
    let new = folder.join(NEW);
    let begun = || {
        if new.exists() {
            fs::remove_file(&new)?;
        }
        private(&new)
    };
    drop(begun().map_err(OpenError::Folder)?);
    let database = builder().create(&new).map_err(redb::Error::from)?;
    prepare(&database)?.map_err(OpenError::Layout)?;
    drop(database);
    let finished = || {
        fs::rename(&new, folder.join(FILE))?;
        File::open(folder)?.sync_all()
    };
    finished().map_err(OpenError::Folder)
}

/// Makes the folder, for its owner only: who talks to whom is in it.
fn make(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Makes what is missing in a new file. Returns its instance, or the layout of a foreign one.
fn prepare(database: &Database) -> Result<Result<[u8; 16], u64>, redb::Error> {
    let transaction = database.begin_write()?;
    let instance = {
        let mut numbers = transaction.open_table(NUMBERS)?;
        let layout = numbers.get(LAYOUT_KEY)?.map(|layout| layout.value());
        match layout {
            Some(LAYOUT) => {}
            Some(other) => return Ok(Err(other)),
            None => {
                numbers.insert(LAYOUT_KEY, LAYOUT)?;
            }
        }
        let mut row = transaction.open_table(INSTANCE)?;
        let known = row.get(())?.map(|instance| instance.value());
        let instance = match known {
            Some(instance) => instance,
            None => {
                let mut instance = [0; 16];
                getrandom::fill(&mut instance)
                    .map_err(|error| redb::Error::Io(io::Error::other(error)))?;
                row.insert((), instance)?;
                instance
            }
        };
        transaction.open_table(MAIL)?;
        directory::Directory::open(&transaction)?;
        instance
    };
    transaction.commit()?;
    Ok(Ok(instance))
}

fn load(database: &Database) -> Result<Mailboxes, redb::Error> {
    let transaction = database.begin_read()?;
    let numbers = transaction.open_table(NUMBERS)?;
    let last = numbers.get(SEQUENCE_KEY)?.map_or(0, |last| last.value());
    let mail = transaction.open_table(MAIL)?;
    let mail = mail.iter()?.map(|row| {
        let (sequence, bytes) = row?;
        writer::restored(sequence.value(), bytes.value())
    });
    let mail = mail.collect::<Result<Vec<_>, _>>()?;
    debug!(mail = mail.len(), "mail from before");
    Ok(Mailboxes::restore(last, mail))
}

/// Why the writer takes nothing any more.
fn ended(state: &watch::Receiver<State>) -> StoreError {
    match &*state.borrow() {
        State::Failed(why) => StoreError::Failed(why.clone()),
        State::Open | State::Closed => StoreError::Unavailable("it was closed".to_owned()),
    }
}

/// The same for who finds that an answer will not come: the writer says why when it has ended.
async fn after_the_end(mut state: watch::Receiver<State>) -> StoreError {
    // It says so before it ends.
    let _ = state.wait_for(|state| *state != State::Open).await;
    ended(&state)
}

#[async_trait]
impl Store for Redb {
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
        let upload = Box::new(upload);
        self.write(|answer| Operation::Upload { once, device, upload, now, answer }).await
    }

    async fn device(&self, device: &DeviceId) -> Result<Option<DeviceRecord>, StoreError> {
        let (database, device) = (self.database.clone(), *device);
        let found = spawn_blocking(move || directory::device(&database, &device)).await;
        let found = found.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        found.map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    async fn claim(
        &self,
        once: Once,
        device: &DeviceId,
        spare: bool,
    ) -> Result<Option<Claimed>, StoreError> {
        let device = *device;
        self.write(|answer| Operation::Claim { once, device, spare, answer }).await
    }

    async fn submit(&self, mail: NewMail, now: Timestamp) -> Result<Durable, StoreError> {
        // A place first: nothing is taken over that cannot be handed on at once, in its order.
        let place = self.place().await?;
        let (answer, answered) = oneshot::channel();
        {
            let mut mailboxes = self.mailboxes();
            let waiting = mailboxes.send(mail, &self.limits, now).map_err(StoreError::Refused)?;
            place.send(Operation::Mail(waiting, answer));
        }
        let state = self.state.clone();
        Ok(Box::pin(async move {
            match answered.await {
                Ok(result) => result,
                Err(_) => Err(after_the_end(state).await),
            }
        }))
    }

    async fn mail_after(
        &self,
        device: &DeviceId,
        sequence: u64,
        at_most: usize,
    ) -> Result<Vec<StoredMail>, StoreError> {
        Ok(self.mailboxes().after(device, sequence, at_most))
    }

    async fn ack(&self, device: &DeviceId, sequence: u64) -> Result<(), StoreError> {
        let acked = self.mailboxes().ack(device, sequence);
        if !acked.is_empty() {
            self.place().await?.send(Operation::Forget(acked));
        }
        Ok(())
    }

    async fn expire(&self, now: Timestamp) -> Result<(), StoreError> {
        let expired = self.mailboxes().expire(now);
        if !expired.is_empty() {
            debug!(expired = expired.len(), "dropped mail that nobody collected");
            self.place().await?.send(Operation::Forget(expired));
        }
        self.place().await?.send(Operation::Expire(now));
        Ok(())
    }

    async fn ready(&self) -> Result<(), StoreError> {
        match &self.operations {
            Some(operations) if !operations.is_closed() => Ok(()),
            _ => Err(ended(&self.state)),
        }
    }

    async fn failed(&self) -> StoreError {
        let mut state = self.state.clone();
        if state.wait_for(|state| matches!(state, State::Failed(_))).await.is_err() {
            // Closed in good order.
            std::future::pending::<()>().await;
        }
        ended(&self.state)
    }

    async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if let Ok(place) = self.place().await {
            place.send(Operation::Close(closed));
            let _ = done.await;
        }
    }
}

#[cfg(test)]
mod tests;

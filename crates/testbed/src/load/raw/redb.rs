use std::{
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use anyhow::Context;
use redb::{Database, TableDefinition};
use tokio::sync::oneshot;

/// By recipient and sequence number, as long as the service's keys must be.
const RECORDS: TableDefinition<'_, (&[u8; 32], u64), &[u8]> = TableDefinition::new("records");

/// Operations that wait for the writer, and so at most go into one commit.
const WAITING: usize = 4096;

/// What a record has besides its payload: who sent it.
const AROUND: usize = 32;

struct Operation {
    key: u64,
    bytes: usize,
    done: oneshot::Sender<()>,
}

/// One writer thread, which commits durably all that is waiting.
pub(super) struct Store(SyncSender<Operation>);

impl Store {
    pub(super) fn create(folder: &Path) -> anyhow::Result<Self> {
        let database = Database::create(folder.join("raw.redb"))?;
        let (sender, waiting) = sync_channel(WAITING);
        thread::Builder::new().name("raw-redb".to_owned()).spawn(move || {
            if let Err(error) = write(&database, &waiting) {
                eprintln!("the raw store has failed: {error:#}");
            }
        })?;
        Ok(Self(sender))
    }

    /// Puts a record in, durably, and takes the one before out with the same commit.
    pub(super) async fn turn_over(&self, key: u64, bytes: usize) -> anyhow::Result<()> {
        let (done, committed) = oneshot::channel();
        let mut operation = Operation { key, bytes, done };
        loop {
            match self.0.try_send(operation) {
                Ok(()) => break,
                Err(std::sync::mpsc::TrySendError::Full(again)) => operation = again,
                Err(error) => anyhow::bail!("the raw store has ended: {error}"),
            }
            tokio::task::yield_now().await;
        }
        committed.await.context("the raw store has ended")
    }
}

fn write(database: &Database, waiting: &Receiver<Operation>) -> anyhow::Result<()> {
    while let Ok(first) = waiting.recv() {
        let batch: Vec<_> = [first].into_iter().chain(waiting.try_iter().take(WAITING)).collect();
        let transaction = database.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            for Operation { key, bytes, .. } in &batch {
                let recipient = recipient(*key);
                records.insert((&recipient, *key), vec![0; bytes + AROUND].as_slice())?;
                records.remove((&recipient, key.wrapping_sub(1)))?;
            }
        }
        transaction.commit()?;
        for Operation { done, .. } in batch {
            // Nobody waits any more at the end.
            let _ = done.send(());
        }
    }
    Ok(())
}

/// Each task writes to a recipient of its own, anywhere among the others.
fn recipient(key: u64) -> [u8; 32] {
    let mut recipient = [0; 32];
    let spread = (key >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    for (place, byte) in recipient.iter_mut().zip(spread.to_be_bytes()) {
        *place = byte;
    }
    recipient
}

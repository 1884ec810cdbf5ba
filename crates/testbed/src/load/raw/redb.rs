use std::{path::Path, thread};

use anyhow::Context;
use redb::{Database, TableDefinition};
use tokio::sync::{mpsc, oneshot};

/// By a number that grows from record to record, which is what redb is fastest with.
const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");

/// Operations that wait for the writer, and so at most go into one commit.
const WAITING: usize = 8192;

/// What a record has besides its payload: who sent it, to whom, and until when it is kept.
const AROUND: usize = 72;

struct Operation {
    /// The record that goes.
    old: Option<u64>,
    bytes: usize,
    /// Told the number of the new one.
    done: oneshot::Sender<u64>,
}

/// One writer thread, which commits durably all that is waiting.
pub(super) struct Store(mpsc::Sender<Operation>);

impl Store {
    pub(super) fn create(folder: &Path) -> anyhow::Result<Self> {
        let database = Database::create(folder.join("raw.redb"))?;
        let (sender, waiting) = mpsc::channel(WAITING);
        thread::Builder::new().name("raw-redb".to_owned()).spawn(move || {
            if let Err(error) = write(&database, waiting) {
                eprintln!("the raw store has failed: {error:#}");
            }
        })?;
        Ok(Self(sender))
    }

    /// Puts a record in, durably, and takes another one out with the same commit.
    pub(super) async fn turn_over(&self, old: Option<u64>, bytes: usize) -> anyhow::Result<u64> {
        let (done, committed) = oneshot::channel();
        let sent = self.0.send(Operation { old, bytes, done }).await;
        sent.map_err(|_| anyhow::anyhow!("the raw store has ended"))?;
        committed.await.context("the raw store has ended")
    }
}

fn write(database: &Database, mut waiting: mpsc::Receiver<Operation>) -> anyhow::Result<()> {
    let (mut next, mut batch) = (0, Vec::new());
    while waiting.blocking_recv_many(&mut batch, WAITING) > 0 {
        let (transaction, first) = (database.begin_write()?, next);
        {
            let mut records = transaction.open_table(RECORDS)?;
            for Operation { old, bytes, .. } in &batch {
                records.insert(next, vec![0; bytes + AROUND].as_slice())?;
                next += 1;
                if let Some(old) = old {
                    records.remove(old)?;
                }
            }
        }
        transaction.commit()?;
        for (number, Operation { done, .. }) in (first..).zip(batch.drain(..)) {
            // Nobody waits any more at the end.
            let _ = done.send(number);
        }
    }
    Ok(())
}

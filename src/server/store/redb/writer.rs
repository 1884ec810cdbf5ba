use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use prometheus_client::metrics::histogram::Histogram;
use redb::{Database, Durability};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::error;

use super::{
    super::mailboxes::{Mailboxes, Waiting},
    directory::{Directory, decode, encoding},
    tables::{MAIL, NUMBERS, SEQUENCE_KEY},
};
use crate::{
    primitives::{DeviceId, Timestamp},
    protocol::{KeysUpload, service::Payload},
    server::{
        Limits,
        doorbells::Doorbells,
        store::{Claimed, Once, StoreError, StoredMail},
    },
};

/// Operations that share one commit at most.
const BATCH: usize = 1024;

/// Something to write. Whoever waits for an answer gets it when it is durable.
pub(super) enum Operation {
    Mail(Waiting, Answer<()>),
    /// Mail that was acked or that nobody collected.
    Forget(Vec<u64>),
    Upload {
        once: Once,
        device: DeviceId,
        upload: Box<KeysUpload>,
        now: Timestamp,
        answer: Answer<usize>,
    },
    Claim {
        once: Once,
        device: DeviceId,
        spare: bool,
        answer: Answer<Option<Claimed>>,
    },
    Expire(Timestamp),
    /// The last one: everything before it is durable when it is answered.
    Close(oneshot::Sender<()>),
}

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A row of [`MAIL`]. Its sequence number is its key.
#[derive(Serialize, Deserialize)]
struct Row {
    to: DeviceId,
    from: DeviceId,
    stranger: bool,
    expires: Timestamp,
    bytes: Payload,
}

fn row(waiting: Waiting) -> Result<Vec<u8>, redb::Error> {
    let Waiting { to, mail: StoredMail { from, bytes, .. }, stranger, expires } = waiting;
    postcard::to_stdvec(&Row { to, from, stranger, expires, bytes }).map_err(encoding)
}

/// Brings a row back.
pub(super) fn restored(sequence: u64, bytes: &[u8]) -> Result<Waiting, redb::Error> {
    let Row { to, from, stranger, expires, bytes } = decode(bytes)?;
    Ok(Waiting { to, mail: StoredMail { sequence, from, bytes }, stranger, expires })
}

/// Whether the writer is at work.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Closed,
    /// It can write no more, for this reason.
    Failed(String),
}

/// Says how it ended, also if it did so in the middle of something.
pub(super) struct Ending(pub(super) watch::Sender<State>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.send_if_modified(|state| {
            let is_unexpected = *state == State::Open;
            if is_unexpected {
                *state = State::Failed("its writer has ended by a mistake of its own".to_owned());
            }
            is_unexpected
        });
    }
}

/// The only one who writes to the file: takes whatever waits and commits it together, so that a
/// commit, which waits for the disk, is shared by all who came during the last one.
pub(super) struct Writer {
    pub(super) database: Arc<Database>,
    pub(super) limits: Limits,
    pub(super) mailboxes: Arc<Mutex<Mailboxes>>,
    pub(super) bells: Doorbells,
    /// Seconds until a batch is durable.
    pub(super) commits: Histogram,
    pub(super) state: Ending,
}

/// What is done when the batch is durable. If it is not, this is dropped, and whoever waits for an
/// answer finds that its other end is gone and asks for the failure.
#[derive(Default)]
struct After {
    answers: Vec<Box<dyn FnOnce()>>,
    /// The last sequence number of mail, and who has some.
    mail: Option<u64>,
    recipients: Vec<DeviceId>,
    closed: Option<oneshot::Sender<()>>,
}

impl After {
    fn answer<T: 'static>(&mut self, answer: Answer<T>, result: Result<T, StoreError>) {
        self.answers.push(Box::new(move || {
            // Whoever asked may not wait any more.
            let _ = answer.send(result);
        }));
    }
}

impl Writer {
    /// Runs until the store is closed or has failed.
    pub(super) fn run(self, mut operations: mpsc::Receiver<Operation>) {
        let mut batch = Vec::with_capacity(BATCH);
        while operations.blocking_recv_many(&mut batch, BATCH) > 0 {
            let begun = Instant::now();
            let after = match self.commit(batch.drain(..)) {
                Ok(after) => after,
                Err(error) => {
                    error!(%error, "the store has failed; nothing can be kept any more");
                    self.state.0.send_replace(State::Failed(error.to_string()));
                    return;
                }
            };
            self.commits.observe(begun.elapsed().as_secs_f64());
            if let Some(sequence) = after.mail {
                let mailboxes = self.mailboxes.lock();
                mailboxes.unwrap_or_else(PoisonError::into_inner).durable_up_to(sequence);
            }
            after.recipients.iter().for_each(|device| self.bells.ring(device));
            after.answers.into_iter().for_each(|answer| answer());
            if let Some(closed) = after.closed {
                self.state.0.send_replace(State::Closed);
                let _ = closed.send(());
                return;
            }
        }
        self.state.0.send_replace(State::Closed);
    }

    fn commit(&self, batch: impl Iterator<Item = Operation>) -> Result<After, redb::Error> {
        let mut after = After::default();
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut mail = transaction.open_table(MAIL)?;
            let mut directory = Directory::open(&transaction)?;
            for operation in batch {
                match operation {
                    Operation::Mail(waiting, answer) => {
                        let sequence = waiting.mail.sequence;
                        after.mail = Some(sequence);
                        after.recipients.push(waiting.to);
                        after.answer(answer, Ok(()));
                        mail.insert(sequence, row(waiting)?.as_slice())?;
                    }
                    Operation::Forget(sequences) => {
                        for sequence in sequences {
                            mail.remove(sequence)?;
                        }
                    }
                    Operation::Upload { once, device, upload, now, answer } => {
                        let left = directory.upload(once, device, &upload, &self.limits, now)?;
                        after.answer(answer, left);
                    }
                    Operation::Claim { once, device, spare, answer } => {
                        let claimed = directory.claim(once, &device, spare)?;
                        after.answer(answer, claimed);
                    }
                    Operation::Expire(now) => directory.expire(&self.limits, now)?,
                    Operation::Close(closed) => {
                        after.closed = Some(closed);
                        break;
                    }
                }
            }
            if let Some(sequence) = after.mail {
                transaction.open_table(NUMBERS)?.insert(SEQUENCE_KEY, sequence)?;
            }
        }
        transaction.commit()?;
        Ok(after)
    }
}

use std::collections::HashMap;

use async_nats::{HeaderMap, Message, StatusCode, jetstream::ErrorCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use super::connection::{Connection, unavailable, within};
use crate::server::store::StoreError;

/// The status behind the last message of a batch.
const END: u16 = 204;

/// A message as it is stored.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) sequence: u64,
    pub(super) bytes: Bytes,
}

/// Some messages of a subject, and how many more there are behind them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) found: Vec<Found>,
    pub(super) pending: u64,
}

#[derive(Serialize)]
struct DirectGet<'a> {
    seq: u64,
    next_by_subj: &'a str,
    batch: usize,
}

#[derive(Serialize)]
struct LastBySubject<'a> {
    last_by_subj: &'a str,
}

#[derive(Serialize)]
struct NextBySubject<'a> {
    seq: u64,
    next_by_subj: &'a str,
}

#[derive(Serialize)]
struct SubjectsFilter<'a> {
    subjects_filter: &'a str,
}

#[derive(Deserialize)]
struct Raw {
    message: RawMessage,
}

#[derive(Deserialize)]
struct RawMessage {
    seq: u64,
    #[serde(default)]
    data: String,
}

#[derive(Deserialize)]
struct Info {
    state: InfoState,
}

#[derive(Deserialize)]
struct InfoState {
    messages: u64,
    last_seq: u64,
    #[serde(default)]
    subjects: HashMap<String, u64>,
}

impl Connection {
    /// The oldest messages of a subject from a sequence on, from any server that has the stream.
    /// That one may be a moment behind: what is not found may be there nevertheless.
    pub(super) async fn read(
        &self,
        stream: &str,
        subject: &str,
        from: u64,
        at_most: usize,
    ) -> Result<Batch, StoreError> {
        self.check()?;
        let request = DirectGet { seq: from.max(1), next_by_subj: subject, batch: at_most };
        let request = serde_json::to_vec(&request).map_err(unavailable)?;
        let inbox = self.client.new_inbox();
        let whole = async {
            let mut answers = self.client.subscribe(inbox.clone()).await.map_err(unavailable)?;
            let asked = format!("$JS.API.DIRECT.GET.{stream}");
            let sent = self.client.publish_with_reply(asked, inbox, request.into());
            sent.await.map_err(unavailable)?;
            let mut batch = Batch::default();
            while let Some(message) = answers.next().await {
                match message.status {
                    None | Some(StatusCode::OK) => batch.found.push(found(message)?),
                    // The end, with how many more there are.
                    Some(status) if status.as_u16() == END => {
                        batch.pending = number(message.headers.as_ref(), "Nats-Num-Pending")?;
                        return Ok(batch);
                    }
                    Some(StatusCode::NOT_FOUND) => return Ok(Batch::default()),
                    Some(other) => {
                        let why = message.description.unwrap_or_default();
                        return Err(unavailable(format!(
                            "NATS cannot read {stream}: {other} {why}"
                        )));
                    }
                }
            }
            Err(unavailable("the connection to NATS has ended"))
        };
        within(whole).await?
    }

    /// The newest message of a subject, as the stream's leader has it.
    pub(super) async fn last(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.raw(stream, &LastBySubject { last_by_subj: subject }).await
    }

    /// The oldest message of a subject, as the stream's leader has it.
    pub(super) async fn first(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        self.raw(stream, &NextBySubject { seq: 1, next_by_subj: subject }).await
    }

    async fn raw(
        &self,
        stream: &str,
        request: &(impl Serialize + Sync),
    ) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        match self.ask::<Raw>(format!("STREAM.MSG.GET.{stream}"), request).await? {
            Ok(Raw { message }) => {
                let bytes = STANDARD.decode(message.data).map_err(unavailable)?;
                Ok(Some((message.seq, bytes)))
            }
            Err(error) if error.error_code() == ErrorCode::NO_MESSAGE_FOUND => Ok(None),
            Err(error) => Err(unavailable(error)),
        }
    }

    /// How many messages match a subject, as the stream's leader knows it.
    pub(super) async fn count(&self, stream: &str, subject: &str) -> Result<u64, StoreError> {
        let request = SubjectsFilter { subjects_filter: subject };
        let info = self.ask::<Info>(format!("STREAM.INFO.{stream}"), &request).await?;
        Ok(info.map_err(unavailable)?.state.subjects.values().sum())
    }

    /// How many messages a stream has.
    pub(super) async fn count_all(&self, stream: &str) -> Result<u64, StoreError> {
        Ok(self.state(stream).await?.messages)
    }

    /// The newest sequence of a stream, whether that message is still there or not.
    pub(super) async fn newest(&self, stream: &str) -> Result<u64, StoreError> {
        Ok(self.state(stream).await?.last_seq)
    }

    async fn state(&self, stream: &str) -> Result<InfoState, StoreError> {
        let info = self.ask::<Info>(format!("STREAM.INFO.{stream}"), &()).await?;
        Ok(info.map_err(unavailable)?.state)
    }
}

fn found(message: Message) -> Result<Found, StoreError> {
    let sequence = number(message.headers.as_ref(), "Nats-Sequence")?;
    Ok(Found { sequence, bytes: message.payload })
}

fn number(headers: Option<&HeaderMap>, name: &str) -> Result<u64, StoreError> {
    let value = headers.and_then(|headers| headers.get(name)).map(|value| value.as_str());
    let number = value.and_then(|value| value.parse().ok());
    number.ok_or_else(|| unavailable(format!("NATS answered without {name}")))
}

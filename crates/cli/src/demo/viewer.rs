//! One subscriber of the demo.

use std::{sync::Arc, time::Duration};

use olmcast::{
    client::Client,
    device::Identity,
    endpoint::{Event, Hoard},
    primitives::{Codec, DeviceId, Invite, Position, Timestamp},
};

use super::{Shared, Task, locked};
use crate::receive::Reception;

/// How often the frames are counted that could not be opened.
const COUNT: Duration = Duration::from_millis(100);

/// A frame that a viewer opened.
pub(crate) struct Opened {
    pub(crate) codec: Codec,
    pub(crate) rtp_timestamp: u32,
    pub(crate) data: Vec<u8>,
    pub(crate) at: Timestamp,
}

/// What a viewer saw.
#[derive(Default)]
pub(crate) struct ViewerLog {
    pub(crate) opened: Vec<Opened>,
    /// The first position that it was given.
    pub(crate) first: Option<Position>,
    pub(crate) position: Option<Position>,
    pub(crate) undecryptable: u64,
    /// Why it sees nothing any more, once that is so.
    pub(crate) over: Option<String>,
}

/// A subscriber that watches, and keeps every key it is sent.
pub(crate) struct Viewer {
    pub(crate) name: &'static str,
    /// When it asked for the stream.
    pub(crate) asked: Timestamp,
    pub(crate) hoard: Hoard,
    pub(crate) log: Shared<ViewerLog>,
    client: Client,
    task: Option<Task>,
}

impl Viewer {
    /// Connects and begins to watch.
    pub(crate) async fn join(name: &'static str, invite: &Invite) -> anyhow::Result<Self> {
        let client = Client::connect(invite, Identity::generate()).await?.with_name(name);
        let hoard = client.hoard_keys().await?;
        let log: Shared<ViewerLog> = Shared::default();
        let asked = Client::now();
        let task = Task(tokio::spawn({
            let (client, log) = (client.clone(), Arc::clone(&log));
            async move {
                if let Err(error) = watch(&client, &log).await {
                    locked(&log).over = Some(format!("{error:#}"));
                }
            }
        }));
        Ok(Self { name, asked, hoard, log, client, task: Some(task) })
    }

    pub(crate) fn device(&self) -> DeviceId {
        self.client.device()
    }

    /// Stops to watch: with the task its subscription is dropped, and the publisher is told.
    pub(crate) async fn leave(&mut self) {
        if let Some(task) = self.task.take() {
            drop(task);
        }
    }

    pub(crate) fn status(&self) -> String {
        let log = locked(&self.log);
        let opened = log.opened.iter().filter(|frame| frame.codec.is_video()).count();
        let position = log.position.map_or_else(|| "-".to_owned(), |position| position.to_string());
        match &log.over {
            Some(over) => format!("{}: {over}", self.name),
            None => format!("{} key {position}, {opened} pictures", self.name),
        }
    }
}

async fn watch(client: &Client, log: &Shared<ViewerLog>) -> anyhow::Result<()> {
    let mut subscription = client.subscribe("camera").await?;
    let mut reception = Reception::connect(&subscription).await?;
    let mut counting = tokio::time::interval(COUNT);
    loop {
        tokio::select! {
            frame = reception.next() => {
                let Some((codec, frame)) = frame else { anyhow::bail!("the relay is gone") };
                let mut log = locked(log);
                log.opened.push(Opened {
                    codec,
                    rtp_timestamp: frame.rtp_timestamp,
                    data: frame.data.to_vec(),
                    at: Client::now(),
                });
            }
            _ = counting.tick() => {
                let undecryptable = reception.stats().iter().map(|stats| stats.undecryptable).sum();
                locked(log).undecryptable = undecryptable;
            }
            event = subscription.event() => match event? {
                Event::KeyReceived { position, .. } => {
                    let mut log = locked(log);
                    log.first.get_or_insert(position);
                    log.position = Some(position);
                }
                Event::Advanced { position, .. } => locked(log).position = Some(position),
                Event::Withheld { code, retrying: false, .. } => {
                    locked(log).over = Some(code.to_string());
                }
                _ => {}
            },
        }
    }
}

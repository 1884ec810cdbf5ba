//! One label, through all the streams that bear it.

use std::time::Duration;

use anyhow::bail;
use olmcast::{
    client::{Client, ClientError, RoomView, Subscription},
    endpoint::{Ended, Event, Offer},
    primitives::DeviceId,
};
use tokio::{
    sync::watch,
    time::{interval, sleep},
};

use super::{Arguments, recording::Recording};
use crate::{console::safe, receive::Reception};

/// How long to wait before the relay is tried again.
const RELAY_AGAIN: Duration = Duration::from_millis(500);
/// How often it is said how many frames there are.
const REPORT: Duration = Duration::from_secs(5);

/// One label, followed.
pub(super) struct Following<'a> {
    arguments: &'a Arguments,
    client: &'a Client,
    recording: Option<Recording>,
    watched: bool,
}

impl<'a> Following<'a> {
    pub(super) fn new(arguments: &'a Arguments, client: &'a Client) -> Self {
        Self { arguments, client, recording: None, watched: false }
    }

    /// Whether any frame was opened.
    pub(super) fn has_watched(&self) -> bool {
        self.watched
    }

    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            let label = &self.arguments.stream;
            eprintln!("waiting for «{label}»");
            let offer = self.client.find(label, self.arguments.publisher).await?;
            eprintln!("asking {} for the key of «{label}»", offer.stream.publisher);
            match self.client.subscribe_to(offer).await {
                Ok(subscription) => self.receive(subscription).await?,
                Err(ClientError::StreamEnded) => eprintln!("its publisher is gone"),
                Err(error) => return Err(error.into()),
            }
            self.finish()?;
        }
    }

    /// Receives one stream until it is over.
    async fn receive(&mut self, mut subscription: Subscription) -> anyhow::Result<()> {
        let offer = subscription.offer().clone();
        if let Some(out) = &self.arguments.out {
            self.recording = Some(Recording::create(out, &offer)?);
        }
        let anew = offered_anew(self.client.room(), &offer, self.arguments.publisher);
        tokio::pin!(anew);
        let mut connecting = true;
        loop {
            let decryptors = subscription.decryptors().await?;
            let reception = tokio::select! {
                reception = Reception::connect_to(&offer.content.media, decryptors) => reception,
                over = over(&mut subscription) => return over,
                () = &mut anew => return Ok(()),
            };
            let mut reception = match reception {
                Ok(reception) => reception,
                Err(error) => {
                    if std::mem::take(&mut connecting) {
                        eprintln!("no media: {}; trying again", safe(&error.to_string()));
                    }
                    // Another stream with this label may come; this one will not.
                    if !self.client.room().borrow().is_offered(offer.stream) {
                        eprintln!("its publisher is gone");
                        return Ok(());
                    }
                    sleep(RELAY_AGAIN).await;
                    continue;
                }
            };
            connecting = true;
            let mut first = true;
            eprintln!("connected to the relay");
            let mut report = interval(REPORT);
            report.reset();
            loop {
                tokio::select! {
                    frame = reception.next() => match frame {
                        Some((codec, frame)) => {
                            if std::mem::take(&mut first) {
                                eprintln!("media flows");
                                self.watched = true;
                            }
                            if let Some(recording) = &mut self.recording {
                                recording.write(codec, &frame)?;
                            }
                        }
                        None => {
                            eprintln!("the relay is gone, or the publisher; connecting again");
                            break;
                        }
                    },
                    over = over(&mut subscription) => return over,
                    () = &mut anew => return Ok(()),
                    _ = report.tick() => {
                        let [video, audio] = reception.stats();
                        eprintln!(
                            "opened {} video and {} audio frames; {} could not be; {} losses; \
                             {} key frames asked for",
                            video.opened,
                            audio.opened,
                            video.undecryptable + audio.undecryptable,
                            video.losses + audio.losses,
                            video.key_frames_asked,
                        );
                    }
                }
            }
        }
    }

    /// Completes what is recorded.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        self.recording.take().map_or(Ok(()), Recording::finish)
    }
}

/// Resolves when the stream's label is to be had elsewhere: its publisher is gone and somebody
/// else has it, or the publisher itself began a newer one.
async fn offered_anew(
    mut room: watch::Receiver<RoomView>,
    ours: &Offer,
    publisher: Option<DeviceId>,
) {
    let label = &ours.content.label;
    let anew = |room: &RoomView| {
        room.newest(label, publisher).is_some_and(|newest| {
            let same_publisher = newest.stream.publisher == ours.stream.publisher;
            let newer = same_publisher && newest.content.started > ours.content.started;
            newest.stream != ours.stream && (newer || !room.is_offered(ours.stream))
        })
    };
    if room.wait_for(anew).await.is_err() {
        // That the client has ended, others notice.
        std::future::pending::<()>().await;
    }
    eprintln!("the stream is offered anew; changing to it");
}

/// Resolves when the subscription is over: without an error if the stream may come again.
async fn over(subscription: &mut Subscription) -> anyhow::Result<()> {
    loop {
        match subscription.event().await? {
            Event::Ended { reason: Ended::ByPublisher, .. } => {
                eprintln!("the publisher ended the stream");
                return Ok(());
            }
            Event::Ended { .. } => {
                eprintln!("the publisher started the stream anew");
                return Ok(());
            }
            Event::Withheld { code, retrying: false, .. } => bail!("no key any more: {code}"),
            Event::Withheld { code, .. } => eprintln!("{code}; asking again"),
            Event::PublisherGone { .. } => eprintln!(
                "the publisher is not at the key service any more; if it does not come back, the \
                 stream is waited for"
            ),
            Event::PublisherBack { .. } => eprintln!("the publisher is back"),
            Event::Unanswered { .. } => eprintln!(
                "the publisher does not answer: it is gone, or its messages or ours are held back; \
                 asking on"
            ),
            Event::KeyMissing { .. } => eprintln!(
                "frames come, but not their key: the publisher cannot be reached, its messages are \
                 held back, or the frames are forged; asking on"
            ),
            Event::Stalled { .. } => {
                eprintln!("the publisher has not been heard of for a minute: nothing is opened");
            }
            Event::Resumed { .. } => eprintln!("the publisher is heard of again"),
            _ => {}
        }
    }
}

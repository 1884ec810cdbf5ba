//! One label, through all the streams that bear it.

use std::{rc::Rc, time::Duration};

use anyhow::bail;
use olmcast::{
    client::{Client, ClientError, ClientEvent, Subscription},
    device::TrustState,
    endpoint::{Ended, Event, SubscriptionStatus},
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{interval, sleep},
};

use super::{
    Arguments,
    finding::{find, offered_anew},
    recording::Recording,
    screen::{Screen, trust},
};
use crate::{console::safe, naming::called, receive::Reception};

/// How long to wait before the relay is tried again.
const RELAY_AGAIN: Duration = Duration::from_millis(500);
/// How often it is said how many frames there are.
const REPORT: Duration = Duration::from_secs(5);
/// How often it is looked whether the publisher is still verified, if it must be.
const LOOK: Duration = Duration::from_secs(1);

/// One label, followed.
pub(super) struct Following<'a> {
    arguments: &'a Arguments,
    client: &'a Client,
    screen: &'a Screen,
    recording: Option<Recording>,
    watched: bool,
}

impl<'a> Following<'a> {
    pub(super) fn new(arguments: &'a Arguments, client: &'a Client, screen: &'a Screen) -> Self {
        Self { arguments, client, screen, recording: None, watched: false }
    }

    /// Whether any frame was opened.
    pub(super) fn has_watched(&self) -> bool {
        self.watched
    }

    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            let label = &self.arguments.stream;
            eprintln!("waiting for «{label}»");
            let offer = find(self.arguments, self.client).await?;
            // From before the question, so that no answer is missed.
            let events = self.client.events();
            let subscription = Rc::new(self.client.ask_for(offer).await?);
            let state = subscription.state().await?;
            let publisher = called(&state.name, &subscription.stream().publisher);
            let known = trust(&state);
            eprintln!("asking {publisher}, who is {known}, for the key of «{label}»");
            self.screen.change_to(Some(Rc::clone(&subscription)));
            let keyed = tokio::select! {
                keyed = subscription.key() => keyed,
                () = unverified(self.arguments, &subscription) => Err(ClientError::StreamEnded),
            };
            match keyed {
                Ok(()) => self.receive(&subscription, events).await?,
                Err(ClientError::StreamEnded) => eprintln!("its publisher is gone"),
                Err(error) => return Err(error.into()),
            }
            self.screen.change_to(None);
            self.finish()?;
        }
    }

    /// Receives one stream until it is over.
    async fn receive(
        &mut self,
        subscription: &Subscription,
        events: Receiver<ClientEvent>,
    ) -> anyhow::Result<()> {
        let offer = subscription.offer().clone();
        let over = over(events, subscription);
        let unverified = unverified(self.arguments, subscription);
        tokio::pin!(over, unverified);
        if let Some(out) = &self.arguments.out {
            self.recording = Some(Recording::create(out, &offer)?);
        }
        // Of those who are not verified, nobody takes the publisher's place.
        let publisher = match self.arguments.verified {
            true => Some(offer.stream.publisher),
            false => self.arguments.publisher,
        };
        let anew = offered_anew(self.client.room(), &offer, publisher);
        tokio::pin!(anew);
        let mut connecting = true;
        loop {
            let decryptors = subscription.decryptors().await?;
            let reception = tokio::select! {
                reception = Reception::connect_to(&offer.content.media, decryptors) => reception,
                over = &mut over => return over,
                () = &mut anew => return Ok(()),
                () = &mut unverified => return Ok(()),
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
                    over = &mut over => return over,
                    () = &mut anew => return Ok(()),
                    () = &mut unverified => return Ok(()),
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

/// Resolves when only a verified publisher will do, and this one is not any more.
async fn unverified(arguments: &Arguments, subscription: &Subscription) {
    loop {
        sleep(LOOK).await;
        // One that is over, others notice.
        let state = subscription.state().await;
        let is_unverified = state.is_ok_and(|state| state.trust() != TrustState::Verified);
        if arguments.verified && is_unverified {
            eprintln!("the publisher is not verified any more");
            return;
        }
    }
}

/// Resolves when the subscription is over: without an error if the stream may come again.
async fn over(
    mut events: Receiver<ClientEvent>,
    subscription: &Subscription,
) -> anyhow::Result<()> {
    let ours = subscription.stream();
    loop {
        let event = match events.recv().await {
            Ok(ClientEvent::Stream(event)) => event,
            Ok(_) => continue,
            // That it is over may be among what was lost.
            Err(RecvError::Lagged(_)) => match subscription.state().await {
                Ok(state) => match state.status {
                    SubscriptionStatus::Closed(Some(code)) => bail!("no key any more: {code}"),
                    SubscriptionStatus::Closed(None) => return Ok(()),
                    _ => continue,
                },
                Err(ClientError::StreamEnded) => {
                    eprintln!("the stream is over");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            },
            Err(RecvError::Closed) => bail!("this device connected from elsewhere"),
        };
        match event {
            Event::Ended { stream, reason } if stream == ours => match reason {
                Ended::ByPublisher => {
                    eprintln!("the publisher ended the stream");
                    return Ok(());
                }
                Ended::Replaced => {
                    eprintln!("the publisher started the stream anew");
                    return Ok(());
                }
                Ended::Blocked => bail!("the publisher is blocked"),
                _ => bail!("the publisher is not the device that is known by its name or key"),
            },
            Event::Withheld { stream, code, retrying: false } if stream == ours => {
                bail!("no key any more: {code}");
            }
            Event::PublisherGone { stream } if stream == ours => eprintln!(
                "the publisher is not at the key service any more; if it does not come back, the \
                 stream is waited for"
            ),
            Event::PublisherBack { stream } if stream == ours => {
                eprintln!("the publisher is back");
            }
            _ => {}
        }
    }
}

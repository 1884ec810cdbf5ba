use std::{sync::Arc, time::Duration};

use olmcast::{
    client::{Client, ClientError, Subscription},
    endpoint::{Event, Offer},
    media::{FrameDecryptor, HoldQueue},
    primitives::Position,
    sframe::DecryptError,
};
use tokio::{
    sync::{broadcast, oneshot},
    task::JoinHandle,
    time::{Instant, interval, sleep_until},
};

use super::camera::{Frame, Medium, plain};

/// From the encryptor to the decryptor.
const DELAY: Duration = Duration::from_millis(5);
/// How often held frames are tried again.
const RETRY: Duration = Duration::from_millis(20);

/// The receiving side of one track: what cannot be opened yet is held for up to a second.
pub(super) struct Intake {
    /// As long as somebody looks on, the client goes on.
    _client: Client,
    decryptor: FrameDecryptor,
    held: HoldQueue<Arc<Frame>>,
    out: Vec<u8>,
    /// From here on its subscriber can read.
    first: Position,
    pub(super) seen: Seen,
}

/// What became of the frames of one subscriber.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) opened: u64,
    /// When the first one was opened, and the last.
    pub(super) span: Option<(Instant, Instant)>,
    pub(super) longest_gap: Duration,
    /// Refused from its first position on, or opened as something else than was sent.
    pub(super) lost: u64,
    /// Held for a second without their key coming.
    pub(super) given_up: u64,
}

impl Intake {
    /// Once the key is here.
    pub(super) async fn new(
        client: &Client,
        subscription: &mut Subscription,
    ) -> Result<Self, ClientError> {
        let first = loop {
            if let Event::KeyReceived { position, .. } = subscription.event().await? {
                break position;
            }
        };
        let mut decryptors = subscription.decryptors().await?;
        let decryptor = decryptors.pop().ok_or(ClientError::StreamEnded)?;
        let (client, seen) = (client.clone(), Seen::default());
        Ok(Self {
            _client: client,
            decryptor,
            held: HoldQueue::new(),
            out: Vec::new(),
            first,
            seen,
        })
    }

    /// Takes the next frame.
    pub(super) async fn take(&mut self, frame: &Arc<Frame>) {
        sleep_until(frame.sent + DELAY).await;
        self.retry();
        let now = Client::now();
        match self.decryptor.decrypt_into(&frame.wire, now, &mut self.out) {
            Err(DecryptError::UnknownKey(_)) => {
                self.held.hold(&frame.wire, Arc::clone(frame), now);
            }
            opened => self.note(frame, opened),
        }
    }

    fn retry(&mut self) {
        let now = Client::now();
        while let Some((frame, opened)) =
            self.held.open_next(&mut self.decryptor, now, &mut self.out)
        {
            self.note(&frame, opened);
        }
        self.held.handle_timeout(now);
        self.seen.given_up += self.held.take_given_up() as u64;
    }

    fn note(&mut self, frame: &Frame, opened: Result<(), DecryptError>) {
        match opened {
            Ok(()) if self.out == plain(frame.number) => {
                let now = Instant::now();
                let (first, last) = self.seen.span.unwrap_or((now, now));
                self.seen.longest_gap = self.seen.longest_gap.max(now - last);
                self.seen.span = Some((first, now));
                self.seen.opened += 1;
            }
            // It is not meant to open those.
            Err(_) if frame.position < self.first => {}
            Ok(()) | Err(_) => self.seen.lost += 1,
        }
    }
}

/// Somebody who watches until told to stop.
pub(super) struct Viewer {
    /// When it asked for the stream.
    pub(super) asked: Instant,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Watched>,
}

/// What a viewer leaves behind.
pub(super) struct Watched {
    pub(super) first: Option<Position>,
    pub(super) seen: Seen,
    pub(super) subscription: Option<Subscription>,
    pub(super) over: Option<String>,
}

impl Viewer {
    /// Asks for a stream, and watches it.
    pub(super) fn start(client: Client, offer: Offer, medium: Medium) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(watch(client, offer, medium, stopped));
        Self { asked: Instant::now(), stop, task }
    }

    /// Stops watching. The subscription is not left.
    pub(super) async fn stop(self) -> anyhow::Result<Watched> {
        // It may have stopped by itself.
        let _ = self.stop.send(());
        Ok(self.task.await?)
    }
}

async fn watch(
    client: Client,
    offer: Offer,
    medium: Medium,
    mut stopped: oneshot::Receiver<()>,
) -> Watched {
    let mut watched =
        Watched { first: None, seen: Seen::default(), subscription: None, over: None };
    let joined = async {
        let mut subscription = client.subscribe_to(offer).await?;
        let intake = Intake::new(&client, &mut subscription).await?;
        Ok::<_, ClientError>((subscription, intake))
    };
    let (mut subscription, mut intake) = tokio::select! {
        joined = joined => match joined {
            Ok(joined) => joined,
            Err(error) => {
                watched.over = Some(error.to_string());
                return watched;
            }
        },
        _ = &mut stopped => return watched,
    };
    let mut frames = medium.listen();
    let mut retry = interval(RETRY);
    watched.over = loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Ok(frame) => intake.take(&frame).await,
                Err(broadcast::error::RecvError::Lagged(frames)) => {
                    break Some(format!("this machine is too slow: {frames} frames skipped"));
                }
                Err(broadcast::error::RecvError::Closed) => break None,
            },
            _ = retry.tick(), if !intake.held.is_empty() => intake.retry(),
            event = subscription.event() => match event {
                Ok(Event::Withheld { code, retrying: false, .. }) => break Some(code.to_string()),
                Ok(Event::Ended { .. }) => break Some("the stream has ended".to_owned()),
                Ok(_) => {}
                Err(error) => break Some(error.to_string()),
            },
            _ = &mut stopped => break None,
        }
    };
    let Intake { first, seen, .. } = intake;
    Watched { first: Some(first), seen, subscription: Some(subscription), ..watched }
}

use std::{process::ExitCode, time::Duration};

use anyhow::Context;
use olmcast::{
    client::{Client, ClientError, Publication, RoomView},
    endpoint::{Event, Offer, Publish},
    primitives::{Invite, StreamRef},
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout_at},
};

use super::{
    FirstFrames,
    camera::{CODEC, Camera, Medium},
    process::Process,
    room::{self, Room},
    viewer::Intake,
};
use crate::harness::{block_on, store::StoreKind};

const LABEL: &str = "camera";
/// How long all subscribers have to see a stream.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a publisher takes to start.
const START: Duration = Duration::from_secs(1);

/// Kills a publisher, starts it again, and waits for its subscribers to follow.
///
/// It is killed without a goodbye: its sockets close, and nothing else. Started again, it is a new
/// device that publishes under the same label, which is what the subscribers go by, as
/// `olmcast subscribe` does. What is measured is from the call of `publish` to the first frame of
/// the new stream, over all subscribers, through a real key service on this machine. Fails if not
/// everybody sees a frame, or if it takes longer than 2 s for more than one of a hundred.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Devices that watch
    #[arg(long, default_value_t = 200)]
    subscribers: usize,
    /// Where the service remembers
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let subscribers = arguments.subscribers;
    let times = block_on(perform(subscribers, arguments.store))?;
    FirstFrames::new(subscribers, times).print(arguments.json, "From the new offer")
}

/// Somebody saw the first frame of a stream.
type FirstFrame = (StreamRef, Instant);

async fn perform(subscribers: usize, store: StoreKind) -> anyhow::Result<Vec<Duration>> {
    let room = Room::open(subscribers + 2, store).await?;
    let (medium, (seen, mut first_frames)) = (Medium::new(), mpsc::unbounded_channel());
    let (process, publication, _) = publisher(&room.invite).await?;
    let camera = Camera::start(&publication, &medium, false)?;
    for client in room.connect(subscribers).await? {
        tokio::spawn(follow(client, medium.clone(), seen.clone()));
    }
    drop(seen);
    let before = collect(&mut first_frames, publication.stream(), subscribers).await;
    anyhow::ensure!(before.len() == subscribers, "only {} see the first stream", before.len());
    eprintln!("all watch; the publisher is killed");
    drop(camera);
    process.kill();
    tokio::time::sleep(START).await;
    let (_process, publication, offered) = publisher(&room.invite).await?;
    let _camera = Camera::start(&publication, &medium, false)?;
    let after = collect(&mut first_frames, publication.stream(), subscribers).await;
    Ok(after.into_iter().map(|at| at - offered).collect())
}

/// Starts a publisher. Also says when it offered its stream.
async fn publisher(invite: &Invite) -> anyhow::Result<(Process, Publication, Instant)> {
    let (process, invite) = (Process::start()?, invite.clone());
    let publishing = async move {
        let client = room::connect(&invite).await?;
        let offered = Instant::now();
        let publish = Publish::new(LABEL).track(CODEC).with_invite();
        Ok::<_, anyhow::Error>((client.publish(publish).await?, offered))
    };
    let (publication, offered) = process.run(publishing).await??;
    Ok((process, publication, offered))
}

/// When the subscribers saw the first frame of a stream.
async fn collect(
    first_frames: &mut mpsc::UnboundedReceiver<FirstFrame>,
    of: StreamRef,
    count: usize,
) -> Vec<Instant> {
    let (end, mut times) = (Instant::now() + PATIENCE, Vec::new());
    while times.len() < count {
        match timeout_at(end, first_frames.recv()).await {
            Ok(Some((stream, at))) if stream == of => times.push(at),
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    times
}

/// One label, through all the streams that bear it.
async fn follow(client: Client, medium: Medium, seen: mpsc::UnboundedSender<FirstFrame>) {
    loop {
        match watch_newest(&client, &medium, &seen).await {
            Ok(()) => {}
            Err(error) => match error.downcast_ref::<ClientError>() {
                Some(ClientError::StreamEnded) => {}
                _ => return tracing::warn!("a subscriber gave up: {error:#}"),
            },
        }
    }
}

async fn watch_newest(
    client: &Client,
    medium: &Medium,
    seen: &mpsc::UnboundedSender<FirstFrame>,
) -> anyhow::Result<()> {
    let offer = client.find(LABEL, None).await?;
    let mut subscription = client.subscribe_to(offer.clone()).await?;
    let mut intake = Intake::new(client, &mut subscription).await?;
    let mut frames = medium.listen();
    let anew = offered_anew(client.room(), &offer);
    tokio::pin!(anew);
    loop {
        tokio::select! {
            frame = frames.recv() => {
                let frame = frame.context("this machine is too slow for so many frames")?;
                if frame.stream != offer.stream {
                    continue;
                }
                let first = intake.seen.opened == 0;
                intake.take(&frame).await;
                if first && intake.seen.opened > 0 {
                    // If all was measured already, nobody listens any more.
                    let _ = seen.send((offer.stream, Instant::now()));
                }
            }
            event = subscription.event() => match event? {
                Event::Ended { .. } => return Ok(()),
                Event::Withheld { code, retrying: false, .. } => {
                    return Err(ClientError::Withheld(code).into());
                }
                _ => {}
            },
            () = &mut anew => return Ok(()),
        }
    }
}

/// Resolves when somebody else offers the label and our publisher is gone.
async fn offered_anew(mut room: watch::Receiver<RoomView>, ours: &Offer) {
    let anew = |room: &RoomView| {
        room.newest(LABEL, None)
            .is_some_and(|newest| newest.stream != ours.stream && !room.is_offered(ours.stream))
    };
    if room.wait_for(anew).await.is_err() {
        // That the client has ended, its events say.
        std::future::pending::<()>().await;
    }
}

use std::{process::ExitCode, sync::Arc, time::Duration};

use olmcast::{client::Client, endpoint::Publish};
use tokio::{
    sync::Barrier,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    FirstFrames,
    camera::{CODEC, Camera, Medium},
    process::Process,
    room::{self, Room},
    viewer::Intake,
};
use crate::harness::{block_on, store::StoreKind};

/// How long a subscriber has to see its first frame.
const PATIENCE: Duration = Duration::from_secs(30);

/// Lets many devices ask for one stream at the same moment.
///
/// They are connected to a real key service on this machine beforehand, so what is measured is
/// from the call of `subscribe` to the first frame decrypted: the question, the key's way through
/// the service, and the wait for the next frame, of which there are 50 a second. Service,
/// publisher and all subscribers share this machine's cores, so run it when nothing else does.
/// Fails if not everybody sees a frame, or if it takes longer than 2 s for more than one of a
/// hundred.
///
/// Each device needs two open files: see `ulimit -n`.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Devices that join
    #[arg(long, default_value_t = 1000)]
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
    FirstFrames::new(subscribers, times).print(arguments.json, "From subscribe")
}

async fn perform(subscribers: usize, store: StoreKind) -> anyhow::Result<Vec<Duration>> {
    let room = Room::open(subscribers + 1, store).await?;
    // Like any other one, the publisher does not wait for a turn among its subscribers' tasks.
    let (process, invite) = (Process::start()?, room.invite.clone());
    let publisher = process.run(async move { room::connect(&invite).await }).await??;
    let publication = publisher.publish(Publish::new("camera").track(CODEC).with_invite()).await?;
    let medium = Medium::new();
    let _camera = Camera::start(&publication, &medium, false)?;
    let clients = room.connect(subscribers).await?;
    // The news of who came has reached everybody.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let all = Arc::new(Barrier::new(subscribers));
    let mut joining = JoinSet::new();
    for client in clients {
        let (all, medium) = (Arc::clone(&all), medium.clone());
        joining.spawn(async move {
            all.wait().await;
            let asked = Instant::now();
            let joined = timeout(PATIENCE, first_frame(&client, &medium)).await;
            (joined.is_ok_and(|seen| seen.is_ok()).then(|| asked.elapsed()), client)
        });
    }
    let (mut times, mut clients) = (Vec::new(), Vec::new());
    while let Some(joined) = joining.join_next().await {
        let (time, client) = joined?;
        times.extend(time);
        clients.push(client);
    }
    let by_subscribers: u64 = clients.iter().map(|client| client.traffic().messages).sum();
    let by_publisher = publisher.traffic().messages;
    eprintln!("the publisher sent {by_publisher} messages, the subscribers {by_subscribers}");
    Ok(times)
}

async fn first_frame(client: &Client, medium: &Medium) -> anyhow::Result<()> {
    let mut subscription = client.subscribe("camera").await?;
    let mut intake = Intake::new(client, &mut subscription).await?;
    let mut frames = medium.listen();
    while intake.seen.opened == 0 {
        intake.take(&frames.recv().await?).await;
    }
    // Who has joined stays: leaving is another matter.
    tokio::spawn(async move { while subscription.event().await.is_ok() {} });
    Ok(())
}

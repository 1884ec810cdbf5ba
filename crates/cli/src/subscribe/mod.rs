//! `olmcast subscribe`.

mod following;
mod recording;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use olmcast::{
    client::{Client, ClientEvent},
    device::Identity,
    primitives::{DeviceId, Invite},
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep, sleep_until},
};

use crate::console::{Console, interrupted};
use following::Following;

/// Receive a stream and record it as playable files.
///
/// It waits for the stream, and follows it: if the publisher starts again, recording goes on in
/// new files. It leaves at Ctrl-C, at a line `leave`, or after --duration.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The room's invite link, in quotes, since it has a #
    #[arg(long, env = "OLMCAST_ROOM", hide_env_values = true, value_name = "LINK")]
    room: String,
    /// The name of the stream
    #[arg(long, default_value = "camera")]
    stream: String,
    /// Only from this device. A stream's name is a claim: without this, it is taken from
    /// whoever in the room offers it
    #[arg(long, value_name = "DEVICE")]
    publisher: Option<DeviceId>,
    /// The folder for the recordings: .ivf (VP8, VP9, AV1) or .h264, and .ogg (Opus), called
    /// after the stream. Without it, frames are only counted
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What the publisher is told of you
    #[arg(long, default_value = "")]
    name: String,
    /// Leave after this time, 90s for instance
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    trust: crate::trust::Arguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let invite: Invite = arguments.room.parse().context("--room")?;
    let trust = arguments.trust.read()?;
    if let Some(out) = &arguments.out {
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    }
    let client = Client::connect_with(&invite, Identity::generate(), &trust)
        .await?
        .with_name(&arguments.name);
    eprintln!("this device is {}", client.device());
    let mut following = Following::new(&arguments, &client);
    let result = tokio::select! {
        result = following.run() => result.map(|()| Left::AtWill),
        error = service_messages(&client) => Err(error),
        result = until_left(&arguments) => result,
    };
    // Whatever happened, what was recorded is completed.
    following.finish()?;
    // The unsubscription is on its way now.
    sleep(Duration::from_millis(300)).await;
    if result? == Left::TimeOver && !following.has_watched() {
        bail!(
            "nothing of «{}» was opened in all that time; is it published in this room, and by \
             somebody who admits you?",
            arguments.stream
        );
    }
    Ok(())
}

/// Why it ended, if not for an error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    AtWill,
    TimeOver,
}

/// Resolves when the user wants to leave.
async fn until_left(arguments: &Arguments) -> anyhow::Result<Left> {
    let end = arguments.duration.map(|duration| Instant::now() + duration);
    let mut console = Console::open();
    let typed = async {
        loop {
            match console.line().await.as_str() {
                "leave" => return,
                "" => {}
                other => eprintln!("there is no command {other}; there is: leave"),
            }
        }
    };
    let over = async {
        match end {
            Some(end) => sleep_until(end).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        interrupted = interrupted() => interrupted.map(|()| Left::AtWill).map_err(Into::into),
        () = typed => Ok(Left::AtWill),
        () = over => Ok(Left::TimeOver),
    }
}

/// Says what becomes of the key service.
async fn service_messages(client: &Client) -> anyhow::Error {
    let mut events = client.events();
    loop {
        match events.recv().await {
            Ok(ClientEvent::ServiceUp) => eprintln!("connected to the key service"),
            Ok(ClientEvent::ServiceDown(reason)) => {
                eprintln!("{reason}; the stream goes on as long as its key is not changed");
            }
            Ok(ClientEvent::ServiceRefused(code)) => {
                return anyhow::anyhow!("the key service refused: {code}");
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => {
                return anyhow::anyhow!("this device connected from elsewhere");
            }
        }
    }
}

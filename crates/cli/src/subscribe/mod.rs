//! `olmcast subscribe`.

mod finding;
mod following;
mod recording;
mod screen;
mod seat;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use olmcast::{
    client::Client,
    primitives::{DeviceId, Invite},
};
use tokio::time::sleep;

use crate::{console::unless_interrupted, vault};
use following::Following;
use screen::Screen;
use seat::{Left, Seat};

/// Receive a stream and record it as playable files.
///
/// It waits for the stream, and follows it: if the publisher starts again, recording goes on in
/// new files. It leaves at Ctrl-C, at a line `leave`, or after --duration.
///
/// While it runs, it takes commands, a line each:
///
///   state           whether the stream can be watched, since when, and by whom it is
///   code            a number that the publisher and all who watch can compare
///   verify DEVICE   verify each other; then y if both screens show the same, or n
///   decline DEVICE  do not take part in what another wants to verify
///   leave           leave
///
/// DEVICE is an id, how it begins (8 characters or more), or a name. What was typed before a question
/// could be read, is no answer to it.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
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
    /// Only from a publisher that you verified (olmcast verify)
    #[arg(long)]
    verified: bool,
    /// The folder for the recordings: .ivf (VP8, VP9, AV1) or .h264, and .ogg (Opus), called
    /// after the stream. Without it, frames are only counted
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Leave after this time, 90s for instance
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
    #[command(flatten)]
    device: vault::Named,
    #[command(flatten)]
    trust: crate::trust::Arguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let invite: Invite = arguments.room.parse().context("--room")?;
    let trust = arguments.trust.read()?;
    if let Some(out) = &arguments.out {
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    }
    let client = unless_interrupted(async {
        let vault = arguments.device.open_or_generate()?;
        Ok(Client::connect_with(&invite, vault, &trust).await?)
    });
    let client = client.await?;
    arguments.device.introduce(client.device());
    let screen = Screen::default();
    let mut following = Following::new(&arguments, &client, &screen);
    let mut seat = Seat::new(&arguments, &client, &screen);
    let result = tokio::select! {
        result = following.run() => result.map(|()| Left::AtWill),
        result = seat.sit() => result,
    };
    // Whatever happened, what was recorded is completed.
    following.finish()?;
    screen.change_to(None);
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

//! `olmcast publish`.

mod admission;
mod commands;
mod guests;
mod media;
mod seldom;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use olmcast::{
    client::Client,
    device::TrustState,
    endpoint::{Admission, Publish},
    primitives::Invite,
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{interval, sleep},
};

use crate::{
    console::{Console, interrupted, unless_interrupted},
    vault,
};
use commands::COMMANDS;
use guests::Desk;
pub(crate) use media::Media;

/// Frames in a second of H.264 files that do not state it, if --fps does not either.
pub(crate) const UNSTATED_RATE: f64 = 30.0;

/// Commands that make files which can be published: shown in the help, and run by the tests.
pub(crate) const RECIPES: &str = "\
Files to publish, made with ffmpeg from any video (INPUT):

  VP8    ffmpeg -i INPUT -an -c:v libvpx -b:v 1M -g 60 -auto-alt-ref 0 video.ivf
  VP9    ffmpeg -i INPUT -an -c:v libvpx-vp9 -b:v 1M -g 60 -deadline realtime -cpu-used 8 video.ivf
  AV1    ffmpeg -i INPUT -an -c:v libsvtav1 -preset 10 -g 60 -pix_fmt yuv420p video.ivf
         ffmpeg -i INPUT -an -c:v libaom-av1 -usage realtime -cpu-used 8 -b:v 1M -g 60 video.ivf
  H.264  ffmpeg -i INPUT -an -c:v libx264 -profile:v baseline -pix_fmt yuv420p -bf 0 -g 60 video.h264
  Opus   ffmpeg -i INPUT -vn -c:a libopus -b:a 48k -frame_duration 20 audio.ogg

What is encoded so already need not be encoded again; from MP4, Matroska or WebM:

  ffmpeg -i INPUT -map 0:v:0 -c copy video.h264        (H.264)
  ffmpeg -i INPUT -map 0:v:0 -c copy video.ivf         (VP8, VP9, AV1)

Somebody who joins sees nothing before a key frame: -g 60 makes each 60th frame one. When a viewer
asks for one, the file's next is jumped to.
H.264 is best without B-frames (-bf 0): frames are sent in the order in which they are decoded,
with times in that order, as WebRTC expects. With B-frames, viewers may show them in the wrong one.";

/// How often it is looked who still waits for an answer.
const LOOK: Duration = Duration::from_secs(1);

/// Publish a stream from files, played over and over in real time.
///
/// While it runs, it takes commands, a line each:
///
///   holders                       who watches, and what is known of them
///   admit DEVICE, refuse DEVICE   let somebody in who asks, or not; or answer y or n when asked
///   kick DEVICE, block DEVICE     lock somebody out: within a second, and for good
///   verify DEVICE                 verify each other; then y if both screens show the same, or n
///   decline DEVICE                do not take part in what another wants to verify
///   code                          a number that all who watch can compare
///   reopen                        let in again whoever has the link, after a kick or a block
///   end                           end the stream
///
/// DEVICE is an id, how it begins (8 characters or more), or a name. A kick closes the room to devices
/// that were not admitted before, and so does a block of one that was let in: who was removed still
/// has its link. What was typed before a question could be read, is no answer to it.
#[derive(clap::Args)]
#[command(verbatim_doc_comment, after_long_help = RECIPES)]
pub(crate) struct Arguments {
    /// The room's invite link, in quotes, since it has a #
    #[arg(long, env = "OLMCAST_ROOM", hide_env_values = true, value_name = "LINK")]
    room: String,
    /// A file with VP8, VP9 or AV1 (IVF), or H.264 (Annex B); needed unless there is --audio.
    /// Which it is, is seen from what it holds, whatever it is called
    #[arg(long, value_name = "FILE", required_unless_present = "audio")]
    video: Option<PathBuf>,
    /// An Opus file (OGG)
    #[arg(long, value_name = "FILE.ogg")]
    audio: Option<PathBuf>,
    /// Frames in a second of an H.264 file that does not state its rate (in the VUI of its SPS);
    /// all other files do
    #[arg(long, value_name = "RATE", default_value_t = UNSTATED_RATE, value_parser = frame_rate)]
    fps: f64,
    /// The name of the stream, as people in the room see it
    #[arg(long, default_value = "camera")]
    stream: String,
    /// The relay that forwards the stream
    #[arg(long, default_value = crate::address::RELAY_URL, env = "OLMCAST_RELAY", value_name = "URL")]
    relay: String,
    /// Who is admitted: invite (whoever has the link), ask (you answer for each device), verified
    /// (whom you verified: olmcast verify), or a file with a device id on each line. Who bears the
    /// name of somebody you know, or has another key than before, is always put to you
    #[arg(long, default_value = "invite", value_name = "invite|ask|verified|FILE")]
    admit: String,
    #[command(flatten)]
    device: vault::Named,
    #[command(flatten)]
    trust: crate::trust::Arguments,
}

fn frame_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.1..=1000.0).contains(rate));
    rate.ok_or_else(|| "a number of frames a second, from 0.1 to 1000".to_owned())
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let invite: Invite = arguments.room.parse().context("--room")?;
    let trust = arguments.trust.read()?;
    let media = Media::read(&arguments)?;
    let admission = admission::read(&arguments.admit)?;
    let client = unless_interrupted(async {
        let vault = arguments.device.open_or_generate()?;
        let mut known = vault.identity().memory().trust().iter().map(|known| known.state);
        let nobody_is_verified = !known.any(|state| state == TrustState::Verified);
        drop(known);
        let client = Client::connect_with(&invite, vault, &trust).await?;
        Ok((client, nobody_is_verified))
    });
    let (client, nobody_is_verified) = client.await?;
    let nobody_may_watch = nobody_is_verified && matches!(admission, Admission::Verified);
    let (whip, whep) = crate::address::at_relay(&arguments.relay)?;
    let publish = Publish::new(&arguments.stream).media(whep).admission(admission);
    let mut events = client.events();
    let publication = client.publish(media.offer(publish)).await?;
    arguments.device.introduce(client.device());
    eprintln!("publishing «{}»; commands: {COMMANDS}", arguments.stream);
    if nobody_may_watch {
        eprintln!(
            "nobody can watch until you have verified somebody in this run: verify DEVICE; whom you \
             verified before, only a --vault knows"
        );
    }
    if media.video.as_ref().is_some_and(|file| file.is_reordered) {
        eprintln!(
            "the video has B-frames, which viewers may show in the wrong order; encode it with \
             ffmpeg's -bf 0 (see --help)"
        );
    }

    let mut console = Console::open();
    let mut desk = Desk::new(&client, &publication, arguments.device.is_kept());
    {
        let send = media.send(&publication, &whip);
        let end = interrupted();
        tokio::pin!(send, end);
        let mut look = interval(LOOK);
        loop {
            desk.show_question();
            tokio::select! {
                error = &mut send => return error,
                interrupted = &mut end => {
                    interrupted?;
                    break;
                }
                event = events.recv() => match event {
                    Ok(event) => desk.hear(&event).await?,
                    Err(RecvError::Lagged(_)) => desk.catch_up().await?,
                    Err(RecvError::Closed) => bail!("this device connected from elsewhere"),
                },
                _ = look.tick() => desk.look().await?,
                line = console.line() => match desk.obey(&line).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => eprintln!("{error:#}"),
                },
            }
        }
        desk.leave().await;
    }
    eprintln!("ending the stream");
    publication.end().await?;
    // The end is on its way to the service now, and from there to the subscribers.
    sleep(Duration::from_millis(300)).await;
    Ok(())
}

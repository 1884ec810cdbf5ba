//! `olmcast subscribe`.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use olmcast::{
    client::{Client, ClientError, ClientEvent, Subscription},
    device::Identity,
    endpoint::{Ended, Event, Offer},
    primitives::{Codec, DeviceId, Invite},
    rtc::ReceivedFrame,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    sync::broadcast::error::RecvError,
    time::{Instant, interval, sleep, sleep_until},
};

use crate::{
    media::{IvfWriter, OggOpusWriter},
    receive::Reception,
};

/// How long to wait before the relay is tried again.
const RELAY_AGAIN: Duration = Duration::from_millis(500);
/// How often it is said how many frames there are.
const REPORT: Duration = Duration::from_secs(5);

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
    /// The folder for the recordings; without it, frames are only counted
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What the publisher is told of you
    #[arg(long, default_value = "")]
    name: String,
    /// Leave after this time, 90s for instance
    #[arg(long, value_parser = humantime::parse_duration)]
    duration: Option<Duration>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let invite: Invite = arguments.room.parse().context("--room")?;
    if let Some(out) = &arguments.out {
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    }
    let client = Client::connect(&invite, Identity::generate()).await?.with_name(&arguments.name);
    eprintln!("this device is {}", client.device());
    let mut following = Following { arguments: &arguments, client: &client, recording: None };
    let result = tokio::select! {
        result = following.run() => result,
        error = service_messages(&client) => Err(error),
        () = until_left(&arguments) => Ok(()),
    };
    // Whatever happened, what was recorded is completed.
    following.finish()?;
    // The unsubscription is on its way now.
    sleep(Duration::from_millis(300)).await;
    result
}

/// Resolves when the user wants to leave.
async fn until_left(arguments: &Arguments) {
    let end = arguments.duration.map(|duration| Instant::now() + duration);
    let typed = async {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.trim() == "leave" {
                return;
            }
        }
        // Without a terminal it goes on.
        std::future::pending().await
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = typed => {}
        () = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        } => {}
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

/// One label, through all the streams that bear it.
struct Following<'a> {
    arguments: &'a Arguments,
    client: &'a Client,
    recording: Option<Recording>,
}

impl Following<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
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
        let stream = subscription.stream();
        let media = subscription.offer().content.media.clone();
        if let Some(out) = &self.arguments.out {
            self.recording = Some(Recording::create(out, subscription.offer())?);
        }
        let mut room = self.client.room();
        let mut connecting = true;
        loop {
            let decryptors = subscription.decryptors().await?;
            let reception = tokio::select! {
                reception = Reception::connect_to(&media, decryptors) => reception,
                over = over(&mut subscription) => return over,
            };
            let mut reception = match reception {
                Ok(reception) => reception,
                Err(error) => {
                    if std::mem::take(&mut connecting) {
                        eprintln!("no media: {error}; trying again");
                    }
                    // The publisher is gone, and the same label is to be had elsewhere.
                    if !room.borrow_and_update().is_offered(stream) {
                        eprintln!("its publisher is gone");
                        return Ok(());
                    }
                    sleep(RELAY_AGAIN).await;
                    continue;
                }
            };
            connecting = true;
            eprintln!("media flows");
            let mut report = interval(REPORT);
            report.reset();
            loop {
                tokio::select! {
                    frame = reception.next() => match frame {
                        Some((codec, frame)) => {
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
                    _ = room.changed() => {
                        let elsewhere = {
                            let room = room.borrow_and_update();
                            !room.is_offered(stream)
                                && room.newest(&self.arguments.stream, self.arguments.publisher).is_some()
                        };
                        if elsewhere {
                            eprintln!("the publisher is gone, and the stream is offered anew");
                            return Ok(());
                        }
                    }
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

    fn finish(&mut self) -> anyhow::Result<()> {
        self.recording.take().map_or(Ok(()), Recording::finish)
    }
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
            Event::PublisherGone { .. } => eprintln!("the publisher has lost its key service"),
            Event::PublisherBack { .. } => eprintln!("the publisher is back"),
            Event::Stalled { .. } => {
                eprintln!("the publisher has not been heard of for a minute: nothing is opened");
            }
            Event::Resumed { .. } => eprintln!("the publisher is heard of again"),
            _ => {}
        }
    }
}

/// The files of one stream.
struct Recording {
    video: Option<(PathBuf, IvfWriter<BufWriter<File>>)>,
    audio: Option<(PathBuf, OggOpusWriter<BufWriter<File>>)>,
}

impl Recording {
    fn create(out: &Path, offer: &Offer) -> anyhow::Result<Self> {
        let has = |codec| offer.content.tracks.iter().any(|track| track.codec == codec);
        let video = has(Codec::Vp8).then(|| new_file(out, &offer.content.label, "ivf"));
        let audio = has(Codec::Opus).then(|| new_file(out, &offer.content.label, "ogg"));
        Ok(Self {
            video: video.transpose()?.map(|(path, file)| (path, IvfWriter::new(file))),
            audio: audio.transpose()?.map(|(path, file)| (path, OggOpusWriter::new(file))),
        })
    }

    fn write(&mut self, codec: Codec, frame: &ReceivedFrame) -> anyhow::Result<()> {
        match codec {
            Codec::Vp8 => {
                if let Some((path, writer)) = &mut self.video {
                    writer
                        .write(&frame.data, frame.rtp_timestamp, frame.key_frame)
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
            _ => {
                if let Some((path, writer)) = &mut self.audio {
                    writer
                        .write(&frame.data, frame.rtp_timestamp)
                        .with_context(|| format!("cannot write {}", path.display()))?;
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> anyhow::Result<()> {
        if let Some((path, writer)) = self.video {
            let frames =
                writer.finish().with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}: {frames} frames", path.display());
        }
        if let Some((path, writer)) = self.audio {
            let packets =
                writer.finish().with_context(|| format!("cannot write {}", path.display()))?;
            println!("{}: {packets} packets", path.display());
        }
        Ok(())
    }
}

/// A new file called after the label; never one that is there already.
fn new_file(
    out: &Path,
    label: &str,
    extension: &str,
) -> anyhow::Result<(PathBuf, BufWriter<File>)> {
    // A label is somebody else's text: it must not lead out of the folder.
    let safe = |c: char| if c.is_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let label: String = label.chars().take(64).map(safe).collect();
    for number in 1..10_000 {
        let name = match number {
            1 => format!("{label}.{extension}"),
            _ => format!("{label}-{number}.{extension}"),
        };
        let path = out.join(name);
        match File::create_new(&path) {
            Ok(file) => return Ok((path, BufWriter::new(file))),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", path.display()));
            }
        }
    }
    bail!("{} holds too many recordings of «{label}»", out.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_lead_out_of_the_folder_and_no_file_is_overwritten() {
        let out = tempfile::tempdir().unwrap();
        for expected in ["___etc_passwd.ivf", "___etc_passwd-2.ivf"] {
            let (path, _) = new_file(out.path(), "../etc/passwd", "ivf").unwrap();
            assert_eq!(path, out.path().join(expected));
        }
    }
}

//! `olmcast subscribe`.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use olmcast::{
    client::{Client, ClientError, ClientEvent, RoomView, Subscription},
    device::Identity,
    endpoint::{Ended, Event, Offer},
    primitives::{Codec, DeviceId, Invite},
    rtc::ReceivedFrame,
};
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    time::{Instant, interval, sleep, sleep_until},
};

use crate::{
    console::{Console, interrupted, safe},
    media::{OggOpusWriter, VideoWriter, extension},
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
    let mut following =
        Following { arguments: &arguments, client: &client, recording: None, watched: false };
    let result = tokio::select! {
        result = following.run() => result.map(|()| Left::AtWill),
        error = service_messages(&client) => Err(error),
        result = until_left(&arguments) => result,
    };
    // Whatever happened, what was recorded is completed.
    following.finish()?;
    // The unsubscription is on its way now.
    sleep(Duration::from_millis(300)).await;
    if result? == Left::TimeOver && !following.watched {
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

/// One label, through all the streams that bear it.
struct Following<'a> {
    arguments: &'a Arguments,
    client: &'a Client,
    recording: Option<Recording>,
    /// Whether any frame was opened.
    watched: bool,
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

    fn finish(&mut self) -> anyhow::Result<()> {
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

/// The files of one stream.
struct Recording {
    video: Option<(PathBuf, VideoWriter<BufWriter<File>>)>,
    audio: Option<(PathBuf, OggOpusWriter<BufWriter<File>>)>,
}

impl Recording {
    fn create(out: &Path, offer: &Offer) -> anyhow::Result<Self> {
        // The first of each kind, as in a `Reception`.
        let first = |is_video| {
            let mut codecs = offer.content.tracks.iter().map(|track| track.codec);
            codecs.find(|codec| codec.is_video() == is_video)
        };
        let codec = first(true);
        let extensions = [codec, first(false)].map(|codec| codec.map(extension));
        let [video, audio] = new_files(out, &offer.content.label, extensions)?;
        let writer = |(path, file)| Some((path, VideoWriter::new(codec?, BufWriter::new(file))));
        Ok(Self {
            video: video.and_then(writer),
            audio: audio.map(|(path, file)| (path, OggOpusWriter::new(BufWriter::new(file)))),
        })
    }

    fn write(&mut self, codec: Codec, frame: &ReceivedFrame) -> anyhow::Result<()> {
        let cannot = |path: &Path| format!("cannot write {}", path.display());
        match (&mut self.video, &mut self.audio) {
            (Some((path, writer)), _) if codec.is_video() => writer
                .write(&frame.data, frame.rtp_timestamp, frame.key_frame)
                .with_context(|| cannot(path)),
            (_, Some((path, writer))) if !codec.is_video() => {
                writer.write(&frame.data, frame.rtp_timestamp).with_context(|| cannot(path))
            }
            _ => Ok(()),
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        let cannot = |path: &Path| format!("cannot write {}", path.display());
        if let Some((path, writer)) = self.video {
            let frames = writer.finish().with_context(|| cannot(&path))?;
            keep(&path, frames, "frames")?;
        }
        if let Some((path, writer)) = self.audio {
            let packets = writer.finish().with_context(|| cannot(&path))?;
            keep(&path, packets, "packets")?;
        }
        Ok(())
    }
}

/// Says what a file holds. An empty one plays nowhere, and is removed.
fn keep(path: &Path, count: u32, what: &str) -> anyhow::Result<()> {
    if count == 0 {
        return fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()));
    }
    println!("{}: {count} {what}", path.display());
    Ok(())
}

/// New files that are called after the label, and all the same but for their extensions. None
/// that is there already is touched.
fn new_files(
    out: &Path,
    label: &str,
    extensions: [Option<&str>; 2],
) -> anyhow::Result<[Option<(PathBuf, File)>; 2]> {
    // A label is somebody else's text: it must not lead out of the folder.
    let safe = |c: char| if c.is_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let label: String = label.chars().take(64).map(safe).collect();
    'numbers: for number in 1..10_000 {
        let name = if number == 1 { label.clone() } else { format!("{label}-{number}") };
        let mut files = [None, None];
        for (place, extension) in extensions.into_iter().enumerate() {
            let Some(extension) = extension else { continue };
            let path = out.join(format!("{name}.{extension}"));
            match File::create_new(&path) {
                Ok(file) => files[place] = Some((path, file)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    for (path, _) in files.into_iter().flatten() {
                        fs::remove_file(path)?;
                    }
                    continue 'numbers;
                }
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot make {}", path.display()));
                }
            }
        }
        return Ok(files);
    }
    bail!("{} holds too many recordings of «{label}»", out.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_lead_out_of_the_folder_and_no_file_is_overwritten() {
        let out = tempfile::tempdir().unwrap();
        let make = |extensions| {
            let files = new_files(out.path(), "../etc/passwd", extensions).unwrap();
            files.map(|file| file.map(|(path, _)| path))
        };
        let path = |name| Some(out.path().join(name));
        assert_eq!(make([None, Some("ogg")]), [None, path("___etc_passwd.ogg")]);
        // The two of a recording have one name.
        let both = [path("___etc_passwd-2.ivf"), path("___etc_passwd-2.ogg")];
        assert_eq!(make([Some("ivf"), Some("ogg")]), both);
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 3);
    }
}

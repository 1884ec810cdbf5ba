//! `olmcast publish`.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use olmcast::{
    client::{Client, ClientEvent, Publication},
    device::Identity,
    endpoint::{Admission, Event, Publish, RotationCause},
    primitives::{Codec, DeviceId, Invite},
    rtc::{ConnectionState, EncryptedSender, connect_publisher},
};
use tokio::{sync::broadcast::error::RecvError, time::sleep};

use crate::{
    console::{Console, interrupted, safe, shown},
    media::{AudioFile, Progress, VideoFile, play},
};

/// How long to wait before the relay is tried again.
const RELAY_AGAIN: Duration = Duration::from_secs(1);

/// Files are played from memory, and this is where that ends.
const LARGEST: u64 = 1 << 30;
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

const COMMANDS: &str = "holders · kick DEVICE · admit DEVICE · refuse DEVICE · end \
                        (DEVICE: the first characters of its id, or its name)";

/// Publish a stream from files, played over and over in real time.
///
/// While it runs, it takes commands, a line each: holders, kick DEVICE, admit DEVICE,
/// refuse DEVICE, end. A kicked device is locked out within a second, and the room is closed to
/// devices that were not admitted before.
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
    /// Who is admitted: invite (whoever has the link), ask (you answer for each device), or a
    /// file with a device id on each line
    #[arg(long, default_value = "invite", value_name = "invite|ask|FILE")]
    admit: String,
    #[command(flatten)]
    trust: crate::trust::Arguments,
}

/// The files of a stream.
pub(crate) struct Media {
    pub(crate) video: Option<VideoFile>,
    pub(crate) audio: Option<AudioFile>,
}

impl Media {
    fn read(arguments: &Arguments) -> anyhow::Result<Self> {
        let read =
            |path: &Path| read(path).with_context(|| format!("cannot read {}", path.display()));
        let name = |path: &Path| format!("cannot play {}", path.display());
        let rate = arguments.fps;
        Ok(Self {
            video: arguments
                .video
                .as_ref()
                .map(|path| VideoFile::parse(&read(path)?, rate).with_context(|| name(path)))
                .transpose()?,
            audio: arguments
                .audio
                .as_ref()
                .map(|path| AudioFile::parse(&read(path)?).with_context(|| name(path)))
                .transpose()?,
        })
    }

    /// Adds the tracks, in the order in which [`Media::play`] expects their senders.
    pub(crate) fn offer(&self, mut publish: Publish) -> Publish {
        if let Some(video) = &self.video {
            publish = publish.track(video.codec);
        }
        if self.audio.is_some() {
            publish = publish.track(Codec::Opus);
        }
        publish
    }

    /// Plays over these senders until the connection fails, and says why.
    pub(crate) async fn play(
        &self,
        mut senders: Vec<EncryptedSender>,
        told: impl FnMut(Progress),
    ) -> String {
        let mut senders = senders.iter_mut();
        let video = self.video.as_ref().and_then(|file| Some((senders.next()?, file)));
        let audio = self.audio.as_ref().and_then(|file| Some((senders.next()?, file)));
        match play(video, audio, Client::now, told).await {
            Ok(()) => "the files have ended".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = File::open(path)?;
    let stated = file.metadata()?.len();
    let mut bytes = Vec::new();
    if stated <= LARGEST {
        // What is no plain file states nothing.
        file.take(LARGEST + 1).read_to_end(&mut bytes)?;
    }
    ensure!(
        stated.max(bytes.len() as u64) <= LARGEST,
        "it is larger than 1 GiB, and files are played from memory; take a part of it: \
         ffmpeg -t 600 -i FILE -c copy PART"
    );
    Ok(bytes)
}

fn frame_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.1..=1000.0).contains(rate));
    rate.ok_or_else(|| "a number of frames a second, from 0.1 to 1000".to_owned())
}

fn admission(choice: &str) -> anyhow::Result<Admission> {
    Ok(match choice {
        "invite" => Admission::Invite,
        "ask" => Admission::Ask,
        file => {
            let text = std::fs::read_to_string(file)
                .with_context(|| format!("--admit takes invite, ask or a file; no file {file}"))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let devices: Result<BTreeSet<_>, _> = lines.map(str::parse::<DeviceId>).collect();
            let devices =
                devices.with_context(|| format!("{file} has a line that is no device id"))?;
            ensure!(!devices.is_empty(), "{file} names no device: nobody could watch");
            Admission::AllowList(devices)
        }
    })
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let invite: Invite = arguments.room.parse().context("--room")?;
    let trust = arguments.trust.read()?;
    let media = Media::read(&arguments)?;
    let admission = admission(&arguments.admit)?;
    let client = Client::connect_with(&invite, Identity::generate(), &trust).await?;
    let (whip, whep) = crate::address::at_relay(&arguments.relay)?;
    let publish = Publish::new(&arguments.stream).media(whep).admission(admission);
    let mut events = client.events();
    let publication = client.publish(media.offer(publish)).await?;
    eprintln!("this device is {}", client.device());
    eprintln!("publishing «{}»; commands: {COMMANDS}", arguments.stream);
    if media.video.as_ref().is_some_and(|file| file.is_reordered) {
        eprintln!(
            "the video has B-frames, which viewers may show in the wrong order; encode it with \
             ffmpeg's -bf 0 (see --help)"
        );
    }

    let mut console = Console::open();
    let mut guests = Guests::default();
    {
        let send = send(&media, &publication, &whip);
        let end = interrupted();
        tokio::pin!(send, end);
        loop {
            tokio::select! {
                error = &mut send => return error,
                interrupted = &mut end => {
                    interrupted?;
                    break;
                }
                event = events.recv() => match event {
                    Ok(event) => guests.show(&event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => bail!("this device connected from elsewhere"),
                },
                line = console.line() => match obey(&publication, &guests, &line).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => eprintln!("{error:#}"),
                },
            }
        }
    }
    eprintln!("ending the stream");
    publication.end().await?;
    // The end is on its way to the service now, and from there to the subscribers.
    sleep(Duration::from_millis(300)).await;
    Ok(())
}

/// Sends the media, over one connection after another if the relay goes away.
async fn send(media: &Media, publication: &Publication, whip: &str) -> anyhow::Result<()> {
    let (mut first, mut told) = (true, false);
    loop {
        match connect_publisher(whip, publication.encryptors()).await {
            Ok((connection, senders)) => {
                eprintln!("media flows to the relay");
                told = false;
                let mut state = connection.state();
                let show = |progress| {
                    if let Progress::KeyFrameAsked = progress {
                        tracing::info!("a key frame was asked for");
                    }
                };
                tokio::select! {
                    reason = media.play(senders, show) => {
                        eprintln!("media stopped: {reason}; connecting to the relay again");
                    }
                    _ = state.wait_for(|state: &ConnectionState| state.is_over()) => {
                        eprintln!("the relay is gone; connecting to it again");
                    }
                }
            }
            Err(error) if first => {
                return Err(error).context("no media connection; is `olmcast relay` running?");
            }
            Err(error) if !told => {
                told = true;
                eprintln!("no media: {}; trying again", safe(&error.to_string()));
            }
            Err(error) => tracing::info!(%error, "the relay is still away"),
        }
        first = false;
        sleep(RELAY_AGAIN).await;
    }
}

/// Carries out a command line. False if the stream is to end.
async fn obey(publication: &Publication, guests: &Guests, line: &str) -> anyhow::Result<bool> {
    let mut words = line.splitn(2, char::is_whitespace);
    let command = words.next().unwrap_or_default();
    let who = words.next().map(str::trim).filter(|who| !who.is_empty());
    let who = || who.with_context(|| format!("{command} whom? Commands: {COMMANDS}"));
    match command {
        "" => {}
        "end" => return Ok(false),
        "holders" => {
            let position = publication.position().await?;
            let position = position.map_or_else(String::new, |position| position.to_string());
            eprintln!("the stream is at {position} (generation.step)");
            for holder in publication.holders().await? {
                let confirmed = match holder.confirmed {
                    Some(position) => format!("reads from {position} on"),
                    None => "was sent the key".to_owned(),
                };
                eprintln!("  {} {} {confirmed}", holder.device, shown(&holder.claim));
            }
        }
        "kick" => {
            let holders = publication.holders().await?;
            let holders = holders.iter().map(|holder| (holder.device, holder.claim.as_str()));
            publication.kick(find(holders, who()?, "watches")?).await?;
            eprintln!("kicked; from now on only devices that were admitted before can join");
        }
        "admit" => publication.admit(guests.find_asking(who()?)?).await?,
        "refuse" => publication.refuse(guests.find_asking(who()?)?).await?,
        _ => bail!("there is no command {command}; commands: {COMMANDS}"),
    }
    Ok(true)
}

/// The one of these that has this name, or an id that begins so.
fn find<'a>(
    among: impl Iterator<Item = (DeviceId, &'a str)>,
    who: &str,
    does: &str,
) -> anyhow::Result<DeviceId> {
    let mut found = among
        .filter(|(device, claim)| shown(claim) == who || device.to_string().starts_with(who))
        .map(|(device, _)| device);
    match (found.next(), found.next()) {
        (Some(device), None) => Ok(device),
        (None, _) => bail!("nobody who {does} is called {who}"),
        _ => bail!("several are called {who}; give the first characters of the id"),
    }
}

/// Those who asked for the stream, by what they call themselves.
#[derive(Default)]
struct Guests {
    claims: HashMap<DeviceId, String>,
    asking: BTreeSet<DeviceId>,
}

impl Guests {
    fn find_asking(&self, who: &str) -> anyhow::Result<DeviceId> {
        let claim = |device| self.claims.get(device).map_or("", String::as_str);
        find(self.asking.iter().map(|device| (*device, claim(device))), who, "asks")
    }

    /// How a device is called here.
    fn name(&self, device: &DeviceId) -> String {
        match self.claims.get(device).map(|claim| shown(claim)) {
            Some(claim) if !claim.is_empty() => format!("{claim} ({})", device.short()),
            _ => device.short(),
        }
    }

    fn show(&mut self, event: &ClientEvent) {
        match event {
            ClientEvent::ServiceUp => eprintln!("connected to the key service"),
            ClientEvent::ServiceDown(reason) => {
                eprintln!("{reason}; those who watch go on, nobody new can join until it is back");
            }
            ClientEvent::ServiceRefused(code) => eprintln!("the key service refused: {code}"),
            ClientEvent::Stream(event) => self.show_of_stream(event),
            _ => {}
        }
    }

    fn show_of_stream(&mut self, event: &Event) {
        match event {
            Event::JoinRequest { device, claim, .. } => {
                self.claims.insert(*device, claim.clone());
                self.asking.insert(*device);
                eprintln!(
                    "{} wants to watch: admit {device}, or refuse {device}",
                    self.name(device)
                );
            }
            Event::Refused { device, reason, .. } => {
                self.asking.remove(device);
                eprintln!("{} was refused: {reason}", self.name(device));
                self.claims.remove(device);
            }
            Event::HolderJoined { device, claim, position, .. } => {
                self.asking.remove(device);
                self.claims.insert(*device, claim.clone());
                eprintln!("{} joined and reads from {position} on", self.name(device));
            }
            Event::HolderLeft { device, reason, .. } => {
                eprintln!("{} left: {reason}", self.name(device));
                self.claims.remove(device);
            }
            Event::Rotated { position, since, switched, cause, .. } => {
                let after = switched.since(*since).as_millis();
                let why = match cause {
                    RotationCause::Leave => format!(", {after} ms after somebody left"),
                    RotationCause::Kick => format!(", {after} ms after the kick"),
                    _ => String::new(),
                };
                eprintln!("new key from {position} on{why}");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with("it is larger than 1 GiB"), "{error}");
        assert!(read(folder.path()).is_err());
    }
}

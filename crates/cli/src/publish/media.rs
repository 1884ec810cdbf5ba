//! The files of a stream, and their way to the relay.

use std::{fs::File, io::Read, path::Path, time::Duration};

use anyhow::{Context, ensure};
use olmcast::{
    client::{Client, Publication},
    endpoint::Publish,
    primitives::Codec,
    rtc::{ConnectionState, EncryptedSender, connect_publisher},
};
use tokio::time::sleep;

use super::Arguments;
use crate::{
    console::safe,
    media::{AudioFile, Progress, VideoFile, play},
};

/// How long to wait before the relay is tried again.
const RELAY_AGAIN: Duration = Duration::from_secs(1);

/// Files are played from memory, and this is where that ends.
const LARGEST: u64 = 1 << 30;
/// The files of a stream.
pub(crate) struct Media {
    pub(crate) video: Option<VideoFile>,
    pub(crate) audio: Option<AudioFile>,
}

impl Media {
    pub(super) fn read(arguments: &Arguments) -> anyhow::Result<Self> {
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

    /// Sends the media, over one connection after another if the relay goes away.
    pub(super) async fn send(&self, publication: &Publication, whip: &str) -> anyhow::Result<()> {
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
                        reason = self.play(senders, show) => {
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

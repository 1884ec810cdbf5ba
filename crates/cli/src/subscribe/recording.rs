//! The files that are recorded.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use olmcast::{endpoint::Offer, primitives::Codec, rtc::ReceivedFrame};

use crate::media::{OggOpusWriter, VideoWriter, extension};

/// The files of one stream.
pub(super) struct Recording {
    video: Option<(PathBuf, VideoWriter<BufWriter<File>>)>,
    audio: Option<(PathBuf, OggOpusWriter<BufWriter<File>>)>,
}

impl Recording {
    pub(super) fn create(out: &Path, offer: &Offer) -> anyhow::Result<Self> {
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

    pub(super) fn write(&mut self, codec: Codec, frame: &ReceivedFrame) -> anyhow::Result<()> {
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

    pub(super) fn finish(self) -> anyhow::Result<()> {
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

//! ffmpeg and ffprobe, which make the files and judge what is written.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Set where ffmpeg must be there: tests that want it fail without it then.
const MUST: &str = "OLMCAST_TEST_FFMPEG";

/// A folder with files.
pub(super) struct Folder(TempDir);

impl Folder {
    /// `None` if this machine has no ffmpeg, and need not have it.
    pub(super) fn new() -> Option<Self> {
        let is_here = Command::new("ffmpeg").arg("-version").output().is_ok();
        if !is_here && std::env::var_os(MUST).is_none() {
            println!("not run: there is no ffmpeg");
            return None;
        }
        Some(Self(tempfile::tempdir().unwrap()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a file with ffmpeg's arguments, separated by spaces.
    pub(super) fn make(&self, arguments: &str, name: &str) -> PathBuf {
        let path = self.path(name);
        let arguments = arguments.split_whitespace().map(OsStr::new);
        run("ffmpeg", ["-y".as_ref(), "-nostdin".as_ref()].into_iter().chain(arguments), &path);
        path
    }

    /// Runs a command line of ours in this folder.
    pub(super) fn shell(&self, command: &str) {
        let shell = Command::new("sh").arg("-c").arg(command).current_dir(self.0.path()).output();
        let output = shell.unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {complaint}");
    }
}

/// Test pictures of a size, for a second.
pub(super) fn pictures(size: &str, rate: &str) -> String {
    format!("-f lavfi -i testsrc2=size={size}:rate={rate}:duration=1,format=yuv420p")
}

fn run<'a>(program: &str, arguments: impl Iterator<Item = &'a OsStr>, path: &Path) -> String {
    let output = Command::new(program).args(["-v", "error"]).args(arguments).arg(path).output();
    let output = output.unwrap_or_else(|error| {
        panic!("these tests need {program} ({error}): install ffmpeg, or do not set {MUST}")
    });
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {complaint}", path.display());
    String::from_utf8(output.stdout).unwrap()
}

/// What a player makes of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) codec: String,
    pub(super) size: [u32; 2],
    pub(super) frames: usize,
    /// One digest for each decoded frame.
    pub(super) pictures: Vec<String>,
}

pub(super) fn judge(path: &Path) -> Judged {
    let entries = "stream=codec_name,width,height,nb_read_frames";
    let arguments = ["-count_frames", "-of", "csv=p=0", "-show_entries", entries];
    let probed = run("ffprobe", arguments.iter().map(OsStr::new), path);
    let fields: Vec<_> = probed.trim().split(',').collect();
    let number = |at: usize| fields[at].parse().unwrap();
    let arguments = ["-i".as_ref(), path.as_os_str()].into_iter();
    let output = ["-fps_mode", "passthrough", "-f", "framemd5"].iter().map(OsStr::new);
    let digests = run("ffmpeg", arguments.chain(output), Path::new("-"));
    let digests = digests.lines().filter(|line| !line.starts_with('#'));
    Judged {
        codec: fields[0].to_owned(),
        size: [number(1), number(2)],
        frames: number(3) as usize,
        pictures: digests.map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect(),
    }
}

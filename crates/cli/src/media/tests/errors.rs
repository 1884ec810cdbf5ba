//! What cannot be played says what it is, and what to do.

use std::fs;

use super::{
    super::{AudioFile, VideoFile, annex_b},
    ffmpeg::{Folder, pictures},
};

const VIDEO: &[u8] = include_bytes!("../../../media/video.ivf");
const AUDIO: &[u8] = include_bytes!("../../../media/audio.ogg");

fn of_video(bytes: &[u8]) -> String {
    format!("{:#}", VideoFile::parse(bytes, 30.0).unwrap_err())
}

fn of_audio(bytes: &[u8]) -> String {
    format!("{:#}", AudioFile::parse(bytes).err().unwrap())
}

fn with(bytes: &[u8], at: usize, what: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + what.len()].copy_from_slice(what);
    bytes
}

#[test]
fn what_cannot_be_played_says_what_it_is_and_what_to_do() {
    for (bytes, message) in [
        (&b""[..], "the file is empty"),
        (AUDIO, "this is OGG, which is played with --audio"),
        (b"hello, world", "this is no file that is known here; --video takes IVF (VP8, VP9 or"),
        (b"YUV4MPEG2 W64 H64", "this is uncompressed video (Y4M); --video takes"),
        (b"\0\0\0\x01\x40\x01\x0C\x01", "this is H.265; --video takes"),
        (b"\x12\x00\x0A\x0B\0\0", "this is AV1 without a container; put it into IVF: ffmpeg"),
        (b"\0\0\x01\xB3\x14\0\xF0", "this is no file that is known here"),
        (&VIDEO[..31], "it is cut short: its header is not complete"),
        (&VIDEO[..1000], "it is cut short: its last frame is not complete"),
        (&VIDEO[..32], "it holds no frame"),
        (&with(VIDEO, 8, b"H265"), "it holds H265, and VP8, VP9 and AV1 can be played"),
        (&with(VIDEO, 8, b"\x1B[2J"), r"it holds \x1b[2J, and VP8"),
        (&with(VIDEO, 6, &[3]), "its header is damaged: it states a length of 3 bytes"),
        (&with(VIDEO, 20, &[0; 4]), "its frame rate is zero"),
        (&with(VIDEO, 16, &[0xFF; 4]), "its frame rate is not plausible"),
        (b"\0\0\x01\x67\x42", "it holds no frame"),
        (b"\0\0\x01\x65\x88\x84\0\0\x01\xF5", "it is damaged: a NAL unit begins with 0xf5"),
        (b"\0\0\x01\x41\x88\x84", "it has no key frame"),
        (b"\0\0\x01\x65\x88\x84", "its first key frame has no parameter sets"),
    ] {
        let error = of_video(bytes);
        assert!(error.contains(message), "{error:?} does not say {message:?}");
    }
    for (bytes, message) in [
        (&b""[..], "the file is empty"),
        (VIDEO, "this is IVF, which is played with --video"),
        (b"\0\0\x01\x67\x42\0\x1E", "this is H.264, which is played with --video"),
        (
            b"RIFF....WAVEfmt ",
            "this is WAV; --audio takes OGG with Opus, for instance from: ffmpeg",
        ),
        (b"fLaC\0\0\0\x22", "this is FLAC; --audio takes"),
        (&AUDIO[..AUDIO.len() / 2], "it is damaged or cut short"),
        (&with(AUDIO, 200, b"????"), "it is damaged or cut short"),
    ] {
        let error = of_audio(bytes);
        assert!(error.contains(message), "{error:?} does not say {message:?}");
    }
}

/// Runs the command that an error ends with, and returns what it makes.
fn heed(folder: &Folder, error: &str, file: &str) -> Vec<u8> {
    let command = &error[error.find("ffmpeg -i FILE").unwrap()..];
    let made = command.rsplit(' ').next().unwrap();
    folder.shell(&command.replace("ffmpeg -i FILE", &format!("ffmpeg -v error -y -i {file}")));
    fs::read(folder.path(made)).unwrap()
}

#[test]
fn the_command_that_an_error_names_helps() {
    let Some(folder) = Folder::new() else { return };
    let source = format!("{} -f lavfi -i sine=duration=1", pictures("64x64", "25"));
    for (encoder, name, container, copies) in [
        ("-c:v libx264 -c:a libopus", "a.mp4", "MP4", true),
        ("-c:v libx264 -c:a libopus", "a.mkv", "Matroska or WebM", true),
        ("-c:v libvpx -c:a libopus", "a.webm", "Matroska or WebM", true),
        ("-c:v libvpx-vp9 -cpu-used 8 -c:a libopus", "b.webm", "Matroska or WebM", true),
        ("-c:v libvpx-vp9 -cpu-used 8 -c:a libopus", "b.mp4", "MP4", true),
        ("-c:v libsvtav1 -preset 12 -c:a libopus", "c.mp4", "MP4", true),
        ("-c:v mpeg4 -c:a aac", "d.mp4", "MP4", false),
        ("-c:v mpeg4 -c:a mp2", "e.avi", "AVI", false),
        ("-c:v libx264 -c:a aac", "f.ts", "an MPEG transport stream", false),
        ("-c:v flv -ar 44100", "g.flv", "FLV", false),
    ] {
        let path = folder.make(&format!("{source} {encoder}"), name);
        let bytes = fs::read(path).unwrap();
        for error in [of_video(&bytes), of_audio(&bytes)] {
            assert!(error.starts_with(&format!("this is {container}, which")), "{name}: {error}");
            assert_eq!(error.contains("-c copy"), copies, "{name}: {error}");
        }
        let video = VideoFile::parse(&heed(&folder, &of_video(&bytes), name), 30.0).unwrap();
        assert!(video.frames.len() >= 24, "{name}: {} frames", video.frames.len());
        AudioFile::parse(&heed(&folder, &of_audio(&bytes), name)).unwrap();
    }
    for (encoder, name, what) in [
        ("-c:a libvorbis", "a.ogg", "it holds Vorbis, not Opus; encode it anew: "),
        ("-c:a flac", "b.ogg", "it holds FLAC, not Opus; encode it anew: "),
        ("-ac 6 -c:a libopus", "c.ogg", "it has 6 channels; make two of them: "),
        ("-c:a pcm_s16le", "d.wav", "this is WAV; --audio takes OGG"),
        ("-c:a libmp3lame", "e.mp3", "this is MP3; --audio takes OGG"),
    ] {
        let path = folder.make(&format!("-f lavfi -i sine=duration=1 {encoder}"), name);
        let error = of_audio(&fs::read(path).unwrap());
        assert!(error.starts_with(what), "{name}: {error}");
        AudioFile::parse(&heed(&folder, &error, name)).unwrap();
    }
}

#[test]
fn a_file_that_does_not_begin_with_a_key_frame_says_how_to_cut_it() {
    let Some(folder) = Folder::new() else { return };
    for (encoder, format) in
        [("libvpx -auto-alt-ref 0", "ivf"), ("libaom-av1 -usage realtime -cpu-used 8", "ivf")]
    {
        let source = pictures("64x64", "25");
        let path = folder.make(&format!("{source} -c:v {encoder} -g 10 -f {format}"), "made");
        let mut bytes = fs::read(&path).unwrap();
        let first = u32::from_le_bytes(bytes[32..36].try_into().unwrap()) as usize;
        bytes.drain(32..44 + first);
        fs::write(&path, &bytes).unwrap();
        let error = of_video(&bytes);
        assert!(
            error.contains("does not begin with a key frame: frame 10 is the first"),
            "{error}"
        );
        let cut = VideoFile::parse(&heed(&folder, &error, "made"), 30.0).unwrap();
        assert_eq!(cut.frames.len(), 15);
    }
    let source = pictures("64x64", "25");
    let path = folder.make(&format!("{source} -c:v libx264 -bf 0 -g 10 -f h264"), "made");
    let bytes = fs::read(&path).unwrap();
    let mut later = Vec::new();
    for nal in annex_b::nal_units(&bytes).skip_while(|nal| nal[0] & 0x1F != 1) {
        later.extend([0, 0, 0, 1]);
        later.extend(nal);
    }
    fs::write(&path, &later).unwrap();
    let error = of_video(&later);
    assert!(error.contains("does not begin with a key frame: frame 10 is the first"), "{error}");
    let cut = VideoFile::parse(&heed(&folder, &error, "made"), 30.0).unwrap();
    assert_eq!(cut.frames.len(), 15);
}

//! The commands that the help shows do what it says.

use std::fs;

use olmcast::primitives::Codec;

use super::{
    super::{AudioFile, VideoFile},
    ffmpeg::Folder,
};
use crate::publish::RECIPES;

#[test]
fn every_command_in_the_help_makes_a_file_that_can_be_published() {
    let Some(folder) = Folder::new() else { return };
    let source = "-f lavfi -i testsrc2=size=160x120:rate=20:duration=1 \
                  -f lavfi -i sine=duration=1";
    folder.make(&format!("{source} -c:v libx264 -c:a aac"), "h264.mp4");
    folder.make(&format!("{source} -c:v libvpx-vp9 -cpu-used 8 -c:a libopus"), "vp9.webm");
    let commands = RECIPES.lines().filter_map(|line| Some(&line[line.find("ffmpeg -i ")?..]));
    let mut codecs = Vec::new();
    for command in commands {
        // Behind it may stand what it is for.
        let command = command.split("  ").next().unwrap();
        let input = if command.ends_with("-c copy video.ivf") { "vp9.webm" } else { "h264.mp4" };
        folder
            .shell(&command.replace("ffmpeg -i INPUT", &format!("ffmpeg -v error -y -i {input}")));
        let bytes = fs::read(folder.path(command.rsplit(' ').next().unwrap())).unwrap();
        if command.ends_with(".ogg") {
            AudioFile::parse(&bytes).unwrap();
            codecs.push(Codec::Opus);
        } else {
            let file = VideoFile::parse(&bytes, 30.0).unwrap();
            assert_eq!(file.frames.len(), 20, "{command}");
            assert_eq!(file.interval.as_millis(), 50, "{command}");
            assert_eq!(file.is_reordered, command.ends_with("-c copy video.h264"), "{command}");
            codecs.push(file.codec);
        }
    }
    use Codec::*;
    assert_eq!(codecs, [Vp8, Vp9, Av1, Av1, H264, Opus, H264, Vp9]);
}

//! What is read and written again is, to a player, what it was.

use std::{
    collections::HashSet,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use h264_reader::{
    nal::{Nal, RefNal, WritableNal, sps::SeqParameterSet},
    rbsp::{BitWriter, ByteWriter},
};
use olmcast::{media, primitives::Codec};

use super::{
    super::{AudioFile, OggOpusWriter, VideoFile, VideoWriter, annex_b, extension},
    ffmpeg::{Folder, Judged, judge, pictures},
};

const SIZES: [&str; 3] = ["64x64", "178x100", "322x244"];

fn read(path: &Path) -> VideoFile {
    VideoFile::parse(&fs::read(path).unwrap(), 30.0).unwrap()
}

/// Writes these frames as a subscriber would.
fn write<'a>(
    file: &VideoFile,
    frames: impl IntoIterator<Item = &'a Vec<u8>>,
    folder: &Folder,
) -> (PathBuf, u32) {
    let path = folder.path(&format!("written.{}", extension(file.codec)));
    let mut writer = VideoWriter::new(file.codec, File::create(&path).unwrap());
    let ticks = (file.interval.as_secs_f64() * 90_000.0).round() as u32;
    for (index, frame) in frames.into_iter().enumerate() {
        let is_key = media::is_key_frame(file.codec, frame);
        writer.write(frame, 777 + ticks * index as u32, is_key).unwrap();
    }
    (path, writer.finish().unwrap())
}

/// Makes a file, and has it read, written and judged before and after.
fn round_trip(folder: &Folder, source: &str, arguments: &str, format: &str) -> (VideoFile, Judged) {
    // What a file is called says nothing.
    let path = folder.make(&format!("{source} {arguments} -f {format}"), "made.bin");
    let file = read(&path);
    let (written, count) = write(&file, &file.frames, folder);
    assert_eq!(count as usize, file.frames.len(), "{arguments}");
    let (before, after) = (judge(&path), judge(&written));
    assert_eq!(before, after, "{arguments}");
    assert_eq!(before.frames, 25, "{arguments}");
    assert!(before.pictures.iter().collect::<HashSet<_>>().len() > 20, "{arguments}");
    (file, before)
}

fn sides(size: &str) -> [u32; 2] {
    let (width, height) = size.split_once('x').unwrap();
    [width.parse().unwrap(), height.parse().unwrap()]
}

#[test]
fn ivf_of_every_codec_is_written_as_it_was_read() {
    let Some(folder) = Folder::new() else { return };
    for (codec, encoder) in [
        (Codec::Vp8, "-c:v libvpx -auto-alt-ref 0 -deadline realtime"),
        // With frames that are not shown, in superframes.
        (Codec::Vp9, "-c:v libvpx-vp9 -deadline good -cpu-used 5 -lag-in-frames 20 -b:v 200k"),
        (Codec::Vp9, "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt yuv444p"),
        (Codec::Vp9, "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt yuv420p10le"),
        (Codec::Vp9, "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt gbrp"),
        (Codec::Av1, "-c:v libaom-av1 -usage realtime -cpu-used 8"),
        (Codec::Av1, "-c:v libaom-av1 -cpu-used 8 -lag-in-frames 10"),
        (Codec::Av1, "-c:v libsvtav1 -preset 12"),
    ] {
        for size in SIZES {
            let source = pictures(size, "25");
            let (file, judged) = round_trip(&folder, &source, &format!("{encoder} -g 10"), "ivf");
            assert_eq!((file.codec, judged.size), (codec, sides(size)), "{encoder}");
            assert_eq!(file.interval, Duration::from_millis(40), "{encoder}");
            let is_key = |frame: &&Vec<u8>| media::is_key_frame(codec, frame);
            let keys = file.frames.iter().filter(is_key).count();
            assert!((3..=4).contains(&keys), "{keys} key frames from {encoder}");
            // The header of the file that we write has the size, by our own reading.
            let header = fs::read(folder.path("written.ivf")).unwrap();
            let side = |at| u32::from(u16::from_le_bytes([header[at], header[at + 1]]));
            assert_eq!([side(12), side(14)], sides(size), "{encoder}");
        }
    }
}

/// What x264 can be made to write.
const H264: [&str; 12] = [
    "-profile:v baseline -bf 0 -g 10",
    "-profile:v baseline -bf 0 -g 10 -x264-params slices=4",
    "-bf 2 -g 10",
    "-g 10 -x264-params bframes=2:slices=4",
    "-g 25 -x264-params bframes=3:b-pyramid=normal:b-adapt=0:slices=3",
    "-g 10 -bf 0 -x264-params aud=1:slices=2",
    "-g 1 -bf 0 -x264-params slices=2",
    "-g 10 -x264-params interlaced=1:bframes=2",
    "-g 10 -bf 0 -x264-params slice-max-size=200",
    "-g 10 -x264-params nal-hrd=cbr:filler=1:vbv-maxrate=900:vbv-bufsize=900:bitrate=900",
    "-g 10 -x264-params open-gop=1:bframes=2:keyint=10",
    "-g 10 -x264-params stitchable=1:weightp=2:ref=4:tune=touhou",
];

#[test]
fn h264_is_split_into_the_pictures_that_a_player_sees() {
    let Some(folder) = Folder::new() else { return };
    for (number, encoder) in H264.into_iter().enumerate() {
        // Those that everybody uses at every size, the others at one.
        let sizes = if number < 5 { &SIZES[..] } else { &SIZES[number % 3..][..1] };
        for size in sizes {
            let arguments = format!("-c:v libx264 {encoder}");
            let (file, judged) = round_trip(&folder, &pictures(size, "25"), &arguments, "h264");
            assert_eq!((file.codec, judged.size), (Codec::H264, sides(size)));
            assert_eq!(file.frames.len(), judged.frames, "{encoder} at {size}");
            assert_eq!(file.interval, Duration::from_millis(40), "{encoder}");
            let reordered = !encoder.contains("-bf 0");
            assert_eq!(file.is_reordered, reordered, "{encoder}");
        }
    }
}

#[test]
fn every_h264_key_frame_suffices_to_begin_with() {
    let Some(folder) = Folder::new() else { return };
    let encoder = "-c:v libx264 -g 10 -x264-params bframes=2:slices=2:scenecut=0";
    let made = folder.make(&format!("{} {encoder} -f h264", pictures("178x100", "25")), "made");
    // As it is in files of many other encoders: parameter sets at the start, and never again.
    let bytes = fs::read(&made).unwrap();
    let (mut bare, mut sets) = (Vec::new(), 0);
    for nal in annex_b::nal_units(&bytes) {
        if matches!(nal[0] & 0x1F, 7 | 8) {
            sets += 1;
            if sets > 2 {
                continue;
            }
        }
        bare.extend([0, 0, 1]);
        bare.extend(nal);
    }
    assert_eq!(sets, 6);
    let file = VideoFile::parse(&bare, 30.0).unwrap();
    assert_eq!(file.frames, read(&made).frames);

    // Frames from before a key frame are not written, and from there on all is to be seen.
    let (written, count) = write(&file, &file.frames[4..], &folder);
    assert_eq!(count, 15);
    let (all, later) = (judge(&made), judge(&written));
    assert_eq!(later.frames, 15);
    assert_eq!(later.pictures, all.pictures[10..]);
}

#[test]
fn h264_is_played_at_the_rate_it_states_and_else_at_the_given_one() {
    let Some(folder) = Folder::new() else { return };
    for (rate, micros) in [("50", 20_000), ("30000/1001", 33_366), ("15", 66_666)] {
        let source = pictures("64x64", rate);
        let made = folder.make(&format!("{source} -c:v libx264 -f h264"), "made");
        assert_eq!(read(&made).interval.as_micros(), micros);
        // The same without the VUI, which has the rate.
        let bytes = fs::read(&made).unwrap();
        let mut silent = Vec::new();
        for nal in annex_b::nal_units(&bytes) {
            silent.extend([0, 0, 0, 1]);
            if nal[0] & 0x1F == 7 {
                let mut sps =
                    SeqParameterSet::from_bits(RefNal::new(nal, &[], true).rbsp_bits()).unwrap();
                sps.vui_parameters = None;
                let mut writer = ByteWriter::new(Vec::new());
                sps.write_bits(&mut BitWriter::new(&mut writer)).unwrap();
                silent.push(nal[0]);
                silent.extend(writer.into_writer());
            } else {
                silent.extend(nal);
            }
        }
        let file = VideoFile::parse(&silent, 12.5).unwrap();
        assert_eq!(file.interval, Duration::from_millis(80));
    }
}

#[test]
fn opus_is_written_as_it_was_read() {
    let Some(folder) = Folder::new() else { return };
    for (frame, channels) in [(10, 1), (20, 1), (20, 2), (60, 2)] {
        let made = folder.make(
            &format!(
                "-f lavfi -i sine=frequency=440:sample_rate=48000:duration=1 -ac {channels} \
                 -c:a libopus -frame_duration {frame} -f ogg"
            ),
            "made.bin",
        );
        let file = AudioFile::parse(&fs::read(&made).unwrap()).unwrap();
        assert_eq!(file.interval, Duration::from_millis(frame));
        let path = folder.path("written.ogg");
        let mut writer = OggOpusWriter::new(File::create(&path).unwrap());
        for (index, packet) in file.packets.iter().enumerate() {
            writer.write(packet, index as u32 * frame as u32 * 48).unwrap();
        }
        assert_eq!(writer.finish().unwrap() as usize, file.packets.len());
        assert_eq!(AudioFile::parse(&fs::read(&path).unwrap()).unwrap().packets, file.packets);
    }
}

/// The NAL units of each of these frames.
fn nals_of(file: &VideoFile) -> Vec<Vec<&[u8]>> {
    file.frames.iter().map(|frame| annex_b::nal_units(frame).collect()).collect()
}

fn frames_of<'a>(nals: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    for nal in nals {
        bytes.extend([0, 0, 1]);
        bytes.extend(nal);
    }
    VideoFile::parse(&bytes, 30.0).unwrap().frames
}

#[test]
fn pictures_are_told_apart_without_their_first_macroblock() {
    let Some(folder) = Folder::new() else { return };
    for more in ["-profile:v baseline -bf 0", "-bf 2 -b-pyramid none -b_strategy 0"] {
        let encoder = format!("-c:v libx264 {more} -g 10 -x264-params slices=3 -f h264");
        let made = folder.make(&format!("{} {encoder}", pictures("178x100", "25")), "made");
        let file = read(&made);
        let pictures = nals_of(&file);
        let is_slice = |nal: &&&[u8]| matches!(nal[0] & 0x1F, 1 | 5);
        assert!(pictures.iter().all(|nals| nals.iter().filter(is_slice).count() == 3));

        // Slices in any order, as the baseline profile allows.
        let turned: Vec<Vec<&[u8]>> = pictures
            .iter()
            .map(|nals| {
                let (slices, mut others): (Vec<_>, Vec<_>) = nals.iter().partition(is_slice);
                others.extend(slices.into_iter().rev());
                others.into_iter().copied().collect()
            })
            .collect();
        let frames = frames_of(turned.iter().flatten().copied());
        assert_eq!(frames.len(), 25);
        for (frame, nals) in frames.iter().zip(&turned) {
            assert_eq!(annex_b::nal_units(frame).collect::<Vec<_>>(), *nals);
        }

        // The first slice of every second picture is lost.
        let lost = pictures.iter().enumerate().flat_map(|(number, nals)| {
            let mut kept = nals.clone();
            if number % 2 == 1 {
                kept.remove(nals.iter().position(|nal| is_slice(&nal)).unwrap());
            }
            kept
        });
        assert_eq!(frames_of(lost).len(), 25);

        // Nothing can be made of the SPS: the first macroblock has to do.
        let unknown = pictures
            .iter()
            .flatten()
            .map(|nal| if nal[0] & 0x1F == 7 { &b"\x67\x01\x02\x03\x80"[..] } else { *nal });
        assert_eq!(frames_of(unknown).len(), 25);
    }
}

#[test]
fn key_frames_that_cannot_be_told_apart_by_their_numbers_are_frames_nevertheless() {
    let Some(folder) = Folder::new() else { return };
    let encoder = "-c:v libx264 -g 1 -x264-params slices=3 -f h264";
    let file = read(&folder.make(&format!("{} {encoder}", pictures("178x100", "25")), "made"));
    let first = &nals_of(&file)[0];
    let slices = first.iter().copied().filter(|nal| nal[0] & 0x1F == 5);
    let twice = frames_of(first.iter().copied().chain(slices));
    assert_eq!(twice.len(), 2);
    assert_eq!(
        twice.iter().map(|frame| annex_b::nal_units(frame).count()).collect::<Vec<_>>(),
        [
            first.len(),
            // Without what is said of the first one only.
            first.len() - first.iter().filter(|nal| nal[0] & 0x1F == 6).count(),
        ]
    );
}

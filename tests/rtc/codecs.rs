//! Real frames of every codec, through encryptor, packetizer, a bad network, assembler and
//! decryptor. ffmpeg makes them; without it, these tests say so and do nothing, unless
//! `OLMCAST_TEST_FFMPEG` says that it must be there.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use olmcast::{
    media::is_key_frame,
    primitives::{Codec, Timestamp},
    rtc::{Assembler, FrameInfo, MediaPacket, Packetizer},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{decryptor, encryptor};

/// Arguments for ffmpeg, by codec: what to encode, and how.
fn clips(codec: Codec) -> Vec<(&'static str, &'static str)> {
    match codec {
        Codec::Vp8 => vec![
            ("176x144:700", "-c:v libvpx -deadline realtime -cpu-used 8 -g 60 -f ivf"),
            ("640x360:250", "-c:v libvpx -deadline realtime -cpu-used 8 -g 30 -b:v 2M -f ivf"),
            ("1280x720:60", "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 6M -f ivf"),
        ],
        Codec::Vp9 => vec![
            ("176x144:700", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 60 -f ivf"),
            // With frames that are not shown, and superframes that hold them.
            ("320x180:250", "-c:v libvpx-vp9 -deadline good -cpu-used 8 -lag-in-frames 16 -f ivf"),
            ("640x360:60", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 3M -f ivf"),
        ],
        Codec::H264 => vec![
            ("320x180:400", "-c:v libx264 -profile:v baseline -preset ultrafast -g 60"),
            // B-frames and CABAC.
            ("640x360:400", "-c:v libx264 -profile:v high -preset veryfast -bf 3 -g 50"),
            ("320x180:200", "-c:v libx264 -preset ultrafast -x264-params slices=4:keyint=40"),
            // Parameter sets of another id.
            ("176x144:100", "-c:v libx264 -preset ultrafast -x264-params sps-id=7:keyint=20"),
            ("1280x720:60", "-c:v libx264 -preset ultrafast -b:v 8M -tune zerolatency"),
        ],
        Codec::Av1 => vec![
            ("320x180:600", "-c:v libsvtav1 -preset 12 -g 60 -f ivf"),
            ("176x144:350", "-c:v libaom-av1 -usage realtime -cpu-used 8 -g 40 -f ivf"),
            ("640x360:60", "-c:v libsvtav1 -preset 13 -b:v 3M -f ivf"),
        ],
        _ => vec![
            ("30", "-c:a libopus -frame_duration 20 -b:a 48k"),
            // Discontinuous: packets of one byte.
            ("5", "-c:a libopus -application voip -vbr on -b:a 12k"),
        ],
    }
}

/// Real frames, by clip. `None` without ffmpeg.
fn frames(codec: Codec) -> Option<Vec<Vec<Vec<u8>>>> {
    if Command::new("ffmpeg").arg("-version").output().is_err() {
        let must = std::env::var_os("OLMCAST_TEST_FFMPEG").is_some();
        assert!(!must, "ffmpeg is not here; install it, or run plain `cargo test`");
        println!("no ffmpeg: no real {codec} frames were tried");
        return None;
    }
    let directory = std::env::temp_dir().join(format!("olmcast-{codec}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let clips = clips(codec).into_iter().enumerate().map(|(number, (what, how))| {
        let file = directory.join(number.to_string());
        let clip = encode(codec, what, how, &file);
        assert!(clip.len() > 50, "{how}: {} frames", clip.len());
        clip
    });
    let clips: Vec<_> = clips.collect();
    std::fs::remove_dir_all(&directory).unwrap();
    let count: usize = clips.iter().map(Vec::len).sum();
    assert!(count >= 1000, "{count} frames of {codec}");
    Some(clips)
}

fn encode(codec: Codec, what: &str, how: &str, file: &Path) -> Vec<Vec<u8>> {
    let source = match what.split_once(':') {
        Some((size, frames)) => {
            format!("testsrc2=size={size}:rate=30,trim=end_frame={frames},noise=alls=12:allf=t")
        }
        None => format!("sine=frequency=440:beep_factor=4:sample_rate=48000:duration={what}"),
    };
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", &source]);
    command.args(how.split_whitespace());
    match codec {
        Codec::H264 => command.args(["-bsf:v", "h264_metadata=aud=insert", "-f", "h264"]),
        Codec::Opus => command.args(["-page_duration", "1", "-f", "ogg"]),
        _ => &mut command,
    };
    let output = command.args(["-pix_fmt", "yuv420p"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{how}: {}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(file).unwrap();
    match codec {
        Codec::H264 => access_units(&bytes),
        Codec::Opus => ogg_packets(&bytes),
        _ => ivf_frames(&bytes),
    }
}

fn ivf_frames(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut frames) = (&file[32..], Vec::new());
    while let Some((header, behind)) = rest.split_first_chunk::<12>() {
        let length = u32::from_le_bytes(*header.first_chunk().unwrap()) as usize;
        frames.push(behind[..length].to_vec());
        rest = &behind[length..];
    }
    frames
}

/// Each begins with an access unit delimiter.
fn access_units(file: &[u8]) -> Vec<Vec<u8>> {
    let is_start = |at: &usize| file[*at..].starts_with(&[0, 0, 0, 1, 9]);
    let starts: Vec<_> = (0..file.len()).filter(is_start).chain([file.len()]).collect();
    starts.windows(2).map(|unit| file[unit[0]..unit[1]].to_vec()).collect()
}

/// The pages have one packet each; the first two are headers.
fn ogg_packets(file: &[u8]) -> Vec<Vec<u8>> {
    let (mut rest, mut packets) = (file, Vec::new());
    while rest.len() > 27 {
        let segments = &rest[27..27 + usize::from(rest[26])];
        let (begin, length) = (
            27 + segments.len(),
            segments.iter().map(|length| usize::from(*length)).sum::<usize>(),
        );
        packets.push(rest[begin..begin + length].to_vec());
        rest = &rest[begin + length..];
    }
    packets.split_off(2)
}

/// What arrives of a clip's packets: some are lost, some come twice, some are late.
fn bad_network(
    rng: &mut StdRng,
    packets: Vec<MediaPacket>,
    loss: f64,
) -> Vec<(usize, MediaPacket)> {
    let mut arrivals = Vec::new();
    for (number, packet) in packets.into_iter().enumerate() {
        if rng.random_bool(loss) {
            continue;
        }
        let copies = if loss > 0.0 && rng.random_bool(0.05) { 2 } else { 1 };
        for _ in 0..copies {
            let late = if loss > 0.0 { rng.random_range(0..12) } else { 0 };
            arrivals.push((number + late, packet.clone()));
        }
    }
    arrivals.sort_by_key(|(at, _)| *at);
    arrivals
}

fn every_complete_frame_comes_through(codec: Codec) {
    let Some(clips) = frames(codec) else { return };
    for (clip, loss) in clips.iter().flat_map(|clip| [0.0, 0.05, 0.2].map(|loss| (clip, loss))) {
        let seed = 7;
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut encryptor, mut decryptor) = (encryptor(codec), decryptor(codec));
        let mut packetizer = Packetizer::new(codec, 96, 1, rng.random());
        let mut packets = Vec::new();
        let mut needed: HashMap<u32, HashSet<u16>> = HashMap::new();
        let timestamp = |index: usize| 7 + index as u32 * 3000;
        for (index, frame) in clip.iter().enumerate() {
            let wire = Bytes::from(encryptor.encrypt(frame).unwrap());
            let info = FrameInfo::of(codec, frame);
            for packet in packetizer.packetize(&wire, info, timestamp(index)).unwrap() {
                let packet = MediaPacket::from(packet);
                needed.entry(packet.timestamp).or_default().insert(packet.sequence);
                packets.push(packet);
            }
        }
        assert!(clip.iter().any(|frame| !is_key_frame(codec, frame)) || codec == Codec::Opus);
        assert!(is_key_frame(codec, &clip[0]));

        let mut assembler = Assembler::new(codec);
        let (start, mut now) = (Instant::now(), Instant::now());
        let mut opened = Vec::new();
        let mut take = |assembler: &mut Assembler, opened: &mut Vec<u32>| {
            while let Some(frame) = assembler.poll_frame() {
                let index = (frame.rtp_timestamp - 7) as usize / 3000;
                // Authentic or nothing; a frame of which parts are missing may come out as well.
                match decryptor.decrypt(&frame.data, Timestamp::default()) {
                    Ok(plain) => {
                        assert!(plain == clip[index], "{codec} frame {index} is another one");
                        opened.push(frame.rtp_timestamp);
                    }
                    Err(error) => assert!(loss > 0.0, "{codec} frame {index}: {error}"),
                }
            }
        };
        for (at, packet) in bad_network(&mut rng, packets, loss) {
            // A packet each millisecond, so that what is lost is given up.
            now = now.max(start + Duration::from_millis(at as u64));
            if let Some(needed) = needed.get_mut(&packet.timestamp) {
                needed.remove(&packet.sequence);
            }
            assembler.handle_timeout(now);
            assembler.handle_packet(packet, now);
            take(&mut assembler, &mut opened);
        }
        assembler.handle_timeout(now + Duration::from_secs(1));
        take(&mut assembler, &mut opened);
        assert!(opened.is_sorted(), "{codec}: out of order");
        // Nobody knows of what came late before the first frame that was whole.
        let first = opened[0];
        let opened: HashSet<_> = opened.into_iter().collect();
        let missing = (0..clip.len()).filter(|index| {
            let timestamp = timestamp(*index);
            timestamp > first && needed[&timestamp].is_empty() && !opened.contains(&timestamp)
        });
        let missing: Vec<usize> = missing.collect();
        assert!(missing.is_empty(), "{codec} at {loss}: {missing:?} came, and were not opened");
    }
}

#[test]
fn vp8_frames_come_through() {
    every_complete_frame_comes_through(Codec::Vp8);
}

#[test]
fn vp9_frames_come_through() {
    every_complete_frame_comes_through(Codec::Vp9);
}

#[test]
fn h264_frames_come_through() {
    every_complete_frame_comes_through(Codec::H264);
}

#[test]
fn av1_frames_come_through() {
    every_complete_frame_comes_through(Codec::Av1);
}

#[test]
fn opus_frames_come_through() {
    every_complete_frame_comes_through(Codec::Opus);
}

//! What a subscriber records.

use std::{collections::HashSet, fs, path::Path, process::Command};

use ogg::PacketReader;

use crate::fixture::{Place, Process, media, new_room};

/// Set where ffmpeg must be there: tests that want it fail without it then.
const MUST_HAVE_FFMPEG: &str = "OLMCAST_TEST_FFMPEG";

/// The frames of an IVF file, each with its time.
pub(crate) fn frames_of(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    assert_eq!((&bytes[..4], &bytes[8..12]), (&b"DKIF"[..], &b"VP80"[..]), "{}", path.display());
    let mut rest = &bytes[32..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let size = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
        let time = u64::from_le_bytes(rest[4..12].try_into().unwrap());
        frames.push((time, rest[12..12 + size].to_vec()));
        rest = &rest[12 + size..];
    }
    frames
}

/// The Opus packets of an OGG file.
pub(crate) fn packets_of(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = PacketReader::new(fs::File::open(path).unwrap());
    let mut packets = Vec::new();
    let mut complete = false;
    while let Some(packet) = reader.read_packet().unwrap() {
        complete = packet.last_in_stream();
        packets.push(packet.data);
    }
    assert!(complete, "{} has no last page", path.display());
    assert!(packets[0].starts_with(b"OpusHead") && packets[1].starts_with(b"OpusTags"));
    packets.split_off(2)
}

/// These recordings hold the published files' own frames, and enough of them. Returns how many.
pub(crate) fn assert_genuine(folder: &Path, name: &str) -> (usize, usize) {
    let source: HashSet<_> =
        frames_of(&media("video.ivf")).into_iter().map(|(_, frame)| frame).collect();
    let frames = frames_of(&folder.join(format!("{name}.ivf")));
    assert!(frames.len() > 20, "only {} frames", frames.len());
    assert_eq!(frames[0].1[0] & 1, 0, "the first is no key frame");
    assert!(frames.iter().all(|(_, frame)| source.contains(frame)));
    assert!(frames.windows(2).all(|pair| pair[0].0 < pair[1].0), "time goes back");
    assert!(frames[frames.len() - 1].0 < 120 * 90_000, "time jumps");

    let source: HashSet<_> = packets_of(&media("audio.ogg")).into_iter().collect();
    let packets = packets_of(&folder.join(format!("{name}.ogg")));
    assert!(packets.len() > 50, "only {} packets", packets.len());
    assert!(packets.iter().all(|packet| source.contains(packet)));
    (frames.len(), packets.len())
}

/// What ffprobe says of a file; `None` if this machine has none, and need not have it.
fn probe(path: &Path) -> Option<String> {
    let entries = "stream=codec_name,nb_read_frames:format=duration";
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-of", "default=noprint_wrappers=1"])
        .args(["-show_entries", entries])
        .arg(path)
        .output();
    let probe = match probe {
        Ok(probe) => probe,
        Err(error) => {
            let must = std::env::var_os(MUST_HAVE_FFMPEG).is_some();
            assert!(!must, "this test needs ffprobe ({error}): install ffmpeg");
            println!("no ffprobe: {} was not given to another player", path.display());
            return None;
        }
    };
    let complaints = String::from_utf8(probe.stderr).unwrap();
    assert!(probe.status.success() && complaints.is_empty(), "{}: {complaints}", path.display());
    Some(String::from_utf8(probe.stdout).unwrap())
}

fn number(probed: &str, entry: &str) -> f64 {
    let line = probed.lines().find(|line| line.starts_with(entry)).unwrap();
    line.split_once('=').unwrap().1.parse().unwrap()
}

#[test]
fn five_processes_carry_a_stream_into_playable_files() {
    let place = Place::new();
    let mut publisher = place.publisher(&[]);
    let mut subscriber = place.start_subscriber("Ada", &["--duration", "6s"]);
    publisher.says("«Ada» (");
    subscriber.ends_well();
    let out = place.path("Ada");
    let (frames, packets) = assert_genuine(&out, "camera");
    subscriber.prints(&format!("camera.ivf: {frames} frames"));
    subscriber.prints(&format!("camera.ogg: {packets} packets"));
    for (file, codec, count) in [("camera.ivf", "vp8", frames), ("camera.ogg", "opus", packets)] {
        let Some(probed) = probe(&out.join(file)) else { continue };
        assert!(probed.contains(&format!("codec_name={codec}")), "{probed}");
        assert_eq!(number(&probed, "nb_read_frames") as usize, count, "{probed}");
        let duration = number(&probed, "duration");
        assert!((1.0..7.0).contains(&duration), "{file}: {probed}");
    }
    publisher.says("«Ada» (");
    publisher.says(") left: unsubscribed");
    publisher.hears("end");
    publisher.ends_well();
}

#[test]
fn a_recording_can_be_published_again() {
    let mut place = Place::new();
    let publisher = place.publisher(&[]);
    let mut subscriber = place.subscriber("Ada");
    // The screen of a second room shows what was recorded in the first.
    place.grows("Ada", "camera.ivf");
    std::thread::sleep(std::time::Duration::from_secs(2));
    subscriber.hears("leave");
    subscriber.ends_well();
    drop(publisher);
    let recorded = place.path("Ada").join("camera.ivf");
    place.link = new_room(place.service_at());
    let relay = format!("http://{}", place.relay_at());
    let arguments = ["publish", "--room", &place.link, "--relay", &relay, "--video"];
    let arguments = arguments.into_iter().chain([recorded.to_str().unwrap()]).collect::<Vec<_>>();
    let publisher = Process::start("the second publisher", &arguments);
    publisher.says("media flows to the relay");
    let mut subscriber = place.start_subscriber("Bob", &["--duration", "3s"]);
    subscriber.ends_well();
    let frames = frames_of(&place.path("Bob").join("camera.ivf"));
    assert!(frames.len() > 10, "only {} frames", frames.len());
    // 20 pictures a second, as in the first file.
    let mut steps: Vec<_> = frames.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    steps.sort_unstable();
    assert_eq!(steps[steps.len() / 2], 90_000 / 20);
}

/// VP8 and Opus are what all other tests here play.
#[test]
fn every_codec_is_published_and_recorded() {
    let cases = [
        ("vp9", "ivf", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -f ivf"),
        ("av1", "ivf", "-c:v libsvtav1 -preset 12 -g 25 -f ivf"),
        ("h264", "h264", "-c:v libx264 -preset ultrafast -g 25 -x264-params slices=2 -f h264"),
    ];
    let mut place = Place::new();
    for (codec, extension, how) in cases {
        let source = place.path(codec);
        let pictures = "testsrc2=size=320x180:rate=25:duration=4";
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", pictures])
            .args(["-pix_fmt", "yuv420p"])
            .args(how.split_whitespace())
            .arg(&source)
            .output();
        let made = match made {
            Err(error) => {
                let must = std::env::var_os(MUST_HAVE_FFMPEG).is_some();
                assert!(!must, "this test needs ffmpeg ({error}): install it");
                return println!("no ffmpeg: {codec} was not tried");
            }
            Ok(made) => made,
        };
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        place.link = new_room(place.service_at());
        let relay = format!("http://{}", place.relay_at());
        let arguments = ["publish", "--room", &place.link, "--relay", &relay, "--video"];
        let arguments = arguments.into_iter().chain([source.to_str().unwrap()]).collect::<Vec<_>>();
        let mut publisher = Process::start("the publisher", &arguments);
        publisher.says("media flows to the relay");
        let mut subscriber =
            place.start_subscriber(&format!("{codec} recorded"), &["--duration", "3s"]);
        subscriber.ends_well();
        publisher.hears("end");
        publisher.ends_well();

        let recorded = place.path(&format!("{codec} recorded")).join(format!("camera.{extension}"));
        let Some(probed) = probe(&recorded) else { continue };
        assert!(probed.contains(&format!("codec_name={codec}")), "{probed}");
        let frames = number(&probed, "nb_read_frames");
        assert!((25.0..=100.0).contains(&frames), "{codec}: {probed}");
        // Every picture is one of the file's: it decodes to the same.
        let pictures = decoded(&source);
        let recorded = decoded(&recorded);
        assert!(!recorded.is_empty() && recorded.is_subset(&pictures), "{codec}");
    }
}

/// Hashes of the pictures of a file.
fn decoded(path: &Path) -> HashSet<String> {
    let decoded = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-f", "framemd5", "-"])
        .output()
        .unwrap();
    let complaints = String::from_utf8(decoded.stderr).unwrap();
    assert!(complaints.is_empty(), "{}: {complaints}", path.display());
    let lines = String::from_utf8(decoded.stdout).unwrap();
    let hash = |line: &str| line.rsplit(',').next().map(|hash| hash.trim().to_owned());
    lines.lines().filter(|line| !line.starts_with('#')).filter_map(hash).collect()
}

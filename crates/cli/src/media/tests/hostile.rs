//! Files that somebody damaged, or made to do damage.

use olmcast::{media, primitives::Codec};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::super::{AudioFile, VideoFile, annex_b, picture};

const VIDEO: &[u8] = include_bytes!("../../../media/video.ivf");
const AUDIO: &[u8] = include_bytes!("../../../media/audio.ogg");

/// Of a stream of x264's, 64×64, with four slices for a picture.
const SPS: &[u8] = b"\x67\x42\xC0\x0A\xDA\x11\xBA\x10\0\0\x03\0\x10\0\0\x03\x03\x20\xF1\x22\x6A";
const PPS: &[u8] = b"\x68\xCE\x0F\x2C\x80";

fn stream<'a>(nals: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for nal in nals {
        bytes.extend([0, 0, 1]);
        bytes.extend(nal);
    }
    bytes
}

/// NAL units of any kind with any contents, slices and parameter sets more often.
fn nal() -> impl Strategy<Value = Vec<u8>> {
    let header = prop_oneof![
        4 => prop::sample::select(vec![0x65, 0x41, 0x01, 0x67, 0x68]),
        1 => any::<u8>(),
    ];
    let bytes = (header, vec(any::<u8>(), 0..40)).prop_map(|(header, mut bytes)| {
        bytes.insert(0, header);
        bytes
    });
    prop_oneof![6 => bytes, 1 => Just(SPS.to_vec()), 1 => Just(PPS.to_vec())]
}

/// A file with some of its bytes changed, and cut short.
fn damaged(file: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
    // Not much of it, or nothing would happen.
    let file = &file[..file.len().min(20_000)];
    (vec((any::<Index>(), any::<u8>()), 0..8), any::<Index>(), any::<bool>()).prop_map(
        move |(changes, end, cut)| {
            let mut bytes = file.to_vec();
            for (at, byte) in changes {
                bytes[at.index(file.len())] = byte;
            }
            if cut {
                bytes.truncate(end.index(file.len()));
            }
            bytes
        },
    )
}

/// As much as a file of this length may take in memory, and no more.
fn check(bytes: &[u8]) {
    if let Ok(file) = VideoFile::parse(bytes, 30.0) {
        let total: usize = file.frames.iter().map(Vec::len).sum();
        assert!(total <= (1 << 21) + 6 * bytes.len());
        assert!(file.frames.iter().all(|frame| !frame.is_empty()));
        assert!(media::is_key_frame(file.codec, &file.frames[0]));
        for frame in &file.frames {
            let _ = picture::size(file.codec, frame);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_file_stops_the_readers(
        bytes in vec(any::<u8>(), 0..300),
        start in prop::sample::select(vec![&b""[..], b"DKIF", b"OggS", b"\0\0\x01\x67", VIDEO]),
    ) {
        let bytes = [start, &bytes].concat();
        check(&bytes);
        let _ = AudioFile::parse(&bytes);
    }

    #[test]
    fn no_damage_stops_the_readers(video in damaged(VIDEO), audio in damaged(AUDIO)) {
        check(&video);
        let _ = AudioFile::parse(&audio);
    }

    #[test]
    fn no_picture_stops_the_readers_of_sizes(bytes in vec(any::<u8>(), 0..60)) {
        for codec in Codec::ALL {
            let _ = picture::size(codec, &bytes);
            let _ = media::is_key_frame(codec, &bytes);
        }
    }

    #[test]
    fn every_slice_of_a_stream_is_in_one_frame_and_in_order(nals in vec(nal(), 0..40)) {
        let bytes = stream([SPS, PPS].into_iter().chain(nals.iter().map(Vec::as_slice)));
        check(&bytes);
        let is_slice = |nal: &&[u8]| matches!(nal[0] & 0x1F, 1..=5);
        let slices: Vec<_> = annex_b::nal_units(&bytes).filter(is_slice).collect();
        if let Ok(stream) = annex_b::read(&bytes) {
            let read = stream.frames.iter().flat_map(|frame| annex_b::nal_units(frame));
            let read: Vec<_> = read.filter(is_slice).collect();
            // Partitions without a first one are in no picture.
            if !slices.iter().any(|nal| matches!(nal[0] & 0x1F, 3 | 4)) {
                prop_assert_eq!(read, slices);
            }
        }
    }
}

#[test]
fn parameter_sets_that_are_made_to_fill_the_memory_are_refused() {
    // Each key frame would repeat all hundred of them.
    let sets: Vec<_> =
        (0..100_u8).map(|id| [&[0x68, 1, id | 1][..], &[7; 50_000]].concat()).collect();
    let idr = [0x65, 0xB8, 0x41];
    let nals = sets.iter().map(Vec::as_slice).chain(std::iter::repeat_n(&idr[..], 100_000));
    let bytes = stream([SPS, PPS].into_iter().chain(nals));
    let error = VideoFile::parse(&bytes, 30.0).unwrap_err();
    assert_eq!(error.to_string(), "its parameter sets are too large to be repeated");
}

//! What holds for all formats.

use proptest::{collection::vec, prelude::*};

use super::*;

const LIMIT: usize = 1_188;

fn codec() -> impl Strategy<Value = Codec> {
    proptest::sample::select(&Codec::ALL[..])
}

fn info() -> impl Strategy<Value = FrameInfo> {
    (any::<bool>(), any::<Option<(u16, u16)>>())
        .prop_map(|(key_frame, dimensions)| FrameInfo { key_frame, dimensions })
}

/// Bytes of which no start code comes out.
fn unit_bytes(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    vec(1..=u8::MAX, length)
}

/// Encrypted frames as they leave an encryptor.
fn encrypted(codec: Codec) -> BoxedStrategy<Vec<u8>> {
    let length = 1..5_000_usize;
    match codec {
        Codec::H264 => (any::<bool>(), unit_bytes(0..40), unit_bytes(0..40), unit_bytes(length))
            .prop_map(|(key_frame, sps, pps, data)| {
                let slice: &[u8] =
                    if key_frame { b"\0\0\0\x01\x65\x88" } else { b"\0\0\0\x01\x41\x9b" };
                let sets = [&b"\0\0\0\x01\x67"[..], &sps, b"\0\0\0\x01\x68", &pps].concat();
                let sets = if key_frame { &sets[..] } else { &[] };
                [sets, slice, &data, &[0x80]].concat()
            })
            .boxed(),
        Codec::Av1 => (any::<bool>(), vec(any::<u8>(), 0..40), vec(any::<u8>(), length))
            .prop_map(|(key_frame, sequence, data)| {
                let mut frame = Vec::new();
                if key_frame {
                    frame.extend([0x0A, sequence.len() as u8]);
                    frame.extend(sequence);
                }
                frame.push(0x32);
                if data.len() >= 0x80 {
                    frame.push(data.len() as u8 | 0x80);
                }
                frame.push(if data.len() >= 0x80 { data.len() >> 7 } else { data.len() } as u8);
                frame.extend(data);
                frame
            })
            .boxed(),
        _ => vec(any::<u8>(), length).boxed(),
    }
}

/// Whether what is left of an encrypted H.264 or AV1 frame has what only comes whole.
fn has_ciphertext(codec: Codec, rest: &[u8]) -> bool {
    match codec {
        Codec::H264 => {
            rest.windows(5).any(|bytes| bytes == b"\0\0\0\x01\x65" || bytes == b"\0\0\0\x01\x41")
        }
        Codec::Av1 => rest.first() == Some(&0x32),
        _ => false,
    }
}

/// H.264 and AV1 as encoders make them: any number of units of any types.
fn units(codec: Codec) -> BoxedStrategy<Vec<u8>> {
    match codec {
        Codec::H264 => vec((1..=23_u8, 0..=3_u8, unit_bytes(0..200)), 1..30)
            .prop_map(|units| {
                let units = units.iter().map(|(unit_type, importance, data)| {
                    [&[0, 0, 0, 1, importance << 5 | unit_type], &data[..]].concat()
                });
                units.flatten().collect()
            })
            .boxed(),
        _ => vec((any::<bool>(), any::<u8>(), vec(any::<u8>(), 0..127)), 1..30)
            .prop_map(|obus| {
                let obus = obus.iter().map(|(extended, byte, data)| {
                    // Only types that are sent.
                    let obu_type = [1, 3, 4, 5, 6, 7][usize::from(*byte) % 6] << 3;
                    match extended {
                        true => [&[obu_type | 0x06, *byte, data.len() as u8], &data[..]].concat(),
                        false => [&[obu_type | 0x02, data.len() as u8], &data[..]].concat(),
                    }
                });
                obus.flatten().collect()
            })
            .boxed(),
    }
}

/// Payloads that lead into a format's corners more often than random bytes would.
fn hostile(codec: Codec) -> impl Strategy<Value = Bytes> {
    let first: &'static [u8] = match codec {
        Codec::Vp8 => &[0x10, 0x90, 0x80],
        Codec::Vp9 => &[0x8C, 0xCC, 0xF8, 0x0A, 0xFA],
        Codec::H264 => &[0x65, 0x67, 0x78, 0x7C],
        Codec::Av1 => &[0x00, 0x10, 0x20, 0x30, 0x50, 0x90, 0xC0, 0xD0],
        Codec::Opus => &[0],
    };
    let first = prop_oneof![proptest::sample::select(first), any::<u8>()];
    let small = prop_oneof![0..4_u8, any::<u8>()];
    (first, vec(small, 0..60)).prop_map(|(first, rest)| [&[first], &rest[..]].concat().into())
}

proptest! {
    #[test]
    fn an_encrypted_frame_survives_any_split(
        (codec, frame) in codec().prop_flat_map(|codec| (Just(codec), encrypted(codec))),
        info in info(),
        limit in prop_oneof![20..200_usize, Just(LIMIT)],
    ) {
        let frame = Bytes::from(frame);
        let payloads = Payloader::new(codec).payloads(&frame, info, limit).unwrap();
        if codec != Codec::Opus {
            prop_assert!(payloads.iter().all(|payload| payload.len() <= limit));
        }
        let last = payloads.len() - 1;
        let mut fragments = Vec::new();
        for (index, payload) in payloads.iter().enumerate() {
            let fragment = read(codec, payload, index == last).unwrap();
            prop_assert_eq!(fragment.last, index == last);
            prop_assert!(index > 0 || fragment.start == Start::Yes);
            // Whoever starts here has lost readable copies of parameters, and no more.
            if index > 0 && fragment.start != Start::No {
                let rest = join(codec, &payloads[index..]).unwrap();
                prop_assert!(frame.ends_with(&rest) && has_ciphertext(codec, &rest));
                prop_assert!(codec == Codec::H264 || limit < LIMIT);
            }
            fragments.push(fragment.data);
        }
        prop_assert_eq!(join(codec, &fragments).unwrap(), frame);
    }

    #[test]
    fn any_sequence_of_units_survives_any_split(
        (codec, frame) in proptest::sample::select(&[Codec::H264, Codec::Av1][..])
            .prop_flat_map(|codec| (Just(codec), units(codec))),
        limit in prop_oneof![3..200_usize, Just(LIMIT)],
    ) {
        let frame = Bytes::from(frame);
        let payloads = Payloader::new(codec).payloads(&frame, FrameInfo::default(), limit).unwrap();
        prop_assert!(payloads.iter().all(|payload| payload.len() <= limit));
        for payload in &payloads {
            prop_assert!(read(codec, payload, false).is_ok());
        }
        prop_assert_eq!(join(codec, &payloads).unwrap(), frame);
    }

    #[test]
    fn any_bytes_are_a_frame_or_are_refused(
        codec in codec(),
        frame in vec(prop_oneof![0..4_u8, any::<u8>()], 0..300),
        limit in 3..100_usize,
    ) {
        let frame = Bytes::from(frame);
        let mut payloader = Payloader::new(codec);
        if let Ok(payloads) = payloader.payloads(&frame, FrameInfo::default(), limit)
            && !payloads.is_empty()
        {
            // What comes out, which some formats tidy up, comes out of it again.
            let fragments: Vec<_> =
                payloads.iter().map(|payload| read(codec, payload, false).unwrap().data).collect();
            let joined = join(codec, &fragments).unwrap();
            let again = payloader.payloads(&joined, FrameInfo::default(), limit).unwrap();
            let fragments: Vec<_> =
                again.iter().map(|payload| read(codec, payload, false).unwrap().data).collect();
            prop_assert_eq!(join(codec, &fragments).unwrap(), joined);
        }
    }

    #[test]
    fn any_payload_is_read_or_refused_and_never_grows_much(
        (codec, payloads) in codec().prop_flat_map(|codec| (Just(codec), vec(hostile(codec), 1..20))),
    ) {
        let mut fragments = Vec::new();
        for payload in &payloads {
            if let Ok(fragment) = read(codec, payload, false) {
                prop_assert!(!fragment.data.is_empty() && fragment.data.len() <= payload.len());
                fragments.push(fragment.data);
            }
        }
        let length: usize = fragments.iter().map(Bytes::len).sum();
        if let Ok(frame) = join(codec, &fragments) {
            prop_assert!(frame.len() <= 5 * length);
        }
    }
}

#[test]
fn picture_ids_count_frames_and_wrap() {
    for codec in [Codec::Vp8, Codec::Vp9] {
        let mut payloader = Payloader { codec, picture_id: 0x7FFE };
        let frame = Bytes::from_static(&[0; 30]);
        let at = if codec == Codec::Vp8 { 2 } else { 1 };
        for expected in [[0xFF, 0xFE], [0xFF, 0xFF], [0x80, 0x00], [0x80, 0x01]] {
            let payloads = payloader.payloads(&frame, FrameInfo::default(), 20).unwrap();
            assert_eq!(payloads.len(), 2);
            assert!(payloader.picture_id <= 0x7FFF);
            assert!(payloads.iter().all(|payload| payload[at..at + 2] == expected));
            assert_eq!(payloader.payloads(&Bytes::new(), FrameInfo::default(), 20), Ok(vec![]));
        }
    }
}

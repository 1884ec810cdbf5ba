//! RTP packets of any content through an assembler, and any bytes as a frame through a packetizer
//! and back.
//!
//! An input is `codec ‖ rest`. The rest is a frame, and it is a script of packets: each of them
//! takes its payload from it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use olmcast::{
    primitives::Codec,
    rtc::{Assembler, FrameInfo, MediaPacket, Packetizer},
};

use super::script::Script;

/// H.264 has the most: a start code of four bytes before a NAL unit of one.
const MAX_GROWTH: usize = 5;

pub fn run(data: &[u8]) {
    let mut script = Script(data);
    let codec = Codec::ALL[usize::from(script.next()) % Codec::ALL.len()];
    comes_back(codec, script.0);
    arrive(codec, script);
}

/// What a packetizer takes for a frame comes out of an assembler. Some formats tidy it up the
/// first time, and none does so the second time.
fn comes_back(codec: Codec, frame: &[u8]) {
    let mut packetizer = Packetizer::new(codec, 96, 1, u16::MAX);
    let mut assembler = Assembler::new(codec);
    // Some frames are not known as such unless another one has ended before them.
    let before = Bytes::from_static(match codec {
        Codec::H264 => &[0, 0, 1, 9, 0xF0],
        _ => &[0x32, 1, 0],
    });
    let info = FrameInfo { key_frame: frame.len().is_multiple_of(2), dimensions: Some((2, 1)) };
    let mut frame = Bytes::copy_from_slice(frame);
    let mut is_tidy = !matches!(codec, Codec::H264 | Codec::Av1);
    let opening = packetizer.packetize(&before, info, 0).expect("a frame of this codec");
    opening.for_each(|packet| assembler.handle_packet(packet.into(), Instant::now()));
    assert!(assembler.poll_frame().is_some());
    for rtp_timestamp in 1..3 {
        let Ok(packets) = packetizer.packetize(&frame, info, rtp_timestamp) else {
            assert!(!is_tidy, "{codec}: {frame:x?} is refused");
            return;
        };
        if packets.len() == 0 {
            return;
        }
        packets.for_each(|packet| assembler.handle_packet(packet.into(), Instant::now()));
        let assembled = assembler.poll_frame().expect("a frame whose packets all arrived");
        assert!(!is_tidy || assembled.data == frame, "{codec}: {frame:x?} is {assembled:x?}");
        assert!(!assembled.after_loss);
        (frame, is_tidy) = (assembled.data, true);
    }
}

fn arrive(codec: Codec, mut script: Script<'_>) {
    let mut assembler = Assembler::new(codec);
    let mut now = Instant::now();
    let (mut sequence, mut timestamp) = (0_u16, 0);
    let (mut sent, mut received) = (0, 0);
    while !script.0.is_empty() {
        let what = script.next();
        match what & 3 {
            0 => now += Duration::from_millis(u64::from(script.next())),
            1 => timestamp += 1,
            2 => sequence = sequence.wrapping_add_signed(i16::from(script.next() as i8)),
            _ => {}
        }
        let length = usize::from(script.next() & 63).min(script.0.len());
        let (payload, rest) = script.0.split_at(length);
        script.0 = rest;
        let (payload, marker) = (Bytes::copy_from_slice(payload), what & 4 != 0);
        sent += payload.len();
        assembler.handle_packet(MediaPacket { sequence, timestamp, marker, payload }, now);
        if what & 8 != 0 {
            assembler.handle_timeout(now);
        }
        sequence = sequence.wrapping_add(1);
        while let Some(frame) = assembler.poll_frame() {
            assert!(!frame.data.is_empty());
            received += frame.data.len();
        }
    }
    assembler.handle_timeout(now + Duration::from_secs(1));
    assert_eq!(assembler.poll_timeout(), None, "something is waited for for ever");
    received += std::iter::from_fn(|| assembler.poll_frame()).map(|f| f.data.len()).sum::<usize>();
    assert!(received <= MAX_GROWTH * sent, "{received} bytes of {sent}");
}

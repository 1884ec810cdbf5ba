//! What the receiving side of a track keeps while nothing is missing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use olmcast::{
    primitives::Codec,
    rtc::{Assembler, FrameInfo, MediaPacket, Packetizer},
};

use super::figures::kept;

const AT_REST: usize = 1 << 20;

/// A frame of this many bytes, of any codec.
fn frame(codec: Codec, length: usize) -> Bytes {
    let start: &[u8] = match codec {
        Codec::H264 => &[0, 0, 0, 1, 0x41, 0x9B],
        Codec::Av1 => &[0x30],
        _ => &[0x31],
    };
    [start, &vec![5; length]].concat().into()
}

#[test]
fn a_track_at_rest_takes_less_than_a_mebibyte_after_large_frames_and_losses() {
    for codec in Codec::ALL {
        let length = if codec.is_video() { 400_000 } else { 400 };
        let mut packetizer = Packetizer::new(codec, 96, 1, 0);
        let mut packets = Vec::new();
        for number in 0..60 {
            let frame = frame(codec, length);
            let packetized = packetizer.packetize(&frame, FrameInfo::default(), number * 3_000);
            // Copies, as if each had come in a datagram of its own.
            packets.extend(packetized.unwrap().map(|packet| {
                let packet = MediaPacket::from(packet);
                let payload = Bytes::copy_from_slice(&packet.payload);
                // The first clone makes the counter of all clones, which is the datagram's.
                drop(payload.clone());
                MediaPacket { payload, ..packet }
            }));
        }
        let mut received = 0;
        let (assembler, heap) = kept(|| {
            let mut assembler = Assembler::new(codec);
            let mut now = Instant::now();
            for (number, packet) in packets.iter().enumerate() {
                now += Duration::from_millis(1);
                assembler.handle_timeout(now);
                // Of every seventh frame one is lost.
                if packet.timestamp % 21_000 != 3_000 || number % 100 != 50 {
                    assembler.handle_packet(packet.clone(), now);
                }
                received += std::iter::from_fn(|| assembler.poll_frame()).count();
            }
            assembler.handle_timeout(now + Duration::from_secs(1));
            received += std::iter::from_fn(|| assembler.poll_frame()).count();
            assembler
        });
        eprintln!("{codec}: an assembler at rest keeps {heap} bytes of heap");
        assert!(received > 40, "{codec}: {received} frames");
        assert!(heap + size_of_val(&assembler) < AT_REST, "{codec}: {heap}");
    }
}

use super::*;
use crate::rtc::{FrameInfo, Packetizer};

const MILLI: Duration = Duration::from_millis(1);

/// A small deterministic generator (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// An encrypted frame of about this length. Every tenth one is a key frame.
fn frame(codec: Codec, index: u32, length: usize) -> Bytes {
    let key_frame = index.is_multiple_of(10);
    let mut data: Vec<u8> = (0..length).map(|at| (at as u32 * 13 + index * 101) as u8).collect();
    match codec {
        Codec::H264 => {
            // Emulation prevention leaves no start codes.
            data.iter_mut().for_each(|byte| *byte |= 1);
            let clear: &[u8] = match (key_frame, index % 20) {
                (true, 0) => b"\0\0\0\x01\x67\x42\xe0\x1f\0\0\0\x01\x68\xce\0\0\0\x01\x65\x88\xff",
                (true, _) => b"\0\0\0\x01\x67\x42\xe0\x1f\0\0\0\x01\x65\x88\xff",
                _ => b"\0\0\0\x01\x41\x9b",
            };
            [clear, &data, &[0x80]].concat().into()
        }
        Codec::Av1 => {
            let clear: &[u8] =
                if key_frame { b"\x0a\x0b\0\0\0\x24\xcf\x7f\x0d\xbf\xff\x30\x08" } else { b"" };
            let mut size = Vec::new();
            while length >> (7 * size.len()) > 0x7F {
                size.push((length >> (7 * size.len())) as u8 | 0x80);
            }
            size.push((length >> (7 * size.len())) as u8);
            [clear, &[0x32], &size, &data].concat().into()
        }
        _ => data.into(),
    }
}

fn info(index: u32) -> FrameInfo {
    FrameInfo { key_frame: index.is_multiple_of(10), dimensions: Some((640, 480)) }
}

/// The packets of frames with these lengths, close to a wrap of the sequence number.
fn packets(codec: Codec, lengths: &[usize]) -> (Vec<MediaPacket>, Vec<Bytes>) {
    let mut packetizer = Packetizer::new(codec, 96, 1, 65_533);
    let (mut packets, mut frames) = (Vec::new(), Vec::new());
    for (index, &length) in lengths.iter().enumerate() {
        let data = frame(codec, index as u32, length);
        let timestamp = index as u32 * 3_000;
        let packetized = packetizer.packetize(&data, info(index as u32), timestamp).unwrap();
        packets.extend(packetized.map(MediaPacket::from));
        frames.push(data);
    }
    (packets, frames)
}

fn drain(assembler: &mut Assembler) -> Vec<(Bytes, bool)> {
    std::iter::from_fn(|| assembler.poll_frame()).map(|f| (f.data, f.after_loss)).collect()
}

fn feed(assembler: &mut Assembler, packets: &[MediaPacket], now: Instant) -> Vec<(Bytes, bool)> {
    for packet in packets {
        assembler.handle_packet(packet.clone(), now);
    }
    drain(assembler)
}

fn whole(frames: &[Bytes]) -> Vec<(Bytes, bool)> {
    frames.iter().map(|frame| (frame.clone(), false)).collect()
}

fn at_rest(assembler: &Assembler) -> bool {
    assembler.packets.is_empty() && assembler.bytes == 0 && assembler.poll_timeout().is_none()
}

#[test]
fn a_frame_comes_out_with_its_last_packet() {
    let (packets, frames) = packets(Codec::Vp8, &[3_000, 50]);
    let (mut assembler, now) = (Assembler::new(Codec::Vp8), Instant::now());
    assert_eq!(packets.len(), 4);
    assert_eq!(feed(&mut assembler, &packets[..2], now), []);
    assert_eq!(feed(&mut assembler, &packets[2..3], now), whole(&frames[..1]));
    assert_eq!(feed(&mut assembler, &packets[3..], now), whole(&frames[1..]));
    assert!(at_rest(&assembler));
}

#[test]
fn every_length_survives_the_last_packets_of_one_byte_too() {
    let lengths: Vec<usize> = (1..6).chain(1_160..1_196).chain(2_340..2_380).collect();
    for codec in Codec::ALL {
        let (packets, frames) = packets(codec, &lengths);
        let mut assembler = Assembler::new(codec);
        assert_eq!(feed(&mut assembler, &packets, Instant::now()), whole(&frames), "{codec}");
        assert!(at_rest(&assembler));
    }
}

#[test]
fn an_opus_packet_is_a_frame() {
    let (packets, frames) = packets(Codec::Opus, &[1, 80, 300]);
    let mut assembler = Assembler::new(Codec::Opus);
    assert_eq!(feed(&mut assembler, &packets, Instant::now()), whole(&frames));
    assert!(at_rest(&assembler));
}

#[test]
fn overtaking_and_repeated_packets_change_nothing() {
    let lengths: Vec<usize> = (0..300).map(|i| 1 + (i * 997) % 5_000).collect();
    let (sent, frames) = packets(Codec::Vp8, &lengths);
    let now = Instant::now();
    for seed in 1..20 {
        let mut random = Random(seed);
        let mut order: Vec<(u64, &MediaPacket)> = Vec::new();
        for (index, packet) in sent.iter().enumerate() {
            for _ in 0..1 + random.below(2) {
                // The very first packet leads: what precedes the first start is no loss.
                let delay = if index == 0 { 0 } else { 1 + random.below(20) };
                order.push((index as u64 + delay, packet));
            }
        }
        order.sort_by_key(|(at, _)| *at);
        let received: Vec<MediaPacket> = order.into_iter().map(|(_, p)| p.clone()).collect();
        let mut assembler = Assembler::new(Codec::Vp8);
        assert_eq!(feed(&mut assembler, &received, now), whole(&frames), "seed {seed}");
        assert!(at_rest(&assembler));
        assert_eq!(assembler.losses(), 0);
    }
}

#[test]
fn a_packet_that_comes_late_is_waited_for() {
    let (packets, frames) = packets(Codec::Vp8, &[2_000, 2_000, 2_000]);
    let (mut assembler, now) = (Assembler::new(Codec::Vp8), Instant::now());
    assert_eq!(feed(&mut assembler, &packets[..3], now), whole(&frames[..1]));
    assert_eq!(feed(&mut assembler, &packets[4..], now), []);
    assembler.handle_timeout(now + 199 * MILLI);
    assert_eq!(feed(&mut assembler, &packets[3..4], now + 199 * MILLI), whole(&frames[1..]));
    assert!(at_rest(&assembler));
}

#[test]
fn a_packet_that_never_comes_costs_its_frame_and_is_reported() {
    let (packets, frames) = packets(Codec::Vp8, &[2_000, 2_000, 2_000, 2_000]);
    let (mut assembler, now) = (Assembler::new(Codec::Vp8), Instant::now());
    feed(&mut assembler, &packets[..3], now);
    feed(&mut assembler, &packets[4..6], now + MILLI);
    assert_eq!(assembler.poll_timeout(), Some(now + MILLI + VIDEO_PATIENCE));
    assembler.handle_timeout(now + MILLI + VIDEO_PATIENCE);
    assert_eq!(drain(&mut assembler), [(frames[2].clone(), true)]);
    assert_eq!(assembler.losses(), 1);
    // Too late: the frame's other packets are gone.
    assert_eq!(feed(&mut assembler, &packets[3..4], now), []);
    assert_eq!(feed(&mut assembler, &packets[6..], now), whole(&frames[3..]));
    assert!(at_rest(&assembler));
}

#[test]
fn a_late_first_packet_behind_a_loss_is_waited_for_as_well() {
    let (packets, frames) = packets(Codec::Vp8, &[100, 3_000, 3_000, 100]);
    let now = Instant::now();
    let mut assembler = Assembler::new(Codec::Vp8);
    // The second frame lacks its middle, and of the third the first packet is late.
    let lost = [&packets[..2], &packets[3..4]].concat();
    assert_eq!(feed(&mut assembler, &lost, now), whole(&frames[..1]));
    let soon = now + VIDEO_PATIENCE - MILLI;
    assert_eq!(feed(&mut assembler, &packets[5..], soon), []);
    assembler.handle_timeout(now + VIDEO_PATIENCE);
    assert_eq!(drain(&mut assembler), [], "nothing of the third frame is given up yet");
    let late = feed(&mut assembler, &packets[4..5], now + VIDEO_PATIENCE + 10 * MILLI);
    assert_eq!(late, [(frames[2].clone(), true), (frames[3].clone(), false)]);
    assert!(at_rest(&assembler));
}

#[test]
fn packets_sent_again_behind_a_gap_do_not_prolong_the_wait() {
    let (packets, frames) = packets(Codec::Vp8, &[100, 5_000, 100]);
    let now = Instant::now();
    let mut assembler = Assembler::new(Codec::Vp8);
    // Of the second frame only the first and the last packet; the others come from the back.
    let arrived = [&packets[..2], &packets[5..]].concat();
    assert_eq!(feed(&mut assembler, &arrived, now), whole(&frames[..1]));
    let due = Some(now + VIDEO_PATIENCE);
    for (number, packet) in packets[3..5].iter().rev().enumerate() {
        assert_eq!(assembler.poll_timeout(), due);
        let late = now + VIDEO_PATIENCE / 4 * (number as u32 + 1);
        assert_eq!(feed(&mut assembler, std::slice::from_ref(packet), late), []);
    }
    assert_eq!(assembler.poll_timeout(), due);
    assembler.handle_timeout(now + VIDEO_PATIENCE);
    assert_eq!(drain(&mut assembler), [(frames[2].clone(), true)]);
}

#[test]
fn a_frame_lost_as_a_whole_is_reported_too() {
    let (packets, frames) = packets(Codec::Opus, &[10, 20, 30]);
    let (mut assembler, now) = (Assembler::new(Codec::Opus), Instant::now());
    feed(&mut assembler, &packets[..1], now);
    assert_eq!(feed(&mut assembler, &packets[2..], now), []);
    assembler.handle_timeout(now + AUDIO_PATIENCE);
    assert_eq!(drain(&mut assembler), [(frames[2].clone(), true)]);
}

#[test]
fn who_joins_in_the_middle_of_a_frame_begins_with_the_next() {
    let (packets, frames) = packets(Codec::Vp8, &[5_000, 2_000, 2_000]);
    let mut assembler = Assembler::new(Codec::Vp8);
    assert_eq!(feed(&mut assembler, &packets[2..], Instant::now()), whole(&frames[1..]));
    assert!(at_rest(&assembler));
    assert_eq!(assembler.losses(), 0);
}

#[test]
fn a_first_packet_that_was_overtaken_still_opens_the_first_frame() {
    let (mut packets, frames) = packets(Codec::Vp8, &[2_000, 2_000]);
    packets.swap(0, 2);
    let mut assembler = Assembler::new(Codec::Vp8);
    assert_eq!(feed(&mut assembler, &packets, Instant::now()), whole(&frames));
}

#[test]
fn padding_belongs_to_no_frame() {
    let (mut packets, frames) = packets(Codec::Vp8, &[2_000, 2_000]);
    let padding =
        |sequence| MediaPacket { sequence, timestamp: 0, marker: false, payload: Bytes::new() };
    for (index, packet) in packets.iter_mut().enumerate() {
        packet.sequence = index as u16 * 2;
    }
    let packets: Vec<_> =
        packets.into_iter().flat_map(|p| [p.clone(), padding(p.sequence + 1)]).collect();
    let mut assembler = Assembler::new(Codec::Vp8);
    assert_eq!(feed(&mut assembler, &packets, Instant::now()), whole(&frames));
    assert!(at_rest(&assembler));
}

#[test]
fn a_frame_without_an_end_is_dropped_when_the_next_one_begins() {
    let (mut packets, frames) = packets(Codec::Vp8, &[50, 2_000, 2_000]);
    packets[2].marker = false;
    let mut assembler = Assembler::new(Codec::Vp8);
    let received = feed(&mut assembler, &packets, Instant::now());
    assert_eq!(received, [(frames[0].clone(), false), (frames[2].clone(), true)]);
}

#[test]
fn a_sender_that_starts_anew_is_followed() {
    let (first, _) = packets(Codec::Opus, &[10; 400]);
    let mut assembler = Assembler::new(Codec::Opus);
    feed(&mut assembler, &first, Instant::now());
    let again: Vec<_> = first
        .iter()
        .cloned()
        .map(|mut packet| {
            packet.sequence = packet.sequence.wrapping_sub(20_000);
            packet
        })
        .collect();
    let received = feed(&mut assembler, &again, Instant::now());
    assert_eq!(received.len(), 400 - RESTART as usize + 1);
    assert!(received[0].1, "it must say that something is missing");
}

/// A payload in the middle of a frame, which is what piles up.
fn middle(codec: Codec) -> &'static [u8] {
    match codec {
        Codec::Vp8 | Codec::Vp9 => &[0x00],
        Codec::H264 => &[0x7C, 0x05],
        Codec::Av1 => &[0xD0],
        Codec::Opus => &[],
    }
}

/// What a hostile SFU may send: whatever it is, memory stays bounded and time-outs end it.
#[test]
fn any_input_is_held_within_bounds() {
    for seed in 1..50_u64 {
        let mut random = Random(seed * 7_919);
        let codec = Codec::ALL[seed as usize % 5];
        // What they alter.
        let (sent, _) = packets(codec, &[1, 3_000, 100, 2_000, 1_190]);
        let mut assembler = Assembler::new(codec);
        let mut now = Instant::now();
        let (spread, size) = (1 + random.below(60_000), 1 + random.below(1_400));
        let mut sequence = random.below(65_536);
        for _ in 0..6_000 {
            sequence += if random.below(50) == 0 { random.below(spread) } else { 1 };
            let back = random.below(1 + seed * 3);
            let length = random.below(size) as usize;
            let mut payload = vec![random.below(256) as u8; length];
            match random.below(60) {
                0..50 => payload = [middle(codec), &payload].concat(),
                50 => payload.fill(0),
                51..58 => {
                    payload = sent[random.below(sent.len() as u64) as usize].payload.to_vec();
                    let at = random.below(payload.len().min(16) as u64) as usize;
                    payload[at] ^= 1 << random.below(8);
                    payload.truncate(1 + random.below(1_400) as usize);
                }
                _ => {}
            }
            let packet = MediaPacket {
                sequence: sequence.wrapping_sub(back) as u16,
                timestamp: if seed % 3 == 0 { 0 } else { random.below(3) as u32 },
                marker: random.below(200) == 0,
                payload: payload.into(),
            };
            assembler.handle_packet(packet, now);
            while assembler.poll_frame().is_some() {}
            assert!(assembler.packets.len() as u64 <= MAX_PACKETS);
            assert!(assembler.bytes <= MAX_BYTES);
            let held: usize = assembler.packets.values().map(|part| part.size).sum();
            assert_eq!(assembler.bytes, held);
            assert!(assembler.packets.values().all(|part| part.data.len() <= part.size));
            now += MILLI * random.below(3) as u32;
            // A caller that is late with time-outs must not cost memory either.
            if seed % 7 != 0 && random.below(10) == 0 {
                assembler.handle_timeout(now);
            }
        }
        assembler.handle_timeout(now + Duration::from_secs(1));
        assert!(assembler.poll_timeout().is_none());
    }
}

#[test]
fn a_frame_that_never_ends_does_not_grow_for_ever() {
    let starts: [(Codec, &[u8]); 4] = [
        (Codec::Vp8, &[0x10]),
        (Codec::Vp9, &[0x08]),
        (Codec::H264, &[0x7C, 0x85, 0x88]),
        (Codec::Av1, &[0x50, 0x30]),
    ];
    for (codec, start) in starts {
        let mut assembler = Assembler::new(codec);
        let now = Instant::now();
        for index in 0..20_000_u32 {
            let opening = if index == 0 { start } else { middle(codec) };
            let packet = MediaPacket {
                sequence: index as u16,
                timestamp: 0,
                marker: false,
                payload: [opening, &[0; 1_180]].concat().into(),
            };
            assembler.handle_packet(packet, now);
            assert!(assembler.bytes <= MAX_BYTES);
        }
        assert!(assembler.losses() > 0 && assembler.packets.is_empty(), "{codec}");
    }
}

#[test]
fn the_largest_frame_fits() {
    for codec in Codec::ALL {
        let (packets, frames) = packets(codec, &[(4 << 20) + (16 << 10)]);
        let mut assembler = Assembler::new(codec);
        // The worst order: it is all held before the frame begins.
        let last = packets.len() - 1;
        assert_eq!(feed(&mut assembler, &packets[..last], Instant::now()), []);
        assert_eq!(feed(&mut assembler, &packets[last..], Instant::now()), whole(&frames));
        assert_eq!(assembler.losses(), 0);
        assert!(at_rest(&assembler));
    }
}

/// What an H.264 receiver ignores, since copies of it are encrypted too.
fn without_parameter_sets(frame: &Bytes) -> Bytes {
    let slice = |at: &usize| matches!(frame[*at..], [0, 0, 0, 1, 0x65 | 0x41, ..]);
    frame.slice((0..frame.len()).find(slice).unwrap()..)
}

#[test]
fn an_h264_frame_goes_on_without_its_parameter_sets() {
    let mut lengths = [100; 21];
    lengths[20] = 3_000;
    let (sent, frames) = packets(Codec::H264, &lengths);
    let key_frame = sent.len() - 4;
    assert_eq!(sent[key_frame].payload[0], 0x78, "parameter sets go first");
    let now = Instant::now();
    for is_lost in [false, true] {
        let mut assembler = Assembler::new(Codec::H264);
        assert_eq!(feed(&mut assembler, &sent[..key_frame], now), whole(&frames[..20]));
        assert_eq!(feed(&mut assembler, &sent[key_frame + 1..], now), []);
        if is_lost {
            assembler.handle_timeout(now + VIDEO_PATIENCE);
            let rest = without_parameter_sets(&frames[20]);
            assert_eq!(drain(&mut assembler), [(rest, true)]);
        } else {
            let overtaken = &sent[key_frame..=key_frame];
            assert_eq!(feed(&mut assembler, overtaken, now), whole(&frames[20..]));
        }
        assert!(at_rest(&assembler));
    }
}

#[test]
fn a_picture_of_several_slices_never_comes_out_without_its_first() {
    let packet = |sequence, timestamp, marker, payload: &'static [u8]| MediaPacket {
        sequence,
        timestamp,
        marker,
        payload: Bytes::from_static(payload),
    };
    let mut packets = [
        packet(1, 1, false, b"\x65\x88a"),
        packet(2, 1, true, b"\x65\x28b"),
        packet(3, 2, false, b"\x41\x9ac"),
        packet(4, 2, false, b"\x41\x2ad"),
        packet(5, 2, true, b"\x41\x2ae"),
        packet(6, 3, false, b"\x41\x9af"),
        packet(7, 3, true, b"\x41\x2ag"),
    ];
    let now = Instant::now();
    let mut assembler = Assembler::new(Codec::H264);
    assert_eq!(feed(&mut assembler, &packets, now).len(), 3);
    for lost in [2, 3] {
        let mut assembler = Assembler::new(Codec::H264);
        for (index, packet) in packets.iter().enumerate() {
            if index != lost {
                assembler.handle_packet(packet.clone(), now);
            }
        }
        assembler.handle_timeout(now + VIDEO_PATIENCE);
        let first = Bytes::from_static(b"\0\0\0\x01\x65\x88a\0\0\0\x01\x65\x28b");
        let third = Bytes::from_static(b"\0\0\0\x01\x41\x9af\0\0\0\x01\x41\x2ag");
        assert_eq!(drain(&mut assembler), [(first.clone(), false), (third.clone(), true)]);
        // The same where the rest comes only after the loss was seen.
        let mut assembler = Assembler::new(Codec::H264);
        for (index, packet) in packets.iter().enumerate() {
            if index != lost {
                assembler.handle_packet(packet.clone(), now);
            }
            if index == lost + 1 {
                assembler.handle_timeout(now + VIDEO_PATIENCE);
            }
        }
        assert_eq!(drain(&mut assembler), [(first, false), (third, true)]);
    }
    // Where nothing is missing, any slice may come first.
    packets[2].payload = Bytes::from_static(b"\x41\x2ac");
    assert_eq!(feed(&mut Assembler::new(Codec::H264), &packets, now).len(), 3);
}

#[test]
fn payloads_that_do_not_make_a_frame_are_a_loss() {
    // The fragments of a NAL unit, and of an OBU, without their last one.
    for (codec, missing) in [(Codec::H264, 3), (Codec::Av1, 2)] {
        let (mut packets, frames) = packets(codec, &[3_000, 50]);
        packets.remove(missing);
        for (index, packet) in packets.iter_mut().enumerate() {
            packet.sequence = index as u16;
        }
        packets[missing - 1].marker = true;
        let mut assembler = Assembler::new(codec);
        let received = feed(&mut assembler, &packets, Instant::now());
        assert_eq!(received, [(frames[1].clone(), true)], "{codec}");
        assert_eq!(assembler.losses(), 1);
        assert!(at_rest(&assembler));
    }
}

#[test]
fn a_malformed_packet_is_as_good_as_lost() {
    let broken: [(Codec, &[u8]); 4] = [
        (Codec::Vp8, &[0x90]),
        (Codec::Vp9, &[0x8A, 0x80]),
        (Codec::H264, &[0x7D, 0x85, 0]),
        (Codec::Av1, &[0x20, 0x05, 0]),
    ];
    for (codec, payload) in broken {
        let (packets, frames) = packets(codec, &[50, 3_000, 50]);
        let (mut assembler, now) = (Assembler::new(codec), Instant::now());
        let at = packets.len() - 3;
        assert!(packets[at].timestamp == 3_000 && !packets[at].marker);
        for (index, packet) in packets.iter().enumerate() {
            let payload = Bytes::from_static(payload);
            let altered = MediaPacket { payload, ..packet.clone() };
            assembler.handle_packet(if index == at { altered } else { packet.clone() }, now);
        }
        assert_eq!(drain(&mut assembler), whole(&frames[..1]), "{codec}");
        // The real one still comes.
        let mut patient = assembler_with(codec, &packets, at, payload, now);
        assert_eq!(feed(&mut patient, &packets[at..=at], now), whole(&frames[1..]), "{codec}");
        assembler.handle_timeout(now + VIDEO_PATIENCE);
        assert_eq!(drain(&mut assembler), [(frames[2].clone(), true)], "{codec}");
    }
}

/// After these packets, one of them with another payload; nothing polled but what came out.
fn assembler_with(
    codec: Codec,
    packets: &[MediaPacket],
    altered: usize,
    payload: &'static [u8],
    now: Instant,
) -> Assembler {
    let mut assembler = Assembler::new(codec);
    for (index, packet) in packets.iter().enumerate() {
        let mut packet = packet.clone();
        if index == altered {
            packet.payload = Bytes::from_static(payload);
        }
        assembler.handle_packet(packet, now);
    }
    drain(&mut assembler);
    assembler
}

#[test]
fn vp9_frames_end_with_e_where_a_relay_took_the_marker() {
    let (mut packets, frames) = packets(Codec::Vp9, &[3_000, 50]);
    packets.iter_mut().for_each(|packet| packet.marker = false);
    let mut assembler = Assembler::new(Codec::Vp9);
    assert_eq!(feed(&mut assembler, &packets, Instant::now()), whole(&frames));
}

/// A packet's way: lost, or late by up to 20 ms, or twice.
fn network(sent: &[MediaPacket], percent_lost: u64, random: &mut Random) -> Vec<(u32, usize)> {
    let mut arrivals = Vec::new();
    for index in 0..sent.len() {
        // The very first packet leads: what precedes the first start is no loss.
        let leads = index == 0;
        if !leads && random.below(100) < percent_lost {
            continue;
        }
        for _ in 0..if random.below(10) == 0 { 2 } else { 1 } {
            let delay = if leads { 0 } else { 1 + random.below(20) as u32 };
            arrivals.push((index as u32 + delay, index));
        }
    }
    arrivals.sort_by_key(|(at, _)| *at);
    arrivals
}

#[test]
fn what_arrives_whole_comes_out_in_order_and_nothing_else_does() {
    let mut random = Random(0x0DD5);
    let length = |i: usize| if i.is_multiple_of(100) { 60_000 } else { 1 + (i * 997) % 4_000 };
    let lengths: Vec<usize> = (0..1_200).map(length).collect();
    for codec in Codec::ALL {
        let (sent, frames) = packets(codec, &lengths);
        for percent_lost in [0, 5, 20] {
            let arrivals = network(&sent, percent_lost, &mut random);
            let mut missing: Vec<bool> = vec![false; frames.len()];
            let mut arrived = vec![false; sent.len()];
            arrivals.iter().for_each(|(_, index)| arrived[*index] = true);
            for (packet, arrived) in sent.iter().zip(arrived) {
                missing[packet.timestamp as usize / 3_000] |= !arrived;
            }
            let (mut assembler, start) = (Assembler::new(codec), Instant::now());
            let mut received = Vec::new();
            for (at, index) in arrivals {
                let now = start + MILLI * at;
                assembler.handle_timeout(now);
                assembler.handle_packet(sent[index].clone(), now);
                assert!(assembler.bytes <= MAX_BYTES);
                received.extend(std::iter::from_fn(|| assembler.poll_frame()));
            }
            assembler.handle_timeout(start + Duration::from_secs(1_000));
            received.extend(std::iter::from_fn(|| assembler.poll_frame()));
            let mut next = 0;
            for frame in received {
                let index = frame.rtp_timestamp as usize / 3_000;
                assert!(index >= next, "{codec}: {index} came again, or late");
                let skipped = &missing[next..index];
                assert!(skipped.iter().all(|missing| *missing), "{codec}: {skipped:?} at {next}");
                let short = codec == Codec::H264 && missing[index] && frame.after_loss;
                let same = frame.data == frames[index]
                    || short && frame.data == without_parameter_sets(&frames[index]);
                assert!(same, "{codec}: {index} altered");
                assert!(index == next || frame.after_loss, "{codec}: loss before {index} unsaid");
                next = index + 1;
            }
            assert!(missing[next..].iter().all(|missing| *missing), "{codec}: the end is missing");
            assert_eq!(assembler.losses() == 0, percent_lost == 0, "{codec}");
            assert!(assembler.packets.len() <= 100, "{codec}: an unfinished frame at most");
            assert!(percent_lost > 0 || at_rest(&assembler));
        }
    }
}

#[test]
fn random_loss_costs_frames_but_never_alters_or_reorders_one() {
    let lengths: Vec<usize> = (0..400).map(|i| 1 + (i * 997) % 5_000).collect();
    let (sent, frames) = packets(Codec::Vp8, &lengths);
    let mut random = Random(42);
    let mut assembler = Assembler::new(Codec::Vp8);
    let mut now = Instant::now();
    let (mut received, mut lost) = (Vec::new(), 0);
    for packet in sent {
        now += MILLI;
        assembler.handle_timeout(now);
        if random.below(30) == 0 {
            lost += 1;
        } else {
            assembler.handle_packet(packet, now);
        }
        received.extend(std::iter::from_fn(|| assembler.poll_frame()));
    }
    assembler.handle_timeout(now + Duration::from_secs(1));
    received.extend(std::iter::from_fn(|| assembler.poll_frame()));
    let mut last = None;
    for frame in &received {
        let index = (frame.rtp_timestamp / 3_000) as usize;
        assert!(frame.data == frames[index], "frame {index} altered");
        let gap = index != last.map_or(0, |last: usize| last + 1);
        assert!(last.is_none_or(|last| last < index));
        assert!(!gap || frame.after_loss || last.is_none(), "a loss before {index} went unsaid");
        last = Some(index);
    }
    assert!(received.len() >= frames.len() - lost && received.len() < frames.len());
}

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

fn frame(index: u32, length: usize) -> Bytes {
    (0..length).map(|at| (at as u32 * 13 + index * 101) as u8).collect()
}

/// The packets of frames with these lengths, close to a wrap of the sequence number.
fn packets(codec: Codec, lengths: &[usize]) -> (Vec<MediaPacket>, Vec<Bytes>) {
    let mut packetizer = Packetizer::new(codec, 96, 1, 65_533);
    let (mut packets, mut frames) = (Vec::new(), Vec::new());
    for (index, &length) in lengths.iter().enumerate() {
        let data = frame(index as u32, length);
        let timestamp = index as u32 * 3_000;
        let packetized = packetizer.packetize(&data, FrameInfo::default(), timestamp).unwrap();
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
    let lengths: Vec<usize> = (1..6).chain(1_180..1_196).chain(2_360..2_380).collect();
    let (packets, frames) = packets(Codec::Vp8, &lengths);
    let mut assembler = Assembler::new(Codec::Vp8);
    assert_eq!(feed(&mut assembler, &packets, Instant::now()), whole(&frames));
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

/// What a hostile SFU may send: whatever it is, memory stays bounded and time-outs end it.
#[test]
fn any_input_is_held_within_bounds() {
    for seed in 1..40_u64 {
        let mut random = Random(seed * 7_919);
        let codec = if seed % 4 == 0 { Codec::Opus } else { Codec::Vp8 };
        let mut assembler = Assembler::new(codec);
        let mut now = Instant::now();
        let (spread, size) = (1 + random.below(60_000), 1 + random.below(1_400));
        let mut sequence = random.below(65_536);
        for _ in 0..6_000 {
            sequence += if random.below(50) == 0 { random.below(spread) } else { 1 };
            let back = random.below(1 + seed * 3);
            let length = random.below(size) as usize;
            let mut payload = vec![random.below(256) as u8; length];
            if let Some(descriptor) = payload.first_mut() {
                // Mostly middles of frames, which is what piles up.
                *descriptor =
                    if random.below(60) == 0 { 0x10 } else { random.below(256) as u8 & 0xEF };
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
            now += MILLI * random.below(3) as u32;
            // A caller that is late with time-outs must not cost memory either.
            if seed % 5 != 0 && random.below(10) == 0 {
                assembler.handle_timeout(now);
            }
        }
        assembler.handle_timeout(now + Duration::from_secs(1));
        assert!(assembler.poll_timeout().is_none());
    }
}

#[test]
fn a_frame_that_never_ends_does_not_grow_for_ever() {
    let mut assembler = Assembler::new(Codec::Vp8);
    let now = Instant::now();
    for index in 0..20_000_u32 {
        let mut payload = vec![0; 1_188];
        payload[0] = if index == 0 { 0x10 } else { 0 };
        let packet = MediaPacket {
            sequence: index as u16,
            timestamp: 0,
            marker: false,
            payload: payload.into(),
        };
        assembler.handle_packet(packet, now);
        assert!(assembler.bytes <= MAX_BYTES);
    }
    assert!(assembler.losses() > 0 && assembler.packets.is_empty());
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

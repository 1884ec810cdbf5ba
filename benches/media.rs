//! What encryption adds on the way from an encoder's frame to RTP packets, and back.
//!
//! ```text
//! send/codec/bytes            a frame encrypted and packetized …
//! plain-send/codec/bytes      … and the same frame packetized as it is
//! receive/codec/bytes         packets assembled and decrypted …
//! plain-receive/codec/bytes   … and the same frame's packets assembled only
//! ```
//!
//! First it says how much of one core hundreds of streams take.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench"
)]

mod settings;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::Bytes;
use criterion::{Bencher, BenchmarkId, Criterion, Throughput};
use olmcast::{
    media::{FrameDecryptor, FrameEncryptor, hazmat},
    primitives::{Codec, Timestamp},
    rtc::{Assembler, FrameInfo, MediaPacket, Packetizer},
    sframe::{BaseKey, CipherSuite, KeyId},
};

const FRAMES: [(Codec, usize); 7] = [
    (Codec::Opus, 120),
    (Codec::Vp8, 1_200),
    (Codec::Vp8, 20_000),
    (Codec::Vp8, 200_000),
    (Codec::Vp9, 20_000),
    (Codec::H264, 20_000),
    (Codec::Av1, 20_000),
];

fn main() {
    shares();
    let mut criterion = settings::criterion();
    for (codec, length) in FRAMES {
        compare(&mut criterion, codec, length);
    }
    criterion.final_summary();
}

/// A delta frame.
fn frame(codec: Codec, length: usize) -> Vec<u8> {
    let start: &[u8] = match codec {
        Codec::Vp8 => &[0x31, 2, 0],
        Codec::Vp9 => &[0x86, 0],
        Codec::H264 => &[0, 0, 0, 1, 0x41, 0x9A, 0x24],
        Codec::Av1 => &[0x12, 0, 0x30, 0x30],
        _ => &[0xFC],
    };
    let mut frame = start.to_vec();
    // Without zeros, as an encoder's output is nearly.
    frame.extend((0..length - start.len()).map(|byte| byte as u8 | 4));
    frame
}

fn encryptor(codec: Codec) -> FrameEncryptor {
    let base_key = BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(7));
    hazmat::with_kid(codec, base_key, KeyId(1))
}

fn decryptor(codec: Codec) -> FrameDecryptor {
    let base_key = BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(7));
    hazmat::decryptor(codec, base_key, KeyId(1))
}

fn compare(criterion: &mut Criterion, codec: Codec, length: usize) {
    let frame = frame(codec, length);
    let mut bench = |name: &str, run: &mut dyn FnMut(&mut Bencher<'_>)| {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new(codec.to_string(), length), |b| run(b));
        group.finish();
    };
    bench("send", &mut |b| {
        let mut sender = Sender::new(codec, Some(encryptor(codec)));
        b.iter(|| sender.send(black_box(&frame), |packet| drop(black_box(packet))));
    });
    bench("plain-send", &mut |b| {
        let mut sender = Sender::new(codec, None);
        b.iter(|| sender.send(black_box(&frame), |packet| drop(black_box(packet))));
    });
    for (name, is_encrypted) in [("receive", true), ("plain-receive", false)] {
        bench(name, &mut |b| {
            b.iter_custom(|count| {
                let mut sender = Sender::new(codec, is_encrypted.then(|| encryptor(codec)));
                let mut receiver = Receiver::new(codec, is_encrypted.then(|| decryptor(codec)));
                let mut time = Duration::ZERO;
                let mut packets = Vec::new();
                for _ in 0..count {
                    sender.send(&frame, |packet| packets.push(packet));
                    let start = Instant::now();
                    let received = receiver.receive(packets.drain(..));
                    time += start.elapsed();
                    assert_eq!(received.unwrap().len(), frame.len());
                }
                time
            });
        });
    }
}

/// What `EncryptedSender` does before it hands packets to a connection.
struct Sender {
    codec: Codec,
    encryptor: Option<FrameEncryptor>,
    packetizer: Packetizer,
    wire: Vec<u8>,
    timestamp: u32,
}

impl Sender {
    fn new(codec: Codec, encryptor: Option<FrameEncryptor>) -> Self {
        let packetizer = Packetizer::new(codec, 96, 7, 0);
        Self { codec, encryptor, packetizer, wire: Vec::new(), timestamp: 0 }
    }

    fn send(&mut self, frame: &[u8], mut packet: impl FnMut(MediaPacket)) {
        match &mut self.encryptor {
            Some(encryptor) => encryptor.encrypt_into(frame, &mut self.wire).unwrap(),
            None => {
                self.wire.clear();
                self.wire.extend_from_slice(frame);
            }
        }
        let wire = Bytes::from(std::mem::take(&mut self.wire));
        self.timestamp = self.timestamp.wrapping_add(3000);
        let info = FrameInfo::of(self.codec, frame);
        for rtp in self.packetizer.packetize(&wire, info, self.timestamp).unwrap() {
            packet(rtp.into());
        }
        self.wire = Vec::from(wire);
    }
}

/// What `EncryptedReceiver` does with what a connection hands to it.
struct Receiver {
    assembler: Assembler,
    decryptor: Option<FrameDecryptor>,
    now: Instant,
}

impl Receiver {
    fn new(codec: Codec, decryptor: Option<FrameDecryptor>) -> Self {
        Self { assembler: Assembler::new(codec), decryptor, now: Instant::now() }
    }

    fn receive(&mut self, packets: impl Iterator<Item = MediaPacket>) -> Option<Vec<u8>> {
        for packet in packets {
            self.assembler.handle_packet(packet, self.now);
        }
        let mut frame = Vec::from(self.assembler.poll_frame()?.data);
        if let Some(decryptor) = &mut self.decryptor {
            decryptor.decrypt_in_place(&mut frame, Timestamp::default()).unwrap();
        }
        Some(frame)
    }
}

/// The share of one core that many streams take, encrypted and packetized.
fn shares() {
    // 20 ms of Opus at 48 kbit/s; 30 frames a second at 1.5 Mbit/s.
    for (what, codec, length, streams, rate) in
        [("audio", Codec::Opus, 120, 500, 50), ("video", Codec::Vp8, 6_250, 100, 30)]
    {
        let frame = frame(codec, length);
        let mut senders: Vec<_> =
            (0..streams).map(|_| Sender::new(codec, Some(encryptor(codec)))).collect();
        let seconds = 4;
        let start = Instant::now();
        for _ in 0..rate * seconds {
            for sender in &mut senders {
                sender.send(&frame, |packet| drop(black_box(packet)));
            }
        }
        let share = start.elapsed().as_secs_f64() / f64::from(seconds);
        println!("{streams} {what} streams take {:.1} % of one core", 100.0 * share);
    }
}

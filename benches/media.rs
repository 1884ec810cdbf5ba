//! What encryption adds on the way from an encoder's frame to a connection's packets, and back.
//!
//! ```text
//! send/codec/bytes              a frame encrypted, packetized, and its packets under SRTP …
//! plain-send/codec/bytes        … and the same without the first
//! receive/codec/bytes           packets out of SRTP, assembled, decrypted …
//! plain-receive/codec/bytes     … and the same without the last
//! packetize/…, plain-packetize/…, assemble/…, plain-assemble/…
//!                               the same without SRTP, which every WebRTC connection has
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

use bytes::{Bytes, BytesMut};
use criterion::{Bencher, BenchmarkId, Criterion, Throughput};
use olmcast::{
    media::{FrameDecryptor, FrameEncryptor, hazmat},
    primitives::{Codec, Timestamp},
    rtc::{Assembler, FrameInfo, Packetizer},
    sframe::{BaseKey, CipherSuite, KeyId},
};
use rtc::{
    crypto::providers::AwsLcRsCrypto,
    rtp,
    shared::marshal::{Marshal, Unmarshal},
    srtp::{context::Context, protection_profile::ProtectionProfile},
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

fn srtp() -> Context {
    // What webrtc-rs offers first, which is also the fastest.
    let profile = ProtectionProfile::AeadAes128Gcm;
    Context::new(&[1; 16], &[2; 12], profile, None, None, &AwsLcRsCrypto).unwrap()
}

fn compare(criterion: &mut Criterion, codec: Codec, length: usize) {
    let frame = frame(codec, length);
    let mut bench = |name: &str, run: &mut dyn FnMut(&mut Bencher<'_>)| {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(BenchmarkId::new(codec.to_string(), length), |b| run(b));
        group.finish();
    };
    for is_protected in [true, false] {
        let names = if is_protected { ["send", "receive"] } else { ["packetize", "assemble"] };
        let names = names.map(|name| [(true, name.to_owned()), (false, format!("plain-{name}"))]);
        for (is_encrypted, name) in &names[0] {
            bench(name, &mut |b| {
                let mut sender = Sender::new(codec, *is_encrypted, is_protected);
                b.iter(|| sender.send(black_box(&frame), |packet| drop(black_box(packet))));
            });
        }
        for (is_encrypted, name) in &names[1] {
            bench(name, &mut |b| {
                b.iter_custom(|count| {
                    let mut sender = Sender::new(codec, *is_encrypted, is_protected);
                    let mut receiver = Receiver::new(codec, *is_encrypted, is_protected);
                    let mut time = Duration::ZERO;
                    let mut packets = Vec::new();
                    for _ in 0..count {
                        sender.send(&frame, |packet| packets.push(packet));
                        let start = Instant::now();
                        let received = receiver.receive(packets.drain(..));
                        time += start.elapsed();
                        assert!(received.unwrap().len() + 4 >= frame.len());
                    }
                    time
                });
            });
        }
    }
}

/// What goes over to the other side.
enum Packet {
    Rtp(rtp::Packet),
    Srtp(BytesMut),
}

/// What `EncryptedSender` does, and a connection after it.
struct Sender {
    codec: Codec,
    encryptor: Option<FrameEncryptor>,
    packetizer: Packetizer,
    srtp: Option<Context>,
    wire: Vec<u8>,
    timestamp: u32,
}

impl Sender {
    fn new(codec: Codec, is_encrypted: bool, is_protected: bool) -> Self {
        let encryptor = is_encrypted.then(|| encryptor(codec));
        let packetizer = Packetizer::new(codec, 96, 7, 0);
        let srtp = is_protected.then(srtp);
        Self { codec, encryptor, packetizer, srtp, wire: Vec::new(), timestamp: 0 }
    }

    fn send(&mut self, frame: &[u8], mut send: impl FnMut(Packet)) {
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
        for packet in self.packetizer.packetize(&wire, info, self.timestamp).unwrap() {
            send(match &mut self.srtp {
                Some(srtp) => Packet::Srtp(srtp.encrypt_rtp(&packet.marshal().unwrap()).unwrap()),
                None => Packet::Rtp(packet),
            });
        }
        self.wire = Vec::from(wire);
    }
}

/// What a connection does, and `EncryptedReceiver` with what it hands on.
struct Receiver {
    assembler: Assembler,
    decryptor: Option<FrameDecryptor>,
    srtp: Option<Context>,
    now: Instant,
}

impl Receiver {
    fn new(codec: Codec, is_encrypted: bool, is_protected: bool) -> Self {
        let decryptor = is_encrypted.then(|| decryptor(codec));
        let srtp = is_protected.then(srtp);
        Self { assembler: Assembler::new(codec), decryptor, srtp, now: Instant::now() }
    }

    fn receive(&mut self, packets: impl Iterator<Item = Packet>) -> Option<BytesMut> {
        for packet in packets {
            let packet = match (packet, &mut self.srtp) {
                (Packet::Srtp(packet), Some(srtp)) => {
                    let mut packet = srtp.decrypt_rtp(&packet).unwrap().freeze();
                    rtp::Packet::unmarshal(&mut packet).unwrap()
                }
                (Packet::Rtp(packet), _) => packet,
                (Packet::Srtp(_), None) => return None,
            };
            self.assembler.handle_packet(packet.into(), self.now);
        }
        let mut frame = BytesMut::from(self.assembler.poll_frame()?.data);
        if let Some(decryptor) = &mut self.decryptor {
            decryptor.decrypt_bytes(&mut frame, Timestamp::default()).unwrap();
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
        let mut senders: Vec<_> = (0..streams).map(|_| Sender::new(codec, true, false)).collect();
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

use std::sync::Arc;

use super::*;
use crate::{
    media::{EncryptorSlot, FrameEncryptor, GenerationKeys, SharedKeyRing},
    primitives::{Codec, Generation, Position, Step, TrackId},
    rtc::{FrameInfo, Packetizer},
    sframe::{BaseKey, CipherSuite},
};

const MILLI: Duration = Duration::from_millis(1);
/// Bytes before the frame's own in each payload.
const VP8_DESCRIPTOR: usize = 4;

/// Base keys of a generation, told apart by its number only.
struct Keys(u32);

impl GenerationKeys for Keys {
    fn base_key(&mut self, _: Step, _: TrackId) -> Option<BaseKey> {
        Some(base_key(self.0))
    }

    fn advance_to(&mut self, _: Step) {}
}

fn base_key(generation: u32) -> BaseKey {
    BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(generation as u8 + 1))
}

fn position(generation: u32) -> Position {
    Position { generation: Generation(generation), step: Step::new(0).unwrap() }
}

/// A publisher and a subscriber of one VP8 track.
struct Pair {
    slot: Arc<EncryptorSlot>,
    encryptor: FrameEncryptor,
    packetizer: Packetizer,
    timestamp: u32,
    ring: SharedKeyRing,
    intake: Intake,
    now: Instant,
}

impl Pair {
    /// The publisher has the key of generation 0; the subscriber has none.
    fn new() -> Self {
        let (slot, ring) = (Arc::new(EncryptorSlot::default()), SharedKeyRing::default());
        slot.install(position(0), base_key(0)).unwrap();
        let encryptor = FrameEncryptor::new(Codec::Vp8, Arc::clone(&slot));
        let decryptor = FrameDecryptor::new(Codec::Vp8, ring.clone(), TrackId(0));
        let now = Instant::now();
        Self {
            slot,
            encryptor,
            packetizer: Packetizer::new(Codec::Vp8, 96, 1, 0),
            timestamp: 0,
            ring,
            intake: Intake::new(decryptor, now),
            now,
        }
    }

    /// A pair in the middle of a stream: a key frame has just been received.
    fn flowing() -> Self {
        let mut pair = Self::new();
        pair.key_arrives(0);
        pair.send(true);
        assert_eq!(pair.received(), [(0, true, false)]);
        pair
    }

    fn key_arrives(&mut self, generation: u32) {
        let keys = Box::new(Keys(generation));
        self.ring.lock().install(position(generation), keys, clock::now());
    }

    /// A frame on its way: its timestamp tells which one it is.
    fn packets(&mut self, key_frame: bool) -> Vec<MediaPacket> {
        let plain = if key_frame { vec![0; 2_000] } else { vec![1; 2_000] };
        let mut wire = Vec::new();
        self.encryptor.encrypt_into(&plain, &mut wire).unwrap();
        let packets =
            self.packetizer.packetize(&wire.into(), FrameInfo::default(), self.timestamp).unwrap();
        self.timestamp += 1;
        packets.map(MediaPacket::from).collect()
    }

    fn send(&mut self, key_frame: bool) {
        for packet in self.packets(key_frame) {
            self.intake.handle_packet(packet, self.now);
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.intake.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.intake.handle_timeout(self.now);
            if !self.intake.poll_key_frame_request(self.now) {
                assert!(self.intake.poll_timeout().is_none_or(|next| next > self.now), "it spins");
            }
        }
        self.now = end;
    }

    /// (which, key frame, after loss)
    fn received(&mut self) -> Vec<(u32, bool, bool)> {
        std::iter::from_fn(|| self.intake.poll_frame())
            .map(|frame| (frame.rtp_timestamp, frame.key_frame, frame.after_loss))
            .collect()
    }

    fn asks(&mut self) -> bool {
        self.intake.poll_key_frame_request(self.now)
    }
}

#[test]
fn frames_are_held_until_their_key_comes_and_then_opened_in_order() {
    let mut pair = Pair::flowing();
    pair.slot.install(position(1), base_key(1)).unwrap();
    for _ in 0..3 {
        pair.send(false);
        pair.wait(33 * MILLI);
    }
    assert_eq!((pair.received(), pair.intake.stats().held), (vec![], 3));
    pair.key_arrives(1);
    pair.wait(RETRY);
    assert_eq!(pair.received(), [(1, false, false), (2, false, false), (3, false, false)]);
    assert_eq!(pair.intake.stats().undecryptable, 0);
    assert_eq!(pair.intake.stats().key_frames_asked, 1, "a key frame is asked for after a replay");
}

#[test]
fn a_key_frame_among_the_held_ones_makes_a_request_needless() {
    let mut pair = Pair::flowing();
    pair.slot.install(position(1), base_key(1)).unwrap();
    pair.send(true);
    pair.key_arrives(1);
    pair.send(false);
    assert_eq!(pair.received(), [(1, true, false), (2, false, false)]);
    assert!(!pair.asks());
}

#[test]
fn held_frames_are_given_up_after_a_second_and_a_key_frame_is_asked_for() {
    let mut pair = Pair::flowing();
    pair.slot.install(position(1), base_key(1)).unwrap();
    pair.send(false);
    pair.wait(HoldQueue::<u32>::MAX_TIME - MILLI);
    assert_eq!((pair.intake.stats().held, pair.intake.stats().key_frames_asked), (1, 0));
    pair.wait(RETRY + MILLI);
    let stats = pair.intake.stats();
    assert_eq!((stats.held, stats.undecryptable, stats.key_frames_asked), (0, 1, 1));
    pair.key_arrives(1);
    pair.send(false);
    assert_eq!(pair.received(), [(2, false, true)]);
}

#[test]
fn what_is_held_is_bounded() {
    let mut pair = Pair::flowing();
    pair.slot.install(position(1), base_key(1)).unwrap();
    for _ in 0..2 * HoldQueue::<u32>::MAX_FRAMES {
        pair.send(false);
    }
    assert_eq!(pair.intake.stats().held, HoldQueue::<u32>::MAX_FRAMES);
    assert_eq!(pair.intake.stats().undecryptable, HoldQueue::<u32>::MAX_FRAMES as u64);
    pair.wait(HoldQueue::<u32>::MAX_TIME * 2);
    assert_eq!(pair.intake.stats().held, 0);
}

#[test]
fn a_frame_with_a_forged_kid_cannot_hold_back_the_others() {
    let mut pair = Pair::flowing();
    let mut forged = pair.packets(false);
    // Three bytes stay clear; the header after them now names a KID of some later generation.
    let mut payload = forged[0].payload.to_vec();
    let header = VP8_DESCRIPTOR + 3;
    payload[header] = 0x90;
    forged[0].payload = payload.into();
    for packet in forged {
        pair.intake.handle_packet(packet, pair.now);
    }
    assert_eq!(pair.intake.stats().held, 1);
    pair.send(false);
    assert_eq!(pair.received(), [(2, false, true)]);
    assert_eq!((pair.intake.stats().held, pair.intake.stats().undecryptable), (0, 1));
}

#[test]
fn a_loss_is_flagged_and_a_key_frame_is_asked_for_at_most_twice_a_second() {
    let mut pair = Pair::flowing();
    let mut asked = 0;
    for _ in 0..30 {
        let mut packets = pair.packets(false);
        packets.remove(0);
        for packet in packets {
            pair.intake.handle_packet(packet, pair.now);
        }
        pair.send(false);
        pair.wait(410 * MILLI);
        // Each answered at once, so that only the rate limits the requests.
        asked = pair.intake.stats().key_frames_asked;
        pair.send(true);
    }
    let frames = pair.received();
    assert_eq!(frames.len(), 60);
    assert!(frames.iter().all(|&(_, key_frame, after_loss)| key_frame != after_loss));
    let seconds = 30 * 410 / 1_000;
    assert!(asked >= seconds && asked <= 2 * seconds + 1, "{asked} requests in {seconds} s");
}

#[test]
fn a_stream_that_begins_without_a_key_frame_is_asked_for_one() {
    let mut pair = Pair::new();
    pair.key_arrives(0);
    pair.send(false);
    assert_eq!(pair.received(), [(0, false, false)]);
    assert!(pair.asks());
    assert!(!pair.asks());
    pair.send(true);
    pair.wait(20 * ASK);
    assert_eq!(pair.intake.stats().key_frames_asked, 1);
}

#[test]
fn a_request_without_an_answer_is_repeated_each_second() {
    let mut pair = Pair::new();
    pair.key_arrives(0);
    pair.send(false);
    pair.wait(Duration::from_secs(60));
    // At 0, 0.5, 1.5, 2.5, …
    assert_eq!(pair.intake.stats().key_frames_asked, 2 + 59);
}

#[test]
fn altered_and_repeated_frames_are_counted_and_never_delivered() {
    let mut pair = Pair::flowing();
    let again = pair.packets(false);
    for packet in again.clone() {
        pair.intake.handle_packet(packet, pair.now);
    }
    let mut altered = pair.packets(false);
    let mut payload = altered[1].payload.to_vec();
    *payload.last_mut().unwrap() ^= 1;
    altered[1].payload = payload.into();
    for packet in altered {
        pair.intake.handle_packet(packet, pair.now);
    }
    // The SFU plays an old frame again under new sequence numbers.
    for (index, mut packet) in again.into_iter().enumerate() {
        packet.sequence = 6 + index as u16;
        pair.intake.handle_packet(packet, pair.now);
    }
    assert_eq!(pair.received(), [(1, false, false)]);
    let stats = pair.intake.stats();
    assert_eq!((stats.received, stats.opened), (4, 2));
    assert_eq!((stats.undecryptable, stats.replayed), (1, 1));
    assert!(pair.asks());
}

#[test]
fn a_forged_key_frame_is_not_taken_for_one() {
    let mut pair = Pair::flowing();
    let lost = pair.packets(false);
    drop(lost);
    pair.intake.handle_overflow();
    assert!(pair.asks(), "a key frame is wanted");
    // The SFU turns the next delta frame into what looks like one.
    let mut forged = pair.packets(false);
    let mut payload = forged[0].payload.to_vec();
    let frame_tag = VP8_DESCRIPTOR;
    assert_eq!(payload[frame_tag] & 1, 1);
    payload[frame_tag] ^= 1;
    forged[0].payload = payload.into();
    for (index, mut packet) in forged.into_iter().enumerate() {
        packet.sequence = 2 + index as u16;
        pair.intake.handle_packet(packet, pair.now);
    }
    assert_eq!(pair.received(), []);
    pair.wait(ASK * 3);
    assert!(pair.intake.stats().key_frames_asked > 1, "it is still wanted");
}

#[test]
fn frames_the_application_does_not_take_are_a_loss() {
    let mut pair = Pair::flowing();
    pair.intake.handle_overflow();
    pair.send(false);
    assert_eq!(pair.received(), [(1, false, true)]);
    assert_eq!(pair.intake.stats().overflowed, 1);
    assert!(pair.asks());
}

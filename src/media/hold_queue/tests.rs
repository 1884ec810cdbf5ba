use super::*;
use crate::{
    media::{GenerationKeys, SharedKeyRing, key_id},
    primitives::{Codec, Generation, Position, Step, TrackId},
    sframe::{BaseKey, CipherSuite, SealKey},
};

const TRACK: TrackId = TrackId(1);

/// Keys told apart by their generation alone.
struct Keys(Generation);

fn base_key(generation: Generation) -> BaseKey {
    BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(generation.0 as u8))
}

impl GenerationKeys for Keys {
    fn base_key(&mut self, _: Step, _: TrackId) -> Option<BaseKey> {
        Some(base_key(self.0))
    }
    fn advance_to(&mut self, _: Step) {}
}

fn position(generation: u32) -> Position {
    Position { generation: Generation(generation), step: Step::FIRST }
}

/// The frames of one generation.
struct Sender(SealKey);

impl Sender {
    fn new(generation: u32) -> Self {
        Self(SealKey::new(base_key(Generation(generation)), key_id(position(generation))))
    }

    fn frame(&self, length: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        self.0.seal_into(b"", &vec![1; length], &mut wire, 0).unwrap();
        wire
    }
}

struct Receiver {
    ring: SharedKeyRing,
    decryptor: FrameDecryptor,
    queue: HoldQueue<u32>,
}

impl Receiver {
    fn new() -> Self {
        let ring = SharedKeyRing::default();
        let decryptor = FrameDecryptor::new(Codec::Opus, ring.clone(), TRACK);
        let mut receiver = Self { ring, decryptor, queue: HoldQueue::new() };
        receiver.key_arrives(1);
        receiver
    }

    fn key_arrives(&mut self, generation: u32) {
        let keys = Box::new(Keys(Generation(generation)));
        self.ring.lock().install(position(generation), keys, Timestamp::default());
    }

    fn open(&mut self) -> Vec<(u32, Result<(), DecryptError>)> {
        std::iter::from_fn(|| {
            self.queue.open_next(&mut self.decryptor, Timestamp::default(), &mut Vec::new())
        })
        .collect()
    }
}

#[test]
fn frames_come_out_in_order_when_their_key_has_come_and_not_before() {
    let (mut receiver, sender) = (Receiver::new(), Sender::new(2));
    for which in 0..5 {
        receiver.queue.hold(&sender.frame(9), which, Timestamp::default());
    }
    assert_eq!(receiver.open(), []);
    assert_eq!(receiver.queue.len(), 5);
    receiver.key_arrives(2);
    assert_eq!(receiver.open(), [0, 1, 2, 3, 4].map(|which| (which, Ok(()))));
    assert_eq!((receiver.queue.len(), receiver.queue.take_given_up()), (0, 0));
}

#[test]
fn the_oldest_are_given_up_beyond_64_frames() {
    let (mut receiver, sender) = (Receiver::new(), Sender::new(2));
    for which in 0..70 {
        receiver.queue.hold(&sender.frame(9), which, Timestamp::default());
        assert!(receiver.queue.len() <= 64);
    }
    assert_eq!(receiver.queue.take_given_up(), 6);
    receiver.key_arrives(2);
    let opened: Vec<_> = receiver.open().into_iter().map(|(which, _)| which).collect();
    assert_eq!(opened, (6..70).collect::<Vec<_>>());
}

#[test]
fn the_oldest_are_given_up_beyond_two_mebibytes() {
    let (mut queue, sender) = (HoldQueue::new(), Sender::new(2));
    let megabyte = sender.frame((1 << 20) - 20);
    for which in 0..3 {
        queue.hold(&megabyte, which, Timestamp::default());
    }
    assert_eq!((queue.len(), queue.take_given_up()), (2, 1));
    queue.hold(&sender.frame(3 << 20), 3, Timestamp::default());
    assert_eq!((queue.len(), queue.take_given_up()), (2, 1), "too large alone, it displaces none");
    queue.hold(&megabyte, 4, Timestamp::default());
    assert_eq!((queue.len(), queue.take_given_up()), (2, 1), "what was given up counts no longer");
}

#[test]
fn a_frame_is_given_up_after_a_second() {
    let (mut queue, sender) = (HoldQueue::new(), Sender::new(2));
    let at = Timestamp::from_unix_millis;
    queue.hold(&sender.frame(9), 0, at(1000));
    queue.hold(&sender.frame(9), 1, at(1500));
    assert_eq!(queue.poll_timeout(), Some(at(2000)));
    queue.handle_timeout(at(1999));
    assert_eq!(queue.len(), 2);
    queue.handle_timeout(at(2000));
    assert_eq!((queue.len(), queue.take_given_up()), (1, 1));
    assert_eq!(queue.poll_timeout(), Some(at(2500)));
}

#[test]
fn an_invented_kid_holds_nothing_back_and_one_that_is_late_is_still_opened() {
    let mut receiver = Receiver::new();
    let now = Timestamp::default();
    let (invented, third, second) = (Sender::new(900), Sender::new(3), Sender::new(2));
    let mut forged = second.frame(9);
    forged[5] ^= 1;
    receiver.queue.hold(&invented.frame(9), 0, now);
    receiver.queue.hold(&third.frame(9), 1, now);
    receiver.queue.hold(&forged, 2, now);
    receiver.queue.hold(&second.frame(9), 3, now);
    receiver.key_arrives(2);
    assert_eq!(receiver.open(), [(2, Err(DecryptError::Authentication)), (3, Ok(()))]);
    receiver.key_arrives(3);
    assert_eq!(receiver.open(), [(1, Ok(()))]);
    assert_eq!((receiver.queue.len(), receiver.queue.take_given_up()), (1, 0));
    receiver.queue.handle_timeout(now + HoldQueue::<u32>::MAX_TIME);
    assert_eq!((receiver.queue.len(), receiver.queue.take_given_up()), (0, 1));
}

//! A publisher and a subscriber of one Opus track, joined by a queue in memory.
#![allow(dead_code, reason = "each bench uses its part")]

use std::{collections::VecDeque, time::Duration};

use olmcast::{
    device::Identity,
    endpoint::{Endpoint, Event, Output, Publish, Recipient},
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{Codec, DeviceId, Position, RoomId, RoomKeys, StreamId, Timestamp},
};

pub(super) struct Pair {
    pub(super) encryptor: FrameEncryptor,
    pub(super) decryptor: FrameDecryptor,
    pub(super) now: Timestamp,
    /// Whether what the publisher sends to the whole room is lost.
    pub(super) loses_announcements: bool,
    publisher: Endpoint,
    subscriber: Endpoint,
    stream: StreamId,
}

impl Pair {
    /// Both ends, once the subscriber has the stream's key.
    pub(super) fn new() -> Self {
        let room = RoomKeys::without_invite(RoomId::from_name("!bench:room.example"));
        let mut publisher = Endpoint::new(Identity::generate()).unwrap();
        let mut subscriber = Endpoint::new(Identity::generate()).unwrap();
        publisher.enter(room.clone());
        subscriber.enter(room.clone());
        let now = Timestamp::from(std::time::SystemTime::now());
        let publish = Publish::new("bench").track(Codec::Opus);
        let stream = publisher.publish(room.room(), publish, now).unwrap();
        let track = publisher.tracks(stream)[0].id;
        let encryptor = publisher.encryptor(stream, track).unwrap();
        let offer = publisher.offer(stream).unwrap();
        let watched = subscriber.subscribe(&offer, "", now).unwrap();
        let decryptor = subscriber.decryptor(watched, track).unwrap();
        let mut pair = Self {
            encryptor,
            decryptor,
            now,
            loses_announcements: false,
            publisher,
            subscriber,
            stream,
        };
        for _ in 0..1000 {
            if pair.settle() {
                // What the publisher still owes a newcomer, its first step, is over after this.
                pair.pass(Duration::from_secs(1));
                return pair;
            }
            pair.tick();
        }
        panic!("the subscriber was given no key");
    }

    /// Lets time pass, in steps of a quarter of a second.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = self.now + Duration::from_millis(250);
            self.publisher.handle_timeout(self.now);
            self.subscriber.handle_timeout(self.now);
            self.settle();
        }
    }

    /// Where the publisher encrypts.
    pub(super) fn position(&self) -> Position {
        self.publisher.position(self.stream).unwrap()
    }

    fn tick(&mut self) {
        self.now = self.now + Duration::from_millis(10);
        self.publisher.handle_timeout(self.now);
        self.subscriber.handle_timeout(self.now);
    }

    /// Carries all messages there are; says whether a key arrived.
    fn settle(&mut self) -> bool {
        let mut in_flight = VecDeque::new();
        let mut received = false;
        loop {
            for event in flush(&mut self.publisher, &mut in_flight) {
                if let Event::JoinRequest { device, request, .. } = event {
                    self.publisher.admit(self.stream, device, request, self.now).unwrap();
                }
            }
            for event in flush(&mut self.subscriber, &mut in_flight) {
                received |= matches!(event, Event::KeyReceived { .. });
            }
            let Some((from, to_room, bytes)) = in_flight.pop_front() else { return received };
            if to_room && self.loses_announcements {
                continue;
            }
            let to = if from == self.publisher.device() {
                &mut self.subscriber
            } else {
                &mut self.publisher
            };
            // There are two devices only, so that whatever one sends is for the other.
            let _ = to.handle_message(&bytes, self.now);
        }
    }
}

fn flush(
    endpoint: &mut Endpoint,
    in_flight: &mut VecDeque<(DeviceId, bool, Vec<u8>)>,
) -> Vec<Event> {
    let from = endpoint.device();
    let mut events = Vec::new();
    while let Some(output) = endpoint.poll_output() {
        match output {
            Output::Send { to, bytes } => {
                in_flight.push_back((from, matches!(to, Recipient::Room(_)), bytes));
            }
            Output::Event(event) => events.push(event),
            _ => {}
        }
    }
    events
}

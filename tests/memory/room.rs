//! Endpoints that hand one another their bytes, on a clock that the test moves.

use std::time::Duration;

use olmcast::{
    device::Identity,
    endpoint::{Endpoint, Output, Publish, Recipient},
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{Codec, Invite, Position, StreamRef, Timestamp, TrackId},
};

/// How far the clock moves at a time.
const TICK: Duration = Duration::from_millis(10);

pub(crate) struct Room {
    pub(crate) now: Timestamp,
    invite: Invite,
    stream: StreamRef,
    tracks: Vec<TrackId>,
    /// The publisher is the first.
    endpoints: Vec<Endpoint>,
}

impl Room {
    /// A publisher, and nobody else yet.
    pub(crate) fn new(codecs: &[Codec]) -> Self {
        let invite = Invite::generate("service.test:1").unwrap();
        let now = Timestamp::from_unix_millis(1_800_000_000_000);
        let mut publisher = Endpoint::with_seed(Identity::generate(), [7; 32]);
        publisher.enter(invite.room_keys());
        let publish = codecs.iter().fold(Publish::new("camera"), |p, codec| p.track(*codec));
        let stream = publisher.publish(invite.room(), publish.with_invite(), now).unwrap();
        let tracks = publisher.tracks(stream).iter().map(|track| track.id).collect();
        let stream = StreamRef { publisher: publisher.device(), stream };
        Self { now, invite, stream, tracks, endpoints: vec![publisher] }
    }

    /// Another device subscribes and is given the key; says which it is.
    pub(crate) fn join(&mut self) -> usize {
        let mut endpoint = Endpoint::with_seed(Identity::generate(), [8; 32]);
        endpoint.enter(self.invite.room_keys());
        let offer = self.endpoints[0].offer(self.stream.stream).unwrap();
        let stream = endpoint.subscribe(&offer, "somebody", self.now).unwrap();
        assert_eq!(stream, self.stream);
        self.endpoints.push(endpoint);
        self.run(Duration::from_millis(500));
        let joined = self.endpoints.len() - 1;
        assert_eq!(self.seen_by(joined), self.position());
        joined
    }

    pub(crate) fn leave(&mut self, subscriber: usize) {
        self.endpoints[subscriber].unsubscribe(self.stream, self.now).unwrap();
    }

    pub(crate) fn encryptor(&self, track: usize) -> FrameEncryptor {
        self.endpoints[0].encryptor(self.stream.stream, self.tracks[track]).unwrap()
    }

    pub(crate) fn decryptor(&self, subscriber: usize, track: usize) -> FrameDecryptor {
        self.endpoints[subscriber].decryptor(self.stream, self.tracks[track]).unwrap()
    }

    /// Where the publisher is.
    pub(crate) fn position(&self) -> Position {
        self.endpoints[0].position(self.stream.stream).unwrap()
    }

    /// Where a subscriber knows the publisher to be.
    pub(crate) fn seen_by(&self, subscriber: usize) -> Position {
        self.endpoints[subscriber].subscription(self.stream).unwrap().position.unwrap()
    }

    /// Lets time pass; every message takes one tick.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let mut sent = Vec::new();
            for (from, endpoint) in self.endpoints.iter_mut().enumerate() {
                while let Some(output) = endpoint.poll_output() {
                    match output {
                        Output::Send { to: Recipient::Device(to), bytes } => {
                            sent.push((from, Some(to), bytes));
                        }
                        Output::Send { bytes, .. } => sent.push((from, None, bytes)),
                        _ => {}
                    }
                }
            }
            self.now = self.now + TICK;
            for (from, to, bytes) in sent {
                for (other, endpoint) in self.endpoints.iter_mut().enumerate() {
                    if other != from && to.is_none_or(|to| to == endpoint.device()) {
                        // An offer comes to the ones that have it already, for instance.
                        let _ = endpoint.handle_message(&bytes, self.now);
                    }
                }
            }
            for endpoint in &mut self.endpoints {
                endpoint.handle_timeout(self.now);
            }
        }
    }

    /// Lets time pass until the publisher is elsewhere and a subscriber knows where.
    pub(crate) fn run_to_next_position(&mut self, subscriber: usize) -> Position {
        let before = self.position();
        for _ in 0..10_000 {
            self.run(TICK);
            if self.position() > before && self.seen_by(subscriber) == self.position() {
                return self.position();
            }
        }
        panic!("the publisher stayed at {before}");
    }
}

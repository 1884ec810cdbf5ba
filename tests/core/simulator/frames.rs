//! The media: frames from the publisher's application to those of its subscribers.

use std::rc::Rc;

use olmcast::{
    media,
    primitives::{Codec, Position, TrackId},
    sframe::{DecryptError, EncryptError, Header},
};

use super::{
    Ms, NodeId,
    checker::Opener,
    node::{Role, WatchedTrack},
    world::{Action, World},
};

/// How long a frame takes from the publisher to everybody.
const LATENCY: Ms = 50;
/// How often held frames are tried again, as the WebRTC receiver does.
const RETRY: Ms = 20;

/// An encrypted frame.
pub(crate) struct Frame {
    pub(crate) at: Ms,
    pub(crate) publisher: NodeId,
    pub(crate) track: TrackId,
    pub(crate) codec: Codec,
    pub(crate) header: Header,
    pub(crate) position: Position,
    pub(crate) wire: Vec<u8>,
}

impl Frame {
    /// Takes an encrypted frame's header from it, as anybody on the way can.
    pub(super) fn read(
        at: Ms,
        publisher: NodeId,
        track: TrackId,
        codec: Codec,
        wire: Vec<u8>,
    ) -> Option<Self> {
        let clear = match codec {
            Codec::Vp8 if wire.first()? & 1 == 0 => 10,
            Codec::Vp8 => 3,
            _ => 0,
        };
        let (header, _) = Header::parse(wire.get(clear..)?).ok()?;
        let position = media::position(header.key_id)?;
        Some(Self { at, publisher, track, codec, header, position, wire })
    }
}

impl World {
    /// A publisher's application encrypts its next frames: video each time, audio at times.
    pub(super) fn tick(&mut self, id: NodeId) {
        if !self.nodes[id].alive {
            return;
        }
        self.after(self.scenario.frame_every, Action::Frame(id));
        let Some(publisher) = self.nodes[id].publisher() else { return };
        publisher.ticks += 1;
        let ticks = publisher.ticks;
        let mut video = [1; 40];
        video[0] = u8::from(!ticks.is_multiple_of(30));
        self.publish_frame(id, 0, &video);
        if ticks.is_multiple_of(5) {
            self.publish_frame(id, 1, &[2; 20]);
        }
    }

    fn publish_frame(&mut self, id: NodeId, track: usize, plain: &[u8]) {
        if let Some(frame) = self.encrypt(id, track, plain) {
            self.outcome.frames += 1;
            if self.nodes[id].cuts == 0 {
                self.sent.push(frame);
                self.after(LATENCY, Action::Media(self.sent.len() - 1));
            }
        } else {
            self.outcome.paused += 1;
        }
    }

    /// Encrypts a frame for the checker alone, so that it sees each change of keys at once.
    pub(super) fn probe(&mut self, id: NodeId) {
        self.encrypt(id, 0, &[1; 40]);
    }

    fn encrypt(&mut self, id: NodeId, track: usize, plain: &[u8]) -> Option<Rc<Frame>> {
        let now = self.now;
        let time = self.nodes[id].time(now);
        let Role::Publisher(publisher) = &mut self.nodes[id].role else { return None };
        let (track, codec, encryptor) = publisher.encryptors.get_mut(track)?;
        if encryptor.is_overdue(time) {
            self.checker.paused(now, id);
            return None;
        }
        let mut wire = Vec::new();
        let sealed: Result<(), EncryptError> = encryptor.encrypt_into(plain, &mut wire);
        sealed.ok()?;
        let frame = Rc::new(Frame::read(now, id, *track, *codec, wire)?);
        let Header { key_id, counter } = frame.header;
        self.trace.add(now, "frame", [NodeId::MAX; 2], &[key_id.0, counter.0]);
        self.checker.encrypted(&frame);
        Some(frame)
    }

    /// A frame arrives at everybody who has not been cut off.
    pub(super) fn handle_media(&mut self, index: usize) {
        let frame = Rc::clone(&self.sent[index]);
        for id in 0..self.nodes.len() {
            let node = &self.nodes[id];
            if node.alive && node.cuts == 0 && !self.holding.contains(&id) {
                self.receive(id, &frame);
            } else if node.alive && node.cuts == 0 {
                self.try_held(id);
                self.receive(id, &frame);
            }
        }
    }

    fn receive(&mut self, id: NodeId, frame: &Rc<Frame>) {
        let now = self.now;
        let time = self.nodes[id].time(now);
        let Some(track) = self.watched(id, frame) else { return };
        let result = track.decryptor.decrypt_into(&frame.wire, time, &mut Vec::new());
        if let Err(DecryptError::UnknownKey(_)) = result {
            track.held.hold(&frame.wire, Rc::clone(frame), time);
            if self.holding.insert(id) {
                self.after(RETRY, Action::Retry(id));
            }
        }
        self.judge(id, frame, result);
    }

    fn watched(&mut self, id: NodeId, frame: &Frame) -> Option<&mut WatchedTrack> {
        let publisher = self.nodes[frame.publisher].endpoint.device();
        let watching = self.nodes[id].subscriber()?.watching.as_mut()?;
        if watching.stream.publisher != publisher {
            return None;
        }
        watching.tracks.iter_mut().find(|track| track.id == frame.track)
    }

    pub(super) fn retry_held(&mut self, id: NodeId) {
        if self.try_held(id) && self.nodes[id].alive {
            self.after(RETRY, Action::Retry(id));
        } else {
            self.holding.remove(&id);
        }
    }

    /// Tries what a node holds again. False if it holds nothing any more.
    fn try_held(&mut self, id: NodeId) -> bool {
        let time = self.nodes[id].time(self.now);
        let mut tried = Vec::new();
        let mut holds = false;
        let Some(subscriber) = self.nodes[id].subscriber() else { return false };
        for track in subscriber.watching.iter_mut().flat_map(|watching| &mut watching.tracks) {
            let mut plain = Vec::new();
            while let Some(opened) = track.held.open_next(&mut track.decryptor, time, &mut plain) {
                tried.push(opened);
            }
            track.held.handle_timeout(time);
            holds |= !track.held.is_empty();
        }
        for (frame, result) in tried {
            self.judge(id, &frame, result);
        }
        holds
    }

    fn judge(&mut self, id: NodeId, frame: &Frame, result: Result<(), DecryptError>) {
        match result {
            Ok(()) => {
                self.outcome.opened += 1;
                self.checker.opened(self.now, id);
            }
            Err(error) => self.checker.not_opened(self.now, id, frame, &error.to_string()),
        }
    }

    /// Whether a node opens a frame with everything it was ever sent.
    pub(super) fn opener(&self, id: NodeId) -> Opener {
        match &self.nodes[id].role {
            Role::Subscriber(subscriber) => {
                let hoard = subscriber.hoard.clone();
                Rc::new(move |frame| {
                    hoard.try_open(frame.codec, frame.track, &frame.wire).is_some()
                })
            }
            Role::Publisher(_) => Rc::new(|_| false),
        }
    }
}

//! A publisher and three subscribers on a network that loses, repeats, delays and reorders.
//!
//! An input is one byte of configuration, then operations of two bytes: what happens, and to whom
//! or for how long. What must hold follows from what the publisher said and when, not from the
//! library's own idea of it.

mod network;

use std::collections::BTreeSet;

use olmcast::{
    endpoint::{Event, LeaveReason, SubscriptionStatus},
    media::FrameEncryptor,
    primitives::{Codec, Position, TrackId},
    sframe::{DecryptError, Header},
};

use super::script::Script;
use network::{Fate, Network, PUBLISHER};

const MAX_OPERATIONS: usize = 80;
const MAX_FRAMES: usize = 30;
const AUDIO: TrackId = TrackId(0);
/// By when a leaver is cut off, and who was kicked, in milliseconds.
const LEAVE_DEADLINE: u64 = 2000;
const KICK_DEADLINE: u64 = 1000;

pub fn run(data: &[u8]) {
    let mut input = Script(data);
    let is_calm_at_the_end = input.next() & 1 == 1;
    let mut plane = Plane::new();
    for _ in 0..MAX_OPERATIONS {
        if input.0.is_empty() {
            break;
        }
        let (operation, argument) = (input.next(), input.next());
        plane.act(operation, argument);
        plane.look();
    }
    if is_calm_at_the_end {
        plane.calm_down();
    }
    plane.finish();
}

/// What a subscriber may read, as the publisher's own words have it.
#[derive(Clone, Copy)]
struct Rights {
    /// The time after which nothing that is encrypted is for it; `None` while it is a holder.
    barred_after: Option<u64>,
    is_kicked: bool,
    position: Option<Position>,
}

struct Frame {
    plain: Vec<u8>,
    wire: Vec<u8>,
    /// Which subscribers must never open it, whatever they were sent.
    barred: [bool; 3],
    /// With how many sessions they have tried.
    tried: [usize; 3],
    opened: [bool; 3],
}

impl Frame {
    /// Whatever a subscriber hoards does not open what is not for it.
    fn stays_shut(&mut self, net: &Network, who: usize) {
        let sessions = net.hoards[who - 1].sessions();
        if self.barred[who - 1] && sessions > self.tried[who - 1] {
            self.tried[who - 1] = sessions;
            let opened = net.hoards[who - 1].try_open(Codec::Opus, AUDIO, &self.wire);
            assert!(opened.is_none(), "{who} reads on");
        }
    }
}

struct Plane {
    net: Network,
    encryptor: FrameEncryptor,
    rights: [Rights; 3],
    frames: Vec<Frame>,
    headers: BTreeSet<(u64, u64)>,
    position: Position,
}

impl Plane {
    fn new() -> Self {
        let net = Network::new();
        let encryptor = net.publisher().encryptor(net.stream.stream, AUDIO).unwrap();
        let never = Rights { barred_after: Some(0), is_kicked: false, position: None };
        let position = net.publisher().position(net.stream.stream).unwrap();
        Self {
            net,
            encryptor,
            rights: [never; 3],
            frames: Vec::new(),
            headers: BTreeSet::new(),
            position,
        }
    }

    fn act(&mut self, operation: u8, argument: u8) {
        let (who, amount) = (1 + usize::from(argument) % 3, u64::from(argument));
        match operation % 16 {
            0 | 1 => self.join(who),
            2 => self.leave(who),
            3 => self.kick(who),
            4 => self.net.presence(PUBLISHER, who, argument & 128 != 0),
            5 => self.net.presence(who, PUBLISHER, argument & 128 != 0),
            6 | 7 if self.frames.len() < MAX_FRAMES => self.frame(),
            6 | 7 => {}
            8 => self.net.run(amount),
            9 => self.net.run(10 * amount),
            10 => self.net.run(250 * amount),
            // The machine slept: nobody was called meanwhile.
            11 => self.net.leap(20_000 * amount),
            12 => self.net.doze(20 * amount),
            13 => self.fates(argument),
            14 => self.net.replay(usize::from(argument)),
            _ => self.frame_again(argument),
        }
    }

    fn join(&mut self, who: usize) {
        let (now, offer) = (self.net.time(), self.net.offer.clone());
        if self.net.endpoints[who].subscribe(&offer, "", now).is_ok() {
            self.rights[who - 1].position = None;
        }
        self.net.flush(who);
    }

    fn leave(&mut self, who: usize) {
        let (now, stream) = (self.net.time(), self.net.stream);
        let _ = self.net.endpoints[who].unsubscribe(stream, now);
        self.net.flush(who);
    }

    fn kick(&mut self, who: usize) {
        let (now, stream) = (self.net.time(), self.net.stream.stream);
        let device = self.net.endpoints[who].device();
        if self.net.endpoints[PUBLISHER].kick(stream, device, now).is_ok() {
            let rights = &mut self.rights[who - 1];
            rights.is_kicked = true;
            // Perhaps it had left before.
            if let Some(after) = &mut rights.barred_after {
                *after = (*after).min(self.net.now + KICK_DEADLINE);
            }
        }
        self.net.flush(PUBLISHER);
    }

    fn fates(&mut self, argument: u8) {
        let fate = match argument & 15 {
            0..6 => Fate::Lose,
            6..9 => Fate::Twice,
            delay => Fate::Late([30, 100, 400, 900, 2500, 6000, 20_000][usize::from(delay - 9)]),
        };
        let count = 1 + usize::from(argument >> 4);
        self.net.fates.extend(std::iter::repeat_n(fate, count));
    }

    /// The publisher encrypts a frame, unless it is told not to, and everybody gets it.
    fn frame(&mut self) {
        let now = self.net.time();
        if self.encryptor.is_overdue(now) {
            assert!(self.net.is_dozing(), "an endpoint that was called in time is late");
            return;
        }
        let plain = vec![u8::try_from(self.frames.len()).unwrap(); 20];
        // Now and then another clone, as another layer would.
        if plain[0] % 5 == 4 {
            self.encryptor = self.encryptor.clone();
        }
        let wire = self.encryptor.encrypt(&plain).unwrap();
        let (Header { key_id, counter }, _) = Header::parse(&wire).unwrap();
        let last = self.headers.last().map_or(0, |(key_id, _)| *key_id);
        assert!(key_id.0 >= last, "a key of before came back");
        assert!(self.headers.insert((key_id.0, counter.0)), "a nonce is repeated");
        let barred = self.rights.map(|r| r.barred_after.is_some_and(|at| self.net.now > at));
        self.frames.push(Frame { plain, wire, barred, tried: [0; 3], opened: [false; 3] });
        self.deliver_frame(self.frames.len() - 1);
    }

    fn frame_again(&mut self, argument: u8) {
        if let Some(last) = self.frames.len().checked_sub(1) {
            self.deliver_frame(last - usize::from(argument) % (last + 1));
        }
    }

    fn deliver_frame(&mut self, index: usize) {
        let (now, frame) = (self.net.time(), &mut self.frames[index]);
        for who in 1..=3 {
            frame.stays_shut(&self.net, who);
            let decryptor = self.net.endpoints[who].decryptor(self.net.stream, AUDIO);
            let Some(mut decryptor) = decryptor else { continue };
            match decryptor.decrypt(&frame.wire, now) {
                Ok(plain) => {
                    assert!(plain == frame.plain && !frame.barred[who - 1]);
                    let again = decryptor.decrypt(&frame.wire, now);
                    assert_eq!(again, Err(DecryptError::Replayed));
                    frame.opened[who - 1] = true;
                }
                Err(DecryptError::Authentication | DecryptError::Syntax) => {
                    panic!("a genuine frame is called a forgery");
                }
                Err(_) => {}
            }
        }
    }

    /// Takes note of what the publisher said, and compares it with what everybody holds.
    fn look(&mut self) {
        for (at, event) in std::mem::take(&mut self.net.events) {
            match event {
                Event::HolderJoined { device, .. } => {
                    let rights = &mut self.rights[self.net.index(device) - 1];
                    assert!(!rights.is_kicked, "a kicked device came back");
                    rights.barred_after = None;
                }
                Event::HolderLeft { device, reason, .. } => {
                    let is_kick = reason == LeaveReason::Kicked;
                    let after = at + if is_kick { KICK_DEADLINE } else { LEAVE_DEADLINE };
                    let rights = &mut self.rights[self.net.index(device) - 1];
                    // It may have gone before it was sent anything new.
                    rights.barred_after = Some(rights.barred_after.unwrap_or(after).min(after));
                }
                _ => {}
            }
        }
        let stream = self.net.stream;
        let position = self.net.publisher().position(stream.stream).unwrap();
        assert!(position >= self.position, "the publisher went back");
        self.position = position;
        let holders = self.net.publisher().holders(stream.stream);
        for who in 1..=3 {
            let (endpoint, rights) = (&self.net.endpoints[who], &mut self.rights[who - 1]);
            let state = endpoint.subscription(stream);
            let closed = |s: SubscriptionStatus| matches!(s, SubscriptionStatus::Closed(_));
            if let Some(state) = state.filter(|state| !closed(state.status)) {
                assert!(state.position >= rights.position, "a subscriber went back");
                rights.position = state.position;
            }
            let is_holder = holders.iter().any(|holder| holder.device == endpoint.device());
            assert!(!(rights.is_kicked && is_holder));
            assert!(is_holder || rights.barred_after.is_some(), "it left without a word");
        }
        for (to, holders) in std::mem::take(&mut self.net.told) {
            let is_kicked = self.rights[to - 1].is_kicked;
            assert!(!is_kicked && holders[to - 1], "a key for somebody who is none");
        }
    }

    /// Nothing is lost any more. After a while whoever says that it can watch must be able to.
    fn calm_down(&mut self) {
        self.net.fates.clear();
        for _ in 0..25 {
            self.net.run(4000);
            self.look();
            // So that those who lack a key notice.
            self.frame();
        }
        let last = self.frames.last().unwrap();
        for who in 1..=3 {
            let state = self.net.endpoints[who].subscription(self.net.stream);
            let is_live = state.as_ref().is_some_and(|s| s.status == SubscriptionStatus::Live);
            assert!(!is_live || last.opened[who - 1], "{who}: {state:?}");
        }
    }

    /// Whatever was hoarded until the end opens nothing that was not for its owner.
    fn finish(mut self) {
        self.look();
        for frame in &mut self.frames {
            for who in 1..=3 {
                frame.stays_shut(&self.net, who);
            }
        }
    }
}

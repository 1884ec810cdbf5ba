//! The endpoints, the messages between them, and the time.

use std::collections::{BTreeMap, VecDeque};

use olmcast::{
    device::Identity,
    endpoint::{Endpoint, Event, Hoard, Output, Publish, Recipient},
    primitives::{Codec, DeviceId, Invite, StreamRef, Timestamp},
    protocol::{Carrier, Envelope},
};

pub(super) const PUBLISHER: usize = 0;
/// How long every message takes, in milliseconds.
const LATENCY: u64 = 20;
const MAX_LOG: usize = 200;
/// What one input of an endpoint of so few devices makes, at most.
const MAX_OUTPUTS: usize = 40;

/// What becomes of a message.
#[derive(Clone, Copy)]
pub(super) enum Fate {
    Lose,
    Twice,
    Late(u64),
}

pub(super) struct Network {
    pub(super) now: u64,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) stream: StreamRef,
    pub(super) offer: Vec<u8>,
    /// What the publisher says, and when.
    pub(super) events: Vec<(u64, Event)>,
    /// To whom the publisher sent something under Olm, and who was a holder before or after.
    pub(super) told: Vec<(usize, [bool; 3])>,
    /// Of the next messages.
    pub(super) fates: VecDeque<Fate>,
    /// All that the subscribers were ever sent.
    pub(super) hoards: Vec<Hoard>,
    devices: Vec<DeviceId>,
    in_flight: BTreeMap<(u64, u64), (usize, Vec<u8>)>,
    log: Vec<(usize, Vec<u8>)>,
    sent: u64,
    /// Until when the publisher is not called.
    dozes_until: u64,
    held: [bool; 3],
}

impl Network {
    pub(super) fn new() -> Self {
        let keys = Invite::generate("service.test:1").unwrap().room_keys();
        let mut endpoints: Vec<_> =
            (0..4).map(|seed| Endpoint::with_seed(Identity::generate(), [seed; 32])).collect();
        endpoints.iter_mut().for_each(|endpoint| endpoint.enter(keys.clone()));
        let hoards = endpoints[1..].iter_mut().map(Endpoint::hoard_keys).collect();
        let devices = endpoints.iter().map(Endpoint::device).collect();
        let now = 1_800_000_000_000;
        let publish = Publish::new("").track(Codec::Opus).with_invite();
        let publisher = &mut endpoints[PUBLISHER];
        let at = Timestamp::from_unix_millis(now);
        let stream = publisher.publish(keys.room(), publish, at).unwrap();
        let offer = publisher.offer(stream).unwrap();
        let stream = StreamRef { publisher: publisher.device(), stream };
        let mut network = Self {
            now,
            endpoints,
            stream,
            offer,
            events: Vec::new(),
            told: Vec::new(),
            fates: VecDeque::new(),
            hoards,
            devices,
            in_flight: BTreeMap::new(),
            log: Vec::new(),
            sent: 0,
            dozes_until: 0,
            held: [false; 3],
        };
        network.flush(PUBLISHER);
        network
    }

    pub(super) fn time(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.now)
    }

    pub(super) fn publisher(&self) -> &Endpoint {
        &self.endpoints[PUBLISHER]
    }

    pub(super) fn index(&self, device: DeviceId) -> usize {
        self.devices.iter().position(|known| *known == device).unwrap()
    }

    pub(super) fn is_dozing(&self) -> bool {
        self.now < self.dozes_until
    }

    pub(super) fn presence(&mut self, told: usize, of: usize, is_there: bool) {
        let (now, device) = (self.time(), self.devices[of]);
        if is_there {
            self.endpoints[told].handle_peer_back(device, now);
        } else {
            self.endpoints[told].handle_peer_gone(device, now);
        }
        self.flush(told);
    }

    /// The publisher's driver hangs, while its encryptors go on.
    pub(super) fn doze(&mut self, ms: u64) {
        self.dozes_until = self.now + ms;
        self.settle();
    }

    pub(super) fn replay(&mut self, back: usize) {
        if let Some(last) = self.log.len().checked_sub(1) {
            let (to, bytes) = self.log[last - back % (last + 1)].clone();
            self.sent += 1;
            self.in_flight.insert((self.now, self.sent), (to, bytes));
        }
    }

    /// Time passes, and everybody is called when it is due.
    pub(super) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Time has passed, and nobody was called meanwhile.
    pub(super) fn leap(&mut self, ms: u64) {
        self.now += ms;
        self.settle();
    }

    fn next(&self) -> Option<u64> {
        let wakes = |who: usize| if who == PUBLISHER { self.dozes_until } else { 0 };
        let timers = self.endpoints.iter().enumerate().filter_map(|(who, endpoint)| {
            Some(endpoint.poll_timeout()?.unix_millis().max(wakes(who)))
        });
        timers.chain(self.in_flight.first_key_value().map(|((at, _), _)| *at)).min()
    }

    /// Whatever is due is done, and after that nothing is due.
    fn settle(&mut self) {
        while let Some(entry) = self.in_flight.first_entry().filter(|e| e.key().0 <= self.now) {
            let (to, bytes) = entry.remove();
            if to == PUBLISHER && self.is_dozing() {
                self.sent += 1;
                self.in_flight.insert((self.dozes_until, self.sent), (to, bytes));
                continue;
            }
            let now = self.time();
            let _ = self.endpoints[to].handle_message(&bytes, now);
            self.flush(to);
        }
        let now = self.time();
        for who in 0..self.endpoints.len() {
            if who == PUBLISHER && self.is_dozing() {
                continue;
            }
            let mut rounds = 0;
            while self.endpoints[who].poll_timeout().is_some_and(|at| at <= now) {
                self.endpoints[who].handle_timeout(now);
                self.flush(who);
                rounds += 1;
                assert!(rounds < 3, "a timer is due for ever");
            }
        }
    }

    pub(super) fn flush(&mut self, from: usize) {
        let mut holders = self.held;
        if from == PUBLISHER {
            self.held = [false; 3];
            for holder in self.publisher().holders(self.stream.stream) {
                self.held[self.index(holder.device) - 1] = true;
            }
            holders = std::array::from_fn(|i| holders[i] || self.held[i]);
        }
        let mut outputs = 0;
        while let Some(output) = self.endpoints[from].poll_output() {
            outputs += 1;
            assert!(outputs <= MAX_OUTPUTS, "more than the input can be answered with");
            match output {
                Output::Send { to: Recipient::Device(to), bytes } => {
                    let to = self.index(to);
                    let carrier = Envelope::decode(&bytes).unwrap().carrier;
                    if from == PUBLISHER && matches!(carrier, Carrier::Olm(_)) {
                        self.told.push((to, holders));
                    }
                    self.put(to, bytes);
                }
                Output::Send { bytes, .. } => {
                    for to in (0..self.endpoints.len()).filter(|to| *to != from) {
                        self.put(to, bytes.clone());
                    }
                }
                Output::Event(event) if from == PUBLISHER => self.events.push((self.now, event)),
                _ => {}
            }
        }
    }

    fn put(&mut self, to: usize, bytes: Vec<u8>) {
        let delays: &[u64] = match self.fates.pop_front() {
            None => &[LATENCY],
            Some(Fate::Lose) => &[],
            Some(Fate::Twice) => &[LATENCY, LATENCY + 5],
            Some(Fate::Late(ms)) => &[ms],
        };
        for delay in delays {
            self.sent += 1;
            self.in_flight.insert((self.now + delay, self.sent), (to, bytes.clone()));
        }
        if self.log.len() < MAX_LOG {
            self.log.push((to, bytes));
        }
    }
}

//! Endpoints joined by a network that exists in memory, on a clock that the test moves.

use std::{collections::BTreeMap, time::Duration};

use olmcast::{
    device::Identity,
    endpoint::{
        Endpoint, EndpointError, Event, Hoard, MessageError, Offer, Output, Publish, Recipient,
    },
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{Codec, DeviceId, Invite, RoomKeys, StreamId, StreamRef, Timestamp, TrackId},
    sframe::DecryptError,
};

/// How long every message takes.
pub(crate) const LATENCY: u64 = 20;
pub(crate) const VIDEO: TrackId = TrackId(0);

/// What the network does with a message from one device to another.
pub(crate) type Rule = Box<dyn FnMut(DeviceId, DeviceId, &[u8]) -> Fate>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Deliver,
    Lose,
    Twice,
    Late(u64),
}

pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) events: Vec<(u64, Event)>,
    pub(crate) errors: Vec<MessageError>,
    /// What it last gave out to be kept.
    pub(crate) kept: Vec<u8>,
}

pub(crate) struct Network {
    pub(crate) now: u64,
    pub(crate) nodes: BTreeMap<DeviceId, Node>,
    pub(crate) rule: Rule,
    /// Everything that was ever sent to one device or a room: (from, to, bytes).
    pub(crate) log: Vec<(DeviceId, Option<DeviceId>, Vec<u8>)>,
    in_flight: BTreeMap<(u64, u64), (DeviceId, DeviceId, Vec<u8>)>,
    state: BTreeMap<(DeviceId, StreamId), Vec<u8>>,
    sent: u64,
}

pub(crate) fn invite() -> Invite {
    Invite::generate("service.test:1").unwrap()
}

impl Network {
    pub(crate) fn new() -> Self {
        Self {
            now: 1_800_000_000_000,
            nodes: BTreeMap::new(),
            rule: Box::new(|_, _, _| Fate::Deliver),
            log: Vec::new(),
            in_flight: BTreeMap::new(),
            state: BTreeMap::new(),
            sent: 0,
        }
    }

    /// A new device in a room; it is given what is offered there.
    pub(crate) fn device(&mut self, keys: RoomKeys) -> DeviceId {
        self.device_of(Identity::generate(), keys)
    }

    pub(crate) fn device_of(&mut self, identity: Identity, keys: RoomKeys) -> DeviceId {
        self.device_seeded(identity, keys, 7)
    }

    /// The same; a device that runs again draws other ids than before.
    pub(crate) fn device_seeded(
        &mut self,
        identity: Identity,
        keys: RoomKeys,
        seed: u8,
    ) -> DeviceId {
        let mut endpoint = Endpoint::with_seed(identity, [seed; 32]);
        endpoint.enter(keys);
        let device = endpoint.device();
        for ((from, _), bytes) in self.state.clone() {
            self.put(from, device, bytes);
        }
        self.nodes.insert(
            device,
            Node { endpoint, events: Vec::new(), errors: Vec::new(), kept: Vec::new() },
        );
        device
    }

    pub(crate) fn time(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.now)
    }

    pub(crate) fn endpoint(&mut self, device: DeviceId) -> &mut Endpoint {
        &mut self.nodes.get_mut(&device).unwrap().endpoint
    }

    /// Publishes one video track.
    pub(crate) fn publish(
        &mut self,
        device: DeviceId,
        keys: &RoomKeys,
        publish: Publish,
    ) -> StreamRef {
        let now = self.time();
        let publish = publish.track(Codec::Vp8);
        let stream = self.endpoint(device).publish(keys.room(), publish, now).unwrap();
        self.flush(device);
        StreamRef { publisher: device, stream }
    }

    /// Subscribes to the stream once its offer is there.
    pub(crate) fn subscribe(&mut self, device: DeviceId, stream: StreamRef) {
        self.run(2 * LATENCY);
        let offer = self.offer(device, stream);
        let now = self.time();
        self.endpoint(device).subscribe(&offer.bytes, "somebody", now).unwrap();
        self.flush(device);
    }

    pub(crate) fn offer(&self, device: DeviceId, stream: StreamRef) -> Offer {
        let offered = |event: &Event| match event {
            Event::Offered(offer) if offer.stream == stream => Some((**offer).clone()),
            _ => None,
        };
        self.nodes[&device].events.iter().find_map(|(_, event)| offered(event)).unwrap()
    }

    pub(crate) fn unsubscribe(&mut self, device: DeviceId, stream: StreamRef) {
        let now = self.time();
        self.endpoint(device).unsubscribe(stream, now).unwrap();
        self.flush(device);
    }

    /// The publisher's user admits a device, as what it says that it is now.
    pub(crate) fn admit(
        &mut self,
        stream: StreamRef,
        device: DeviceId,
    ) -> Result<(), EndpointError> {
        let now = self.time();
        let publisher = self.endpoint(stream.publisher);
        let asking = publisher.asking(stream.stream);
        let request = asking.iter().find(|asking| asking.device == device).map(|a| a.request);
        let admitted = publisher.admit(stream.stream, device, request.unwrap_or_default(), now);
        self.flush(stream.publisher);
        admitted
    }

    pub(crate) fn kick(&mut self, stream: StreamRef, device: DeviceId) {
        let now = self.time();
        self.endpoint(stream.publisher).kick(stream.stream, device, now).unwrap();
        self.flush(stream.publisher);
    }

    pub(crate) fn encryptor(&mut self, stream: StreamRef) -> FrameEncryptor {
        self.endpoint(stream.publisher).encryptor(stream.stream, VIDEO).unwrap()
    }

    pub(crate) fn decryptor(&mut self, device: DeviceId, stream: StreamRef) -> FrameDecryptor {
        self.endpoint(device).decryptor(stream, VIDEO).unwrap()
    }

    /// Encrypts a frame now.
    pub(crate) fn frame(&mut self, stream: StreamRef) -> Vec<u8> {
        let mut wire = Vec::new();
        self.encryptor(stream).encrypt_into(&[1; 40], &mut wire).unwrap();
        wire
    }

    /// Whether a device can open a frame now.
    pub(crate) fn opens(
        &mut self,
        device: DeviceId,
        stream: StreamRef,
        wire: &[u8],
    ) -> Result<(), DecryptError> {
        let now = self.time();
        self.decryptor(device, stream).decrypt_into(wire, now, &mut Vec::new())
    }

    /// Lets `ms` milliseconds pass, one at a time where something happens.
    pub(crate) fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        let mut idle = 0;
        while let Some(at) = self.next_event().filter(|at| *at <= end) {
            idle = if at > self.now { 0 } else { idle + 1 };
            assert!(idle < 10_000, "a timer is due for ever");
            self.now = self.now.max(at);
            while let Some(entry) = self.in_flight.first_entry().filter(|e| e.key().0 <= self.now) {
                let (_, to, bytes) = entry.remove();
                self.deliver(to, &bytes);
            }
            let now = self.time();
            for device in self.nodes.keys().copied().collect::<Vec<_>>() {
                if self.endpoint(device).poll_timeout().is_some_and(|at| at <= now) {
                    self.endpoint(device).handle_timeout(now);
                    self.flush(device);
                }
            }
        }
        self.now = end;
    }

    pub(crate) fn deliver(&mut self, to: DeviceId, bytes: &[u8]) {
        let now = self.time();
        let Some(node) = self.nodes.get_mut(&to) else { return };
        if let Err(error) = node.endpoint.handle_message(bytes, now) {
            node.errors.push(error);
        }
        self.flush(to);
    }

    fn next_event(&self) -> Option<u64> {
        let timeouts = self.nodes.values().filter_map(|node| node.endpoint.poll_timeout());
        let deliveries = self.in_flight.keys().next().map(|(at, _)| *at);
        timeouts.map(Timestamp::unix_millis).chain(deliveries).min().map(|at| at.max(self.now))
    }

    pub(crate) fn flush(&mut self, from: DeviceId) {
        while let Some(output) = self.endpoint(from).poll_output() {
            match output {
                Output::Send { to: Recipient::Device(to), bytes } => {
                    self.log.push((from, Some(to), bytes.clone()));
                    self.put(from, to, bytes);
                }
                Output::Send { to, bytes } => {
                    match to {
                        Recipient::RoomState(_, stream) => {
                            self.state.insert((from, stream), bytes.clone());
                        }
                        Recipient::EndRoomState(_, stream) => {
                            self.state.remove(&(from, stream));
                        }
                        _ => {}
                    }
                    self.log.push((from, None, bytes.clone()));
                    for to in self.nodes.keys().copied().collect::<Vec<_>>() {
                        if to != from {
                            self.put(from, to, bytes.clone());
                        }
                    }
                }
                Output::Persist { sealed } => self.nodes.get_mut(&from).unwrap().kept = sealed,
                Output::Event(event) => {
                    let now = self.now;
                    self.nodes.get_mut(&from).unwrap().events.push((now, event));
                }
                _ => {}
            }
        }
    }

    fn put(&mut self, from: DeviceId, to: DeviceId, bytes: Vec<u8>) {
        let fate = (self.rule)(from, to, &bytes);
        let delays: &[u64] = match fate {
            Fate::Deliver => &[LATENCY],
            Fate::Lose => &[],
            Fate::Twice => &[LATENCY, LATENCY + 5],
            Fate::Late(ms) => &[ms],
        };
        for delay in delays {
            self.sent += 1;
            self.in_flight.insert((self.now + delay, self.sent), (from, to, bytes.clone()));
        }
    }

    /// Kills a device: it says nothing any more and its memory is gone.
    pub(crate) fn kill(&mut self, device: DeviceId) {
        self.nodes.remove(&device);
    }

    pub(crate) fn events(&self, device: DeviceId) -> impl Iterator<Item = &Event> {
        self.nodes[&device].events.iter().map(|(_, event)| event)
    }
}

/// A publisher with one stream by invite, and subscribers that hold its key.
pub(crate) struct Room {
    pub(crate) net: Network,
    pub(crate) invite: Invite,
    pub(crate) stream: StreamRef,
    pub(crate) subscribers: Vec<DeviceId>,
    pub(crate) hoards: Vec<Hoard>,
}

impl Room {
    pub(crate) fn with(subscribers: usize) -> Self {
        let mut net = Network::new();
        let invite = invite();
        let publisher = net.device(invite.room_keys());
        let stream =
            net.publish(publisher, &invite.room_keys(), Publish::new("camera").with_invite());
        let mut room = Self { net, invite, stream, subscribers: Vec::new(), hoards: Vec::new() };
        for _ in 0..subscribers {
            room.join();
        }
        room.net.run(500);
        room
    }

    /// A new device joins; it hoards every key that it is sent.
    pub(crate) fn join(&mut self) -> DeviceId {
        let device = self.net.device(self.invite.room_keys());
        let hoard = self.net.endpoint(device).hoard_keys();
        self.net.subscribe(device, self.stream);
        self.subscribers.push(device);
        self.hoards.push(hoard);
        device
    }

    /// Whether a frame that the publisher encrypts now can be opened by a subscriber.
    pub(crate) fn reads(&mut self, device: DeviceId) -> bool {
        let wire = self.net.frame(self.stream);
        self.net.opens(device, self.stream, &wire).is_ok()
    }
}

pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

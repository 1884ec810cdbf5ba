//! A service that adds devices of its own, alters, withholds, delays, repeats and reorders what it
//! carries, and lies about who is there: it is handed no key.

use std::collections::BTreeSet;

use olmcast::{
    device::Identity,
    endpoint::{Event, Hoard},
    primitives::{Codec, DeviceId, RoomKeys, Timestamp},
    protocol::{Carrier, Envelope, Kind, PublicKey, SignedMessage, Subscribe},
};

use crate::{
    network::{Fate, Room, VIDEO, invite},
    tools::{encode, signed, signed_content},
    visitor::{Visitor, olm_of},
};

const HOLDERS: usize = 50;
const RUN_MS: u64 = 60_000;
/// No other message of a publisher's is as large.
const SMALLEST_HANDOVER: usize = 300;

/// Random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }

    fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        &among[self.roll(among.len() as u64) as usize]
    }
}

/// To whom a key is handed over, if that is what this message does.
fn handover(publisher: DeviceId, bytes: &[u8]) -> Option<DeviceId> {
    let envelope = Envelope::decode(bytes).ok()?;
    match envelope.carrier {
        Carrier::Olm(olm) if envelope.sender == publisher && olm.from_publisher => {
            (olm.ciphertext.len() >= SMALLEST_HANDOVER).then_some(olm.recipient)
        }
        _ => None,
    }
}

/// The service, and the devices that it let in by itself.
struct Service {
    room: Room,
    dice: Dice,
    honest: BTreeSet<DeviceId>,
    /// Devices of its own, with what they were sent.
    planted: Vec<(DeviceId, Hoard)>,
    tools: Vec<Identity>,
    frames: Vec<Vec<u8>>,
    /// The `Subscribe`s that it carried.
    seen: Vec<SignedMessage>,
    read: usize,
    handovers: usize,
}

impl Service {
    fn new(seed: u64) -> Self {
        let mut room = Room::with(0);
        for _ in 0..HOLDERS {
            room.join();
        }
        room.net.run(1000);
        let honest = room.subscribers.iter().copied().collect();
        let mut planted = Vec::new();
        // They know the room and all that is offered in it, but not the invite.
        for keys in [RoomKeys::without_invite(room.invite.room()), invite().room_keys()] {
            for _ in 0..2 {
                let device = room.net.device(RoomKeys::without_invite(room.invite.room()));
                let hoard = room.net.endpoint(device).hoard_keys();
                room.net.subscribe(device, room.stream);
                room.net.endpoint(device).enter(keys.clone());
                planted.push((device, hoard));
            }
        }
        let tools = (0..4).map(|_| Identity::generate()).collect();
        let dice = Dice(seed);
        let (frames, seen) = (Vec::new(), Vec::new());
        Self { room, dice, honest, planted, tools, frames, seen, read: 0, handovers: 0 }
    }

    /// What its network does from now on.
    fn carry_badly(&mut self, seed: u64) {
        let mut dice = Dice(seed.wrapping_mul(31) + 7);
        self.room.net.rule = Box::new(move |_, _, _| match dice.roll(12) {
            0 => Fate::Lose,
            1 => Fate::Twice,
            2 => Fate::Late(20 + dice.roll(400)),
            3 => Fate::Late(20 + dice.roll(8000)),
            _ => Fate::Deliver,
        });
    }

    fn everybody(&self) -> Vec<DeviceId> {
        self.room.net.nodes.keys().copied().collect()
    }

    /// One thing that a service can do.
    fn act(&mut self) {
        let (publisher, stream) = (self.room.stream.publisher, self.room.stream);
        let someone = *self.dice.pick(&self.room.subscribers);
        let now = self.room.net.time();
        match self.dice.roll(10) {
            0 => self.lie_about(someone, now),
            1 => self.replay(),
            2 => self.alter(),
            3 => self.ask_for_itself(),
            4 if self.room.net.endpoint(someone).subscription(stream).is_some() => {
                self.room.net.unsubscribe(someone, stream);
            }
            5 | 6 => {
                // Whoever left comes back, as its user wants.
                let offer = self.room.net.endpoint(publisher).offer(stream.stream).unwrap();
                let _ = self.room.net.endpoint(someone).subscribe(&offer, "", now);
                self.room.net.flush(someone);
            }
            _ => {}
        }
    }

    fn lie_about(&mut self, device: DeviceId, now: Timestamp) {
        let to = *self.dice.pick(&self.everybody());
        let endpoint = self.room.net.endpoint(to);
        match self.dice.roll(3) {
            0 => endpoint.handle_peer_back(device, now),
            _ => endpoint.handle_peer_gone(device, now),
        }
        self.room.net.flush(to);
    }

    fn replay(&mut self) {
        for _ in 0..20 {
            let bytes = self.dice.pick(&self.room.net.log).2.clone();
            let to = *self.dice.pick(&self.everybody());
            self.room.net.deliver(to, &bytes);
        }
    }

    /// Somebody's message with its own keys, names or devices in it.
    fn alter(&mut self) {
        let everybody = self.everybody();
        for _ in 0..10 {
            let bytes = self.dice.pick(&self.room.net.log).2.clone();
            let own = self.dice.pick(&self.planted).0;
            let to = *self.dice.pick(&everybody);
            let mut envelope = Envelope::decode(&bytes).unwrap();
            match &mut envelope.carrier {
                Carrier::Signed(message) => self.alter_statement(message),
                Carrier::Olm(olm) if self.dice.roll(2) == 0 => olm.recipient = own,
                Carrier::Olm(olm) => olm.ciphertext[40] ^= 1,
                Carrier::Megolm { message, .. } => message[40] ^= 1,
            }
            if self.dice.roll(3) == 0 {
                envelope.sender = own;
            }
            for to in [to, self.room.stream.publisher] {
                self.room.net.deliver(to, &encode(&envelope));
            }
        }
    }

    fn alter_statement(&mut self, message: &mut SignedMessage) {
        let tool = self.dice.pick(&self.tools);
        if let Ok(mut subscribe) = serde_json::from_slice::<Subscribe>(&message.payload) {
            subscribe.curve25519 = tool.curve25519();
            subscribe.one_time_key = fresh_key();
            subscribe.sequence += 1;
            message.payload = serde_json::to_vec(&subscribe).unwrap();
        } else {
            message.recipient = Some(tool.device());
        }
    }

    /// A `Subscribe` of a device of its own, with a proof that it has seen, or none.
    fn ask_for_itself(&mut self) {
        let (tool, stream) = (self.dice.pick(&self.tools), self.room.stream);
        let (publisher, sequence) = (stream.publisher, self.room.net.now);
        let subscribe = Subscribe {
            name: String::new(),
            stream: stream.stream,
            curve25519: tool.curve25519(),
            one_time_key: fresh_key(),
            sequence,
            claim: "a friend".to_owned(),
        };
        let payload = serde_json::to_vec(&subscribe).unwrap();
        let keys = match self.dice.roll(2) {
            0 => RoomKeys::without_invite(self.room.invite.room()),
            _ => invite().room_keys(),
        };
        let envelope = signed(&tool.signer(), &keys, Some(publisher), Kind::Subscribe, &payload);
        let Carrier::Signed(mut message) = envelope.carrier.clone() else { panic!() };
        message.room = self.room.invite.room();
        let own = signed(
            &tool.signer(),
            &RoomKeys::without_invite(message.room),
            Some(publisher),
            Kind::Subscribe,
            &payload,
        );
        let Carrier::Signed(mut with_proof) = own.carrier.clone() else { panic!() };
        with_proof.proof = self.seen.last().and_then(|seen| seen.proof).or(Some([0; 32]));
        for carrier in [Carrier::Signed(message), Carrier::Signed(with_proof), own.carrier] {
            let envelope = Envelope { sender: tool.device(), carrier };
            self.room.net.deliver(publisher, &encode(&envelope));
        }
        // And somebody's question as it was, in its own name.
        for message in self.seen.iter().rev().take(9) {
            let carrier = Carrier::Signed(message.clone());
            let envelope = Envelope { sender: tool.device(), carrier };
            self.room.net.deliver(publisher, &encode(&envelope));
        }
    }

    /// Counts the handovers since the last time, and whom they were to.
    fn check(&mut self) {
        let publisher = self.room.stream.publisher;
        for (from, to, bytes) in &self.room.net.log[self.read..] {
            if let Ok(Envelope { carrier: Carrier::Signed(message), .. }) = Envelope::decode(bytes)
                && message.kind == Kind::Subscribe
            {
                self.seen.push(message);
            }
            let Some(device) = handover(publisher, bytes) else { continue };
            assert_eq!((*from, *to), (publisher, Some(device)));
            assert!(self.honest.contains(&device), "a key went to {device}");
            self.handovers += 1;
        }
        self.read = self.room.net.log.len();
        for (device, hoard) in &self.planted {
            assert_eq!(hoard.sessions(), 0, "{device} was sent a key");
        }
    }

    fn run(&mut self) {
        let end = self.room.net.now + RUN_MS;
        while self.room.net.now < end {
            self.act();
            let pause = self.dice.roll(300);
            self.room.net.run(pause);
            self.frames.push(self.room.net.frame(self.room.stream));
            self.check();
        }
        // It has to stop some day, and then all is well again.
        self.room.net.rule = Box::new(|_, _, _| Fate::Deliver);
        self.room.net.run(9000);
        self.check();
        for wire in &self.frames {
            for (_, hoard) in &self.planted {
                assert!(hoard.try_open(Codec::Vp8, VIDEO, wire).is_none());
            }
        }
        let joined = |event: &Event| match event {
            Event::HolderJoined { device, .. } => Some(*device),
            _ => None,
        };
        let publisher = self.room.stream.publisher;
        let joined: BTreeSet<_> = self.room.net.events(publisher).filter_map(joined).collect();
        assert_eq!(joined, self.honest, "nobody else was let in");
    }
}

fn fresh_key() -> PublicKey {
    Identity::generate().curve25519()
}

fn handovers(seeds: impl IntoIterator<Item = u64>) {
    let mut handovers = 0;
    for seed in seeds {
        let mut service = Service::new(seed);
        service.carry_badly(seed);
        service.run();
        handovers += service.handovers;
    }
    // Two tests of half as many each, so that they run side by side.
    assert!(handovers >= 5000, "{handovers} handovers");
}

#[test]
fn of_ten_thousand_handovers_none_goes_to_a_device_that_was_not_admitted_1_of_2() {
    handovers(0..4);
}

#[test]
fn of_ten_thousand_handovers_none_goes_to_a_device_that_was_not_admitted_2_of_2() {
    handovers(4..8);
}

#[test]
fn a_handover_is_told_from_every_other_message_by_its_size() {
    let mut room = Room::with(1);
    let visitor = Visitor::join(&mut room);
    room.net.run(25_000);
    let publisher = room.stream.publisher;
    let under_olm = |to: DeviceId| {
        let sent = room.net.log.iter().filter(move |(_, at, _)| *at == Some(to));
        sent.filter(|(_, _, bytes)| olm_of(bytes).is_some()).map(|(_, _, bytes)| bytes)
    };
    // The visitor confirms nothing, so it is sent nothing but keys.
    assert!(under_olm(visitor.id()).count() > 5);
    for bytes in under_olm(visitor.id()) {
        assert_eq!(handover(publisher, bytes), Some(visitor.id()));
    }
    let subscriber = room.subscribers[0];
    let keys = under_olm(subscriber).filter(|bytes| handover(publisher, bytes).is_some());
    let received = |event: &&Event| matches!(event, Event::KeyReceived { .. });
    assert_eq!(keys.count(), room.net.events(subscriber).filter(received).count());
    assert!(under_olm(subscriber).count() > 1, "it renewed as well");
    let is_subscribe = |bytes: &[u8]| signed_content::<Subscribe>(bytes, Kind::Subscribe).is_some();
    assert!(room.net.log.iter().any(|(_, _, bytes)| is_subscribe(bytes)));
}

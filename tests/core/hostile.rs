//! What admitted but dishonest members, dishonest publishers and whoever carries the messages can
//! do to others, and what any order of joins and leaves can do to the key.

use olmcast::{
    device::{Identity, Signer},
    endpoint::{EndpointError, Event, MessageError, Publish, Refusal, SubscriptionStatus},
    primitives::{Codec, DeviceId, RoomKeys, SigningForm, StreamRef},
    protocol::{
        Answers, Carrier, Envelope, Kind, PublicKey, SignedMessage, StreamKeyWithheld, Subscribe,
        Unsubscribe, WithheldCode,
    },
};
use serde::Serialize;

use crate::network::{Fate, LATENCY, Network, Room, VIDEO, invite};

/// A signed message as a device with its own tools makes it; with `keys`' proof if they have one.
pub(crate) fn signed(
    signer: &Signer,
    keys: &RoomKeys,
    to: DeviceId,
    kind: Kind,
    message: &impl Serialize,
) -> Vec<u8> {
    let payload = serde_json::to_vec(message).unwrap();
    let (room, recipient) = (keys.room(), Some(to));
    let form = SigningForm {
        kind: kind.name(),
        room: Some(&room),
        recipient: Some(&to),
        payload: &payload,
    };
    let signature = signer.sign(form);
    let proof = keys.admission_proof(&signer.device(), &form.to_bytes());
    let message = SignedMessage { kind, room, recipient, payload, signature, proof };
    let carrier = Carrier::Signed(message);
    Envelope { sender: signer.device(), carrier }.encode().unwrap()
}

/// The `Subscribe` in a message, if it is one.
fn subscribe_in(bytes: &[u8]) -> Option<Subscribe> {
    match Envelope::decode(bytes).ok()?.carrier {
        Carrier::Signed(signed) if signed.kind == Kind::Subscribe => {
            serde_json::from_slice(&signed.payload).ok()
        }
        _ => None,
    }
}

pub(crate) fn is_olm(bytes: &[u8]) -> bool {
    Envelope::decode(bytes).is_ok_and(|envelope| matches!(envelope.carrier, Carrier::Olm(_)))
}

pub(crate) fn subscribe_of(identity: &Identity, stream: StreamRef, sequence: u64) -> Subscribe {
    // Any point but one of low order will do for a one-time key whose secret nobody needs.
    let one_time_key = Identity::generate().curve25519();
    let curve25519 = identity.curve25519();
    let claim = String::new();
    Subscribe {
        name: String::new(),
        stream: stream.stream,
        curve25519,
        one_time_key,
        sequence,
        claim,
    }
}

#[test]
fn a_key_delivered_under_another_stream_of_its_publisher_harms_neither() {
    let mut room = Room::with(1);
    let (a, publisher, first) = (room.subscribers[0], room.stream.publisher, room.stream);
    let keys = room.invite.room_keys();
    let second = room.net.publish(publisher, &keys, Publish::new("screen").with_invite());
    room.net.rule = Box::new(move |from, to, bytes| {
        let key = (from, to) == (publisher, a) && is_olm(bytes);
        if key { Fate::Lose } else { Fate::Deliver }
    });
    let before = room.net.log.len();
    room.net.subscribe(a, second);
    room.net.run(400);
    let key = room.net.log[before..]
        .iter()
        .find(|(from, to, bytes)| (*from, *to) == (publisher, Some(a)) && is_olm(bytes))
        .map(|(_, _, bytes)| bytes.clone())
        .unwrap();
    let mut moved = Envelope::decode(&key).unwrap();
    let Carrier::Olm(carrier) = &mut moved.carrier else { panic!() };
    assert_eq!(carrier.stream, second.stream);
    carrier.stream = first.stream;
    let before = room.net.nodes[&a].errors.len();
    room.net.deliver(a, &moved.encode().unwrap());
    assert_eq!(room.net.nodes[&a].errors.len(), before + 1, "it is refused");

    room.net.rule = Box::new(|_, _, _| Fate::Deliver);
    room.net.deliver(a, &key);
    room.net.run(90_000);
    let wire = room.net.frame(second);
    assert!(room.net.opens(a, second, &wire).is_ok(), "the key was good where it belongs");
    assert!(room.reads(a));
    let stalled = |event: &Event| matches!(event, Event::Stalled { .. });
    assert!(!room.net.events(a).any(stalled), "the session of before goes on");
}

#[test]
fn a_key_for_somebody_else_made_with_our_one_time_key_costs_us_nothing() {
    let mut room = Room::with(0);
    let (publisher, stream, keys) = (room.stream.publisher, room.stream, room.invite.room_keys());
    let a = room.net.device(keys.clone());
    room.net.run(2 * LATENCY);
    room.net.rule =
        Box::new(move |from, _, _| if from == a { Fate::Late(1000) } else { Fate::Deliver });
    let offer = room.net.offer(a, stream).bytes;
    let now = room.net.time();
    room.net.endpoint(a).subscribe(&offer, "", now).unwrap();
    room.net.flush(a);
    let honest = room.net.log.iter().find_map(|(_, _, bytes)| subscribe_in(bytes)).unwrap();

    // Another member has seen it on the way, and asks for itself with the same public keys.
    let member = Identity::generate();
    let copied = Subscribe { sequence: 1, ..honest };
    let copied = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &copied);
    room.net.deliver(publisher, &copied);
    room.net.run(300);
    let answer = room.net.log.iter().rev().find(|(_, to, _)| *to == Some(member.device()));
    let mut moved = Envelope::decode(&answer.unwrap().2).unwrap();
    let Carrier::Olm(carrier) = &mut moved.carrier else { panic!() };
    carrier.recipient = a;
    let before = room.net.nodes[&a].errors.len();
    room.net.deliver(a, &moved.encode().unwrap());
    assert_eq!(room.net.nodes[&a].errors.len(), before + 1, "it is refused");

    room.net.run(3000);
    assert!(room.reads(a), "and our own answer can still be read");
}

#[test]
fn whoever_is_sent_a_key_is_announced_even_if_a_rotation_brought_it() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    let late = room.net.device(room.invite.room_keys());
    room.net.subscribe(late, room.stream);
    room.net.run(LATENCY + 10);
    // The publisher knows of `late` but has sent it nothing yet.
    room.net.kick(room.stream, a);
    room.net.run(1000);
    assert!(room.reads(late));
    let publisher = room.stream.publisher;
    let joined: Vec<_> = room
        .net
        .events(publisher)
        .filter_map(|event| match event {
            Event::HolderJoined { device, position, .. } if *device == late => Some(*position),
            _ => None,
        })
        .collect();
    let received = room.net.events(late).filter_map(|event| match event {
        Event::KeyReceived { position, .. } => Some(*position),
        _ => None,
    });
    assert_eq!(joined, received.min().into_iter().collect::<Vec<_>>());
}

#[test]
fn a_kick_closes_the_rooms_that_the_device_was_in_and_no_other() {
    let mut room = Room::with(1);
    let (kicked, publisher) = (room.subscribers[0], room.stream.publisher);
    let (shared, other) = (invite(), invite());
    let mut publish_in = |keys: RoomKeys| {
        room.net.endpoint(publisher).enter(keys.clone());
        room.net.publish(publisher, &keys, Publish::new("camera").with_invite())
    };
    let in_shared = publish_in(shared.room_keys());
    let in_other = publish_in(other.room_keys());
    let offer_in = |net: &mut Network, stream: StreamRef| {
        net.endpoint(publisher).offer(stream.stream).unwrap()
    };
    let join = |net: &mut Network, device: DeviceId, keys: RoomKeys, stream: StreamRef| {
        let (offer, now) = (offer_in(net, stream), net.time());
        net.endpoint(device).enter(keys);
        net.endpoint(device).subscribe(&offer, "", now).unwrap();
        net.flush(device);
        net.run(1000);
    };
    join(&mut room.net, kicked, shared.room_keys(), in_shared);
    room.net.kick(room.stream, kicked);
    room.net.run(1500);
    for (keys, stream, open) in
        [(shared.room_keys(), in_shared, false), (other.room_keys(), in_other, true)]
    {
        let wire = room.net.frame(stream);
        assert!(stream == in_other || room.net.opens(kicked, stream, &wire).is_err());
        let new = room.net.device(keys.clone());
        join(&mut room.net, new, keys, stream);
        let wire = room.net.frame(stream);
        assert_eq!(room.net.opens(new, stream, &wire).is_ok(), open);
    }
}

#[test]
fn whoever_is_kicked_while_it_leaves_is_cut_off_by_the_deadline_of_a_kick() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let (stream, publisher) = (room.stream, room.stream.publisher);
    room.net.rule = Box::new(move |from, _, _| if from == a { Fate::Lose } else { Fate::Deliver });
    room.net.unsubscribe(b, stream);
    room.net.run(500);
    let now = room.net.time();
    let kicked = room.net.endpoint(publisher).kick(stream.stream, b, now);
    assert_eq!(kicked, Ok(()));
    room.net.flush(publisher);
    room.net.run(1001);
    let wire = room.net.frame(stream);
    assert!(room.hoards[1].try_open(Codec::Vp8, VIDEO, &wire).is_none());
    assert!(room.reads(a));
}

#[test]
fn an_application_cannot_admit_through_a_closed_door_whoever_asked_before() {
    let mut net = Network::new();
    let keys = invite().room_keys();
    let publisher = net.device(keys.clone());
    let stream = net.publish(publisher, &keys, Publish::new("camera"));
    let (a, waiting) = (net.device(keys.clone()), net.device(keys));
    net.subscribe(a, stream);
    net.subscribe(waiting, stream);
    net.run(100);
    net.admit(stream, a).unwrap();
    net.flush(publisher);
    net.run(500);
    net.kick(stream, a);
    net.run(100);
    net.admit(stream, waiting).unwrap();
    net.flush(publisher);
    net.run(2000);
    let wire = net.frame(stream);
    assert!(net.opens(waiting, stream, &wire).is_err());
    let closed = Event::Refused { stream: stream.stream, device: waiting, reason: Refusal::Closed };
    assert!(net.events(publisher).any(|event| *event == closed));
}

#[test]
fn nothing_is_remembered_of_whoever_was_never_let_in() {
    let mut room = Room::with(0);
    let (publisher, stream) = (room.stream.publisher, room.stream);
    let (member, keys) = (Identity::generate(), room.invite.room_keys());
    let stranger = RoomKeys::without_invite(keys.room());
    // It has no invite yet, and its clock is wrong.
    let early = subscribe_of(&member, stream, u64::MAX - 1);
    let early = signed(&member.signer(), &stranger, publisher, Kind::Subscribe, &early);
    let gone = Unsubscribe { stream: stream.stream, sequence: u64::MAX };
    let gone = signed(&member.signer(), &stranger, publisher, Kind::Unsubscribe, &gone);
    room.net.deliver(publisher, &early);
    room.net.deliver(publisher, &gone);
    let holds = |room: &mut Room| !room.net.endpoint(publisher).holders(stream.stream).is_empty();
    assert!(!holds(&mut room));
    let invited = subscribe_of(&member, stream, 1);
    let invited = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &invited);
    room.net.deliver(publisher, &invited);
    assert!(holds(&mut room));

    // What was admitted is remembered, the last sequence of all included.
    let last = subscribe_of(&member, stream, u64::MAX);
    let last = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &last);
    room.net.deliver(publisher, &last);
    let errors = room.net.nodes[&publisher].errors.len();
    let again = subscribe_of(&member, stream, u64::MAX);
    let again = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &again);
    for bytes in [invited, again] {
        room.net.deliver(publisher, &bytes);
    }
    assert_eq!(room.net.nodes[&publisher].errors[errors..], [MessageError::Old; 2]);
}

#[test]
fn an_answer_that_comes_late_is_taken_and_only_an_accepted_key_is_confirmed() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let publisher = room.stream.publisher;
    // The key of the new generation and its repeats are lost, and answers take longer than the
    // next request.
    room.net.rule = Box::new(move |from, to, _| match (from == publisher, to == a) {
        (true, true) => Fate::Lose,
        _ => Fate::Deliver,
    });
    room.net.kick(room.stream, b);
    room.net.run(1100);
    let missed = room.net.log.len();
    let wire = room.net.frame(room.stream);
    assert!(room.net.opens(a, room.stream, &wire).is_err());
    let requests =
        |room: &Room| room.net.log[missed..].iter().filter(|(from, ..)| *from == a).count();
    while requests(&room) < 1 {
        room.net.run(10);
    }
    room.net.run(30);
    let answer = room.net.log.iter().rev().find(|(_, to, _)| *to == Some(a)).unwrap().2.clone();
    while requests(&room) < 2 {
        let wire = room.net.frame(room.stream);
        assert!(room.net.opens(a, room.stream, &wire).is_err());
        room.net.run(10);
    }
    room.net.deliver(a, &answer);
    room.net.run(100);
    assert!(room.reads(a));
    let position = room.net.endpoint(publisher).position(room.stream.stream).unwrap();
    let confirmed = |event: &Event| {
        matches!(event, Event::KeyConfirmed { device, position: at, .. }
            if *device == a && at.generation == position.generation)
    };
    assert!(room.net.events(publisher).any(confirmed));
}

#[test]
fn a_publisher_cannot_make_a_subscriber_ask_without_pause() {
    let mut net = Network::new();
    let keys = invite().room_keys();
    let publisher = net.device(keys.clone());
    let stream = net.publish(publisher, &keys, Publish::new("camera").with_invite());
    let a = net.device(keys.clone());
    let signer = net.endpoint(publisher).signer();
    net.rule = Box::new(
        move |from, to, _| {
            if (from, to) == (a, publisher) { Fate::Lose } else { Fate::Deliver }
        },
    );
    net.subscribe(a, stream);
    let (start, mut answered) = (net.now, None);
    let mut questions = std::collections::BTreeSet::new();
    while net.now < start + 5000 {
        let asked = net.log.iter().rev().find_map(|(_, _, bytes)| subscribe_in(bytes)).unwrap();
        questions.insert(asked.sequence);
        if answered != Some(asked.sequence) {
            answered = Some(asked.sequence);
            let withheld = StreamKeyWithheld {
                stream: stream.stream,
                answers: Answers::OneTimeKey(asked.one_time_key),
                code: WithheldCode::Busy,
                retry_after_ms: Some(0),
            };
            let kind = Kind::StreamKeyWithheld;
            net.deliver(a, &signed(&signer, &keys, a, kind, &withheld));
        }
        net.run(1);
    }
    assert!((2..=11).contains(&questions.len()), "{} in 5 s", questions.len());
}

#[test]
fn what_is_too_large_to_be_sent_is_refused_at_once() {
    let mut room = Room::with(0);
    let (publisher, stream, keys) = (room.stream.publisher, room.stream, room.invite.room_keys());
    let now = room.net.time();
    let large = Publish::new("x".repeat(64 * 1024)).track(Codec::Opus).with_invite();
    let refused = room.net.endpoint(publisher).publish(keys.room(), large, now);
    assert_eq!(refused, Err(EndpointError::TooLarge));
    let a = room.net.device(keys.clone());
    room.net.run(2 * LATENCY);
    let offer = room.net.offer(a, stream).bytes;
    let claim = "x".repeat(64 * 1024);
    let refused = room.net.endpoint(a).subscribe(&offer, &claim, now);
    assert_eq!(refused, Err(EndpointError::TooLarge));

    // A member with its own tools cannot have us keep as much as fits a message either.
    let member = Identity::generate();
    let claim = "x".repeat(32 * 1024);
    let subscribe = Subscribe { claim, ..subscribe_of(&member, stream, 1) };
    let subscribe = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &subscribe);
    room.net.deliver(publisher, &subscribe);
    let error = MessageError::Content(Kind::Subscribe);
    assert_eq!(room.net.nodes[&publisher].errors, [error]);
}

#[test]
fn keys_of_low_order_get_nothing_and_hurt_nobody() {
    let mut room = Room::with(1);
    let (a, publisher, keys) =
        (room.subscribers[0], room.stream.publisher, room.invite.room_keys());
    let member = Identity::generate();
    let zero = PublicKey(vodozemac::Curve25519PublicKey::from_bytes([0; 32]));
    let subscribe = subscribe_of(&member, room.stream, 1);
    for bad in [
        Subscribe { one_time_key: zero, sequence: 2, ..subscribe.clone() },
        Subscribe { curve25519: zero, sequence: 3, ..subscribe },
    ] {
        let bytes = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &bad);
        room.net.deliver(publisher, &bytes);
    }
    room.net.run(2000);
    assert!(room.net.log.iter().all(|(_, to, _)| *to != Some(member.device())));
    let refused = MessageError::Content(Kind::Subscribe);
    assert_eq!(room.net.nodes[&publisher].errors, [refused; 2]);
    assert!(room.reads(a));
}

/// Random numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

/// Members that come, go, come back, vanish and are kicked in random order over a bad network.
/// Whatever they hoarded opens nothing from before they were admitted, nor from after the
/// deadline of their leaving; whoever is in at the end can read.
#[test]
fn no_order_of_joins_and_leaves_opens_the_past_or_the_future() {
    for seed in 0..30_u64 {
        let mut dice = Dice(seed * 7919 + 1);
        let mut room = Room::with(2);
        let (stream, publisher) = (room.stream, room.stream.publisher);
        let mut loss = Dice(seed + 1);
        room.net.rule = Box::new(move |_, _, _| match loss.roll(10) {
            0 if seed % 2 == 0 => Fate::Lose,
            1 if seed % 3 == 0 => Fate::Twice,
            2 if seed % 3 == 0 => Fate::Late(20 + loss.roll(300)),
            _ => Fate::Deliver,
        });
        // For each member: when it was first asked for a key, and since when it is out.
        let start = room.net.now;
        let mut asked: Vec<u64> = vec![0; 2];
        let mut out: Vec<Option<(u64, bool)>> = vec![None; 2];
        let mut frames: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut closed = false;
        while room.net.now < start + 20_000 {
            let wire = room.net.frame(stream);
            frames.push((room.net.now, wire));
            let someone = dice.roll(room.subscribers.len() as u64) as usize;
            let device = room.subscribers[someone];
            match dice.roll(12) {
                0 | 1 if room.subscribers.len() < 12 => {
                    asked.push(room.net.now);
                    out.push(None);
                    let device = room.net.device(room.invite.room_keys());
                    let hoard = room.net.endpoint(device).hoard_keys();
                    let now = room.net.time();
                    let offer = room.net.endpoint(publisher).offer(stream.stream).unwrap();
                    room.net.endpoint(device).subscribe(&offer, "", now).unwrap();
                    room.net.flush(device);
                    room.subscribers.push(device);
                    room.hoards.push(hoard);
                }
                2 | 3 if out[someone].is_none() => {
                    room.net.unsubscribe(device, stream);
                    out[someone] = Some((room.net.now, false));
                }
                4 if out[someone].is_none() && dice.roll(3) == 0 => {
                    let now = room.net.time();
                    let _ = room.net.endpoint(publisher).kick(stream.stream, device, now);
                    room.net.flush(publisher);
                    out[someone] = Some((room.net.now, true));
                    closed = true;
                }
                5 | 6 if matches!(out[someone], Some((_, false))) => {
                    // It comes back, and may read again from now on: no claim about it is left.
                    let now = room.net.time();
                    let offer = room.net.endpoint(publisher).offer(stream.stream).unwrap();
                    if room.net.endpoint(device).subscribe(&offer, "", now).is_ok() {
                        room.net.flush(device);
                        out[someone] = None;
                    }
                }
                7 if out[someone].is_none() => {
                    // Its connection breaks and is mended, or so the service says.
                    let now = room.net.time();
                    room.net.endpoint(publisher).handle_peer_gone(device, now);
                    if dice.roll(2) == 0 {
                        room.net.endpoint(publisher).handle_peer_back(device, now);
                    }
                }
                _ => {}
            }
            let pause = dice.roll(250);
            room.net.run(pause);
        }
        room.net.rule = Box::new(|_, _, _| Fate::Deliver);
        room.net.run(3000);
        for _ in 0..5 {
            let wire = room.net.frame(stream);
            frames.push((room.net.now, wire));
            room.net.run(20);
        }
        for (index, hoard) in room.hoards.iter().enumerate() {
            for (at, wire) in &frames {
                if *at <= asked[index] {
                    let opened = hoard.try_open(Codec::Vp8, VIDEO, wire);
                    assert!(opened.is_none(), "seed {seed}: {index} reads the past");
                }
                // An Unsubscribe may be lost; then its lease counts, and nothing is claimed.
                if let Some((left, true)) = out[index]
                    && *at > left + 1000
                {
                    let opened = hoard.try_open(Codec::Vp8, VIDEO, wire);
                    assert!(opened.is_none(), "seed {seed}: {index} reads {} ms on", at - left);
                }
                if let Some((left, false)) = out[index]
                    && *at > left + 2000 + LATENCY
                    && seed % 2 != 0
                    && seed % 3 != 0
                {
                    let opened = hoard.try_open(Codec::Vp8, VIDEO, wire);
                    assert!(opened.is_none(), "seed {seed}: {index} reads {} ms on", at - left);
                }
            }
        }
        // Whoever holds the key was announced, and whoever left was announced as well.
        room.net.run(30_000);
        let mut announced = std::collections::BTreeSet::new();
        for event in room.net.events(publisher) {
            match event {
                Event::HolderJoined { device, .. } => {
                    announced.insert(*device);
                }
                Event::HolderLeft { device, .. } => {
                    announced.remove(device);
                }
                Event::Rotated { since, switched, .. } => {
                    assert!(switched.since(*since).as_millis() <= 2000, "seed {seed}");
                }
                _ => {}
            }
        }
        let holders = room.net.endpoint(publisher).holders(stream.stream);
        let holding = holders.iter().map(|holder| holder.device).collect();
        assert_eq!(announced, holding, "seed {seed}");
        for (index, out) in out.iter().enumerate() {
            let device = room.subscribers[index];
            // Who came and went often is let in again later.
            let status = room.net.endpoint(device).subscription(stream).map(|state| state.status);
            let waits = status == Some(SubscriptionStatus::Deferred(WithheldCode::Busy));
            if out.is_none() && !closed && !waits {
                assert!(room.reads(device), "seed {seed}: {index} cannot read: {status:?}");
            }
        }
    }
}

/// Members that ask anew as often as they may take a step each time: the stream runs out of them
/// and goes on in a new generation, and repeats neither a position nor a counter.
#[test]
fn members_that_use_up_all_steps_gain_nothing() {
    let mut room = Room::with(1);
    let (a, stream, publisher) = (room.subscribers[0], room.stream, room.stream.publisher);
    let keys = room.invite.room_keys();
    let members: Vec<_> = (0..14).map(|_| Identity::generate()).collect();
    let mut headers = std::collections::BTreeSet::new();
    for sequence in 1..4300 {
        let member = &members[sequence as usize % members.len()];
        let subscribe = subscribe_of(member, stream, sequence);
        let bytes = signed(&member.signer(), &keys, publisher, Kind::Subscribe, &subscribe);
        room.net.deliver(publisher, &bytes);
        room.net.run(160);
        let wire = room.net.frame(stream);
        let header = olmcast::sframe::Header::parse(&wire[3..]).unwrap().0;
        assert!(headers.insert((header.key_id, header.counter)));
        if sequence % 100 == 0 {
            assert!(room.reads(a), "{sequence}");
        }
        room.net.log.clear();
    }
    room.net.run(3000);
    let position = room.net.endpoint(publisher).position(stream.stream).unwrap();
    assert_eq!(position.generation.0, 1);
    assert!(room.reads(a));
}

/// Else somebody who was removed could, with the service and the relay, forge frames for a holder
/// that is kept from the new key, for as long as they like.
#[test]
fn a_generation_that_the_publisher_says_is_over_opens_nothing_any_more() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let (stream, publisher) = (room.stream, room.stream.publisher);
    let mut kept: Vec<_> = (0..20).map(|_| room.net.frame(stream)).collect();
    // The service lets pass what renews the lease, and nothing else.
    room.net.rule = Box::new(move |from, to, bytes| {
        let holds_key = from == publisher && bytes.len() > 400;
        if (from == a || to == a) && (holds_key || !is_olm(bytes)) {
            Fate::Lose
        } else {
            Fate::Deliver
        }
    });
    room.net.kick(stream, b);
    // The first renewal after the kick is answered by the generation that is in use now.
    room.net.run(30_000);
    assert!(room.net.opens(a, stream, &kept.pop().unwrap()).is_err());
}

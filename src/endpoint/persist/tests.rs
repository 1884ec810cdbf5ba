use super::*;
use crate::{
    device::{Identity, SealingKey, TrustState},
    endpoint::{Admission, Event, Publish},
    primitives::{Codec, DeviceId, Invite, RoomId, StreamId},
    protocol::PublicKey,
};

const START: Timestamp = Timestamp::from_unix_millis(1_800_000_000_000);

struct Kept {
    endpoint: Endpoint,
    key: SealingKey,
    now: Timestamp,
}

impl Kept {
    fn new(invite: &Invite) -> Self {
        let key = SealingKey::generate().unwrap();
        let mut identity = Identity::generate();
        identity.seal_with(&key).unwrap();
        let mut endpoint = Endpoint::with_seed(identity, [7; 32]);
        endpoint.enter(invite.room_keys());
        Self { endpoint, key, now: START }
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.endpoint.poll_output()).collect()
    }

    fn open(&self, output: &Output) -> Identity {
        let Output::Persist { sealed } = output else { panic!("{output:?}") };
        Identity::open(sealed, &self.key).unwrap()
    }

    fn publish(&mut self, room: RoomId) -> StreamId {
        let publish = Publish::new("camera").track(Codec::Opus).admission(Admission::Invite);
        self.endpoint.publish(room, publish, self.now).unwrap()
    }
}

fn persists(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Persist { .. })).count()
}

/// Has a device subscribe, without its publisher's timers.
fn subscribe(publisher: &mut Kept, stream: StreamId, invite: &Invite) -> Endpoint {
    let mut subscriber = Endpoint::new(Identity::generate()).unwrap();
    subscriber.enter(invite.room_keys());
    let offer = publisher.endpoint.offer(stream).unwrap();
    subscriber.subscribe(&offer, "", publisher.now).unwrap();
    while let Some(output) = subscriber.poll_output() {
        if let Output::Send { bytes, .. } = output {
            publisher.endpoint.handle_message(&bytes, publisher.now).unwrap();
        }
    }
    subscriber
}

fn someone() -> (DeviceId, PublicKey) {
    let identity = Identity::generate();
    (identity.device(), identity.curve25519())
}

#[test]
fn each_decision_is_handed_out_at_once_and_only_once() {
    let invite = Invite::generate("h:1").unwrap();
    let mut kept = Kept::new(&invite);
    let (device, curve25519) = someone();
    let room = invite.room();
    type Decide<'a> = Box<dyn Fn(&mut Endpoint) + 'a>;
    let decisions: [(Decide<'_>, TrustState); 6] = [
        (Box::new(|e| e.pin(device, curve25519, "Bob", START)), TrustState::Pinned),
        (Box::new(|e| e.mark_verified(device, curve25519, "Bob", START)), TrustState::Verified),
        (Box::new(|e| e.block(device, START)), TrustState::Blocked),
        (Box::new(|e| assert!(e.forget(device, START))), TrustState::Unknown),
        (Box::new(|e| e.memory.kick(room, device)), TrustState::Blocked),
        (Box::new(|e| assert!(e.reopen(room))), TrustState::Blocked),
    ];
    for (decide, state) in decisions {
        decide(&mut kept.endpoint);
        let outputs = kept.outputs();
        assert_eq!(persists(&outputs), 1);
        let opened = kept.open(&outputs[0]);
        assert_eq!(opened.memory().trust().state(&device), state);
        kept.endpoint.handle_timeout(START + GATHER * 3);
        assert!(kept.outputs().is_empty(), "nothing changed since");
    }
    kept.endpoint.set_name("Ada");
    let outputs = kept.outputs();
    assert_eq!(kept.open(&outputs[0]).name(), "Ada");
    assert!(!kept.endpoint.reopen(room) && !kept.endpoint.forget(someone().0, START));
    assert!(kept.outputs().is_empty(), "no decisions");
}

#[test]
fn a_kick_is_handed_out_before_anything_that_follows_from_it() {
    let invite = Invite::generate("h:1").unwrap();
    let mut kept = Kept::new(&invite);
    let stream = kept.publish(invite.room());
    let subscriber = subscribe(&mut kept, stream, &invite);
    let device = subscriber.device();
    kept.now = START + GATHER;
    kept.endpoint.handle_timeout(kept.now);
    kept.outputs();
    kept.endpoint.kick(stream, device, kept.now).unwrap();
    let outputs = kept.outputs();
    assert!(outputs.len() > 1, "{outputs:?}");
    assert_eq!(persists(&outputs), 1);
    let opened = kept.open(&outputs[0]);
    assert_eq!(opened.memory().trust().state(&device), TrustState::Blocked);
    assert!(opened.memory().doors().closed().eq([invite.room()]));
}

#[test]
fn admissions_are_gathered_for_half_a_second_and_a_decision_takes_them_along() {
    let invite = Invite::generate("h:1").unwrap();
    let mut kept = Kept::new(&invite);
    let stream = kept.publish(invite.room());
    kept.outputs();
    // Whoever carries out what `poll_timeout` says, and nothing else, gets one for all of them.
    let mut devices = Vec::new();
    let mut seals = Vec::new();
    while kept.now < START + GATHER * 3 {
        if kept.now < START + GATHER {
            devices.extend((0..5).map(|_| subscribe(&mut kept, stream, &invite).device()));
        }
        let outputs = kept.outputs();
        for output in outputs.iter().filter(|output| matches!(output, Output::Persist { .. })) {
            seals.push((kept.now.since(START), kept.open(output)));
        }
        let next = kept.endpoint.poll_timeout().unwrap();
        kept.now = next.max(kept.now + Duration::from_millis(10));
        kept.endpoint.handle_timeout(kept.now);
    }
    assert!((1..=2).contains(&seals.len()), "{seals:?}");
    assert!((GATHER..GATHER + Duration::from_millis(50)).contains(&seals[0].0), "{seals:?}");
    let last = seals.last().unwrap().1.memory();
    assert!(devices.len() >= 10);
    assert!(devices.iter().all(|device| last.trust().get(device).is_some()));

    let late = subscribe(&mut kept, stream, &invite).device();
    assert_eq!(persists(&kept.outputs()), 0, "it is gathered");
    kept.endpoint.set_name("Ada");
    let outputs = kept.outputs();
    assert_eq!(persists(&outputs), 1);
    assert!(kept.open(&outputs[0]).memory().trust().get(&late).is_some());
    kept.endpoint.handle_timeout(kept.now + GATHER * 2);
    assert_eq!(persists(&kept.outputs()), 0);
}

#[test]
fn whoever_ends_can_have_at_once_what_is_gathered() {
    let invite = Invite::generate("h:1").unwrap();
    let mut kept = Kept::new(&invite);
    let stream = kept.publish(invite.room());
    let device = subscribe(&mut kept, stream, &invite).device();
    kept.outputs();
    kept.endpoint.persist();
    let outputs = kept.outputs();
    assert_eq!(persists(&outputs), 1);
    assert!(kept.open(&outputs[0]).memory().trust().get(&device).is_some());
    kept.endpoint.persist();
    assert_eq!(persists(&kept.outputs()), 0);
}

#[test]
fn of_two_that_were_not_fetched_only_the_newer_comes() {
    let invite = Invite::generate("h:1").unwrap();
    let mut kept = Kept::new(&invite);
    let stream = kept.publish(invite.room());
    let device = subscribe(&mut kept, stream, &invite).device();
    kept.endpoint.persist();
    kept.endpoint.block(device, START);
    let outputs = kept.outputs();
    assert_eq!(persists(&outputs), 1);
    let opened = kept.open(&outputs[0]);
    assert_eq!(opened.memory().trust().state(&device), TrustState::Blocked);
}

#[test]
fn without_a_seal_nothing_is_handed_out_and_nothing_is_due() {
    let invite = Invite::generate("h:1").unwrap();
    let mut kept = Kept::new(&invite);
    kept.endpoint = Endpoint::with_seed(Identity::generate(), [7; 32]);
    kept.endpoint.enter(invite.room_keys());
    kept.endpoint.block(someone().0, START);
    kept.endpoint.set_name("Ada");
    kept.endpoint.persist();
    assert_eq!(kept.endpoint.poll_timeout(), None);
    kept.endpoint.handle_timeout(START + GATHER * 2);
    assert!(kept.outputs().is_empty());
}

#[test]
fn what_was_decided_before_the_endpoint_began_is_kept_as_well() {
    let key = SealingKey::generate().unwrap();
    let mut identity = Identity::generate();
    identity.seal_with(&key).unwrap();
    let (device, _) = someone();
    identity.memory_mut().block(device);
    let mut endpoint = Endpoint::with_seed(identity, [7; 32]);
    let Some(Output::Persist { sealed }) = endpoint.poll_output() else { panic!() };
    let opened = Identity::open(&sealed, &key).unwrap();
    assert_eq!(opened.memory().trust().state(&device), TrustState::Blocked);
    // Once it is opened, there is nothing new in it.
    let mut endpoint = Endpoint::with_seed(opened, [7; 32]);
    assert_eq!((endpoint.poll_output(), endpoint.poll_timeout()), (None, None));
}

#[test]
fn a_kick_is_still_in_force_after_a_restart() {
    let invite = Invite::generate("h:1").unwrap();
    let mut kept = Kept::new(&invite);
    let stream = kept.publish(invite.room());
    let mut old = subscribe(&mut kept, stream, &invite);
    let kicked = subscribe(&mut kept, stream, &invite).device();
    kept.outputs();
    kept.endpoint.kick(stream, kicked, START).unwrap();
    let first = kept.endpoint.poll_output().unwrap();
    let restarted = kept.open(&first);
    kept.endpoint = Endpoint::with_seed(restarted, [8; 32]);
    kept.endpoint.enter(invite.room_keys());
    kept.now = START + Duration::from_secs(60);
    let stream = kept.publish(invite.room());
    subscribe(&mut kept, stream, &invite);
    let outputs = kept.outputs();
    let refused = |output: &Output| {
        matches!(
            output,
            Output::Event(Event::Refused { reason: crate::endpoint::Refusal::Closed, .. })
        )
    };
    assert_eq!(outputs.iter().filter(|output| refused(output)).count(), 1, "{outputs:?}");
    // The one from before still gets in.
    let offer = kept.endpoint.offer(stream).unwrap();
    old.subscribe(&offer, "", kept.now).unwrap();
    while let Some(output) = old.poll_output() {
        if let Output::Send { bytes, .. } = output {
            kept.endpoint.handle_message(&bytes, kept.now).unwrap();
        }
    }
    kept.endpoint.handle_timeout(kept.now + GATHER);
    let joined = |output: &Output| matches!(output, Output::Event(Event::HolderJoined { device, .. }) if *device == old.device());
    assert!(kept.outputs().iter().any(joined));
}

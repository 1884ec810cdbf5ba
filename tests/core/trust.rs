//! What a device is taken for, and what that means for keys.

use std::time::Duration;

use olmcast::{
    device::{Distrust, Identity, TrustState},
    endpoint::{
        Admission, Ended, EndpointError, Event, LeaveReason, MessageError, Publish, Refusal,
        RotationCause, SubscriptionStatus,
    },
    primitives::{DeviceId, RoomKeys, StreamRef},
    protocol::{Kind, PublicKey, StreamEnd, WithheldCode},
};

use crate::{
    hostile::subscribe_of,
    network::{LATENCY, Network, Room, invite},
    tools::{encode, signed},
};

/// A publisher by this policy, and the room's keys.
pub(crate) fn publishing(admission: Admission) -> (Network, StreamRef, RoomKeys) {
    let (mut net, keys) = (Network::new(), invite().room_keys());
    let publisher = net.device(keys.clone());
    let stream = net.publish(publisher, &keys, Publish::new("camera").admission(admission));
    (net, stream, keys)
}

pub(crate) fn named(net: &mut Network, keys: &RoomKeys, name: &str) -> DeviceId {
    net.device_of(Identity::generate().with_name(name), keys.clone())
}

pub(crate) fn joins(net: &mut Network, keys: &RoomKeys, stream: StreamRef, name: &str) -> DeviceId {
    let device = named(net, keys, name);
    net.subscribe(device, stream);
    net.run(500);
    device
}

pub(crate) fn reads(net: &mut Network, device: DeviceId, stream: StreamRef) -> bool {
    let wire = net.frame(stream);
    let holds = net.endpoint(device).subscription(stream).is_some();
    holds && net.opens(device, stream, &wire).is_ok()
}

pub(crate) fn status(net: &mut Network, device: DeviceId, stream: StreamRef) -> SubscriptionStatus {
    net.endpoint(device).subscription(stream).unwrap().status
}

pub(crate) fn state(net: &mut Network, stream: StreamRef, device: DeviceId) -> TrustState {
    net.endpoint(stream.publisher).memory().trust().state(&device)
}

/// Something that the publisher's user does.
pub(crate) fn decides(
    net: &mut Network,
    stream: StreamRef,
    decision: impl FnOnce(&mut olmcast::endpoint::Endpoint, olmcast::primitives::Timestamp),
) {
    let now = net.time();
    decision(net.endpoint(stream.publisher), now);
    net.flush(stream.publisher);
}

pub(crate) fn curve(net: &Network, stream: StreamRef, device: DeviceId) -> PublicKey {
    let trust = net.nodes[&stream.publisher].endpoint.memory().trust();
    trust.get(&device).unwrap().curve25519.unwrap()
}

pub(crate) fn another_key() -> PublicKey {
    Identity::generate().curve25519()
}

pub(crate) fn requests(net: &Network, stream: StreamRef, who: DeviceId) -> Vec<Option<Distrust>> {
    let request = |event: &Event| match event {
        Event::JoinRequest { device, distrust, .. } if *device == who => Some(*distrust),
        _ => None,
    };
    net.events(stream.publisher).filter_map(request).collect()
}

pub(crate) fn leaves(net: &Network, stream: StreamRef, who: DeviceId) -> Vec<LeaveReason> {
    let leave = |event: &Event| match event {
        Event::HolderLeft { device, reason, .. } if *device == who => Some(*reason),
        _ => None,
    };
    net.events(stream.publisher).filter_map(leave).collect()
}

const DISTRUSTED: SubscriptionStatus = SubscriptionStatus::Deferred(WithheldCode::Asked);

#[test]
fn a_member_that_takes_a_known_name_gets_no_key_until_the_user_admits_it() {
    let (mut net, stream, keys) = publishing(Admission::Invite);
    let alice = joins(&mut net, &keys, stream, "Alice");
    assert_eq!(state(&mut net, stream, alice), TrustState::Pinned);
    let mallory = named(&mut net, &keys, "AIice");
    let hoard = net.endpoint(mallory).hoard_keys();
    net.subscribe(mallory, stream);
    let since = net.time();
    net.run(30_000);
    assert_eq!(hoard.sessions(), 0);
    assert_eq!(status(&mut net, mallory, stream), DISTRUSTED);
    let taken = Some(Distrust::NameTaken(alice));
    assert_eq!(requests(&net, stream, mallory), [taken], "asked about once");
    let asking = net.endpoint(stream.publisher).asking(stream.stream);
    assert_eq!((asking.len(), asking[0].device, asking[0].distrust), (1, mallory, taken));
    assert_eq!((&*asking[0].name, &asking[0].known), ("AIice", &None));
    assert!(asking[0].since.since(since) <= Duration::from_millis(LATENCY + 1));
    assert_eq!(state(&mut net, stream, mallory), TrustState::Unknown, "only asking pins nobody");
    assert!(reads(&mut net, alice, stream));

    net.admit(stream, mallory).unwrap();
    net.run(1000);
    assert!(reads(&mut net, mallory, stream));
    assert_eq!(state(&mut net, stream, mallory), TrustState::Pinned);
    assert!(net.endpoint(stream.publisher).asking(stream.stream).is_empty());
    // It is known by that name from now on, and so goes on.
    net.unsubscribe(mallory, stream);
    net.run(10_000);
    net.subscribe(mallory, stream);
    net.run(1000);
    assert!(reads(&mut net, mallory, stream));
    assert_eq!(requests(&net, stream, mallory).len(), 1);
}

#[test]
fn whoever_waits_is_let_in_by_a_pin_and_sent_away_by_a_block() {
    for (decision, expected) in [
        ("pin", SubscriptionStatus::Live),
        ("verify", SubscriptionStatus::Live),
        ("forget the other", SubscriptionStatus::Live),
        ("block", SubscriptionStatus::Closed(Some(WithheldCode::Blocked))),
        ("refuse", SubscriptionStatus::Closed(Some(WithheldCode::NotAdmitted))),
    ] {
        let (mut net, stream, keys) = publishing(Admission::Invite);
        let alice = joins(&mut net, &keys, stream, "Alice");
        let identity = Identity::generate().with_name("Alice");
        let key = identity.curve25519();
        let second = net.device_of(identity, keys.clone());
        net.subscribe(second, stream);
        net.run(500);
        assert_eq!(status(&mut net, second, stream), DISTRUSTED);
        decides(&mut net, stream, |publisher, now| match decision {
            "pin" => publisher.pin(second, key, "Alice", now),
            "verify" => publisher.mark_verified(second, key, "Alice", now),
            "forget the other" => assert!(publisher.forget(alice, now)),
            "block" => publisher.block(second, now),
            _ => publisher.refuse(stream.stream, second, now).unwrap(),
        });
        net.run(1000);
        assert_eq!(status(&mut net, second, stream), expected, "{decision}");
        let is_in = expected == SubscriptionStatus::Live;
        assert_eq!(reads(&mut net, second, stream), is_in, "{decision}");
        assert!(reads(&mut net, alice, stream), "{decision}");
        assert!(net.endpoint(stream.publisher).asking(stream.stream).is_empty());
        let late = joins(&mut net, &keys, stream, "Late");
        assert_eq!(reads(&mut net, late, stream), decision != "block", "{decision}: the door");
    }
}

#[test]
fn a_pinned_device_goes_on_under_a_free_name_and_is_shown_as_what_it_was_pinned_as() {
    let (mut net, stream, keys) = publishing(Admission::Invite);
    let a = joins(&mut net, &keys, stream, "Alice");
    net.unsubscribe(a, stream);
    net.run(10_000);
    net.endpoint(a).set_name("Bob");
    net.subscribe(a, stream);
    net.run(1000);
    assert!(reads(&mut net, a, stream));
    let holders = net.endpoint(stream.publisher).holders(stream.stream);
    assert_eq!(holders[0].name, "Bob");
    assert_eq!(
        (&*holders[0].known.as_ref().unwrap().name, holders[0].trust()),
        ("Alice", TrustState::Pinned)
    );
    // So the name is free still.
    let bob = joins(&mut net, &keys, stream, "Bob");
    assert!(reads(&mut net, bob, stream));
}

#[test]
fn a_holder_that_begins_anew_as_somebody_else_is_removed_and_asked_about() {
    let (mut net, stream, keys) = publishing(Admission::Invite);
    let alice = joins(&mut net, &keys, stream, "Alice");
    let identity = Identity::generate();
    for (sequence, name) in [(1, "Mallory"), (2, "Mallory"), (3, "Alice")] {
        let mut subscribe = subscribe_of(&identity, stream, sequence);
        subscribe.name = name.to_owned();
        let payload = serde_json::to_vec(&subscribe).unwrap();
        let to = Some(stream.publisher);
        let bytes = signed(&identity.signer(), &keys, to, Kind::Subscribe, &payload);
        net.deliver(stream.publisher, &encode(&bytes));
        net.run(6000);
    }
    let mallory = identity.device();
    assert_eq!(leaves(&net, stream, mallory), [LeaveReason::Revoked]);
    assert_eq!(requests(&net, stream, mallory), [Some(Distrust::NameTaken(alice))]);
    let holders = net.endpoint(stream.publisher).holders(stream.stream);
    assert_eq!(holders.iter().map(|holder| holder.device).collect::<Vec<_>>(), [alice]);
}

#[test]
fn another_curve25519_key_than_the_pinned_one_gets_no_key() {
    for admission in [Admission::Ask, Admission::Invite] {
        let (mut net, stream, keys) = publishing(admission);
        let a = named(&mut net, &keys, "Alice");
        let hoard = net.endpoint(a).hoard_keys();
        decides(&mut net, stream, |publisher, now| publisher.pin(a, another_key(), "Alice", now));
        net.subscribe(a, stream);
        net.run(10_000);
        assert_eq!(hoard.sessions(), 0);
        assert_eq!(status(&mut net, a, stream), DISTRUSTED);
        assert_eq!(requests(&net, stream, a), [Some(Distrust::KeyChanged)]);
        net.admit(stream, a).unwrap();
        net.run(1000);
        assert!(reads(&mut net, a, stream));
        assert_eq!(state(&mut net, stream, a), TrustState::Pinned);
    }
}

#[test]
fn a_holder_whose_key_turns_out_to_be_another_is_removed_as_fast_as_by_a_kick() {
    let (mut net, stream, keys) = publishing(Admission::Invite);
    let (a, b) = (joins(&mut net, &keys, stream, "A"), joins(&mut net, &keys, stream, "B"));
    decides(&mut net, stream, |publisher, now| publisher.pin(a, another_key(), "A", now));
    net.run(1000);
    assert_eq!(leaves(&net, stream, a), [LeaveReason::Revoked]);
    assert!(!reads(&mut net, a, stream) && reads(&mut net, b, stream));
}

#[test]
fn a_publisher_with_another_curve25519_key_than_the_pinned_one_is_not_asked() {
    let mut room = Room::with(0);
    let (stream, keys) = (room.stream, room.invite.room_keys());
    let a = room.net.device(keys);
    let now = room.net.time();
    room.net.endpoint(a).pin(stream.publisher, another_key(), "", now);
    room.net.run(2 * LATENCY);
    let (offer, distrust) = (room.net.offer(a, stream), Distrust::KeyChanged);
    let told = Event::Distrusted { stream, name: String::new(), distrust };
    assert!(room.net.events(a).any(|event| *event == told));
    let refused = room.net.endpoint(a).subscribe(&offer.bytes, "", now);
    assert_eq!(refused, Err(EndpointError::Distrusted(distrust)));
    // Once the user has pinned what it is now, it may be.
    room.net.endpoint(a).pin(stream.publisher, offer.content.curve25519, "", now);
    room.net.subscribe(a, stream);
    room.net.run(500);
    assert!(room.reads(a));
    // And should that turn out to be wrong, it is left, and told so.
    let now = room.net.time();
    room.net.endpoint(a).pin(stream.publisher, another_key(), "", now);
    room.net.flush(a);
    room.net.run(500);
    let ended = Event::Ended { stream, reason: Ended::Distrusted };
    assert!(room.net.events(a).any(|event| *event == ended));
    assert!(room.net.endpoint(a).subscription(stream).is_none());
    assert_eq!(leaves(&room.net, stream, a), [LeaveReason::Unsubscribed]);
}

#[test]
fn a_publisher_under_a_known_name_is_not_asked_until_the_user_pins_it() {
    let mut net = Network::new();
    let keys = invite().room_keys();
    let a = net.device(keys.clone());
    let [alice, mallory] = ["Alice", "Аlice"].map(|name| named(&mut net, &keys, name));
    let publish = || Publish::new("camera").with_invite();
    let hers = net.publish(alice, &keys, publish());
    net.subscribe(a, hers);
    net.run(500);
    assert!(reads(&mut net, a, hers));
    let forged = net.publish(mallory, &keys, publish());
    net.run(2 * LATENCY);
    let distrust = Distrust::NameTaken(alice);
    let told = Event::Distrusted { stream: forged, name: "Аlice".to_owned(), distrust };
    assert!(net.events(a).any(|event| *event == told));
    let (offer, now) = (net.offer(a, forged), net.time());
    let refused = net.endpoint(a).subscribe(&offer.bytes, "", now);
    assert_eq!(refused, Err(EndpointError::Distrusted(distrust)));
    assert_eq!(net.endpoint(a).memory().trust().state(&mallory), TrustState::Unknown);
    net.endpoint(a).pin(mallory, offer.content.curve25519, "Аlice", now);
    net.subscribe(a, forged);
    net.run(500);
    assert!(reads(&mut net, a, forged));
    let state = net.endpoint(a).subscription(hers).unwrap();
    assert_eq!(
        (&*state.known.as_ref().unwrap().name, state.trust()),
        ("Alice", TrustState::Pinned)
    );
}

#[test]
fn of_two_new_publishers_of_one_name_the_first_to_answer_has_it() {
    let mut net = Network::new();
    let keys = invite().room_keys();
    let a = net.device(keys.clone());
    let both = ["Alice", "alice"].map(|name| {
        let publisher = named(&mut net, &keys, name);
        net.publish(publisher, &keys, Publish::new("camera").with_invite())
    });
    net.run(2 * LATENCY);
    for stream in both {
        let (offer, now) = (net.offer(a, stream).bytes, net.time());
        net.endpoint(a).subscribe(&offer, "", now).unwrap();
    }
    net.flush(a);
    net.run(500);
    let live: Vec<_> = both.into_iter().filter(|s| reads(&mut net, a, *s)).collect();
    let [live] = live[..] else { panic!("{live:?}") };
    let other = if live == both[0] { both[1] } else { both[0] };
    assert!(net.endpoint(a).subscription(other).is_none());
    let ended = Event::Ended { stream: other, reason: Ended::Distrusted };
    assert!(net.events(a).any(|event| *event == ended));
    assert_eq!(net.endpoint(a).memory().trust().state(&other.publisher), TrustState::Unknown);
}

#[test]
fn with_admission_by_verification_nobody_else_gets_in_or_stays() {
    let (mut net, stream, keys) = publishing(Admission::Verified);
    let a = joins(&mut net, &keys, stream, "A");
    let refused = SubscriptionStatus::Closed(Some(WithheldCode::NotVerified));
    assert_eq!(status(&mut net, a, stream), refused);
    assert_eq!(state(&mut net, stream, a), TrustState::Unknown);
    let reason = Refusal::NotVerified;
    let told = Event::Refused { stream: stream.stream, device: a, reason };
    assert!(net.events(stream.publisher).any(|event| *event == told));

    let verified: Vec<_> = ["B", "C"]
        .into_iter()
        .map(|name| {
            let identity = Identity::generate().with_name(name);
            let (device, key) = (identity.device(), identity.curve25519());
            net.device_of(identity, keys.clone());
            decides(&mut net, stream, |publisher, now| {
                publisher.mark_verified(device, key, name, now);
            });
            net.subscribe(device, stream);
            net.run(500);
            assert!(reads(&mut net, device, stream));
            device
        })
        .collect();
    let [b, c] = verified[..] else { panic!() };
    let holders = net.endpoint(stream.publisher).holders(stream.stream);
    assert!(holders.iter().all(|holder| holder.trust() == TrustState::Verified));
    // It is no more than pinned from now on.
    let (key, start) = (curve(&net, stream, b), net.time());
    decides(&mut net, stream, |publisher, now| publisher.pin(b, key, "B", now));
    net.run(1000);
    assert!(!reads(&mut net, b, stream) && reads(&mut net, c, stream));
    assert_eq!(leaves(&net, stream, b), [LeaveReason::Revoked]);
    let rotated = net.events(stream.publisher).find_map(|event| match event {
        Event::Rotated { cause, since, switched, .. } => Some((*cause, *since, *switched)),
        _ => None,
    });
    let (cause, since, switched) = rotated.unwrap();
    assert_eq!((cause, since), (RotationCause::Kick, start));
    assert!(switched.since(start) <= Duration::from_secs(1));
    let removed = SubscriptionStatus::Closed(Some(WithheldCode::Removed));
    assert_eq!(status(&mut net, b, stream), removed);
    // The door is not closed for that: whoever is verified may come, and it as well, once it is.
    assert_eq!(net.endpoint(stream.publisher).memory().doors().closed().count(), 0);
    decides(&mut net, stream, |publisher, now| publisher.mark_verified(b, key, "B", now));
    net.run(5000);
    net.subscribe(b, stream);
    net.run(1000);
    assert!(reads(&mut net, b, stream));
    decides(&mut net, stream, |publisher, now| assert!(publisher.forget(c, now)));
    net.run(1000);
    assert!(!reads(&mut net, c, stream) && reads(&mut net, b, stream));
}

#[test]
fn whoever_is_unverified_right_after_it_left_reads_no_longer_than_if_it_had_stayed() {
    let (mut net, stream, keys) = publishing(Admission::InsecureOpen);
    let (a, _b) = (joins(&mut net, &keys, stream, "A"), joins(&mut net, &keys, stream, "B"));
    for device in [a, _b] {
        let key = curve(&net, stream, device);
        decides(&mut net, stream, |publisher, now| {
            publisher.mark_verified(device, key, "", now);
        });
    }
    decides(&mut net, stream, |publisher, now| {
        publisher.set_admission(stream.stream, Admission::Verified, now).unwrap();
    });
    // Nobody confirms the next key, so the encryptors switch at the deadline.
    net.rule = Box::new(move |from, _, _| match from == _b {
        true => crate::network::Fate::Lose,
        false => crate::network::Fate::Deliver,
    });
    net.unsubscribe(a, stream);
    net.run(100);
    let start = net.time();
    decides(&mut net, stream, |publisher, now| assert!(publisher.forget(a, now)));
    net.run(3000);
    let switched = net.events(stream.publisher).find_map(|event| match event {
        Event::Rotated { switched, .. } => Some(*switched),
        _ => None,
    });
    assert!(switched.unwrap().since(start) <= Duration::from_secs(1));
}

#[test]
fn a_blocked_device_is_out_its_streams_end_and_what_it_says_has_no_effect() {
    let (mut net, stream, keys) = publishing(Admission::Invite);
    let publisher = stream.publisher;
    let (a, b) = (joins(&mut net, &keys, stream, "A"), joins(&mut net, &keys, stream, "B"));
    let hoard = net.endpoint(a).hoard_keys();
    let publish = || Publish::new("screen").with_invite();
    let [held, offered] = [publish(), publish()].map(|publish| net.publish(a, &keys, publish));
    net.subscribe(publisher, held);
    net.run(500);
    let wire = net.frame(held);
    assert!(net.opens(publisher, held, &wire).is_ok());

    decides(&mut net, stream, |publisher, now| publisher.block(a, now));
    net.run(1000);
    assert!(!reads(&mut net, a, stream) && reads(&mut net, b, stream));
    assert_eq!(leaves(&net, stream, a), [LeaveReason::Kicked]);
    assert_eq!(leaves(&net, held, publisher), [LeaveReason::Unsubscribed], "it is told");
    for ended in [held, offered] {
        let ended = Event::Ended { stream: ended, reason: Ended::Blocked };
        assert_eq!(net.events(publisher).filter(|event| **event == ended).count(), 1);
    }
    let (late, now) = (joins(&mut net, &keys, stream, "Late"), net.time());
    assert!(!reads(&mut net, late, stream), "the door is closed");
    let offer = net.offer(b, held).bytes;
    let refused = net.endpoint(publisher).subscribe(&offer, "", now);
    assert_eq!(refused, Err(EndpointError::Distrusted(Distrust::Blocked)));
    net.flush(publisher);

    // It offers, asks, and ends what it offered.
    let (events, errors) = (net.nodes[&publisher].events.len(), net.nodes[&publisher].errors.len());
    let holders = net.endpoint(publisher).holders(stream.stream);
    net.publish(a, &keys, publish());
    let ended = serde_json::to_vec(&StreamEnd { stream: offered.stream }).unwrap();
    let signer = net.endpoint(a).signer();
    let ended = encode(&signed(&signer, &keys, None, Kind::StreamEnd, &ended));
    net.deliver(publisher, &ended);
    net.run(2 * LATENCY);
    let blocked = MessageError::Blocked;
    assert_eq!(net.nodes[&publisher].errors[errors..], [blocked, blocked]);
    assert_eq!(net.nodes[&publisher].events.len(), events);
    assert_eq!(net.endpoint(publisher).holders(stream.stream), holders);
    net.subscribe(a, stream);
    net.run(2000);
    let closed = SubscriptionStatus::Closed(Some(WithheldCode::Blocked));
    assert_eq!(status(&mut net, a, stream), closed);
    assert_eq!(hoard.sessions(), 0);
}

#[test]
fn a_block_closes_the_rooms_that_the_device_was_in_also_if_it_has_left() {
    let (mut net, stream, keys) = publishing(Admission::Invite);
    let a = joins(&mut net, &keys, stream, "A");
    let other = invite().room_keys();
    net.endpoint(stream.publisher).enter(other.clone());
    let publish = Publish::new("camera").with_invite();
    let elsewhere = net.publish(stream.publisher, &other, publish);
    net.unsubscribe(a, stream);
    net.run(2000);
    decides(&mut net, stream, |publisher, now| publisher.block(a, now));
    let doors = net.endpoint(stream.publisher).memory().doors();
    assert_eq!(doors.closed().collect::<Vec<_>>(), [keys.room()]);
    let late = joins(&mut net, &keys, stream, "Late");
    let closed = SubscriptionStatus::Closed(Some(WithheldCode::Closed));
    assert_eq!(status(&mut net, late, stream), closed);
    let guest = joins(&mut net, &other, elsewhere, "Guest");
    assert!(reads(&mut net, guest, elsewhere), "it was not in there");
}

#[test]
fn a_policy_that_changes_acts_on_those_who_are_there_and_on_those_who_wait() {
    let (mut net, stream, keys) = publishing(Admission::Ask);
    let set = |net: &mut Network, admission| {
        decides(net, stream, |publisher, now| {
            publisher.set_admission(stream.stream, admission, now).unwrap();
        });
        net.run(1500);
    };
    let (a, b) = (joins(&mut net, &keys, stream, "A"), joins(&mut net, &keys, stream, "B"));
    assert_eq!(net.endpoint(stream.publisher).asking(stream.stream).len(), 2);
    set(&mut net, Admission::Invite);
    assert!(reads(&mut net, a, stream) && reads(&mut net, b, stream));
    let key = curve(&net, stream, a);
    decides(&mut net, stream, |publisher, now| publisher.mark_verified(a, key, "A", now));
    set(&mut net, Admission::Ask);
    assert!(reads(&mut net, a, stream) && reads(&mut net, b, stream));
    let c = joins(&mut net, &keys, stream, "C");
    assert_eq!(net.endpoint(stream.publisher).asking(stream.stream).len(), 1);
    set(&mut net, Admission::Verified);
    assert!(reads(&mut net, a, stream) && !reads(&mut net, b, stream));
    let is_kick =
        |event: &Event| matches!(event, Event::Rotated { cause: RotationCause::Kick, .. });
    assert!(net.events(stream.publisher).any(is_kick), "as fast as a kick");
    assert!(net.endpoint(stream.publisher).asking(stream.stream).is_empty());
    let code = SubscriptionStatus::Closed(Some(WithheldCode::NotVerified));
    assert_eq!(status(&mut net, c, stream), code);
    set(&mut net, Admission::AllowList([b].into()));
    assert!(!reads(&mut net, a, stream));
    net.subscribe(b, stream);
    net.run(6000);
    net.subscribe(c, stream);
    net.run(1000);
    assert!(reads(&mut net, b, stream) && !reads(&mut net, c, stream));
    set(&mut net, Admission::InsecureOpen);
    assert!(reads(&mut net, b, stream));
    let stranger = net.device(RoomKeys::without_invite(keys.room()));
    net.subscribe(stranger, stream);
    net.run(1000);
    assert!(reads(&mut net, stranger, stream));
}

#[test]
fn a_name_that_a_list_lets_in_is_bound_to_nobody() {
    let (mut net, stream, keys) = publishing(Admission::Invite);
    let alice = joins(&mut net, &keys, stream, "Alice");
    let second = named(&mut net, &keys, "Alice");
    decides(&mut net, stream, |publisher, now| {
        let list = Admission::AllowList([alice, second].into());
        publisher.set_admission(stream.stream, list, now).unwrap();
    });
    net.subscribe(second, stream);
    net.run(500);
    assert!(reads(&mut net, second, stream));
    let trust = net.endpoint(stream.publisher).memory().trust();
    assert_eq!(trust.get(&second).unwrap().name, "");
    assert_eq!(trust.get(&alice).unwrap().name, "Alice");
}

#[test]
fn a_pin_is_for_whoever_was_let_in_and_not_for_whoever_asks() {
    let (mut net, stream, keys) = publishing(Admission::Ask);
    let (a, b) = (joins(&mut net, &keys, stream, "A"), joins(&mut net, &keys, stream, "B"));
    assert_eq!(state(&mut net, stream, a), TrustState::Unknown);
    decides(&mut net, stream, |publisher, now| {
        publisher.refuse(stream.stream, a, now).unwrap();
    });
    net.admit(stream, b).unwrap();
    net.run(500);
    assert_eq!(state(&mut net, stream, a), TrustState::Unknown);
    assert_eq!(state(&mut net, stream, b), TrustState::Pinned);
    let of_publisher = net.endpoint(b).memory().trust().state(&stream.publisher);
    assert_eq!(of_publisher, TrustState::Pinned, "and the other way round");
    assert_eq!(net.endpoint(a).memory().trust().iter().count(), 0);
}

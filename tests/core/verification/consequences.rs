//! What a verification changes for the streams.

use olmcast::{
    device::Distrust,
    endpoint::{Admission, EndpointError, LeaveReason, Publish, Refusal},
    primitives::{Codec, StreamId, StreamRef},
    protocol::{PublicKey, StreamOffer, Subscribe, TrackOffer},
};
use vodozemac::olm::Account;

use super::{foreign::Foreign, *};
use crate::{
    network::{Network, VIDEO},
    tools::{encode, signed},
};

/// A pair of which the second has tools of its own, verified by the first.
fn verified() -> (Table, Foreign) {
    let mut table = Table::of(&["Alice"]);
    let mut foreign = Foreign::meet(&mut table, true);
    let (said, secret) = foreign.agree(&mut table);
    table.confirm(foreign.victim, foreign.device());
    foreign.say(&mut table, &foreign.mac(&said, &secret));
    foreign.say(&mut table, &foreign.done(&said, &secret));
    assert_eq!(foreign.state(&table), Some(VerificationState::Verified));
    (table, foreign)
}

#[test]
fn whoever_was_verified_and_comes_with_another_curve25519_key_gets_no_key_of_ours() {
    for admission in [Admission::Invite, Admission::Verified] {
        for is_same in [true, false] {
            let (mut table, foreign) = verified();
            let (a, keys, now) = (foreign.victim, table.keys(), table.time());
            let publish = Publish::new("camera").track(Codec::Vp8).admission(admission.clone());
            let stream = table.at(a).publish(keys.room(), publish, now).unwrap();
            let mut account = Account::new();
            let one_time_key = account.generate_one_time_keys(1).created[0];
            let other = PublicKey(account.curve25519_key());
            let own = PublicKey(foreign.account.curve25519_key());
            let subscribe = Subscribe {
                stream,
                curve25519: if is_same { own } else { other },
                one_time_key: PublicKey(one_time_key),
                sequence: 1,
                name: "Mallory".to_owned(),
                claim: String::new(),
            };
            let payload = serde_json::to_vec(&subscribe).unwrap();
            let asks = signed(&foreign.account, &keys, Some(a), Kind::Subscribe, &payload);
            table.deliver(a, &encode(&asks));
            table.run(1000);
            let is_holder = table.at(a).holders(stream).len() == 1;
            assert_eq!(is_holder, is_same);
            let is_distrust = |(_, event): &(_, Event)| match event {
                Event::JoinRequest { distrust, .. } => *distrust == Some(Distrust::KeyChanged),
                Event::Refused { reason, .. } => *reason == Refusal::NotVerified,
                _ => false,
            };
            assert_eq!(table.events.iter().any(is_distrust), !is_same);
        }
    }
}

#[test]
fn whoever_was_verified_and_offers_under_another_curve25519_key_is_not_subscribed_to() {
    for is_same in [true, false] {
        let (mut table, foreign) = verified();
        let (a, keys, now) = (foreign.victim, table.keys(), table.time());
        let own = PublicKey(foreign.account.curve25519_key());
        let offer = StreamOffer {
            name: "Mallory".to_owned(),
            stream: StreamId::from_bytes([5; 16]),
            label: "camera".to_owned(),
            tracks: vec![TrackOffer { id: VIDEO, codec: Codec::Vp8, layers: 1 }],
            media: String::new(),
            curve25519: if is_same { own } else { PublicKey(Account::new().curve25519_key()) },
            started: now,
            seq: 1,
        };
        let payload = serde_json::to_vec(&offer).unwrap();
        let offer = encode(&signed(&foreign.account, &keys, None, Kind::StreamOffer, &payload));
        table.deliver(a, &offer);
        let subscribed = table.at(a).subscribe(&offer, "", now);
        let distrusted = Err(EndpointError::Distrusted(Distrust::KeyChanged));
        if is_same {
            assert!(subscribed.is_ok());
        } else {
            assert_eq!(subscribed, distrusted);
            assert!(table.events.iter().any(|(_, event)| matches!(
                event,
                Event::Distrusted { distrust: Distrust::KeyChanged, .. }
            )));
        }
    }
}

/// Two devices of a network verify each other.
fn verify(net: &mut Network, room: olmcast::primitives::RoomId, a: DeviceId, b: DeviceId) {
    let now = net.time();
    net.endpoint(a).verify(room, b, now).unwrap();
    net.flush(a);
    net.run(100);
    let now = net.time();
    net.endpoint(b).verify(room, a, now).unwrap();
    net.flush(b);
    net.run(200);
    assert_eq!(net.endpoint(a).verification(b), net.endpoint(b).verification(a));
    let now = net.time();
    for (who, whom) in [(a, b), (b, a)] {
        net.endpoint(who).confirm_verification(whom, now).unwrap();
        net.flush(who);
    }
    net.run(200);
    assert_eq!(net.endpoint(a).verification(b), Some(VerificationState::Verified));
}

#[test]
fn admission_of_the_verified_lets_in_who_was_verified_and_nobody_else() {
    let mut net = Network::new();
    let keys = crate::network::invite().room_keys();
    let device = |net: &mut Network, name: &str| {
        net.device_of(Identity::generate().with_name(name), keys.clone())
    };
    let (publisher, friend, other) =
        (device(&mut net, "Pia"), device(&mut net, "Fred"), device(&mut net, "Olga"));
    let camera = Publish::new("camera").admission(Admission::Verified);
    let stream = net.publish(publisher, &keys, camera);
    net.run(100);
    verify(&mut net, keys.room(), publisher, friend);
    for subscriber in [friend, other] {
        net.subscribe(subscriber, stream);
    }
    net.run(1000);
    assert!(reads(&mut net, friend, stream));
    assert!(!reads(&mut net, other, stream));
}

fn reads(net: &mut Network, device: DeviceId, stream: StreamRef) -> bool {
    let wire = net.frame(stream);
    net.opens(device, stream, &wire).is_ok()
}

#[test]
fn a_verification_that_is_taken_back_removes_whom_it_let_in() {
    let mut table = Table::pair();
    table.compare();
    table.run_with(1000, Table::use_it);
    table.verified();
    let (a, b, now) = (table.a(), table.b(), table.time());
    let room = table.invite.room();
    let camera = Publish::new("camera").track(Codec::Vp8).admission(Admission::Verified);
    let stream = table.at(a).publish(room, camera, now).unwrap();
    let offer = table.at(a).offer(stream).unwrap();
    table.at(b).subscribe(&offer, "", now).unwrap();
    table.flush(b);
    table.run(1000);
    assert_eq!(table.at(a).holders(stream).len(), 1);
    let cancel = foreign::cancel(&table, a, b);
    table.deliver(a, &cancel);
    assert_eq!(table.at(a).holders(stream).len(), 0);
    let revoked = Event::HolderLeft { stream, device: b, reason: LeaveReason::Revoked };
    assert!(table.events.contains(&(a, revoked)));
}

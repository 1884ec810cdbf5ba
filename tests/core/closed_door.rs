//! A kick closes the room, also for the publisher's next run.

use olmcast::{
    device::{Identity, SealingKey},
    endpoint::{Admission, Endpoint, Publish, SubscriptionStatus},
    primitives::{DeviceId, RoomId, RoomKeys, StreamRef, Timestamp},
    protocol::WithheldCode,
};

use crate::network::{Network, invite};

/// A publisher that is kept.
fn publisher(net: &mut Network, key: &SealingKey, keys: &RoomKeys) -> DeviceId {
    let mut identity = Identity::generate();
    identity.seal_with(key).unwrap();
    net.device_of(identity, keys.clone())
}

/// It is killed, and runs again with what was kept of it last, this many runs after the first.
fn restart(net: &mut Network, publisher: DeviceId, key: &SealingKey, keys: &RoomKeys, run: u8) {
    let kept = net.nodes[&publisher].kept.clone();
    net.kill(publisher);
    let again = Identity::open(&kept, key).unwrap();
    assert_eq!(net.device_seeded(again, keys.clone(), run), publisher);
}

fn asks(net: &mut Network, device: DeviceId, stream: StreamRef) -> SubscriptionStatus {
    net.subscribe(device, stream);
    net.run(2000);
    net.endpoint(device).subscription(stream).unwrap().status
}

const LIVE: SubscriptionStatus = SubscriptionStatus::Live;
const BLOCKED: SubscriptionStatus = SubscriptionStatus::Closed(Some(WithheldCode::Blocked));
const CLOSED: SubscriptionStatus = SubscriptionStatus::Closed(Some(WithheldCode::Closed));

#[test]
fn whoever_was_kicked_and_its_new_device_get_nothing_from_a_publisher_that_restarted() {
    let (net, keys, key) = (&mut Network::new(), invite().room_keys(), SealingKey::generate());
    let key = key.unwrap();
    let publisher = publisher(net, &key, &keys);
    let publish = || Publish::new("camera").with_invite();
    let stream = net.publish(publisher, &keys, publish());
    let [a, b] = [0, 0].map(|_| net.device(keys.clone()));
    let hoard_of_b = net.endpoint(b).hoard_keys();
    assert_eq!((asks(net, a, stream), asks(net, b, stream)), (LIVE, LIVE));
    assert_eq!(hoard_of_b.sessions(), 1);
    net.kick(stream, b);
    // The moment after, before anything else happened.
    restart(net, publisher, &key, &keys, 1);
    let stream = net.publish(publisher, &keys, publish());
    let new_device = net.device(keys.clone());
    let hoards = [b, new_device].map(|device| net.endpoint(device).hoard_keys());
    let hoarded = hoards.each_ref().map(|hoard| hoard.sessions());
    assert_eq!(asks(net, b, stream), BLOCKED);
    assert_eq!(asks(net, new_device, stream), CLOSED);
    assert_eq!(asks(net, a, stream), LIVE);
    let wire = net.frame(stream);
    assert!(net.opens(a, stream, &wire).is_ok());
    assert_eq!(hoards.each_ref().map(|hoard| hoard.sessions()), hoarded);

    // Another invite makes another room, which is open; to the one who was kicked it is not.
    let again = invite().room_keys();
    for device in [a, b, new_device, publisher] {
        net.endpoint(device).enter(again.clone());
    }
    let stream = net.publish(publisher, &again, publish());
    assert_eq!(asks(net, new_device, stream), LIVE);
    assert_eq!(asks(net, a, stream), LIVE);
    assert_eq!(asks(net, b, stream), BLOCKED);
    let wire = net.frame(stream);
    assert!(net.opens(new_device, stream, &wire).is_ok());
    assert_eq!(hoards[0].sessions(), hoarded[0]);
}

#[test]
fn an_application_opens_its_own_room_again_after_a_restart_as_well() {
    let (net, key) = (&mut Network::new(), SealingKey::generate().unwrap());
    let keys = RoomKeys::without_invite(RoomId::from_name("my own room"));
    let publisher = publisher(net, &key, &keys);
    let publish = || Publish::new("camera").admission(Admission::InsecureOpen);
    let stream = net.publish(publisher, &keys, publish());
    let a = net.device(keys.clone());
    assert_eq!(asks(net, a, stream), LIVE);
    net.kick(stream, a);
    restart(net, publisher, &key, &keys, 1);
    let stream = net.publish(publisher, &keys, publish());
    let late = net.device(keys.clone());
    assert_eq!(asks(net, late, stream), CLOSED);
    assert!(net.endpoint(publisher).reopen(keys.room()));
    assert!(!net.endpoint(publisher).reopen(keys.room()));
    net.flush(publisher);
    restart(net, publisher, &key, &keys, 2);
    let stream = net.publish(publisher, &keys, publish());
    let next = net.device(keys.clone());
    assert_eq!(asks(net, next, stream), LIVE);
    assert_eq!(asks(net, a, stream), BLOCKED);
}

/// A publisher by this policy that has kicked somebody: its door is closed.
fn closed(admission: Admission) -> (Network, StreamRef, RoomKeys, DeviceId) {
    let (mut net, keys) = (Network::new(), invite().room_keys());
    let publisher = net.device(keys.clone());
    let stream = net.publish(publisher, &keys, Publish::new("camera").with_invite());
    let kicked = net.device(keys.clone());
    assert_eq!(asks(&mut net, kicked, stream), LIVE);
    net.kick(stream, kicked);
    let now = net.time();
    net.endpoint(publisher).set_admission(stream.stream, admission, now).unwrap();
    net.run(2000);
    (net, stream, keys, kicked)
}

#[test]
fn a_closed_door_does_not_shut_out_whom_the_user_decided_about() {
    let decisions = ["verified", "pinned", "listed"];
    for (decision, admission) in [
        ("verified", Admission::Verified),
        ("verified", Admission::Invite),
        ("pinned", Admission::Invite),
        ("pinned", Admission::InsecureOpen),
        ("listed", Admission::Ask),
    ] {
        assert!(decisions.contains(&decision));
        let (mut net, stream, keys, kicked) = closed(admission);
        let identity = Identity::generate().with_name("Friend");
        let (friend, key) = (identity.device(), identity.curve25519());
        net.device_of(identity, keys.clone());
        let now = net.time();
        let publisher = net.endpoint(stream.publisher);
        match decision {
            "verified" => publisher.mark_verified(friend, key, "Friend", now),
            "pinned" => publisher.pin(friend, key, "Friend", now),
            _ => {
                let list = Admission::AllowList([friend].into());
                publisher.set_admission(stream.stream, list, now).unwrap();
            }
        }
        net.flush(stream.publisher);
        assert_eq!(asks(&mut net, friend, stream), LIVE, "{decision}");
        let stranger = net.device(keys.clone());
        assert_ne!(asks(&mut net, stranger, stream), LIVE, "{decision}");
        assert_eq!(asks(&mut net, kicked, stream), BLOCKED, "{decision}");
    }
}

#[test]
fn whoever_was_kicked_or_is_pinned_with_another_key_stays_out_until_the_user_decides_again() {
    let (mut net, stream, keys, kicked) = closed(Admission::Invite);
    let [kicked_key, other_key] =
        [net.endpoint(kicked), &mut Endpoint::new(Identity::generate()).unwrap()].map(|endpoint| {
            endpoint.keys_upload(0, Timestamp::default()).device_keys.unwrap().curve25519
        });
    let now = net.time();
    let friend = net.device(keys.clone());
    net.endpoint(stream.publisher).pin(friend, other_key, "", now);
    assert_eq!(asks(&mut net, friend, stream), CLOSED);
    assert!(net.endpoint(stream.publisher).forget(kicked, now));
    net.flush(stream.publisher);
    assert_eq!(asks(&mut net, kicked, stream), CLOSED);
    net.endpoint(stream.publisher).pin(kicked, kicked_key, "", now);
    net.flush(stream.publisher);
    assert_eq!(asks(&mut net, kicked, stream), LIVE);
}

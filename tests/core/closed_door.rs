//! A kick closes the room, also for the publisher's next run.

use olmcast::{
    device::{Identity, Memory},
    endpoint::{Publish, SubscriptionStatus},
    primitives::{DeviceId, RoomId, RoomKeys, StreamRef},
    protocol::WithheldCode,
};

use crate::network::{Network, Room, invite};

/// What the publisher remembers, through the bytes in which it is kept.
fn kept(net: &mut Network, publisher: DeviceId) -> Memory {
    let bytes = postcard::to_allocvec(net.endpoint(publisher).memory()).unwrap();
    postcard::from_bytes(&bytes).unwrap()
}

/// It runs again, with what it remembered, and publishes anew.
fn restart(net: &mut Network, before: StreamRef, keys: &RoomKeys) -> StreamRef {
    let memory = kept(net, before.publisher);
    net.kill(before.publisher);
    let mut identity = Identity::generate();
    *identity.memory_mut() = memory;
    let publisher = net.device_of(identity, keys.clone());
    net.publish(publisher, keys, Publish::new("camera").with_invite())
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
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let keys = room.invite.room_keys();
    room.net.kick(room.stream, b);
    room.net.run(2000);
    let net = &mut room.net;
    let stream = restart(net, room.stream, &keys);
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
    for device in [a, b, new_device, stream.publisher] {
        net.endpoint(device).enter(again.clone());
    }
    let publish = Publish::new("camera").with_invite();
    let stream = net.publish(stream.publisher, &again, publish);
    assert_eq!(asks(net, new_device, stream), LIVE);
    assert_eq!(asks(net, a, stream), LIVE);
    assert_eq!(asks(net, b, stream), BLOCKED);
    let wire = net.frame(stream);
    assert!(net.opens(new_device, stream, &wire).is_ok());
    assert_eq!(hoards[0].sessions(), hoarded[0]);
}

#[test]
fn an_application_opens_its_own_room_again_after_a_restart_as_well() {
    let mut net = Network::new();
    let keys = RoomKeys::without_invite(RoomId::from_name("my own room"));
    let publisher = net.device(keys.clone());
    let publish = |net: &mut Network, publisher| {
        use olmcast::endpoint::Admission::InsecureOpen;
        net.publish(publisher, &keys, Publish::new("camera").admission(InsecureOpen))
    };
    let stream = publish(&mut net, publisher);
    let a = net.device(keys.clone());
    assert_eq!(asks(&mut net, a, stream), LIVE);
    net.kick(stream, a);
    net.run(2000);
    let memory = kept(&mut net, publisher);
    net.kill(publisher);
    let mut identity = Identity::generate();
    *identity.memory_mut() = memory;
    let publisher = net.device_of(identity, keys.clone());
    let stream = publish(&mut net, publisher);
    let late = net.device(keys.clone());
    assert_eq!(asks(&mut net, late, stream), CLOSED);
    assert!(net.endpoint(publisher).reopen(keys.room()));
    assert!(!net.endpoint(publisher).reopen(keys.room()));
    let next = net.device(keys.clone());
    assert_eq!(asks(&mut net, next, stream), LIVE);
    assert_eq!(asks(&mut net, a, stream), BLOCKED);
}

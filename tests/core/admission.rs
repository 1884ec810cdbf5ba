use std::collections::BTreeSet;

use olmcast::{
    endpoint::{Admission, EndpointError, Event, MessageError, Publish, Refusal},
    primitives::{RoomId, RoomKeys, StreamRef, Timestamp},
    protocol::WithheldCode,
};

use crate::network::{Fate, Network, Room, invite};

fn refusals(net: &Network, stream: StreamRef) -> Vec<Refusal> {
    net.events(stream.publisher)
        .filter_map(|event| match event {
            Event::Refused { reason, .. } => Some(*reason),
            _ => None,
        })
        .collect()
}

#[test]
fn a_device_cannot_subscribe_to_its_own_stream() {
    // Its keys would then be for sending and for receiving at once.
    let mut room = Room::with(0);
    let publisher = room.stream.publisher;
    let endpoint = room.net.endpoint(publisher);
    let offer = endpoint.offer(room.stream.stream).unwrap();
    let refused = endpoint.subscribe(&offer, "", Timestamp::default());
    assert!(matches!(refused, Err(EndpointError::OwnStream)));
}

#[test]
fn a_device_without_the_invite_gets_nothing_and_the_publisher_can_read_why() {
    let mut room = Room::with(1);
    // It knows the room and the offer, from the service perhaps, but not the secret.
    let stranger = room.net.device(RoomKeys::without_invite(room.invite.room()));
    let hoard = room.net.endpoint(stranger).hoard_keys();
    room.net.subscribe(stranger, room.stream);
    room.net.run(20_000);
    assert_eq!(hoard.sessions(), 0);
    assert!(!room.reads(stranger));
    assert_eq!(refusals(&room.net, room.stream), [Refusal::NoInvite]);
    assert!(Refusal::NoInvite.to_string().contains("invite"));
    let code = WithheldCode::NotAdmitted;
    let told = Event::Withheld { stream: room.stream, code, retrying: false };
    assert!(room.net.events(stranger).any(|event| *event == told));
}

#[test]
fn a_device_with_another_rooms_invite_gets_nothing_and_the_publisher_can_read_why() {
    let mut room = Room::with(1);
    let other = invite();
    // An attacker sends a Subscribe for our stream that is perfectly valid in its own room: it
    // offers a stream of the same id there to itself and has the answer carried to us.
    let stranger = room.net.device(other.room_keys());
    let hoard = room.net.endpoint(stranger).hoard_keys();
    let subscribe = forge::subscribe(&other, room.stream);
    let publisher = room.stream.publisher;
    room.net.deliver(publisher, &subscribe);
    room.net.run(20_000);
    assert_eq!(hoard.sessions(), 0);
    assert_eq!(refusals(&room.net, room.stream), [Refusal::WrongRoom]);
    assert!(room.net.nodes[&publisher].errors.contains(&MessageError::UnknownRoom(other.room())));
    assert!(
        room.net.log.iter().all(|(_, to, _)| *to != Some(stranger)),
        "nothing was sent to it at all"
    );
}

/// What an attacker with its own tools can make.
mod forge {
    use olmcast::{
        device::Identity,
        primitives::{Invite, SigningForm, StreamRef},
        protocol::{Carrier, Envelope, Kind, PublicKey, SignedMessage, Subscribe},
    };

    pub(super) fn subscribe(invite: &Invite, stream: StreamRef) -> Vec<u8> {
        let identity = Identity::generate();
        let message = Subscribe {
            name: String::new(),
            stream: stream.stream,
            curve25519: identity.curve25519(),
            one_time_key: PublicKey(vodozemac::Curve25519PublicKey::from_bytes([9; 32])),
            sequence: 1,
            claim: String::new(),
        };
        let payload = serde_json::to_vec(&message).unwrap();
        let (keys, sender) = (invite.room_keys(), identity.device());
        let room = keys.room();
        let form = SigningForm {
            kind: Kind::Subscribe.name(),
            room: Some(&room),
            recipient: Some(&stream.publisher),
            payload: &payload,
        };
        let signature = identity.signer().sign(form);
        let proof = keys.admission_proof(&sender, &form.to_bytes());
        let recipient = Some(stream.publisher);
        let message =
            SignedMessage { kind: Kind::Subscribe, room, recipient, payload, signature, proof };
        Envelope { sender, carrier: Carrier::Signed(message) }.encode().unwrap()
    }
}

#[test]
fn an_application_can_admit_and_refuse_each_device() {
    let mut net = Network::new();
    let keys = RoomKeys::without_invite(RoomId::from_name("my own room"));
    let publisher = net.device(keys.clone());
    let stream = net.publish(publisher, &keys, Publish::new("camera"));
    let (a, b) = (net.device(keys.clone()), net.device(keys));
    net.subscribe(a, stream);
    net.subscribe(b, stream);
    net.run(2000);
    let asked: Vec<_> = net
        .events(publisher)
        .filter_map(|event| match event {
            Event::JoinRequest { device, claim, .. } => Some((*device, claim.clone())),
            _ => None,
        })
        .collect();
    assert_eq!(asked, [(a, "somebody".to_owned()), (b, "somebody".to_owned())]);
    let wire = net.frame(stream);
    assert!(net.opens(a, stream, &wire).is_err());

    let now = net.time();
    net.admit(stream, a).unwrap();
    net.endpoint(publisher).refuse(stream.stream, b, now).unwrap();
    let again = net.admit(stream, b);
    assert_eq!(again, Err(EndpointError::NotAsked));
    net.flush(publisher);
    net.run(2000);
    let wire = net.frame(stream);
    assert!(net.opens(a, stream, &wire).is_ok());
    assert!(net.opens(b, stream, &wire).is_err());
    assert_eq!(refusals(&net, stream), [Refusal::NotAdmitted]);
}

#[test]
fn an_application_is_not_asked_about_strangers_to_a_room_with_an_invite() {
    let mut net = Network::new();
    let invite = invite();
    let publisher = net.device(invite.room_keys());
    let stream = net.publish(publisher, &invite.room_keys(), Publish::new("camera"));
    let stranger = net.device(RoomKeys::without_invite(invite.room()));
    let member = net.device(invite.room_keys());
    net.subscribe(stranger, stream);
    net.subscribe(member, stream);
    net.run(2000);
    let asked = net.events(publisher).filter_map(|event| match event {
        Event::JoinRequest { device, .. } => Some(*device),
        _ => None,
    });
    assert_eq!(asked.collect::<Vec<_>>(), [member]);
    assert_eq!(refusals(&net, stream), [Refusal::NoInvite]);
}

#[test]
fn a_kick_of_a_device_that_was_never_there_closes_no_door() {
    let mut room = Room::with(1);
    let (stream, stranger) = (room.stream, invite());
    let stranger = room.net.device(stranger.room_keys());
    for device in [stranger, stream.publisher] {
        let now = room.net.time();
        let kicked = room.net.endpoint(stream.publisher).kick(stream.stream, device, now);
        assert_eq!(kicked, Err(EndpointError::NotAHolder));
    }
    let late = room.join();
    room.net.run(1000);
    assert!(room.reads(late));
}

#[test]
fn a_kick_of_a_device_that_only_asked_closes_the_door_as_well() {
    let mut net = Network::new();
    let invite = invite();
    let publisher = net.device(invite.room_keys());
    let stream = net.publish(publisher, &invite.room_keys(), Publish::new("camera"));
    let (asking, late) = (net.device(invite.room_keys()), net.device(invite.room_keys()));
    net.subscribe(asking, stream);
    net.run(200);
    net.kick(stream, asking);
    net.subscribe(late, stream);
    net.run(2000);
    assert_eq!(refusals(&net, stream), [Refusal::Closed]);
}

#[test]
fn an_allow_list_admits_those_on_it_only() {
    let mut net = Network::new();
    let keys = RoomKeys::without_invite(RoomId::from_name("my own room"));
    let (publisher, a, b) =
        (net.device(keys.clone()), net.device(keys.clone()), net.device(keys.clone()));
    let list = Admission::AllowList(BTreeSet::from([a]));
    let stream = net.publish(publisher, &keys, Publish::new("camera").admission(list));
    net.subscribe(a, stream);
    net.subscribe(b, stream);
    net.run(2000);
    let wire = net.frame(stream);
    assert!(net.opens(a, stream, &wire).is_ok());
    assert!(net.opens(b, stream, &wire).is_err());
    assert_eq!(refusals(&net, stream), [Refusal::NotAdmitted]);
}

#[test]
fn after_a_kick_the_kicked_one_and_new_devices_stay_out_and_those_of_before_may_return() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let stream = room.stream;
    room.net.kick(stream, b);
    room.net.run(500);

    let offer = room.net.offer(b, stream).bytes;
    let now = room.net.time();
    room.net.endpoint(b).subscribe(&offer, "it is me", now).unwrap();
    room.net.flush(b);
    let new_device = room.join();
    room.net.unsubscribe(a, stream);
    room.net.run(500);
    let now = room.net.time();
    room.net.endpoint(a).subscribe(&offer, "back", now).unwrap();
    room.net.flush(a);
    room.net.run(8000);

    assert!(room.reads(a));
    assert!(!room.reads(b) && !room.reads(new_device));
    assert_eq!(refusals(&room.net, stream), [Refusal::Blocked, Refusal::Closed]);
    assert_eq!(room.hoards[2].sessions(), 0);

    // The door stays closed for the next stream as well.
    let keys = room.invite.room_keys();
    let next = room.net.publish(stream.publisher, &keys, Publish::new("screen").with_invite());
    room.net.subscribe(new_device, next);
    room.net.run(3000);
    assert_eq!(room.hoards[2].sessions(), 0);
}

#[test]
fn a_holder_that_begins_anew_needs_no_second_answer_of_the_application() {
    let mut net = Network::new();
    let keys = RoomKeys::without_invite(RoomId::from_name("my own room"));
    let publisher = net.device(keys.clone());
    let stream = net.publish(publisher, &keys, Publish::new("camera"));
    let (a, b) = (net.device(keys.clone()), net.device(keys));
    for device in [a, b] {
        net.subscribe(device, stream);
        net.run(500);
        net.admit(stream, device).unwrap();
        net.flush(publisher);
    }
    // It hears nothing for so long that it begins anew; its renewals arrive, so it stays a holder.
    net.run(1000);
    net.rule = Box::new(move |_, to, _| if to == a { Fate::Lose } else { Fate::Deliver });
    net.run(61_000);
    net.rule = Box::new(|_, _, _| Fate::Deliver);
    assert_eq!(net.endpoint(publisher).holders(stream.stream).len(), 2);
    net.unsubscribe(b, stream);
    net.run(10_000);
    let wire = net.frame(stream);
    assert!(net.opens(a, stream, &wire).is_ok());
}

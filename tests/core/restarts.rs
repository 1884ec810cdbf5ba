use olmcast::{
    device::Identity,
    endpoint::{Ended, Event, Publish},
    protocol::WithheldCode,
};

use crate::network::Room;

#[test]
fn a_publisher_that_ends_its_stream_says_so_and_encrypts_no_more() {
    let mut room = Room::with(1);
    let (a, stream) = (room.subscribers[0], room.stream);
    let mut encryptor = room.net.encryptor(stream);
    let wire = room.net.frame(stream);
    let now = room.net.time();
    room.net.endpoint(stream.publisher).end(stream.stream, now).unwrap();
    room.net.flush(stream.publisher);
    room.net.run(100);
    assert!(encryptor.encrypt_into(&[1; 40], &mut Vec::new()).is_err());
    let ended = Event::Ended { stream, reason: Ended::ByPublisher };
    assert!(room.net.events(a).any(|event| *event == ended));
    assert!(room.net.endpoint(a).decryptor(stream, crate::network::VIDEO).is_none());
    drop(wire);
}

#[test]
fn a_restarted_stream_replaces_the_one_of_before_once_its_key_is_here() {
    let mut room = Room::with(1);
    let (a, old) = (room.subscribers[0], room.stream);
    let keys = room.invite.room_keys();
    room.net.run(1000);
    let new = room.net.publish(old.publisher, &keys, Publish::new("camera").with_invite());
    assert_ne!(old.stream, new.stream);
    room.net.run(100);
    let ended = Event::Ended { stream: old, reason: Ended::Replaced };
    assert!(!room.net.events(a).any(|event| *event == ended), "an offer alone replaces nothing");
    room.net.subscribe(a, new);
    room.net.run(1000);
    assert!(room.net.events(a).any(|event| *event == ended));
    let wire = room.net.frame(new);
    assert!(room.net.opens(a, new, &wire).is_ok());
}

#[test]
fn a_publisher_that_restarted_answers_that_its_old_stream_has_ended() {
    let mut room = Room::with(0);
    let stream = room.stream;
    let late = room.net.device(room.invite.room_keys());
    room.net.run(100);
    let now = room.net.time();
    room.net.endpoint(stream.publisher).end(stream.stream, now).unwrap();
    // The end itself is lost: nothing of the outputs is flushed but what follows.
    while room.net.endpoint(stream.publisher).poll_output().is_some() {}
    room.net.subscribe(late, stream);
    room.net.run(1000);
    let told = Event::Withheld { stream, code: WithheldCode::Ended, retrying: false };
    assert!(room.net.events(late).any(|event| *event == told));
}

#[test]
fn a_subscriber_that_restarts_as_a_new_device_joins_like_anybody() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    room.net.kill(a);
    let again = room.net.device_of(Identity::generate(), room.invite.room_keys());
    room.net.subscribe(again, room.stream);
    room.net.run(1000);
    assert!(room.reads(again));
}

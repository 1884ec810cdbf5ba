//! The signed messages, each wrong in one place: refused with an error that says why, and nothing
//! changes. Each test ends with the right message, which is taken.

use olmcast::{
    device::{Identity, Signer},
    endpoint::{Event, MessageError},
    primitives::{DeviceId, StreamId},
    protocol::{
        Answers, Kind, StreamEnd, StreamKeyWithheld, StreamOffer, Subscribe, Unsubscribe,
        WithheldCode,
    },
};
use serde::Serialize;

use crate::{
    network::{Room, invite},
    statement::Case,
    tools::{Signs, encode, signed, signed_content, state},
};

fn payload(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap()
}

fn publisher_of(room: &mut Room) -> Signer {
    let publisher = room.stream.publisher;
    room.net.endpoint(publisher).signer()
}

#[test]
fn an_offer_that_is_wrong_in_one_place_is_refused_and_changes_nothing() {
    Case::new(Kind::StreamOffer, |room| {
        let a = room.subscribers[0];
        let offered = room.net.offer(a, room.stream).content;
        let stream = StreamId::from_bytes([9; 16]);
        let offer = StreamOffer { stream, seq: 7, ..offered };
        (publisher_of(room), a, false, payload(&offer))
    })
    .run(Some(MessageError::Old));
}

#[test]
fn an_end_that_is_wrong_in_one_place_is_refused_and_changes_nothing() {
    Case::new(Kind::StreamEnd, |room| {
        let end = StreamEnd { stream: room.stream.stream };
        (publisher_of(room), room.subscribers[0], false, payload(&end))
    })
    .run(Some(MessageError::UnknownStream));
}

#[test]
fn a_subscribe_that_is_wrong_in_one_place_is_refused_and_changes_nothing() {
    let case = Case::new(Kind::Subscribe, |room| {
        let member = Identity::generate();
        let subscribe = Subscribe {
            name: String::new(),
            stream: room.stream.stream,
            curve25519: member.curve25519(),
            one_time_key: Identity::generate().curve25519(),
            sequence: 5,
            claim: "somebody new".to_owned(),
        };
        (member.signer(), room.stream.publisher, true, payload(&subscribe))
    });
    // The same question gets the same answer: that is no error.
    let mut case = case.run(None);
    let device = case.signer.id();
    let answers = |case: &Case| {
        let to = case.room.net.log.iter().filter(|(_, to, _)| *to == Some(device));
        to.map(|(_, _, bytes)| bytes.clone()).collect::<Vec<_>>()
    };
    case.net().run(155);
    let first = answers(&case);
    assert_eq!(first.len(), 1);
    let right = encode(&case.right());
    // The key that it does not confirm is sent again meanwhile, in other bytes.
    while answers(&case).last() == first.last() {
        case.net().run(100);
    }
    case.net().run(300);
    let asked_again = loop {
        assert_eq!(case.deliver(&right), None);
        match answers(&case) {
            answers if answers.last() == first.last() => break answers,
            _ => case.net().run(50),
        }
    };
    assert!(asked_again.len() <= 6, "{}", asked_again.len());
    // An older one with another key is old news.
    let mut older: Subscribe = serde_json::from_slice(&case.payload).unwrap();
    older.one_time_key = Identity::generate().curve25519();
    for sequence in [0, 4, 5] {
        older.sequence = sequence;
        let bytes = signed(&case.signer, &case.keys, case.recipient, case.kind, &payload(&older));
        assert_eq!(case.refused("older", &encode(&bytes)), MessageError::Old);
    }
}

#[test]
fn an_unsubscribe_that_is_wrong_in_one_place_is_refused_and_changes_nothing() {
    let case = Case::new(Kind::Unsubscribe, |room| {
        let (b, stream) = (room.subscribers[1], room.stream.stream);
        let sequence = room.net.now + 1;
        let signer = room.net.endpoint(b).signer();
        (signer, room.stream.publisher, true, payload(&Unsubscribe { stream, sequence }))
    });
    let mut case = case.run(None);
    // Nor does it remove anybody once they are back, or anybody but who signed it.
    let stream = case.room.stream;
    case.net().run(8000);
    let right = encode(&case.right());
    let before = state(case.net(), stream);
    assert_eq!(case.deliver(&right), None);
    assert_eq!(state(case.net(), stream), before);
    let by_another = signed(&case.other, &case.keys, case.recipient, case.kind, &case.payload);
    assert_eq!(case.deliver(&encode(&by_another)), None);
    assert_eq!(state(case.net(), stream), before);
}

#[test]
fn a_refusal_that_is_wrong_in_one_place_is_refused_and_changes_nothing() {
    let mut case = Case::new(Kind::StreamKeyWithheld, |room| {
        let a = room.subscribers[0];
        let by_a = |(from, _, bytes): &(DeviceId, Option<DeviceId>, Vec<u8>)| {
            signed_content::<Subscribe>(bytes, Kind::Subscribe).filter(|_| *from == a)
        };
        let subscribe = room.net.log.iter().find_map(by_a).unwrap();
        let withheld = StreamKeyWithheld {
            stream: room.stream.stream,
            answers: Answers::OneTimeKey(subscribe.one_time_key),
            code: WithheldCode::Removed,
            retry_after_ms: None,
        };
        (publisher_of(room), a, true, payload(&withheld))
    });
    // What it answers must be what was asked.
    let stranger = Answers::OneTimeKey(Identity::generate().curve25519());
    let before = state(&mut case.room.net, case.room.stream);
    for answers in [stranger, Answers::Request(0), Answers::Request(u64::MAX)] {
        let mut withheld: StreamKeyWithheld = serde_json::from_slice(&case.payload).unwrap();
        withheld.answers = answers;
        let bytes =
            signed(&case.signer, &case.keys, case.recipient, case.kind, &payload(&withheld));
        assert_eq!(case.deliver(&encode(&bytes)), None);
        assert_eq!(state(&mut case.room.net, case.room.stream), before);
    }
    // Another member has no stream of that name.
    let by_another = signed(&case.other, &case.keys, case.recipient, case.kind, &case.payload);
    let error = case.refused("by another", &encode(&by_another));
    assert_eq!(error, MessageError::UnknownStream);
    let case = case.run(None);
    let a = case.room.subscribers[0];
    let told = |event: &&Event| matches!(event, Event::Withheld { .. });
    assert_eq!(case.room.net.events(a).filter(told).count(), 1);
}

#[test]
fn an_end_in_another_room_of_both_ends_nothing() {
    let mut room = Room::with(1);
    let (a, publisher, stream) = (room.subscribers[0], room.stream.publisher, room.stream);
    let other = invite().room_keys();
    for device in [a, publisher] {
        room.net.endpoint(device).enter(other.clone());
    }
    let b = room.join();
    room.net.run(500);
    let signer_b = room.net.endpoint(b).signer();
    let signer = publisher_of(&mut room);
    let withheld = StreamKeyWithheld {
        stream: stream.stream,
        answers: Answers::Request(0),
        code: WithheldCode::Removed,
        retry_after_ms: None,
    };
    let unsubscribe = Unsubscribe { stream: stream.stream, sequence: u64::MAX };
    let (ended, left, refused) =
        (payload(&StreamEnd { stream: stream.stream }), payload(&unsubscribe), payload(&withheld));
    for (to, bytes) in [
        (a, encode(&signed(&signer, &other, None, Kind::StreamEnd, &ended))),
        (publisher, encode(&signed(&signer_b, &other, Some(publisher), Kind::Unsubscribe, &left))),
        (a, encode(&signed(&signer, &other, Some(a), Kind::StreamKeyWithheld, &refused))),
    ] {
        let before = state(&mut room.net, stream);
        let errors = room.net.nodes[&to].errors.len();
        room.net.deliver(to, &bytes);
        let error = MessageError::UnknownRoom(other.room());
        assert_eq!(room.net.nodes[&to].errors[errors..], [error]);
        assert_eq!(state(&mut room.net, stream), before);
    }
    assert!(room.reads(a) && room.reads(b));
}

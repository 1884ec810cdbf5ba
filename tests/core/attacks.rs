//! What a service in the middle, a stranger or another subscriber may try with messages.

use olmcast::{
    endpoint::{Event, Publish},
    primitives::Codec,
    protocol::{Carrier, Envelope, OlmCarrier, SignedMessage},
};

use crate::network::{Room, VIDEO};

/// Every message that was sent, altered in one place: none is taken, and nothing changes.
#[test]
fn an_altered_message_of_any_kind_is_refused_and_changes_nothing() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let now = room.net.time();
    room.net.endpoint(room.stream.publisher).handle_timeout(now);
    room.net.run(25_000); // renewals too
    let publisher = room.stream.publisher;
    let position = room.net.endpoint(publisher).position(room.stream.stream);
    let holders = room.net.endpoint(publisher).holders(room.stream.stream);
    let mut kinds = std::collections::BTreeSet::new();
    for (_, to, bytes) in room.net.log.clone() {
        let envelope = Envelope::decode(&bytes).unwrap();
        kinds.insert(match &envelope.carrier {
            Carrier::Signed(signed) => signed.kind.name(),
            Carrier::Olm(_) => "Olm",
            Carrier::Megolm { .. } => "Megolm",
        });
        let to = to.unwrap_or(a);
        for at in (0..bytes.len()).step_by(7) {
            let mut altered = bytes.clone();
            altered[at] ^= 0x55;
            let before = room.net.nodes[&to].errors.len();
            room.net.deliver(to, &altered);
            assert_eq!(room.net.nodes[&to].errors.len(), before + 1, "byte {at} of {bytes:02x?}");
        }
    }
    assert!(kinds.len() >= 4, "{kinds:?}");
    assert_eq!(room.net.endpoint(publisher).position(room.stream.stream), position);
    assert_eq!(room.net.endpoint(publisher).holders(room.stream.stream), holders);
    assert!(room.reads(a) && room.reads(b));
}

#[test]
fn every_message_replayed_to_everybody_changes_nothing() {
    let mut room = Room::with(3);
    let leaver = room.subscribers[2];
    room.net.unsubscribe(leaver, room.stream);
    room.net.run(25_000);
    let publisher = room.stream.publisher;
    let position = room.net.endpoint(publisher).position(room.stream.stream);
    let holders = room.net.endpoint(publisher).holders(room.stream.stream);
    for (_, _, bytes) in room.net.log.clone() {
        for device in room.net.nodes.keys().copied().collect::<Vec<_>>() {
            room.net.deliver(device, &bytes);
        }
    }
    room.net.run(3000);
    assert_eq!(room.net.endpoint(publisher).position(room.stream.stream), position);
    assert_eq!(room.net.endpoint(publisher).holders(room.stream.stream), holders);
    let wire = room.net.frame(room.stream);
    assert!(room.hoards[2].try_open(Codec::Vp8, VIDEO, &wire).is_none());
    let [a, b, _] = room.subscribers[..] else { panic!() };
    assert!(room.reads(a) && room.reads(b));
}

#[test]
fn a_message_put_under_another_sender_room_or_stream_is_refused() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let other = crate::network::invite();
    for (from, to, bytes) in room.net.log.clone() {
        let Some(to) = to else { continue };
        let envelope = Envelope::decode(&bytes).unwrap();
        let mut forged =
            vec![Envelope { sender: if from == a { b } else { a }, ..envelope.clone() }];
        match envelope.carrier.clone() {
            Carrier::Olm(carrier) => {
                let stream = olmcast::primitives::StreamId::from_bytes([1; 16]);
                let elsewhere = OlmCarrier { stream, ..carrier.clone() };
                let from_publisher = !carrier.from_publisher;
                let turned = OlmCarrier { from_publisher, ..carrier };
                for carrier in [elsewhere, turned] {
                    forged.push(Envelope { carrier: Carrier::Olm(carrier), ..envelope });
                }
            }
            Carrier::Signed(signed) => {
                let signed = SignedMessage { room: other.room(), ..signed };
                forged.push(Envelope { carrier: Carrier::Signed(signed), ..envelope });
            }
            Carrier::Megolm { .. } => {}
        }
        for forged in forged {
            let before = room.net.nodes[&to].errors.len();
            room.net.deliver(to, &forged.encode().unwrap());
            assert_eq!(room.net.nodes[&to].errors.len(), before + 1);
        }
    }
    assert!(room.reads(a) && room.reads(b));
}

#[test]
fn a_removal_replayed_after_a_return_says_nothing() {
    let mut room = Room::with(1);
    let (a, publisher, stream) = (room.subscribers[0], room.stream.publisher, room.stream);
    // Removed for being gone, and told so; then it comes back.
    let now = room.net.time();
    room.net.endpoint(publisher).handle_peer_gone(a, now);
    room.net.run(5100);
    let removal = room.net.log.last().map(|(_, _, bytes)| bytes.clone()).unwrap();
    room.net.run(10_000);
    assert!(room.reads(a), "it asked again by itself");
    let withheld =
        |room: &Room| room.net.events(a).filter(|e| matches!(e, Event::Withheld { .. })).count();
    let before = withheld(&room);
    assert_eq!(before, 1);
    for (from, to, bytes) in room.net.log.clone() {
        if (from, to) == (publisher, Some(a)) || bytes == removal {
            room.net.deliver(a, &bytes);
        }
    }
    room.net.run(3000);
    assert_eq!(withheld(&room), before);
    assert!(room.reads(a));
    let _ = stream;
}

#[test]
fn an_offer_or_an_end_by_somebody_without_the_invite_is_not_shown() {
    let mut room = Room::with(1);
    let a = room.subscribers[0];
    let keys = olmcast::primitives::RoomKeys::without_invite(room.invite.room());
    let stranger = room.net.device(keys.clone());
    let admission = olmcast::endpoint::Admission::InsecureOpen;
    let forged = room.net.publish(stranger, &keys, Publish::new("camera").admission(admission));
    room.net.run(100);
    let shown = |room: &Room| {
        room.net
            .events(a)
            .filter(|e| matches!(e, Event::Offered(offer) if offer.stream == forged))
            .count()
    };
    assert_eq!(shown(&room), 0);
}

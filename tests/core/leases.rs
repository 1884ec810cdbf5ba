//! A lease ends when its holder is gone, whatever those who carry the messages have kept.

use olmcast::{
    endpoint::{Event, LeaveReason},
    primitives::DeviceId,
    protocol::{OlmMessage, Renew, Renewed},
};

use crate::{network::Room, tools::encode, visitor::Visitor};

/// When a holder was removed because its lease was over, from a moment on.
fn expired(room: &Room, device: DeviceId) -> Option<u64> {
    let left = |event: &Event| {
        matches!(event, Event::HolderLeft { device: left, reason, .. }
            if *left == device && *reason == LeaveReason::LeaseExpired)
    };
    let events = &room.net.nodes[&room.stream.publisher].events;
    events.iter().find(|(_, event)| left(event)).map(|(at, _)| *at)
}

fn renew(visitor: &mut Visitor, nonce: u64, ticket: u64) -> Vec<u8> {
    let plaintext = visitor.plaintext(OlmMessage::Renew(Renew { nonce, ticket }));
    encode(&visitor.seal(&plaintext))
}

fn ticket(said: &[OlmMessage]) -> u64 {
    match said {
        [.., OlmMessage::Renewed(Renewed { ticket, .. })] => *ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn renewals_with_an_old_ticket_do_not_prolong_a_lease() {
    let mut room = Room::with(0);
    let mut visitor = Visitor::join(&mut room);
    let (publisher, device) = (room.stream.publisher, visitor.id());
    // It renews as it should; then it makes a hundred with the ticket that is used up, and goes.
    let bytes = renew(&mut visitor, 1, 0);
    room.net.deliver(publisher, &bytes);
    let start = room.net.now;
    let next = ticket(&visitor.hear(&room));
    let old: Vec<_> = (2..102).map(|nonce| renew(&mut visitor, nonce, 0)).collect();
    for bytes in &old {
        room.net.run(1000);
        room.net.deliver(publisher, bytes);
    }
    assert_eq!(expired(&room, device).map(|at| at - start), Some(60_000));
    assert_ne!(next, 0);
}

#[test]
fn a_service_that_saves_up_renewals_gains_one_lease_at_most() {
    let mut room = Room::with(0);
    let mut visitor = Visitor::join(&mut room);
    let (publisher, device) = (room.stream.publisher, visitor.id());
    let bytes = renew(&mut visitor, 1, 0);
    room.net.deliver(publisher, &bytes);
    let ticket = ticket(&visitor.hear(&room));
    let start = room.net.now;
    // No answer reaches it any more, so all its later ones are with this ticket; then it is gone,
    // and the service delivers one whenever the lease is about to end.
    let saved: Vec<_> = (2..40).map(|nonce| renew(&mut visitor, nonce, ticket)).collect();
    for bytes in &saved {
        room.net.run(19_500);
        room.net.deliver(publisher, bytes);
    }
    assert_eq!(expired(&room, device).map(|at| at - start), Some(19_500 + 60_000));
}

#[test]
fn the_ticket_of_one_holder_is_worth_nothing_to_another() {
    let mut room = Room::with(0);
    let (mut a, mut b) = (Visitor::join(&mut room), Visitor::join(&mut room));
    let publisher = room.stream.publisher;
    let bytes = renew(&mut a, 1, 0);
    room.net.deliver(publisher, &bytes);
    let of_a = ticket(&a.hear(&room));
    let bytes = renew(&mut b, 1, 0);
    room.net.deliver(publisher, &bytes);
    let start = room.net.now;
    room.net.run(30_000);
    let bytes = renew(&mut b, 2, of_a);
    room.net.deliver(publisher, &bytes);
    room.net.run(60_000);
    assert_eq!(expired(&room, b.id()).map(|at| at - start), Some(60_000));
}

#[test]
fn no_lie_about_presence_prolongs_a_lease() {
    let mut room = Room::with(0);
    let mut visitor = Visitor::join(&mut room);
    let (publisher, device) = (room.stream.publisher, visitor.id());
    let bytes = renew(&mut visitor, 1, 0);
    room.net.deliver(publisher, &bytes);
    let start = room.net.now;
    for second in 0..70 {
        let now = room.net.time();
        let endpoint = room.net.endpoint(publisher);
        // The last lie is that it went away just before its lease is over.
        if second < 58 {
            endpoint.handle_peer_back(device, now);
        } else if second == 58 {
            endpoint.handle_peer_gone(device, now);
        }
        room.net.run(1000);
    }
    assert_eq!(expired(&room, device).map(|at| at - start), Some(60_000));
}

//! The states themselves, without a network.

use super::*;
use crate::{
    device::Identity,
    primitives::{RoomId, VerificationId},
    protocol::{CancelReason, VerificationAccept, VerificationStart},
};

fn party(identity: &Identity) -> Party {
    Party {
        device: identity.device(),
        curve25519: identity.curve25519(),
        name: identity.name().to_owned(),
    }
}

/// What one side takes the two for, and the room.
#[derive(Clone)]
struct View {
    room: RoomId,
    initiator: Party,
    accepter: Party,
}

fn view() -> View {
    let identity = |name| Identity::generate().with_name(name);
    View {
        room: RoomId::from_name("room"),
        initiator: party(&identity("Alice")),
        accepter: party(&identity("Bob")),
    }
}

/// Both sides as far as the short string. The accepter takes everything for what it is; the
/// initiator, if the views differ, for something else, which nothing on the way has changed.
fn compare(theirs: &View, ours: &View) -> Result<(Comparing, Comparing), CancelReason> {
    let id = VerificationId::from_bytes([1; 16]);
    let us = theirs.initiator.clone();
    let mut started = Started::new(theirs.room, id, us, theirs.accepter.device, 1);
    let start = started.payload().to_vec();
    let (said, payload) = (read_start(&start), start.clone());
    let accepted = Requested::new(theirs.room, theirs.initiator.device, said, &payload)
        .accept(theirs.accepter.clone(), 1);
    let payload = accepted.payload().to_vec();
    let accept = VerificationAccept {
        curve25519: ours.accepter.curve25519,
        name: ours.accepter.name.clone(),
        ..read_accept(&payload)
    };
    started.see(ours.room, ours.initiator.clone(), ours.accepter.device);
    let sent = started.accepted(accept, &payload);
    let (comparing, key) = accepted.key(&sent.our_key())?;
    Ok((sent.key(&key)?, comparing))
}

fn read_start(payload: &[u8]) -> VerificationStart {
    serde_json::from_slice(payload).unwrap()
}

fn read_accept(payload: &[u8]) -> VerificationAccept {
    serde_json::from_slice(payload).unwrap()
}

#[test]
fn both_sides_come_to_each_other() {
    let view = view();
    let (a, b) = compare(&view, &view).unwrap();
    assert_eq!(a.short(), b.short());
    let (a, mac_a) = a.confirm().unwrap();
    let (b, mac_b) = b.check(&mac_a).unwrap().confirm().unwrap();
    let a = a.check(&mac_b).unwrap();
    let ((a, done_a), (b, done_b)) = (a.agree().unwrap().unwrap(), b.agree().unwrap().unwrap());
    let (of_b, of_a) = (a.done(&done_b).unwrap(), b.done(&done_a).unwrap());
    let is = |verified: &VerifiedPeer, party: &Party| {
        (verified.device, verified.curve25519, &verified.name)
            == (party.device, party.curve25519, &party.name)
    };
    assert!(is(&of_b, &view.accepter) && is(&of_a, &view.initiator));
}

/// The MACs and the string, each by itself: here nothing else would notice, since commitment, start
/// and accept are those of the other side.
#[test]
fn sides_that_take_anything_for_something_else_see_other_strings_and_refuse_the_proof() {
    type Alteration = (&'static str, fn(&mut View, &Identity));
    let other = Identity::generate().with_name("Mallory");
    let alterations: [Alteration; 7] = [
        ("room", |view, _| view.room = RoomId::from_name("other")),
        ("initiator's Ed25519", |view, other| view.initiator.device = other.device()),
        ("initiator's Curve25519", |view, other| view.initiator.curve25519 = other.curve25519()),
        ("initiator's name", |view, other| view.initiator.name = other.name().to_owned()),
        ("accepter's Ed25519", |view, other| view.accepter.device = other.device()),
        ("accepter's Curve25519", |view, other| view.accepter.curve25519 = other.curve25519()),
        ("accepter's name", |view, other| view.accepter.name = other.name().to_owned()),
    ];
    for (what, alter) in alterations {
        let theirs = view();
        let mut ours = theirs.clone();
        alter(&mut ours, &other);
        let (a, b) = compare(&theirs, &ours).unwrap();
        assert_ne!(a.short(), b.short(), "{what}");
        let ((a, mac_a), (b, mac_b)) = (a.confirm().unwrap(), b.confirm().unwrap());
        assert_eq!(a.check(&mac_b).err(), Some(CancelReason::KeysDiffer), "{what}");
        assert_eq!(b.check(&mac_a).err(), Some(CancelReason::KeysDiffer), "{what}");
    }
}

#[test]
fn the_table_has_64_emojis_all_different() {
    let symbols: std::collections::BTreeSet<_> = emoji::TABLE.iter().map(|e| e.symbol).collect();
    let names: std::collections::BTreeSet<_> = emoji::TABLE.iter().map(|e| e.name).collect();
    assert_eq!((symbols.len(), names.len()), (64, 64));
    for (index, name) in [(0, "Dog"), (16, "Tree"), (32, "Hat"), (48, "Hammer"), (63, "Pin")] {
        assert_eq!(emoji::TABLE[index].name, name);
    }
}

#[test]
fn debug_shows_nothing_of_it() {
    let view = view();
    let id = VerificationId::from_bytes([1; 16]);
    let started = Started::new(view.room, id, view.initiator.clone(), view.accepter.device, 1);
    let start = started.payload().to_vec();
    let requested = || Requested::new(view.room, view.initiator.device, read_start(&start), &start);
    assert_eq!(format!("{started:?} {:?}", requested()), "Started { .. } Requested { .. }");
    let accepted = requested().accept(view.accepter.clone(), 1);
    let accept = accepted.payload().to_vec();
    let sent = started.accepted(read_accept(&accept), &accept);
    assert_eq!(format!("{accepted:?} {sent:?}"), "Accepted { .. } KeySent { .. }");
    let (b, key) = accepted.key(&sent.our_key()).unwrap();
    let a = sent.key(&key).unwrap();
    let short = a.short();
    assert_eq!(format!("{a:?} {short:?}"), "Comparing { .. } ShortAuthString { .. }");
    assert_eq!(format!("{:?}", short.emojis()[0]), "Emoji { .. }");
    let state = VerificationState::Comparing(short);
    assert_eq!(format!("{state:?}"), "Comparing(ShortAuthString { .. })");
    assert_eq!(state.to_string(), "compare what both sides show");
    let ((a, mac_a), (b, mac_b)) = (a.confirm().unwrap(), b.confirm().unwrap());
    assert_eq!(format!("{a:?}"), "Confirmed { .. }");
    let (a, _) = a.check(&mac_b).unwrap().agree().unwrap().unwrap();
    let (_, done) = b.check(&mac_a).unwrap().agree().unwrap().unwrap();
    assert_eq!(format!("{a:?}"), "Agreed { .. }");
    let debug = format!("{:?}", a.done(&done).unwrap());
    assert_eq!(debug, "VerifiedPeer { .. }");
}

//! The number that people compare: the same for all who hold the same, and for nobody else.

use std::collections::BTreeSet;

use olmcast::{
    endpoint::{StreamCode, SubscriptionStatus},
    primitives::{DeviceId, Position, StreamRef},
    protocol::{Carrier, Envelope, Kind, OlmMessage, OlmPlaintext, Renewed, StreamKey},
};
use proptest::prelude::*;
use vodozemac::megolm::GroupSession;

use crate::{
    forger::{Forger, Outcome, at, group_session, roster},
    network::{Fate, Network, Room},
};

/// Longer than two renewals are apart at most, with a repetition.
const SETTLED: u64 = 26_000;

fn code(net: &mut Network, device: DeviceId, stream: StreamRef) -> Option<StreamCode> {
    net.endpoint(device).stream_code(stream)
}

/// The publisher's code, after all holders have shown the same, and the number of those.
fn agreed(room: &mut Room) -> (StreamCode, usize) {
    let stream = room.stream;
    let ours = code(&mut room.net, stream.publisher, stream).unwrap();
    let holders = room.net.endpoint(stream.publisher).holders(stream.stream);
    for holder in &holders {
        let state = room.net.endpoint(holder.device).subscription(stream).unwrap();
        assert_eq!(state.status, SubscriptionStatus::Live);
        assert_eq!(state.holders, Some(u32::try_from(holders.len()).unwrap()));
        assert_eq!(code(&mut room.net, holder.device, stream), Some(ours));
    }
    (ours, holders.len())
}

#[test]
fn all_who_hold_the_same_session_and_roster_see_the_same_number() {
    let mut room = Room::with(0);
    let stream = room.stream;
    let mut seen = BTreeSet::new();
    let mut is_new = |room: &mut Room, count: usize| {
        let (code, holders) = agreed(room);
        assert_eq!(holders, count);
        assert!(seen.insert(code.groups()), "another roster or session, another number");
    };
    is_new(&mut room, 0);
    // Joins, one at a time and several at once.
    for count in [1, 3, 6] {
        while room.subscribers.len() < count {
            room.join();
        }
        room.net.run(500);
        is_new(&mut room, count);
    }
    let [a, b, c, ..] = room.subscribers[..] else { panic!() };
    // Before it asks, and when it is gone, nobody sees one.
    let stranger = room.net.device(room.invite.room_keys());
    assert_eq!(code(&mut room.net, stranger, stream), None);
    room.net.unsubscribe(a, stream);
    room.net.run(1000);
    assert_eq!(code(&mut room.net, a, stream), None);
    is_new(&mut room, 5);
    room.net.kick(stream, b);
    room.net.run(1000);
    assert_eq!(code(&mut room.net, b, stream), None);
    is_new(&mut room, 4);
    // One that begins anew is the same holder: no step changes it, as agreed.
    let (before, _) = agreed(&mut room);
    room.net.run(65_000);
    assert!(room.net.endpoint(stream.publisher).position(stream.stream).unwrap().step.get() > 0);
    assert_eq!(agreed(&mut room).0, before);
    // The lease of one runs out.
    room.net.kill(c);
    room.net.run(70_000);
    is_new(&mut room, 3);
    // A fresh session for its own sake.
    room.net.run(3_600_000);
    is_new(&mut room, 3);
}

#[test]
fn a_number_has_four_groups_of_five_digits() {
    let mut room = Room::with(1);
    let (code, _) = agreed(&mut room);
    let text = code.to_string();
    let groups: Vec<_> = text.split(' ').collect();
    assert_eq!(groups.len(), 4);
    for (group, number) in groups.iter().zip(code.groups()) {
        assert_eq!((group.len(), group.parse::<u32>().unwrap()), (5, number));
    }
    assert_eq!(format!("{code:?}"), format!("StreamCode({text})"));
}

#[test]
fn it_is_the_same_for_all_within_a_renewal_of_a_beacon_that_was_lost() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let stream = room.stream;
    let (before, _) = agreed(&mut room);
    // The service drops what is for the whole room, for one of them.
    let is_beacon =
        |bytes: &[u8]| matches!(Envelope::decode(bytes).unwrap().carrier, Carrier::Megolm { .. });
    room.net.rule = Box::new(move |_, to, bytes| match to == a && is_beacon(bytes) {
        true => Fate::Lose,
        false => Fate::Deliver,
    });
    room.join();
    room.net.run(500);
    let ours = code(&mut room.net, stream.publisher, stream);
    assert_eq!(code(&mut room.net, b, stream), ours);
    assert_eq!(code(&mut room.net, a, stream), Some(before), "it has not heard of it");
    room.net.run(SETTLED);
    agreed(&mut room);
}

#[test]
fn whoever_is_not_told_of_a_change_sees_another_number_for_as_long() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let (stream, publisher) = (room.stream, room.stream.publisher);
    // The service drops everything for one of them from now on.
    room.net.rule = Box::new(move |from, to, _| match (from, to) == (publisher, a) {
        true => Fate::Lose,
        false => Fate::Deliver,
    });
    for change in ["a join", "a leave"] {
        match change {
            "a join" => drop(room.join()),
            _ => room.net.unsubscribe(b, stream),
        }
        room.net.run(20_000);
        let ours = code(&mut room.net, publisher, stream).unwrap();
        let theirs = code(&mut room.net, a, stream);
        assert!(theirs.is_some_and(|theirs| theirs != ours), "{change}");
        let last = *room.subscribers.last().unwrap();
        assert_eq!(code(&mut room.net, last, stream), Some(ours), "{change}");
    }
    // And nobody who looks on takes it for live any more.
    room.net.run(60_000);
    let state = room.net.endpoint(a).subscription(stream).unwrap();
    assert_ne!(state.status, SubscriptionStatus::Live);
    room.net.rule = Box::new(|_, _, _| Fate::Deliver);
    room.net.run(SETTLED);
    agreed(&mut room);
}

#[test]
fn whoever_has_the_next_session_agrees_with_the_publisher_before_it_is_used() {
    let mut room = Room::with(3);
    let [a, b, c] = room.subscribers[..] else { panic!() };
    let (stream, publisher) = (room.stream, room.stream.publisher);
    let (before, _) = agreed(&mut room);
    // One of those who stay confirms nothing, so it is waited for.
    room.net.rule = Box::new(move |from, _, _| match from == b {
        true => Fate::Lose,
        false => Fate::Deliver,
    });
    room.net.unsubscribe(c, stream);
    room.net.run(600);
    let position = room.net.endpoint(publisher).position(stream.stream).unwrap();
    assert_eq!(position.generation.0, 0, "it is not used yet");
    let ours = code(&mut room.net, publisher, stream).unwrap();
    assert_ne!(ours, before);
    for device in [a, b] {
        assert_eq!(code(&mut room.net, device, stream), Some(ours));
    }
    room.net.run(2000);
    agreed(&mut room);
}

#[test]
fn a_newcomer_that_leaves_before_it_got_a_key_changes_nothing() {
    let mut room = Room::with(2);
    let (before, _) = agreed(&mut room);
    let late = room.join();
    room.net.run(40);
    assert_eq!(room.net.endpoint(room.stream.publisher).holders(room.stream.stream).len(), 3);
    room.net.unsubscribe(late, room.stream);
    room.net.run(1000);
    assert_eq!(agreed(&mut room).0, before);
}

/// A hostile publisher, and the number that its victim sees when it was told this.
fn told(forger: &mut Forger, session: &GroupSession, generation: u32, version: u8) -> StreamCode {
    let key = StreamKey { roster: roster(version), ..forger.key(session, generation) };
    assert_eq!(forger.send_key(key), Outcome::Accepted);
    let (victim, stream) = (forger.victim, forger.stream);
    forger.net.endpoint(victim).stream_code(stream).unwrap()
}

#[test]
fn a_publisher_that_gives_people_different_things_gives_them_different_numbers() {
    // Of what it gives them, only one thing differs from what it gave the first.
    let mut first = Forger::new();
    let session = group_session(0);
    let right = told(&mut first, &session, 1, 1);
    let again = |change: &str| {
        // The same victim asks again, and holds nothing of before.
        let mut forger = Forger::new();
        let other = group_session(0);
        match change {
            "session" => told(&mut forger, &other, 1, 1),
            "generation" => told(&mut forger, &session, 2, 1),
            "roster" => told(&mut forger, &session, 1, 2),
            "stream" => told(&mut forger, &session, 1, 1),
            _ => panic!(),
        }
    };
    let all = ["session", "generation", "roster", "stream"].map(again);
    let distinct: BTreeSet<_> = [&all[..], &[right]].concat().iter().map(|c| c.groups()).collect();
    assert_eq!(distinct.len(), 5);
}

#[test]
fn two_sessions_or_rosters_for_two_holders_of_one_stream_show() {
    let mut forger = Forger::new();
    let [one, two] = [0, 0].map(group_session);
    let first = told(&mut forger, &one, 1, 1);
    // The same victim, as if it were the other one, in the same room and of the same stream.
    for (session, generation, version) in [(&two, 1, 1), (&one, 2, 1), (&one, 1, 2)] {
        forger.have_victim_ask_again();
        assert_ne!(told(&mut forger, session, generation, version), first);
    }
    forger.have_victim_ask_again();
    assert_eq!(told(&mut forger, &one, 1, 1), first, "and what is the same does not");
}

#[test]
fn the_newest_roster_counts_whichever_way_and_in_whatever_order_it_comes() {
    let mut forger = Forger::new();
    let mut session = group_session(0);
    told(&mut forger, &session, 1, 5);
    let holders = |forger: &mut Forger| forger.state().subscription.holders.unwrap();
    assert_eq!(holders(&mut forger), 6);
    // An older one in a key that is newer.
    let (victim, stream) = (forger.victim, forger.stream);
    let before = forger.net.endpoint(victim).stream_code(stream);
    let next = group_session(0);
    let key = StreamKey { roster: roster(4), ..forger.key(&next, 2) };
    assert_eq!(forger.send_key(key), Outcome::Accepted);
    assert_eq!(holders(&mut forger), 6);
    assert_ne!(forger.net.endpoint(victim).stream_code(stream), before, "of the newest session");
    // An older one in a beacon says nothing either; a newer one in a renewal does.
    session.encrypt("");
    forger.announce(&mut session, 1);
    assert_eq!(holders(&mut forger), 6);
    let before = forger.net.log.len();
    forger.net.run(21_000);
    let renew = forger.heard(before).into_iter().find_map(|message| match message {
        OlmMessage::Renew(renew) => Some(renew),
        _ => None,
    });
    let (nonce, offer) = (renew.unwrap().nonce, forger.offer);
    let position: Position = at(2, 0);
    let renewed = Renewed { nonce, ticket: 9, position, offer, roster: roster(7) };
    let place = forger.place();
    let message = OlmMessage::Renewed(renewed);
    let plaintext = OlmPlaintext { place, message }.encode();
    forger.send(&plaintext);
    assert_eq!(holders(&mut forger), 8);
}

fn is_offer(bytes: &[u8]) -> bool {
    match Envelope::decode(bytes).unwrap().carrier {
        Carrier::Signed(signed) => signed.kind == Kind::StreamOffer,
        _ => false,
    }
}

#[derive(Clone, Copy, Debug)]
enum Happens {
    Join,
    Leave(usize),
    Kick(usize),
    Gone(usize),
    StartOver(usize),
    Passes(u64),
    Loses(u8),
}

fn anything() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => Just(Happens::Join),
        1 => (0_usize..8).prop_map(Happens::Leave),
        1 => (0_usize..8).prop_map(Happens::Kick),
        1 => (0_usize..8).prop_map(Happens::Gone),
        1 => (0_usize..8).prop_map(Happens::StartOver),
        4 => prop::sample::select(vec![1_u64, 30, 90, 160, 300, 700, 2500, 25_000])
            .prop_map(Happens::Passes),
        1 => (0_u8..60).prop_map(Happens::Loses),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever comes between: nothing leaves the numbers different for ever.
    #[test]
    fn once_everything_has_settled_all_numbers_are_the_same(
        script in prop::collection::vec(anything(), 1..30),
    ) {
        let mut room = Room::with(2);
        let stream = room.stream;
        for happens in script {
            let held = |room: &mut Room, which: usize| {
                let holders = room.net.endpoint(stream.publisher).holders(stream.stream);
                let device = holders.get(which % holders.len().max(1)).map(|holder| holder.device);
                device.filter(|device| room.net.endpoint(*device).subscription(stream).is_some())
            };
            match happens {
                // The room may be closed, and who joins be refused.
                Happens::Join => drop(room.join()),
                Happens::Leave(which) => if let Some(device) = held(&mut room, which) {
                    room.net.unsubscribe(device, stream);
                },
                Happens::Kick(which) => if let Some(device) = held(&mut room, which) {
                    room.net.kick(stream, device);
                },
                Happens::Gone(which) => if let Some(device) = held(&mut room, which) {
                    let now = room.net.time();
                    room.net.endpoint(stream.publisher).handle_peer_gone(device, now);
                },
                Happens::StartOver(which) => if let Some(device) = held(&mut room, which) {
                    let (offer, now) = (room.net.offer(device, stream).bytes, room.net.time());
                    // The leave is lost.
                    room.net.endpoint(device).unsubscribe(stream, now).unwrap();
                    while room.net.endpoint(device).poll_output().is_some() {}
                    room.net.endpoint(device).subscribe(&offer, "", now).unwrap();
                    room.net.flush(device);
                },
                Happens::Passes(ms) => room.net.run(ms),
                Happens::Loses(percent) => {
                    let mut count = 0_u32;
                    room.net.rule = Box::new(move |_, _, bytes| {
                        if is_offer(bytes) {
                            return Fate::Deliver;
                        }
                        count = count.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        let loses = (count >> 16) % 100 < u32::from(percent);
                        if loses { Fate::Lose } else { Fate::Deliver }
                    });
                }
            }
        }
        room.net.rule = Box::new(|_, _, _| Fate::Deliver);
        // All that is retried is, leases of those who did not hear run out, and renewals come.
        room.net.run(150_000);
        agreed(&mut room);
    }
}

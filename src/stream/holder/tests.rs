use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    device::{Between, Identity},
    primitives::{Generation, RoomId, StreamRef},
    stream::{Output, base_key::Scope, census::Census},
};

/// A `Subscribe` whose keys are all the same.
pub(in crate::stream) fn subscribe(stream: StreamId, key: PublicKey) -> Subscribe {
    let (name, claim) = (String::new(), String::new());
    Subscribe { stream, curve25519: key, one_time_key: key, sequence: 1, name, claim }
}

/// A holder, what sends to it, and the time.
struct Tested {
    holder: Holder,
    identity: Identity,
    session: OutboundSession,
    handover: Handover,
    rng: StdRng,
    now: Timestamp,
}

impl Tested {
    fn new() -> Self {
        let (identity, peer) = (Identity::generate(), Identity::generate());
        let (us, room) = (identity.device(), RoomId::from_bytes([2; 32]));
        let stream = StreamRef { publisher: us, stream: StreamId::from_bytes([1; 16]) };
        let between = Between { room, stream, us, peer: peer.device() };
        let key = peer.curve25519();
        let olm = Pairwise::outbound(&identity, between, key, key).unwrap();
        let now = Timestamp::from_unix_millis(1_000_000);
        let suite = CipherSuite::default();
        let scope = Scope { room, stream, suite };
        Self {
            holder: Holder::new(peer.device(), subscribe(stream.stream, key), olm, now),
            identity,
            session: OutboundSession::new(Generation(0), scope),
            handover: Handover {
                stream: stream.stream,
                suite,
                offer: OfferHash::of(b"offer"),
                roster: Census::default().announce(),
            },
            rng: StdRng::from_seed([1; 32]),
            now,
        }
    }

    fn owe(&mut self, which: Which) {
        let (rng, outputs, now) = (&mut self.rng, &mut VecDeque::new(), self.now);
        self.holder.owe(&mut Effects { identity: &self.identity, rng, outputs, now }, which);
    }

    /// How many messages it is sent.
    fn hand_over(&mut self, which: Which) -> usize {
        let (rng, now, mut outputs) = (&mut self.rng, self.now, VecDeque::new());
        let mut fx = Effects { identity: &self.identity, rng, outputs: &mut outputs, now };
        self.holder.hand_over(&mut fx, self.handover, &self.session, which, None);
        outputs.iter().filter(|output| matches!(output, Output::Send { .. })).count()
    }

    fn delivery(&mut self, which: Which) -> Option<&Delivery> {
        self.holder.delivery(which).as_ref()
    }

    /// Sends what is due, as a publication does.
    fn deliver(&mut self) {
        for which in [Which::Current, Which::Pending] {
            // A newcomer gets its own step's key first.
            let is_early = which == Which::Pending && self.holder.is_newcomer();
            let is_open = !is_early
                && self.delivery(which).is_some_and(|delivery| delivery.accepted.is_none());
            let (now, far) = (self.now, self.now + Duration::from_secs(3600));
            assert_eq!(self.holder.is_due(which, far), is_open, "until it is answered");
            if self.holder.is_due(which, now) {
                let before = self.delivery(which).unwrap().retry.attempts();
                assert_eq!(self.hand_over(which), 1);
                let after = self.delivery(which).unwrap().retry;
                assert!(after.attempts() == before + 1 && after.at() > now);
                assert!(after.at() <= now + Duration::from_millis(9600), "it waits too long");
            }
        }
        let expires = self.holder.expires().0;
        assert!(expires <= self.now || self.holder.poll_timeout() > self.now, "due for ever");
        assert!(self.holder.poll_timeout() <= expires);
    }
}

#[derive(Clone, Copy, Debug)]
enum Happens {
    Owed(bool),
    /// The answer to the last key of one of the two, or to one of before.
    Answered {
        next: bool,
        old: bool,
        accepted: bool,
    },
    Promoted,
    Voided,
    Asked,
    Heard,
    Gone,
}

fn anything() -> impl Strategy<Value = Happens> {
    prop_oneof![
        3 => any::<bool>().prop_map(Happens::Owed),
        4 => any::<[bool; 3]>().prop_map(|[next, old, accepted]| {
            Happens::Answered { next, old, accepted }
        }),
        1 => Just(Happens::Promoted),
        1 => Just(Happens::Voided),
        1 => Just(Happens::Asked),
        1 => Just(Happens::Heard),
        1 => Just(Happens::Gone),
    ]
}

fn which(next: bool) -> Which {
    if next { Which::Pending } else { Which::Current }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_key_is_sent_again_until_it_is_answered_and_never_after(
        events in prop::collection::vec((0_u64..4000, anything()), 1..50),
    ) {
        let mut tested = Tested::new();
        let mut old_shares = Vec::new();
        for (wait, what) in events {
            tested.now = tested.now + Duration::from_millis(wait);
            match what {
                Happens::Owed(next) => {
                    old_shares.extend(tested.delivery(which(next)).map(|d| d.share));
                    tested.owe(which(next));
                }
                Happens::Answered { next, old, accepted } => {
                    let share = if old { old_shares.last().copied() } else {
                        tested.delivery(which(next)).map(|delivery| delivery.share)
                    };
                    let Some(share) = share else { continue };
                    let was = tested.delivery(which(next)).and_then(|d| d.accepted);
                    let confirmed = tested.holder.acked(share, accepted);
                    prop_assert!(confirmed.is_none() || accepted);
                    if !old {
                        let is = tested.delivery(which(next)).unwrap().accepted;
                        let due = if was == Some(true) { was } else { Some(accepted) };
                        prop_assert_eq!(is, due, "a yes stays one");
                    }
                }
                Happens::Promoted => {
                    let pending = tested.delivery(Which::Pending).map(|d| d.share);
                    let current = tested.delivery(Which::Current).map(|d| d.share);
                    tested.holder.promote();
                    prop_assert!(tested.holder.lacks_pending());
                    let is = tested.delivery(Which::Current).map(|d| d.share);
                    // A newcomer waits for a step of its own.
                    let expected = current.and(pending.or(current));
                    prop_assert_eq!(is, expected);
                }
                Happens::Voided => {
                    old_shares.extend(tested.delivery(Which::Pending).map(|d| d.share));
                    tested.holder.void_pending();
                    prop_assert!(tested.holder.lacks_pending());
                }
                Happens::Asked => {
                    // It is given again at once, which is no reason to repeat it.
                    let was = tested.delivery(Which::Current).and_then(|d| d.accepted);
                    tested.hand_over(Which::Current);
                    let is = tested.delivery(Which::Current).unwrap().accepted;
                    prop_assert_eq!(is, was);
                }
                Happens::Heard => tested.holder.is_there(tested.now),
                Happens::Gone => tested.holder.gone(tested.now),
            }
            tested.deliver();
        }
    }

    #[test]
    fn each_ticket_prolongs_the_lease_once(
        renewals in prop::collection::vec((0_u64..20_000, 0_usize..4), 1..60),
    ) {
        let mut tested = Tested::new();
        let (mut tickets, mut used) = (vec![0], BTreeSet::new());
        for (number, (wait, back)) in renewals.into_iter().enumerate() {
            tested.now = tested.now + Duration::from_millis(wait);
            let ticket = tickets[tickets.len() - 1 - back.min(tickets.len() - 1)];
            let before = tested.holder.lease_until;
            let new = 1 + number as u64;
            let given = tested.holder.renew(ticket, new, tested.now);
            if ticket == *tickets.last().unwrap() {
                prop_assert!(used.insert(ticket), "a second time");
                prop_assert_eq!((given, tested.holder.lease_until), (new, tested.now + LEASE));
                tickets.push(given);
            } else {
                let last = *tickets.last().unwrap();
                prop_assert_eq!((given, tested.holder.lease_until), (last, before));
            }
        }
    }
}

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    device::{Between, Identity, Pairwise},
    primitives::{RoomId, StreamId, StreamRef},
    stream::{Effects, holder::Which},
};

#[derive(Clone, Copy, Debug)]
enum Change {
    Insert(u8),
    Remove(u8),
    Owe(u8, bool),
    Answer { device: u8, accepted: bool },
    Gone(u8),
    Back(u8),
    Renew(u8),
    OweAll,
    PromoteAll,
    VoidAll,
}

fn anything() -> impl Strategy<Value = Change> {
    let device = || 0_u8..6;
    prop_oneof![
        3 => device().prop_map(Change::Insert),
        1 => device().prop_map(Change::Remove),
        3 => (device(), any::<bool>()).prop_map(|(device, next)| Change::Owe(device, next)),
        3 => (device(), any::<bool>())
            .prop_map(|(device, accepted)| Change::Answer { device, accepted }),
        1 => device().prop_map(Change::Gone),
        1 => device().prop_map(Change::Back),
        1 => device().prop_map(Change::Renew),
        1 => Just(Change::OweAll),
        1 => Just(Change::PromoteAll),
        1 => Just(Change::VoidAll),
    ]
}

/// A roster, and what it is compared with: who is in it, in the order in which they came.
struct Tested {
    roster: Roster,
    came: Vec<DeviceId>,
    identity: Identity,
    peer: Identity,
    rng: StdRng,
    /// Draws the same, to know what was drawn.
    same_rng: StdRng,
    /// The last share of each device.
    shares: HashMap<DeviceId, u64>,
    now: Timestamp,
}

impl Tested {
    fn new() -> Self {
        Self {
            roster: Roster::default(),
            came: Vec::new(),
            identity: Identity::generate(),
            peer: Identity::generate(),
            rng: StdRng::from_seed([1; 32]),
            same_rng: StdRng::from_seed([1; 32]),
            shares: HashMap::new(),
            now: Timestamp::from_unix_millis(1_000_000),
        }
    }

    fn holder(&self, device: DeviceId) -> Holder {
        let us = self.identity.device();
        let stream = StreamRef { publisher: us, stream: StreamId::from_bytes([1; 16]) };
        let between = Between { room: RoomId::from_bytes([2; 32]), stream, us, peer: device };
        let key = self.peer.curve25519();
        let olm = Pairwise::outbound(&self.identity, between, key, key).unwrap();
        Holder::new(
            device,
            crate::stream::holder::tests::subscribe(stream.stream, key),
            olm,
            self.now,
        )
    }

    fn owe(&mut self, device: DeviceId, which: Which) {
        if !self.came.contains(&device) {
            return;
        }
        self.shares.insert(device, self.same_rng.random());
        let (rng, outputs, now) = (&mut self.rng, &mut VecDeque::new(), self.now);
        let mut fx = Effects { identity: &self.identity, rng, outputs, now };
        self.roster.update(device, |holder| holder.owe(&mut fx, which));
    }

    fn apply(&mut self, change: Change) {
        let device = |byte: u8| DeviceId::from_bytes([byte; 32]);
        let now = self.now;
        match change {
            Change::Insert(byte) => {
                if !self.came.contains(&device(byte)) {
                    self.came.push(device(byte));
                    self.roster.insert(self.holder(device(byte)));
                }
            }
            Change::Remove(byte) => {
                let was_there = self.came.contains(&device(byte));
                self.came.retain(|there| *there != device(byte));
                assert_eq!(self.roster.remove(device(byte)).is_some(), was_there);
            }
            Change::Owe(byte, next) => {
                self.owe(device(byte), if next { Which::Pending } else { Which::Current });
            }
            Change::Answer { device: byte, accepted } => {
                if let Some(&share) = self.shares.get(&device(byte)) {
                    self.roster.update(device(byte), |holder| holder.acked(share, accepted));
                }
            }
            Change::Gone(byte) => {
                self.roster.update(device(byte), |holder| holder.gone(now));
            }
            Change::Back(byte) => {
                self.roster.update(device(byte), |holder| holder.is_there(now));
            }
            Change::Renew(byte) => {
                self.roster.update(device(byte), |holder| holder.renew(0, 0, now));
            }
            Change::OweAll => {
                let (rng, outputs) = (&mut self.rng, &mut VecDeque::new());
                let mut fx = Effects { identity: &self.identity, rng, outputs, now };
                self.roster.update_all(|holder| holder.owe(&mut fx, Which::Pending));
                for device in &self.came {
                    self.shares.insert(*device, self.same_rng.random());
                }
            }
            Change::PromoteAll => self.roster.update_all(Holder::promote),
            Change::VoidAll => self.roster.update_all(Holder::void_pending),
        }
    }

    /// Looks at every holder, as the roster need not.
    fn compare(&self) {
        let there: Vec<_> = self.roster.iter().map(|holder| holder.device).collect();
        assert_eq!(there, self.came);
        let of = |device: &DeviceId| self.roster.get(*device).unwrap();
        assert_eq!(
            self.roster.all_have_answered(),
            self.came.iter().all(|device| of(device).has_answered_pending())
        );
        let times = || self.came.iter().map(|device| of(device).poll_timeout());
        assert_eq!(self.roster.poll_timeout(), times().min());
        for now in times().chain([self.now]) {
            let mut due: Vec<_> = self.came.iter().map(|d| (of(d).poll_timeout(), *d)).collect();
            due.retain(|(at, _)| *at <= now);
            due.sort_by_key(|(at, _)| *at);
            let due: Vec<_> = due.into_iter().map(|(_, device)| device).collect();
            for most in [1, 3, usize::MAX] {
                let first = &due[..due.len().min(most)];
                assert_eq!(self.roster.due(now, most), first);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_a_roster_counts_is_what_looking_at_all_holders_gives(
        changes in prop::collection::vec((0_u64..2000, anything()), 1..60),
    ) {
        let mut tested = Tested::new();
        for (wait, change) in changes {
            tested.now = tested.now + std::time::Duration::from_millis(wait);
            tested.apply(change);
            tested.compare();
        }
    }
}

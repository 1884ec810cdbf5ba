use proptest::prelude::*;

use super::*;
use crate::{
    primitives::{DeviceId, Generation, RoomId, StreamId, StreamRef},
    sframe::CipherSuite,
    stream::base_key::Scope,
};

#[derive(Clone, Copy, Debug)]
enum Happens {
    Leaves {
        kicked: bool,
        was_sent_the_next: bool,
    },
    /// One that left already is kicked as well.
    KickedAfterwards(usize),
    AllAnswered,
    SessionIsOld,
}

fn anything() -> impl Strategy<Value = Happens> {
    let leaves = (prop::bool::weighted(0.3), any::<bool>())
        .prop_map(|(kicked, was_sent_the_next)| Happens::Leaves { kicked, was_sent_the_next });
    prop_oneof![
        6 => leaves,
        1 => (0..20_usize).prop_map(Happens::KickedAfterwards),
        1 => Just(Happens::AllAnswered),
        1 => Just(Happens::SessionIsOld),
    ]
}

/// One that left and can still read: it knows all sessions up to this one.
struct Leaver {
    knows: u32,
    cut_off_by: Timestamp,
}

/// Does what a publication does with its rotation.
struct Driver {
    now: Timestamp,
    rotation: Option<Rotation>,
    /// The session in use, and the last one made.
    current: u32,
    last: u32,
    mints: u32,
    leavers: Vec<Leaver>,
}

impl Driver {
    fn new() -> Self {
        let now = Timestamp::from_unix_millis(1_000_000);
        Self { now, rotation: None, current: 0, last: 0, mints: 0, leavers: Vec::new() }
    }

    /// Time passes, and it is called exactly when it asks to be.
    fn pass(&mut self, until: Timestamp) {
        while let Some(rotation) = &self.rotation
            && rotation.poll_timeout() <= until
        {
            let at = rotation.poll_timeout();
            assert!(at > self.now, "what was due was not done");
            self.now = at;
            assert!(rotation.mint_due(at) || rotation.switch_due(at), "called for nothing");
            self.drive(false);
        }
        self.now = until;
    }

    fn drive(&mut self, all_answered: bool) {
        let now = self.now;
        let Some(rotation) = &mut self.rotation else { return };
        if rotation.mint_due(now) {
            self.last += 1;
            self.mints += 1;
            rotation.minted = Some(session());
            assert!(self.mints <= 2, "a third session in one batch");
        }
        if (all_answered || rotation.switch_due(now)) && rotation.minted.take().is_some() {
            self.rotation = rotation.next(now);
            self.mints = 0;
            self.current = self.last;
            let current = self.current;
            self.leavers.retain(|leaver| {
                assert!(now <= leaver.cut_off_by, "cut off too late");
                leaver.knows >= current
            });
            self.drive(false);
        }
    }

    fn happens(&mut self, what: Happens) {
        let now = self.now;
        match what {
            Happens::Leaves { kicked, was_sent_the_next } => {
                let (cause, within) = if kicked {
                    (RotationCause::Kick, KICK_DEADLINE)
                } else {
                    (RotationCause::Leave, LEAVE_DEADLINE)
                };
                let minted = self.rotation.as_ref().is_some_and(|r| r.minted.is_some());
                let exposed = minted && was_sent_the_next;
                let knows = if exposed { self.last } else { self.current };
                self.leavers.push(Leaver { knows, cut_off_by: now + within });
                match &mut self.rotation {
                    None => self.rotation = Some(Rotation::new(cause, now, now)),
                    Some(rotation) => {
                        rotation.leave(cause, exposed, now);
                    }
                }
                self.drive(false);
            }
            Happens::KickedAfterwards(which) => {
                let count = self.leavers.len().max(1);
                if let Some(leaver) = self.leavers.get_mut(which % count) {
                    leaver.cut_off_by = leaver.cut_off_by.min(now + KICK_DEADLINE);
                    self.rotation.as_mut().unwrap().hurry(now);
                    self.drive(false);
                }
            }
            Happens::AllAnswered => self.drive(true),
            Happens::SessionIsOld => {
                let periodic = || Rotation::new(RotationCause::Periodic, now, now);
                self.rotation.get_or_insert_with(periodic);
                self.drive(false);
            }
        }
    }

    /// The encryptors know a time by which everybody who left is cut off.
    fn is_bounded(&self) {
        let Some(first) = self.leavers.iter().map(|leaver| leaver.cut_off_by).min() else { return };
        let told = self.rotation.as_ref().and_then(Rotation::deadline);
        assert!(told.is_some_and(|told| told <= first), "{told:?} is later than {first:?}");
    }
}

fn session() -> OutboundSession {
    let stream = StreamRef {
        publisher: DeviceId::from_bytes([0; 32]),
        stream: StreamId::from_bytes([0; 16]),
    };
    let room = RoomId::from_bytes([0; 32]);
    OutboundSession::new(Generation(1), Scope { room, stream, suite: CipherSuite::default() })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whoever_leaves_is_cut_off_by_its_own_deadline_whoever_else_comes_and_goes(
        events in prop::collection::vec((0_u64..600, anything()), 1..40),
    ) {
        let mut driver = Driver::new();
        for (wait, what) in events {
            driver.pass(driver.now + Duration::from_millis(wait));
            driver.happens(what);
            driver.is_bounded();
        }
        driver.pass(driver.now + Duration::from_secs(10));
        prop_assert!(driver.rotation.is_none() && driver.leavers.is_empty());
    }

    #[test]
    fn whoever_calls_late_finds_everything_done_at_once(
        events in prop::collection::vec((0_u64..5000, anything()), 1..40),
    ) {
        let mut driver = Driver::new();
        for (wait, what) in events {
            driver.now = driver.now + Duration::from_millis(wait);
            let now = driver.now;
            // Being late is not the rotation's fault.
            driver.leavers.iter_mut().for_each(|l| l.cut_off_by = l.cut_off_by.max(now));
            driver.drive(false);
            driver.happens(what);
            prop_assert!(driver.rotation.as_ref().is_none_or(|r| r.poll_timeout() > now));
        }
    }
}

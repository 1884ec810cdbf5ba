use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::sframe::{CipherSuite, Counter};

/// Keys made of their step, from the first one held on.
struct Toy(Step);

impl GenerationKeys for Toy {
    fn base_key(&mut self, step: Step, _: TrackId) -> Option<BaseKey> {
        let fill = |bytes: &mut [u8]| bytes[..2].copy_from_slice(&step.get().to_be_bytes());
        (step >= self.0).then(|| BaseKey::fill(CipherSuite::default(), fill))
    }

    fn advance_to(&mut self, step: Step) {
        self.0 = self.0.max(step);
    }
}

#[derive(Clone, Copy, Debug)]
enum Happens {
    Installed(Position),
    Announced(Position),
    Frame(Position, u16),
    Watched(u16),
}

fn position(generations: u32) -> impl Strategy<Value = Position> {
    // The last steps as well, now and then.
    let step = prop_oneof![8 => 0_u32..40, 1 => 4000_u32..4096];
    (0..generations, step).prop_map(|(generation, step)| Position {
        generation: Generation(generation),
        step: Step::new(step).unwrap(),
    })
}

fn anything(generations: u32) -> impl Strategy<Value = Happens> {
    let place = || position(generations);
    prop_oneof![
        3 => place().prop_map(Happens::Installed),
        4 => place().prop_map(Happens::Announced),
        4 => (place(), 0_u16..2).prop_map(|(at, track)| Happens::Frame(at, track)),
        1 => (0_u16..2).prop_map(Happens::Watched),
    ]
}

/// A ring, and all that was ever seen of it.
#[derive(Default)]
struct Tested {
    ring: KeyRing,
    now: Timestamp,
    head: Option<Position>,
    floors: BTreeMap<Generation, Step>,
    /// Generations that were held once and are not any more.
    gone: BTreeSet<Generation>,
    kept: BTreeSet<(Position, TrackId)>,
}

impl Tested {
    fn play(&mut self, events: Vec<(u64, Happens)>) {
        for (wait, what) in events {
            self.pass(wait);
            self.look();
            self.happens(what);
            self.look();
        }
    }

    fn happens(&mut self, what: Happens) {
        let now = self.now;
        match what {
            Happens::Installed(at) => {
                let accepts = self.ring.accepts(at.generation);
                let held = self.ring.holds(at.generation);
                assert!(!(accepts && (held || self.gone.contains(&at.generation))));
                self.ring.install(at, Box::new(Toy(at.step)), now);
                // The oldest may have had to make way, and it may have been this one.
                let is_full = self.ring.generations.len() == MAX_GENERATIONS;
                assert!(self.ring.holds(at.generation) == (accepts || held) || is_full);
                assert!(self.ring.generations.len() <= MAX_GENERATIONS);
            }
            Happens::Announced(at) => self.ring.announce(at, now),
            Happens::Watched(track) => self.ring.watch(TrackId(track)),
            Happens::Frame(at, track) => self.frame(at, TrackId(track)),
        }
    }

    /// A frame moves nothing, and finds a key only where there may be one.
    fn frame(&mut self, at: Position, track: TrackId) {
        let header = Header { key_id: crate::media::key_id(at), counter: Counter(0) };
        let (head, floor) = (self.ring.head(), self.floors.get(&at.generation).copied());
        let held = self.ring.holds(at.generation);
        match self.ring.find(header, track, self.now) {
            Ok(found) => {
                assert!(held && floor.is_some_and(|floor| at.step >= floor), "an expired key");
                if let Found::Fresh(key) = found {
                    assert!(!self.kept.contains(&(at, track)), "its window would begin anew");
                    self.ring.keep(header, track, Opener::new(key)).unwrap();
                    self.kept.insert((at, track));
                }
            }
            Err(DecryptError::UnknownKey(_)) => {
                assert!(!held && head.is_none_or(|head| at.generation > head.generation));
                assert!(self.ring.missing(self.now).is_some());
            }
            Err(DecryptError::Expired) => assert!(!held || floor > Some(at.step)),
            // Too many far ahead in this second.
            Err(DecryptError::Limit) => {
                let head = self.ring.generations[&at.generation].head;
                assert!(at.step.get() > head.get() + STEPS_AHEAD);
            }
            Err(other) => panic!("{other:?}"),
        }
        assert_eq!(self.ring.head(), head, "a frame moved it");
    }

    fn look(&mut self) {
        let head = self.ring.head();
        assert!(head >= self.head, "from {:?} to {head:?}", self.head);
        self.head = head;
        for (generation, held) in &self.ring.generations {
            assert!(!self.gone.contains(generation), "{generation} came back");
            let floor = self.floors.entry(*generation).or_insert(held.floor);
            assert!(held.floor >= *floor && held.floor <= held.head);
            *floor = held.floor;
            assert!(held.track_keys.keys().all(|(step, _)| step >= floor), "a key is left over");
        }
        for generation in self.floors.keys() {
            if !self.ring.holds(*generation) {
                self.gone.insert(*generation);
                assert!(!self.ring.accepts(*generation));
            }
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
        self.ring.handle_timeout(self.now);
        let (now, next) = (self.now, self.ring.poll_timeout());
        assert!(next.is_none_or(|at| at > now), "due for ever");
        for held in self.ring.generations.values() {
            assert!(held.expires.is_none_or(|at| at.since(now) <= GENERATION_RETENTION));
            let steps = held.retiring.iter();
            assert!(steps.clone().all(|(at, _)| at.since(now) <= STEP_RETENTION));
            // What was announced last is what the floor will be.
            assert_eq!(steps.last().map_or(held.floor, |(_, step)| *step), held.head);
        }
    }
}

proptest! {
    #[test]
    fn head_and_floors_never_fall_and_what_has_expired_never_comes_back(
        events in prop::collection::vec((0_u64..1500, anything(8)), 1..120),
    ) {
        let mut tested = Tested::default();
        tested.play(events);
        // Nothing but the newest generation is left, at its head.
        tested.pass(4000);
        prop_assert!(tested.ring.generations.len() <= 1);
        prop_assert_eq!(tested.ring.poll_timeout(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_same_holds_for_more_generations_at_once_than_are_kept(
        events in prop::collection::vec((0_u64..20, anything(200)), 150..300),
    ) {
        Tested::default().play(events);
    }
}

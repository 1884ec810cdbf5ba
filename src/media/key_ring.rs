use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::track_key::{Opener, TrackKey};
use crate::{
    primitives::{Generation, Position, Step, Timestamp, TrackId},
    sframe::{BaseKey, DecryptError, Header, KeyId, MAX_FRAMES_PER_KEY, OpenKey},
};

/// How long a step may still be read after a later one was announced.
const STEP_RETENTION: Duration = Duration::from_secs(2);
/// How long a generation may still be read after the key of a later one came: the publisher
/// switches at most 2 s after that, and frames of before stay readable 2 s more.
const GENERATION_RETENTION: Duration = Duration::from_secs(4);
/// How long a missing key is asked for when no further frame needs it.
const MISSING_RETENTION: Duration = Duration::from_secs(10);
/// Steps ahead of the announced head that cost no budget; a beacon may be late or lost.
const STEPS_AHEAD: u16 = 8;
/// Derivations a second for steps further ahead than that.
const FAR_DERIVATIONS: u32 = 10;
/// Generations held at a time. Even a kick in each round trip makes fewer in their retention.
const MAX_GENERATIONS: usize = 64;
/// Floors waiting to be raised; of more steps than this in 2 s, the last one stands for others.
const MAX_RETIRING: usize = 64;

/// Where the base keys of one generation come from: its inbound Megolm session.
pub(crate) trait GenerationKeys: Send {
    /// The base key of a step, unless it lies before the first one held.
    fn base_key(&mut self, step: Step, track: TrackId) -> Option<BaseKey>;
    /// Forgets everything before `step`.
    fn advance_to(&mut self, step: Step);
}

/// Whether a subscription may render at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RingState {
    #[default]
    Live,
    /// The publisher has not confirmed for a while that this device still belongs.
    Stalled,
    /// Unsubscribed, removed, or the stream has ended: every key is gone.
    Closed,
}

/// The keys and replay windows of one subscribed stream, shared by all its tracks' decryptors
/// and the endpoint.
///
/// Only the publisher's own messages (a `StreamKey` or a beacon) raise the head or the floor.
/// Frames never do, else one member in league with the SFU could burn every step with one frame.
#[derive(Default)]
pub(crate) struct KeyRing {
    state: RingState,
    generations: BTreeMap<Generation, HeldGeneration>,
    newest: Option<Generation>,
    /// The head of the newest generation that was let go.
    gone: Option<Position>,
    missing: Option<Missing>,
    far: FarBudget,
    /// Tracks that somebody decrypts: their keys are made when a step is announced, so that the
    /// step's first frame finds them.
    tracks: BTreeSet<TrackId>,
    /// Frames opened with keys that are gone.
    opened: u64,
}

/// The earliest frame since the last key whose own is not here.
///
/// The time is the endpoint's, given when it first looks: whoever decrypts may use another clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    pub(crate) key_id: KeyId,
    pub(crate) since: Option<Timestamp>,
}

struct HeldGeneration {
    keys: Box<dyn GenerationKeys>,
    head: Step,
    floor: Step,
    retiring: VecDeque<(Timestamp, Step)>,
    track_keys: BTreeMap<(Step, TrackId), Arc<TrackKey>>,
    expires: Option<Timestamp>,
}

impl HeldGeneration {
    /// Makes a track's key for a step that the publisher announced.
    fn prepare(&mut self, position: Position, track: TrackId) {
        if !self.track_keys.contains_key(&(position.step, track))
            && let Some(base_key) = self.keys.base_key(position.step, track)
        {
            let key = OpenKey::new(base_key, super::key_id(position));
            let key = Arc::new(TrackKey::new(Opener::new(key)));
            self.track_keys.insert((position.step, track), key);
        }
    }

    /// Wipes the keys of all steps before this one; says how many frames they opened.
    fn wipe_before(&mut self, step: Option<Step>) -> u64 {
        let kept =
            step.map_or_else(BTreeMap::new, |step| self.track_keys.split_off(&(step, TrackId(0))));
        let wiped = std::mem::replace(&mut self.track_keys, kept);
        wiped.values().map(|key| key.wipe()).sum()
    }
}

/// What the ring has for a frame.
pub(super) enum Found {
    /// A key that is in use.
    Known(Arc<TrackKey>),
    /// A key derived for this frame alone; nobody else has seen it.
    Fresh(OpenKey),
}

impl KeyRing {
    /// Takes in a generation's keys at `step`; older generations begin to expire.
    pub(crate) fn install(
        &mut self,
        position: Position,
        keys: Box<dyn GenerationKeys>,
        now: Timestamp,
    ) {
        if self.state == RingState::Closed {
            return;
        }
        if self.holds(position.generation) {
            // Its windows stay as they are, or old frames would open again.
            return self.announce(position, now);
        }
        if !self.accepts(position.generation) {
            return;
        }
        for (_, older) in self.generations.range_mut(..position.generation) {
            older.expires.get_or_insert(now + GENERATION_RETENTION);
        }
        // The key in use may come after the next one's, to a newcomer.
        let is_late = self.newest.is_some_and(|newest| position.generation < newest);
        let mut held = HeldGeneration {
            keys,
            head: position.step,
            floor: position.step,
            retiring: VecDeque::new(),
            track_keys: BTreeMap::new(),
            expires: is_late.then_some(now + GENERATION_RETENTION),
        };
        for &track in &self.tracks {
            held.prepare(position, track);
        }
        self.generations.insert(position.generation, held);
        self.newest = self.newest.max(Some(position.generation));
        self.missing = None;
        if self.generations.len() > MAX_GENERATIONS
            && let Some((generation, mut oldest)) = self.generations.pop_first()
        {
            self.opened += oldest.wipe_before(None);
            self.gone = self.gone.max(Some(Position { generation, step: oldest.head }));
        }
    }

    /// Whether the keys of a generation may be taken in: it is not here, nor was it before, or the
    /// windows of one that has expired would begin anew.
    pub(crate) fn accepts(&self, generation: Generation) -> bool {
        !self.holds(generation) && self.gone.is_none_or(|gone| generation > gone.generation)
    }

    /// The publisher announced where it is: a new step, or a generation whose key is not here.
    pub(crate) fn announce(&mut self, position: Position, now: Timestamp) {
        if self.newest.is_some_and(|newest| position.generation > newest) {
            // In use, and its key is not here. What is held is over nevertheless, or whoever was
            // removed could go on forging frames for those who are kept from the new key.
            for held in self.generations.values_mut() {
                held.expires.get_or_insert(now + GENERATION_RETENTION);
            }
            let key_id = super::key_id(position);
            self.missing.get_or_insert(Missing { key_id, since: None });
            return;
        }
        let Some(held) = self.generations.get_mut(&position.generation) else { return };
        if position.step > held.head {
            held.head = position.step;
            if held.retiring.len() >= MAX_RETIRING {
                held.retiring.pop_back();
            }
            held.retiring.push_back((now + STEP_RETENTION, position.step));
            for &track in &self.tracks {
                held.prepare(position, track);
            }
        }
    }

    /// From now on this track's keys are made as soon as their step is announced.
    pub(super) fn watch(&mut self, track: TrackId) {
        if self.tracks.insert(track) {
            for (&generation, held) in &mut self.generations {
                held.prepare(Position { generation, step: held.head }, track);
            }
        }
    }

    pub(crate) fn state(&self) -> RingState {
        self.state
    }

    fn set_state(&mut self, state: RingState) {
        if self.state == RingState::Closed {
            return;
        }
        self.state = state;
        if state == RingState::Closed {
            self.opened +=
                self.generations.values_mut().map(|held| held.wipe_before(None)).sum::<u64>();
            self.generations.clear();
            self.missing = None;
        }
    }

    /// The newest position announced of which a key was here.
    pub(crate) fn head(&self) -> Option<Position> {
        let newest = self.generations.last_key_value();
        newest.map(|(&generation, held)| Position { generation, step: held.head }).max(self.gone)
    }

    pub(crate) fn holds(&self, generation: Generation) -> bool {
        self.generations.contains_key(&generation)
    }

    /// The key that is missing, and since when.
    pub(crate) fn missing(&mut self, now: Timestamp) -> Option<(KeyId, Timestamp)> {
        let missing = self.missing.as_mut()?;
        Some((missing.key_id, *missing.since.get_or_insert(now)))
    }

    /// The publisher has said what its key is: whatever else was seen, its next frame will tell.
    pub(crate) fn forget_missing(&mut self) {
        self.missing = None;
    }

    /// Frames opened so far, over all tracks.
    pub(crate) fn opened(&self) -> u64 {
        let keys = self.generations.values().flat_map(|held| held.track_keys.values());
        self.opened + keys.map(|key| key.opened()).sum::<u64>()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.generations
            .values()
            .flat_map(|held| held.expires.into_iter().chain(held.retiring.front().map(|r| r.0)))
            .min()
    }

    /// Drops what is past its retention.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        // A forged KID must not be asked for for ever.
        let is_old = |missing: Missing| {
            missing.since.is_some_and(|since| now.since(since) >= MISSING_RETENTION)
        };
        self.missing = self.missing.filter(|missing| !is_old(*missing));
        self.generations.retain(|&generation, held| {
            let kept = held.expires.is_none_or(|at| now < at);
            if !kept {
                self.gone = self.gone.max(Some(Position { generation, step: held.head }));
                self.opened += held.wipe_before(None);
            }
            kept
        });
        for held in self.generations.values_mut() {
            let before = held.floor;
            while let Some(&(at, step)) = held.retiring.front()
                && at <= now
            {
                held.retiring.pop_front();
                held.floor = step;
            }
            if held.floor > before {
                held.keys.advance_to(held.floor);
                self.opened += held.wipe_before(Some(held.floor));
            }
        }
    }

    /// The key for a frame, if it may still be opened. Keeps nothing but a note of the KID when
    /// the key is missing.
    pub(super) fn find(
        &mut self,
        header: Header,
        track: TrackId,
        now: Timestamp,
    ) -> Result<Found, DecryptError> {
        if self.state != RingState::Live {
            return Err(DecryptError::Expired);
        }
        let position = super::position(header.key_id).ok_or(DecryptError::Limit)?;
        let Some(held) = self.generations.get_mut(&position.generation) else {
            if self.newest.is_some_and(|newest| position.generation <= newest) {
                return Err(DecryptError::Expired);
            }
            self.missing.get_or_insert(Missing { key_id: header.key_id, since: None });
            return Err(DecryptError::UnknownKey(header.key_id));
        };
        if position.step < held.floor {
            return Err(DecryptError::Expired);
        }
        if let Some(key) = held.track_keys.get(&(position.step, track)) {
            return Ok(Found::Known(Arc::clone(key)));
        }
        // What no window will take is not worth a derivation.
        if header.counter.0 >= MAX_FRAMES_PER_KEY {
            return Err(DecryptError::Limit);
        }
        if position.step.get() > held.head.get().saturating_add(STEPS_AHEAD) && !self.far.take(now)
        {
            return Err(DecryptError::Limit);
        }
        let base_key = held.keys.base_key(position.step, track).ok_or(DecryptError::Expired)?;
        Ok(Found::Fresh(OpenKey::new(base_key, header.key_id)))
    }

    /// Keeps a fresh key with which a frame was opened.
    pub(super) fn keep(
        &mut self,
        header: Header,
        track: TrackId,
        opener: Opener,
    ) -> Result<Arc<TrackKey>, DecryptError> {
        let position = super::position(header.key_id).ok_or(DecryptError::Limit)?;
        // The subscription may have been closed while the frame was being opened.
        let held = self.generations.get_mut(&position.generation).ok_or(DecryptError::Expired)?;
        if self.state != RingState::Live || position.step < held.floor {
            return Err(DecryptError::Expired);
        }
        if let Some(key) = held.track_keys.get(&(position.step, track)) {
            // Another decryptor of the track was faster: its window is the one that counts.
            key.open(header.counter, &mut |_| Ok(())).unwrap_or(Err(DecryptError::Expired))?;
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(TrackKey::new(opener));
        held.track_keys.insert((position.step, track), Arc::clone(&key));
        Ok(key)
    }
}

/// Derivations for steps far ahead of the head, in the current second.
#[derive(Default)]
struct FarBudget {
    second: u64,
    used: u32,
}

impl FarBudget {
    fn take(&mut self, now: Timestamp) -> bool {
        let second = now.unix_millis() / 1000;
        // Decryptors may be given different clocks: an earlier second refills nothing.
        if second > self.second {
            *self = Self { second, used: 0 };
        }
        let is_left = self.used < FAR_DERIVATIONS;
        self.used += u32::from(is_left);
        is_left
    }
}

/// A key ring behind its lock, which is held to look up, not to open.
#[derive(Clone, Default)]
pub(crate) struct SharedKeyRing(Arc<Shared>);

#[derive(Default)]
struct Shared {
    ring: Mutex<KeyRing>,
    /// Whether decryptors must ask the ring before they use a key that they know.
    is_stopped: AtomicBool,
}

impl SharedKeyRing {
    pub(crate) fn lock(&self) -> MutexGuard<'_, KeyRing> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closing is final and wipes every key.
    pub(crate) fn set_state(&self, state: RingState) {
        let mut ring = self.lock();
        ring.set_state(state);
        self.0.is_stopped.store(ring.state != RingState::Live, Ordering::Release);
    }

    #[inline]
    pub(super) fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Ordering::Acquire)
    }
}

impl fmt::Debug for SharedKeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedKeyRing").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use super::entry::{Entry, Key, Node, Value};
use crate::{
    primitives::{DeviceId, RoomId, StreamId},
    server::bus::RoomChange,
};

/// After how long without a word a node counts as gone, and all who are connected to it.
pub(super) const LEASE: Duration = Duration::from_secs(6);
/// How long it is said that something is over.
const TOMBSTONE: Duration = Duration::from_secs(60);
/// What an entry takes in the stream at most besides its state: its subject and its headers.
const ENTRY: usize = 512;

/// What the rooms' stream says, and which nodes are there.
pub(super) struct Mirror {
    own: Node,
    state_grace: Duration,
    nodes: HashMap<Node, Instant>,
    places: HashMap<(RoomId, DeviceId), Place>,
    state: HashMap<(RoomId, DeviceId, StreamId), State>,
    /// Bytes that all of this takes in the stream, and how many it may.
    held: usize,
    pub(super) at_most: usize,
}

struct Place {
    revision: u64,
    node: Node,
    /// What the stream says.
    present: bool,
    /// What the rooms were told. It is less if the node is gone.
    shown: bool,
    /// Since when it is so.
    since: Instant,
}

struct State {
    revision: u64,
    node: Node,
    set: bool,
    bytes: usize,
    since: Instant,
}

/// What to do in the stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chores {
    /// Messages that are of no use any more. They are known until they are deleted.
    pub(super) delete: Vec<(Key, u64)>,
    /// Who was connected to a node that is gone, with the revision that says it were present.
    pub(super) bury: Vec<(RoomId, DeviceId, u64)>,
}

impl Mirror {
    pub(super) fn new(own: Node, state_grace: Duration, at_most: usize) -> Self {
        let (nodes, places, state) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { own, state_grace, nodes, places, state, held: 0, at_most }
    }

    /// Whether the stream has no place for something new. It takes what is over even then, which
    /// needs no more place than what it replaces.
    pub(super) fn is_full(&self) -> bool {
        self.held >= self.at_most
    }

    fn count(&mut self) {
        let state: usize = self.state.values().map(|state| ENTRY + state.bytes).sum();
        self.held = self.places.len() * ENTRY + state;
    }

    fn is_alive(&self, node: &Node) -> bool {
        *node == self.own || self.nodes.contains_key(node)
    }

    /// Takes over one message of the stream, and says what it means for the rooms.
    pub(super) fn take(
        &mut self,
        key: Key,
        revision: u64,
        entry: Entry,
        now: Instant,
    ) -> Option<RoomChange> {
        let Entry { node, value } = entry;
        match (key, value) {
            (Key::Presence(room, device), value @ (Value::Present | Value::Gone)) => {
                let old = self.places.get(&(room, device));
                if old.is_some_and(|place| place.revision > revision) {
                    return None;
                }
                let (present, was) = (value == Value::Present, old.is_some_and(|old| old.shown));
                let repeated = old.is_some_and(|old| old.revision == revision);
                let since = now;
                if present {
                    // It was heard of, be it for the first time.
                    self.nodes.insert(node, now);
                }
                let place = Place { revision, node, present, shown: present, since };
                if self.places.insert((room, device), place).is_none() {
                    self.held += ENTRY;
                }
                if present {
                    // Who enters again is told again what is there.
                    (!was || !repeated).then_some(RoomChange::Enter { room, device })
                } else {
                    was.then_some(RoomChange::Leave { room, device })
                }
            }
            (Key::State(room, device, stream), value @ (Value::Set(_) | Value::Cleared(_))) => {
                let old = self.state.get(&(room, device, stream));
                if old.is_some_and(|state| state.revision > revision) {
                    return None;
                }
                let was = old.is_some_and(|state| state.set);
                let repeated = old.is_some_and(|state| state.revision == revision);
                let set = matches!(value, Value::Set(_));
                let bytes = match &value {
                    Value::Set(bytes) | Value::Cleared(Some(bytes)) => bytes.len(),
                    _ => 0,
                };
                let state = State { revision, node, set, bytes, since: now };
                let old = self.state.insert((room, device, stream), state);
                self.held += bytes + ENTRY;
                self.held = self.held.saturating_sub(old.map_or(0, |old| old.bytes + ENTRY));
                let shown = self.places.get(&(room, device)).is_some_and(|place| place.shown);
                match value {
                    Value::Set(bytes) => {
                        shown.then_some(RoomChange::SetState { room, device, stream, bytes })
                    }
                    // Others may know the stream from before; but once is enough.
                    Value::Cleared(bytes) => (was || !repeated).then_some(RoomChange::ClearState {
                        room,
                        device,
                        stream,
                        bytes,
                    }),
                    Value::Present | Value::Gone => None,
                }
            }
            _ => None,
        }
    }

    /// After all that is in the stream was taken over: what was there and is there no more, as
    /// far as the stream was read.
    pub(super) fn keep_only(&mut self, found: &HashSet<Key>, read_to: u64) -> Vec<RoomChange> {
        let mut changes = Vec::new();
        self.state.retain(|&(room, device, stream), state| {
            let stays =
                state.revision > read_to || found.contains(&Key::State(room, device, stream));
            if !stays && state.set {
                changes.push(RoomChange::ClearState { room, device, stream, bytes: None });
            }
            stays
        });
        self.places.retain(|&(room, device), place| {
            let stays = place.revision > read_to || found.contains(&Key::Presence(room, device));
            if !stays && place.shown {
                changes.push(RoomChange::Leave { room, device });
            }
            stays
        });
        self.count();
        changes
    }

    /// A node said that it is there. True if it counted as gone until now: then what it says has
    /// to be read again.
    pub(super) fn heard(&mut self, node: Node, now: Instant) -> bool {
        let unknown = self.nodes.insert(node, now).is_none();
        unknown && self.places.values().any(|place| place.node == node && place.present)
    }

    /// A node said that it goes.
    pub(super) fn bye(&mut self, node: &Node) {
        self.nodes.remove(node);
    }

    /// Nothing was heard for a while, and that is our own fault.
    pub(super) fn pardon(&mut self, now: Instant) {
        self.nodes.values_mut().for_each(|heard| *heard = now);
    }

    /// Takes those out of the rooms whose nodes are gone.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<RoomChange> {
        self.nodes.retain(|_, heard| now.saturating_duration_since(*heard) < LEASE);
        let mut changes = Vec::new();
        for (&(room, device), place) in &mut self.places {
            let alive = place.node == self.own || self.nodes.contains_key(&place.node);
            if place.shown && !alive {
                (place.shown, place.since) = (false, now);
                changes.push(RoomChange::Leave { room, device });
            }
        }
        changes
    }

    /// What is to be done in the stream by now, by whoever said it or, if that node is gone, by
    /// anybody; so many of a kind.
    pub(super) fn chores(&mut self, now: Instant, at_most: usize) -> Chores {
        let mut chores = Chores::default();
        let nodes = &self.nodes;
        let is_mine = |node: &Node| *node == self.own || !nodes.contains_key(node);
        let mut over = |key, revision, node: &Node, since, after: Duration| {
            let since = now.saturating_duration_since(since);
            if !is_mine(node) {
                return since >= after + TOMBSTONE;
            }
            if since >= after && chores.delete.len() < at_most {
                chores.delete.push((key, revision));
            }
            false
        };
        let places = &self.places;
        self.state.retain(|&(room, device, stream), state| {
            let State { revision, ref node, set, since, .. } = *state;
            let place = places.get(&(room, device));
            if place.is_some_and(|place| place.shown) && set {
                return true;
            }
            // One who left a moment ago may have said this long before.
            let since = place.map_or(since, |place| place.since.max(since));
            let after = if set { self.state_grace } else { TOMBSTONE };
            !over(Key::State(room, device, stream), revision, node, since, after)
        });
        self.places.retain(|&(room, device), place| {
            if !place.present {
                let key = Key::Presence(room, device);
                return !over(key, place.revision, &place.node, place.since, TOMBSTONE);
            }
            if !place.shown && chores.bury.len() < at_most {
                chores.bury.push((room, device, place.revision));
            }
            true
        });
        self.count();
        chores
    }

    /// A message was deleted.
    pub(super) fn forget(&mut self, key: Key, revision: u64) {
        match key {
            Key::Presence(room, device) => {
                if self.revision(room, device) == revision {
                    self.places.remove(&(room, device));
                }
            }
            Key::State(room, device, stream) => {
                let key = (room, device, stream);
                if self.state.get(&key).is_some_and(|state| state.revision == revision) {
                    self.state.remove(&key);
                }
            }
        }
    }

    /// The node that says a device is present, and the revision that says so.
    pub(super) fn place(&self, room: RoomId, device: DeviceId) -> Option<(Node, u64)> {
        let place = self.places.get(&(room, device)).filter(|place| place.present)?;
        self.is_alive(&place.node).then_some((place.node, place.revision))
    }

    /// The newest revision about a presence that was heard of, 0 for none.
    pub(super) fn revision(&self, room: RoomId, device: DeviceId) -> u64 {
        self.places.get(&(room, device)).map_or(0, |place| place.revision)
    }

    /// Who is present by this node's own word.
    pub(super) fn own_places(&self) -> impl Iterator<Item = (RoomId, DeviceId, u64)> {
        let own = self.places.iter().filter(|(_, place)| place.present && place.node == self.own);
        own.map(|(&(room, device), place)| (room, device, place.revision))
    }
}

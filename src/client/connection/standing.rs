use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use indexmap::IndexMap;

use super::command::Command;
use crate::{
    primitives::{DeviceId, DoorKey, RoomId, StreamId},
    protocol::service::{ClientFrame, Payload},
};

/// Messages, and their bytes, that may wait for the service to take them over.
const WAITING: usize = 1024;
const WAITING_BYTES: usize = 8 << 20;

/// Ends of streams kept for a service that is away.
const ENDS: usize = 64;

/// How long an unaccepted message is kept. Whoever needs it longer sends it again anyway, and
/// the service would not keep it longer either.
const KEPT: Duration = Duration::from_secs(60);

/// How long to wait before a message is tried again that came too fast.
const SLOWER: Duration = Duration::from_millis(300);

/// How long to wait before rooms and states are said again that could not be taken.
const RESTATE: Duration = Duration::from_secs(1);

struct Waiting {
    to: DeviceId,
    bytes: Payload,
    since: Instant,
    /// When to try again, if the service asked for patience.
    again: Option<Instant>,
}

/// What this device wants its service to know, whichever connection it takes to say it.
#[derive(Default)]
pub(super) struct Standing {
    rooms: IndexMap<RoomId, DoorKey>,
    /// Those that the service has let us into over this connection.
    entered: HashSet<RoomId>,
    states: IndexMap<(RoomId, StreamId), Payload>,
    ends: Vec<(RoomId, StreamId, Payload, Instant)>,
    waiting: IndexMap<u64, Waiting>,
    waiting_bytes: usize,
    last_request: u64,
    /// When rooms and states are said again, if the service could not take one of them.
    restate: Option<Instant>,
}

/// Who speaks, and over which connection.
#[derive(Clone, Copy)]
pub(super) struct Speaker {
    pub(super) device: DeviceId,
    pub(super) nonce: [u8; 32],
}

impl Speaker {
    fn enter(&self, room: RoomId, door: &DoorKey) -> ClientFrame {
        let signature = door.sign(&self.nonce, &self.device);
        ClientFrame::Enter { room, door: door.public(), signature }
    }
}

impl Standing {
    pub(super) fn new(rooms: Vec<(RoomId, DoorKey)>) -> Self {
        Self { rooms: rooms.into_iter().collect(), ..Self::default() }
    }

    /// Whether there is room for one more command.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING && self.waiting_bytes < WAITING_BYTES
    }

    /// All that a connection has to be told when it is new, in order.
    pub(super) fn say_all(&mut self, speaker: &Speaker, now: Instant) -> Vec<ClientFrame> {
        self.forget(now);
        self.restate = None;
        self.entered.clear();
        let mut frames = self.rooms_and_states(speaker);
        frames.extend(
            self.ends.drain(..).map(|(room, stream, bytes, _)| ClientFrame::ClearState {
                room,
                stream,
                bytes,
            }),
        );
        frames.extend(self.waiting.iter_mut().map(|(&request, waiting)| {
            waiting.again = None;
            ClientFrame::Send { request, to: waiting.to, bytes: waiting.bytes.clone() }
        }));
        frames
    }

    fn rooms_and_states(&self, speaker: &Speaker) -> Vec<ClientFrame> {
        let outside = self.rooms.iter().filter(|(room, _)| !self.entered.contains(*room));
        let enter = outside.map(|(&room, door)| speaker.enter(room, door));
        let set = self.states.iter().map(|(&(room, stream), bytes)| ClientFrame::SetState {
            room,
            stream,
            bytes: bytes.clone(),
        });
        enter.chain(set).collect()
    }

    /// Takes a command over. The frame is to be sent at once if there is a connection; what
    /// must not be lost without one is kept.
    pub(super) fn take(
        &mut self,
        command: Command,
        speaker: Option<&Speaker>,
        now: Instant,
    ) -> Option<ClientFrame> {
        let frame = match command {
            Command::Enter { room, door } => {
                let frame = speaker.map(|speaker| speaker.enter(room, &door));
                self.rooms.insert(room, door);
                return frame;
            }
            Command::Leave { room } => {
                self.rooms.shift_remove(&room);
                self.entered.remove(&room);
                self.states.retain(|(other, _), _| *other != room);
                self.ends.retain(|(other, ..)| *other != room);
                ClientFrame::Leave { room }
            }
            Command::Send { to, bytes } => {
                self.last_request += 1;
                self.waiting_bytes += bytes.len();
                let waiting = Waiting { to, bytes: bytes.clone(), since: now, again: None };
                self.waiting.insert(self.last_request, waiting);
                ClientFrame::Send { request: self.last_request, to, bytes }
            }
            Command::SetState { room, stream, bytes } => {
                self.states.insert((room, stream), bytes.clone());
                ClientFrame::SetState { room, stream, bytes }
            }
            Command::ClearState { room, stream, bytes } => {
                self.states.shift_remove(&(room, stream));
                if speaker.is_none() && self.ends.len() < ENDS {
                    self.ends.push((room, stream, bytes.clone(), now));
                }
                ClientFrame::ClearState { room, stream, bytes }
            }
            Command::Broadcast { room, bytes } => ClientFrame::Broadcast { room, bytes },
            Command::Close => return None,
        };
        speaker.map(|_| frame)
    }

    /// The service has taken a message over, or refused it for good. Returns its recipient.
    pub(super) fn done(&mut self, request: u64) -> Option<DeviceId> {
        let waiting = self.waiting.shift_remove(&request)?;
        self.waiting_bytes -= waiting.bytes.len();
        Some(waiting.to)
    }

    /// The service asked to send this more slowly.
    pub(super) fn slow_down(&mut self, request: u64, now: Instant) {
        if let Some(waiting) = self.waiting.get_mut(&request) {
            // Spread by the number, so that they do not all come back at once.
            let spread = Duration::from_millis(request % 64 * 8);
            waiting.again = Some(now + SLOWER + spread);
        }
    }

    pub(super) fn entered(&mut self, room: RoomId) {
        self.entered.insert(room);
    }

    pub(super) fn is_in(&self, room: &RoomId) -> bool {
        self.entered.contains(room)
    }

    /// The service could not let us into a room, or take a state: in a moment it is asked again.
    pub(super) fn say_again(&mut self, now: Instant) {
        self.restate.get_or_insert(now + RESTATE);
    }

    /// Whether rooms and states will be said again.
    pub(super) fn is_to_be_said_again(&self) -> bool {
        self.restate.is_some()
    }

    /// When something is to be tried again.
    pub(super) fn next_again(&self) -> Option<Instant> {
        self.waiting.values().filter_map(|waiting| waiting.again).chain(self.restate).min()
    }

    /// What is to be tried again now.
    pub(super) fn again(&mut self, speaker: &Speaker, now: Instant) -> Vec<ClientFrame> {
        self.forget(now);
        let restate = self.restate.take_if(|at| *at <= now).is_some();
        let mut frames = if restate { self.rooms_and_states(speaker) } else { Vec::new() };
        let due = self.waiting.iter_mut().filter(|(_, w)| w.again.is_some_and(|at| at <= now));
        frames.extend(due.map(|(&request, waiting)| {
            waiting.again = None;
            ClientFrame::Send { request, to: waiting.to, bytes: waiting.bytes.clone() }
        }));
        frames
    }

    /// Drops what has waited too long.
    pub(super) fn forget(&mut self, now: Instant) {
        let fresh = |since: Instant| now.saturating_duration_since(since) < KEPT;
        self.waiting.retain(|_, waiting| fresh(waiting.since));
        self.waiting_bytes = self.waiting.values().map(|waiting| waiting.bytes.len()).sum();
        self.ends.retain(|(.., since)| fresh(*since));
    }
}

#[cfg(test)]
mod tests;

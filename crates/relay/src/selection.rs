//! Which simulcast layer a subscriber gets, and how it becomes one continuous RTP stream.
//!
//! No I/O: packets and times come in, and each packet is let through, with its sequence number
//! and timestamp rewritten, or not.
//!
//! - Layers are counted from the highest, 0. The **target** is the highest one that is alive and
//!   not above the **ceiling**, which the subscriber may choose; if none is, the nearest above.
//! - A switch happens at the first packet of a key frame of the target, if it comes in order: a
//!   key frame whose first packet had to be sent again has lost packets here already. Until then
//!   the old layer goes on, and the target's key frame is asked for.
//! - Silence lowers the target at once. A layer that returns from silence must last for
//!   [`STEADY`] before the target rises to it.
//! - There is no timer: when no layer's packets arrive, there is nothing to switch to.

use std::time::{Duration, Instant};

use rtc::rtp;

/// A layer is alive if a packet of it came within this time. Frames of a still screen may be a
/// second apart.
const SILENCE: Duration = Duration::from_millis(1_500);
/// How long a layer that fell silent must be back before the target rises to it.
const STEADY: Duration = Duration::from_secs(3);
/// From the first packet on, how long a layer below the ceiling waits for those above it.
const SETTLE: Duration = Duration::from_millis(100);
/// How long after a switch packets from before it are still forwarded.
const LATE: Duration = Duration::from_secs(1);
/// Time between two requests for the same key frame.
pub(crate) const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Ticks of the RTP clock per millisecond, the same for every video codec.
const TICKS_PER_MS: u128 = 90;
/// How far a timestamp may be from what arrival times let expect before it is put right.
const TIMESTAMP_TOLERANCE: i32 = 45_000;

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether the packet, as rewritten, goes to the subscriber.
    pub(crate) forward: bool,
    /// The layer whose key frame must be asked for now.
    pub(crate) request: Option<usize>,
}

pub(crate) struct Selection {
    layers: Vec<Layer>,
    ceiling: usize,
    current: Option<Run>,
    /// What was forwarded before the last switch: packets of it may still arrive.
    previous: Option<Run>,
    sent: Option<Sent>,
    /// The layer that was asked for a key frame, and when.
    asked: Option<(usize, Instant)>,
    started: Option<Instant>,
}

#[derive(Clone, Default)]
struct Layer {
    /// SSRC and sequence number of the newest packet.
    newest: Option<(u32, u16)>,
    last_arrival: Option<Instant>,
    /// Since when it is back; `None` if it was never away.
    returned: Option<Instant>,
    /// Counts the times that its sequence numbers began anew.
    epoch: u32,
    /// Added to its timestamps the last time that it was forwarded.
    timestamp_offset: u32,
}

/// A layer's packets from one switch to the next.
#[derive(Clone, Copy)]
struct Run {
    layer: usize,
    epoch: u32,
    began: Instant,
    /// Sequence number of the newest packet, as received.
    newest: u16,
    /// How many sequence numbers before `newest` belong to the run.
    length: u16,
    sequence_offset: u16,
    timestamp_offset: u32,
}

/// The ends of what was forwarded.
#[derive(Clone, Copy)]
struct Sent {
    sequence: u16,
    timestamp: u32,
    at: Instant,
}

impl Selection {
    pub(crate) fn new(layers: usize) -> Self {
        Self {
            layers: vec![Layer::default(); layers],
            ceiling: 0,
            current: None,
            previous: None,
            sent: None,
            asked: None,
            started: None,
        }
    }

    /// Chooses the highest layer that may be forwarded; `None` leaves that to the relay.
    pub(crate) fn choose(&mut self, layer: Option<usize>) {
        self.ceiling = layer.unwrap_or(0).min(self.layers.len().saturating_sub(1));
        // Who names a layer does not want to wait until it has proved itself.
        if let Some(chosen) = layer.and_then(|layer| self.layers.get_mut(layer)) {
            chosen.returned = None;
        }
    }

    /// The layer of which a subscriber that asks for a key frame needs one.
    pub(crate) fn awaited(&self) -> usize {
        let pending = self.asked.map(|(layer, _)| layer);
        pending.or(self.current.map(|run| run.layer)).unwrap_or(self.ceiling)
    }

    /// Takes a packet of a layer. `key_frame` says that a key frame starts with it. Its sequence
    /// number and timestamp are rewritten if it is to be forwarded.
    pub(crate) fn handle_packet(
        &mut self,
        now: Instant,
        layer: usize,
        key_frame: bool,
        header: &mut rtp::Header,
    ) -> Verdict {
        let Some(arrived) = self.layers.get_mut(layer) else { return Verdict::default() };
        let in_order = arrived.take(now, header);
        self.started.get_or_insert(now);
        let target = self.target(now);
        let mut pending = target.filter(|target| !self.is_current(*target));
        if pending == Some(layer) && key_frame && in_order {
            self.switch(now, layer, header);
            pending = None;
        }
        let forward = self.rewrite(now, layer, header);
        Verdict { forward, request: self.ask(now, pending) }
    }

    /// The layer that should be forwarded; `None` until that can be told.
    fn target(&self, now: Instant) -> Option<usize> {
        let current = self.current.map(|run| run.layer);
        let current = current.filter(|layer| self.is_alive(*layer, now));
        let settling = self.started.is_some_and(|at| now.duration_since(at) < SETTLE);
        let usable = |index: usize| {
            self.is_alive(index, now)
                && match current {
                    Some(current) => index >= current || self.is_steady(index, now),
                    None => index == self.ceiling || !settling,
                }
        };
        let mut at_most = self.ceiling..self.layers.len();
        let mut above = (0..self.ceiling).rev();
        at_most.find(|index| usable(*index)).or_else(|| above.find(|index| usable(*index)))
    }

    fn is_alive(&self, layer: usize, now: Instant) -> bool {
        let last = self.layers.get(layer).and_then(|layer| layer.last_arrival);
        last.is_some_and(|at| now.duration_since(at) < SILENCE)
    }

    fn is_steady(&self, layer: usize, now: Instant) -> bool {
        let returned = self.layers.get(layer).and_then(|layer| layer.returned);
        returned.is_none_or(|at| now.duration_since(at) >= STEADY)
    }

    fn is_current(&self, layer: usize) -> bool {
        let epoch = self.layers.get(layer).map(|layer| layer.epoch);
        self.current.is_some_and(|run| run.layer == layer && Some(run.epoch) == epoch)
    }

    fn switch(&mut self, now: Instant, layer: usize, header: &rtp::Header) {
        let mut sequence_offset = 0;
        let mut timestamp_offset = 0;
        if let Some(sent) = self.sent {
            sequence_offset = sent.sequence.wrapping_add(1).wrapping_sub(header.sequence_number);
            timestamp_offset = self.timestamp_offset(now, sent, layer, header.timestamp);
        }
        self.previous = self.current.replace(Run {
            layer,
            epoch: self.layers.get(layer).map_or(0, |layer| layer.epoch),
            began: now,
            newest: header.sequence_number,
            length: 0,
            sequence_offset,
            timestamp_offset,
        });
    }

    /// Layers may share a clock, or each may have its own: an offset that has fitted before, 0 at
    /// first, is kept if it still fits.
    fn timestamp_offset(&mut self, now: Instant, sent: Sent, layer: usize, received: u32) -> u32 {
        let elapsed = now.duration_since(sent.at).as_millis() * TICKS_PER_MS;
        // Wraps as timestamps do.
        let expected = sent.timestamp.wrapping_add(elapsed as u32);
        let Some(layer) = self.layers.get_mut(layer) else { return 0 };
        let mut continued = received.wrapping_add(layer.timestamp_offset);
        if distance(expected, continued).abs() > TIMESTAMP_TOLERANCE {
            continued = expected;
            layer.timestamp_offset = expected.wrapping_sub(received);
        }
        // The old layer's packets of this very moment may have gone out already, and two frames
        // must not have one timestamp.
        if distance(sent.timestamp, continued) <= 0 {
            continued = sent.timestamp.wrapping_add(1);
        }
        continued.wrapping_sub(received)
    }

    /// Rewrites the packet if it belongs to what is, or lately was, forwarded.
    fn rewrite(&mut self, now: Instant, layer: usize, header: &mut rtp::Header) -> bool {
        let Some(epoch) = self.layers.get(layer).map(|layer| layer.epoch) else { return false };
        if self.current.is_some_and(|run| now.duration_since(run.began) >= LATE) {
            self.previous = None;
        }
        let sequence = header.sequence_number;
        let ours = |run: &Run| (run.layer, run.epoch) == (layer, epoch);
        if let Some(run) = self.current.as_mut().filter(|run| ours(run)) {
            run.grow(sequence);
        }
        let runs = [self.current, self.previous].into_iter().flatten();
        let Some(run) = runs.filter(ours).find(|run| run.covers(sequence)) else { return false };
        header.sequence_number = sequence.wrapping_add(run.sequence_offset);
        header.timestamp = header.timestamp.wrapping_add(run.timestamp_offset);
        let sent = Sent { sequence: header.sequence_number, timestamp: header.timestamp, at: now };
        match &mut self.sent {
            Some(last) if is_newer(sent.sequence, last.sequence) => {
                // Frames that are decoded before others may be shown after them.
                let ahead = distance(last.timestamp, sent.timestamp) > 0;
                *last =
                    Sent { timestamp: if ahead { sent.timestamp } else { last.timestamp }, ..sent };
            }
            Some(_) => {}
            none => *none = Some(sent),
        }
        true
    }

    fn ask(&mut self, now: Instant, pending: Option<usize>) -> Option<usize> {
        let asked = |layer| {
            self.asked.is_some_and(|(of, at)| of == layer && now.duration_since(at) < ASK_AGAIN)
        };
        let due = pending.filter(|layer| !asked(*layer));
        if let Some(layer) = due {
            self.asked = Some((layer, now));
        } else if pending.is_none() {
            self.asked = None;
        }
        due
    }
}

impl Layer {
    /// Notes an arrival; `false` if a newer packet was here before.
    fn take(&mut self, now: Instant, header: &rtp::Header) -> bool {
        let silent = self.last_arrival.is_some_and(|at| now.duration_since(at) >= SILENCE);
        if silent {
            self.returned = Some(now);
        }
        self.last_arrival = Some(now);
        let arrived = (header.ssrc, header.sequence_number);
        let in_order = match self.newest {
            Some((ssrc, newest)) if ssrc == arrived.0 && is_newer(arrived.1, newest) => true,
            Some((ssrc, _)) if ssrc == arrived.0 && !silent => false,
            Some(_) => {
                self.epoch = self.epoch.wrapping_add(1);
                true
            }
            None => true,
        };
        if in_order {
            self.newest = Some(arrived);
        }
        in_order
    }
}

impl Run {
    fn covers(&self, sequence: u16) -> bool {
        self.newest.wrapping_sub(sequence) <= self.length
    }

    /// Takes a newer packet as well.
    fn grow(&mut self, sequence: u16) {
        if is_newer(sequence, self.newest) {
            let step = sequence.wrapping_sub(self.newest);
            // What is older than half the numbers cannot be told from what is newer.
            self.length = self.length.saturating_add(step).min(0x7fff);
            self.newest = sequence;
        }
    }
}

/// Whether `sequence` comes after `than` (RFC 3550's numbers wrap).
fn is_newer(sequence: u16, than: u16) -> bool {
    (1..0x8000).contains(&sequence.wrapping_sub(than))
}

/// From `from` to `to`, the shorter way round.
fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

#[cfg(test)]
mod tests;

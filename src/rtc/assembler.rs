//! RTP packets into whole frames.
//!
//! - A frame is complete as soon as its last packet is in; nothing waits for the next frame.
//! - Frames come out in order. A missing packet is waited for, NACK may bring it, but not for
//!   long: then its frame is given up, and the next one says [`AssembledFrame::after_loss`].
//! - Duplicates and latecomers are dropped, and malformed packets are as good as lost. What is held is bounded by packets and by bytes, and
//!   nothing is held while nothing is missing.
//!
//! No I/O and no clock: the caller passes the time and polls for frames.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rtc::rtp;

use super::payload::{self, Start};
use crate::primitives::Codec;

/// How long a missing video packet is waited for: some NACK round trips. Through Janus, with 10 % of
/// packets lost on each of two ways of 20 ms, 200 ms lost five times as many frames.
const VIDEO_PATIENCE: Duration = Duration::from_millis(400);
/// Audio packets are not sent again: this is for packets that overtook each other.
const AUDIO_PATIENCE: Duration = Duration::from_millis(40);
/// Packets from the oldest to the newest that are held. The largest frame has 3,600.
const MAX_PACKETS: u64 = 4_096;
/// Bytes of payloads that are held: the largest frame, with what its encryption adds, readable
/// headers and escaped bytes among it, and the payload descriptors.
const MAX_BYTES: usize = (4 << 20) + (64 << 10);
/// So many packets in a row from before the window mean that the sender has started anew.
const RESTART: u32 = 256;

/// What the assembler needs of an RTP packet.
#[derive(Debug, Clone)]
pub struct MediaPacket {
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// RTP payload with the codec's payload descriptor.
    pub payload: Bytes,
}

impl From<rtp::Packet> for MediaPacket {
    fn from(packet: rtp::Packet) -> Self {
        Self {
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: packet.payload,
        }
    }
}

/// A whole frame, encrypted as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssembledFrame {
    /// The frame's bytes.
    pub data: Bytes,
    /// Its RTP timestamp.
    pub rtp_timestamp: u32,
    /// Whether something between the frame before and this one was given up.
    pub after_loss: bool,
}

/// Assembles the frames of one track.
#[derive(Debug)]
pub struct Assembler {
    codec: Codec,
    packets: BTreeMap<u64, Part>,
    bytes: usize,
    /// Where the next frame begins. Unset until a first frame's start was seen.
    next: Option<u64>,
    /// First packet not examined yet: `next..cursor` is one frame's, without a gap.
    cursor: u64,
    /// The highest sequence number seen, without wrap.
    highest: Option<u64>,
    /// Whether a frame came out: until then an earlier start may still turn up.
    started: bool,
    /// Since when packets wait behind one that is missing.
    blocked_since: Option<Instant>,
    behind: u32,
    lost: bool,
    losses: u64,
    frames: VecDeque<AssembledFrame>,
}

#[derive(Debug)]
struct Part {
    timestamp: u32,
    start: Start,
    last: bool,
    /// For [`payload::join`]. Empty for padding, which belongs to no frame.
    data: Bytes,
    /// Bytes of the whole payload: `data` may be a slice of it.
    size: usize,
    arrived: Instant,
}

impl Assembler {
    /// An assembler for one track of this codec.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            packets: BTreeMap::new(),
            bytes: 0,
            next: None,
            cursor: 0,
            highest: None,
            started: false,
            blocked_since: None,
            behind: 0,
            lost: false,
            losses: 0,
            frames: VecDeque::new(),
        }
    }

    /// Takes a packet. Poll for frames afterwards.
    pub fn handle_packet(&mut self, packet: MediaPacket, now: Instant) {
        let Some(part) = Part::read(self.codec, &packet, now) else { return };
        let Some(sequence) = self.place(packet.sequence) else { return };
        if self.packets.contains_key(&sequence) {
            return;
        }
        if part.start == Start::Yes && !self.started && self.next.is_none_or(|next| sequence < next)
        {
            self.next = Some(sequence);
            self.cursor = sequence;
        }
        self.bytes += part.size;
        self.packets.insert(sequence, part);
        self.advance();
        while self.overflows() {
            self.give_up();
        }
    }

    /// Gives up what has been waited for long enough. Poll for frames afterwards.
    pub fn handle_timeout(&mut self, now: Instant) {
        while self.poll_timeout().is_some_and(|due| due <= now) {
            self.give_up();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let patience = if self.codec.is_video() { VIDEO_PATIENCE } else { AUDIO_PATIENCE };
        self.blocked_since.map(|since| since + patience)
    }

    /// The next frame, in order.
    pub fn poll_frame(&mut self) -> Option<AssembledFrame> {
        self.frames.pop_front()
    }

    /// How often something was given up.
    pub fn losses(&self) -> u64 {
        self.losses
    }

    /// The sequence number without wrap, if the packet can still be of use.
    fn place(&mut self, sequence: u16) -> Option<u64> {
        let highest = match self.highest {
            // Room below, for packets that the first one has overtaken.
            None => (1 << 32) | u64::from(sequence),
            Some(highest) => highest,
        };
        let step = sequence.wrapping_sub(highest as u16) as i16;
        let place = highest.saturating_add_signed(i64::from(step));
        let floor = match self.next {
            Some(next) if self.started => next,
            _ => highest.saturating_sub(MAX_PACKETS / 2),
        };
        if place < floor {
            self.behind += 1;
            if self.behind < RESTART {
                return None;
            }
            *self = Self {
                lost: true,
                losses: self.losses + 1,
                frames: std::mem::take(&mut self.frames),
                ..Self::new(self.codec)
            };
            return self.place(sequence);
        }
        self.behind = 0;
        self.highest = Some(highest.max(place));
        Some(place)
    }

    /// Takes out every frame that is complete and in order.
    fn advance(&mut self) {
        let Some(mut next) = self.next else { return };
        let (before, since) = (self.cursor, self.blocked_since);
        while let Some(part) = self.packets.get(&self.cursor) {
            let opens = next == self.cursor;
            if part.data.is_empty() {
                if opens {
                    self.take(next);
                    next += 1;
                }
            } else if opens && !self.may_open(part.start) {
                // The rest of a frame whose start was given up.
                self.lose();
                self.take(next);
                next += 1;
            } else if self.packets.get(&next).is_some_and(|first| first.timestamp != part.timestamp)
            {
                // A frame without an end: what follows belongs to another one.
                self.lose();
                self.drop_before(self.cursor);
                next = self.cursor;
                continue;
            } else if part.last {
                self.emit(next);
                next = self.cursor + 1;
            }
            self.cursor += 1;
        }
        self.next = Some(next);
        // The cursor stands at a gap, or behind all that has come.
        let behind = self.packets.range(self.cursor..).next().map(|(_, part)| part.arrived);
        // What comes behind the gap, sent again perhaps, does not prolong the wait.
        let earlier = since.filter(|_| self.cursor == before);
        self.blocked_since = behind.map(|arrived| earlier.map_or(arrived, |e| e.min(arrived)));
    }

    fn may_open(&self, start: Start) -> bool {
        match start {
            Start::Yes => true,
            // Until a frame comes out, it is not known what ended before this one.
            Start::AfterEnd => !self.lost,
            Start::No => false,
        }
    }

    /// Puts `first..=cursor` together.
    fn emit(&mut self, first: u64) {
        if !self.started {
            self.started = true;
            self.drop_before(first);
        }
        let rtp_timestamp = self.packets.get(&first).map_or(0, |part| part.timestamp);
        let fragments: Vec<Bytes> = (first..=self.cursor)
            .map(|sequence| self.take(sequence))
            .filter(|data| !data.is_empty())
            .collect();
        let Ok(data) = payload::join(self.codec, &fragments) else {
            self.lose();
            return;
        };
        let after_loss = std::mem::take(&mut self.lost);
        self.frames.push_back(AssembledFrame { data, rtp_timestamp, after_loss });
    }

    fn overflows(&self) -> bool {
        let span = match (self.packets.keys().next(), self.highest) {
            (Some(oldest), Some(highest)) => highest - oldest,
            _ => 0,
        };
        span >= MAX_PACKETS || self.bytes > MAX_BYTES
    }

    /// Drops the unfinished frame and goes on at the next start of one, or behind its end: the
    /// first packet of the frame after it may only be late.
    fn give_up(&mut self) {
        self.lose();
        let mut behind = self.packets.range(self.cursor.max(self.next.map_or(0, |n| n + 1))..);
        let start = behind.find_map(|(sequence, part)| match part.start {
            Start::Yes => Some(*sequence),
            _ => part.last.then_some(sequence + 1),
        });
        let next = start.unwrap_or_else(|| self.highest.map_or(self.cursor, |highest| highest + 1));
        self.drop_before(next);
        self.next = Some(next);
        self.cursor = next;
        self.blocked_since = None;
        // Before the first frame nothing else says that earlier packets are of no use any more.
        self.started = true;
        self.advance();
    }

    fn lose(&mut self) {
        self.lost = true;
        self.losses += 1;
    }

    fn take(&mut self, sequence: u64) -> Bytes {
        let Some(part) = self.packets.remove(&sequence) else { return Bytes::new() };
        self.bytes -= part.size;
        part.data
    }

    fn drop_before(&mut self, sequence: u64) {
        let kept = self.packets.split_off(&sequence);
        let dropped = std::mem::replace(&mut self.packets, kept);
        self.bytes -= dropped.values().map(|part| part.size).sum::<usize>();
    }
}

impl Part {
    fn read(codec: Codec, packet: &MediaPacket, arrived: Instant) -> Option<Self> {
        let (timestamp, size) = (packet.timestamp, packet.payload.len());
        if packet.payload.is_empty() {
            let (start, data) = (Start::No, Bytes::new());
            return Some(Self { timestamp, start, last: false, data, size, arrived });
        }
        let fragment = payload::read(codec, &packet.payload, packet.marker).ok()?;
        let payload::Fragment { start, last, data } = fragment;
        Some(Self { timestamp, start, last, data, size, arrived })
    }
}

#[cfg(test)]
mod tests;

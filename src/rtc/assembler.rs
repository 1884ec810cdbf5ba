//! RTP packets into whole frames.
//!
//! - A frame is complete as soon as its last packet is in; nothing waits for the next frame.
//! - Frames come out in order. A missing packet is waited for, NACK may bring it, but not for
//!   long: then its frame is given up, and the next one says [`AssembledFrame::after_loss`].
//! - Duplicates and latecomers are dropped. What is held is bounded by packets and by bytes, and
//!   nothing is held while nothing is missing.
//!
//! No I/O and no clock: the caller passes the time and polls for frames.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use rtc::rtp;

use crate::primitives::Codec;

/// How long a missing video packet is waited for: some NACK round trips.
const VIDEO_PATIENCE: Duration = Duration::from_millis(200);
/// Audio packets are not sent again: this is for packets that overtook each other.
const AUDIO_PATIENCE: Duration = Duration::from_millis(40);
/// Packets from the oldest to the newest that are held. The largest frame has 3,531.
const MAX_PACKETS: u64 = 4_096;
/// Bytes that are held: the largest frame, with what encryption adds to it.
const MAX_BYTES: usize = (4 << 20) + 64;
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
    first: bool,
    last: bool,
    /// Without the payload descriptor. Empty for padding, which belongs to no frame.
    data: Bytes,
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
        if part.first && !self.started && self.next.is_none_or(|next| sequence < next) {
            self.next = Some(sequence);
            self.cursor = sequence;
        }
        self.bytes += part.data.len();
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
        while let Some(part) = self.packets.get(&self.cursor) {
            let opens = next == self.cursor;
            if part.data.is_empty() {
                if opens {
                    self.take(next);
                    next += 1;
                }
            } else if opens && !part.first {
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
        self.blocked_since = self.packets.range(self.cursor..).next().map(|(_, part)| part.arrived);
    }

    /// Puts `first..=cursor` together.
    fn emit(&mut self, first: u64) {
        if !self.started {
            self.started = true;
            self.drop_before(first);
        }
        let rtp_timestamp = self.packets.get(&first).map_or(0, |part| part.timestamp);
        let data = if first == self.cursor {
            self.take(first)
        } else {
            let parts = self.packets.range(first..=self.cursor);
            let mut data = BytesMut::with_capacity(parts.map(|(_, part)| part.data.len()).sum());
            for sequence in first..=self.cursor {
                data.extend_from_slice(&self.take(sequence));
            }
            data.freeze()
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

    /// Drops the unfinished frame and goes on at the next start of one.
    fn give_up(&mut self) {
        self.lose();
        let mut behind = self.packets.range(self.cursor.max(self.next.map_or(0, |n| n + 1))..);
        let start = behind.find(|(_, part)| part.first).map(|(sequence, _)| *sequence);
        let next = start.unwrap_or_else(|| self.highest.map_or(self.cursor, |highest| highest + 1));
        self.drop_before(next);
        self.next = Some(next);
        self.cursor = next;
        // Before the first frame nothing else says that earlier packets are of no use any more.
        self.started = true;
        self.advance();
    }

    fn lose(&mut self) {
        self.lost = true;
        self.losses += 1;
    }

    fn take(&mut self, sequence: u64) -> Bytes {
        let data = self.packets.remove(&sequence).map_or_else(Bytes::new, |part| part.data);
        self.bytes -= data.len();
        data
    }

    fn drop_before(&mut self, sequence: u64) {
        let kept = self.packets.split_off(&sequence);
        let dropped = std::mem::replace(&mut self.packets, kept);
        self.bytes -= dropped.values().map(|part| part.data.len()).sum::<usize>();
    }
}

impl Part {
    fn read(codec: Codec, packet: &MediaPacket, arrived: Instant) -> Option<Self> {
        let timestamp = packet.timestamp;
        if packet.payload.is_empty() {
            return Some(Self {
                timestamp,
                first: false,
                last: false,
                data: Bytes::new(),
                arrived,
            });
        }
        match codec {
            Codec::Vp8 => {
                let (first, length) = vp8_descriptor(&packet.payload)?;
                let data = packet.payload.slice(length..);
                Some(Self { timestamp, first, last: packet.marker, data, arrived })
            }
            _ => {
                let data = packet.payload.clone();
                Some(Self { timestamp, first: true, last: true, data, arrived })
            }
        }
    }
}

/// Whether a frame starts in this payload, and the length of its descriptor (RFC 7741 §4.2).
/// `None` if nothing follows the descriptor.
///
/// The crate's own `Vp8Packet` refuses payloads under four bytes, and the last packet of a frame
/// may well be that short.
fn vp8_descriptor(payload: &[u8]) -> Option<(bool, usize)> {
    let required = *payload.first()?;
    let mut length = 1;
    if required & 0x80 != 0 {
        let extended = *payload.get(1)?;
        length += 1;
        if extended & 0x80 != 0 {
            length += if *payload.get(2)? & 0x80 != 0 { 2 } else { 1 };
        }
        length += usize::from(extended & 0x40 != 0);
        length += usize::from(extended & 0x30 != 0);
    }
    // S = 1 and PID = 0: the first byte is a frame's first.
    (payload.len() > length).then_some((required & 0x17 == 0x10, length))
}

#[cfg(test)]
mod tests;

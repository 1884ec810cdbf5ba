//! The receiving side of a track without its I/O: assemble, decrypt, hold, ask for key frames.
//!
//! - A frame whose key is not here yet is held, in a [`HoldQueue`]. A later frame that opens
//!   overtakes those held, since frames come out of the assembler in order.
//! - A key frame is asked for after a loss, when a video stream begins without one, after held
//!   frames were given up, and after held frames were opened late without one among them. At
//!   most one request in 500 ms; unanswered ones are repeated each second.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};

use super::assembler::{AssembledFrame, Assembler, MediaPacket};
use crate::{
    clock,
    media::{FrameDecryptor, HoldQueue},
    sframe::DecryptError,
};

/// How often a held frame is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// Least time between two key-frame requests, and the most that it grows to without an answer. A
/// request may be lost like any other packet, and until the answer the picture stands still.
const ASK: Duration = Duration::from_millis(500);
const ASK_AT_LEAST: Duration = Duration::from_secs(1);

/// A decrypted frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceivedFrame {
    /// The frame as it left the sender's encoder.
    pub data: Bytes,
    /// Its RTP timestamp.
    pub rtp_timestamp: u32,
    /// Whether it can be decoded without frames before it. Always true for audio.
    pub key_frame: bool,
    /// Whether frames between the one before and this one are missing.
    pub after_loss: bool,
}

/// What became of a track's frames so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceiverStats {
    /// Frames assembled.
    pub received: u64,
    /// Frames decrypted.
    pub opened: u64,
    /// Frames that came again and were dropped.
    pub replayed: u64,
    /// Frames that could not be decrypted, those held in vain included.
    pub undecryptable: u64,
    /// Frames held now because their key is not here yet.
    pub held: usize,
    /// How often packets were given up as lost.
    pub losses: u64,
    /// Frames dropped because the application was slow.
    pub overflowed: u64,
    /// Key-frame requests sent.
    pub key_frames_asked: u64,
}

/// Receives one track.
#[derive(Debug)]
pub(super) struct Intake {
    assembler: Assembler,
    decryptor: FrameDecryptor,
    /// By their RTP timestamps.
    held: HoldQueue<u32>,
    retry_at: Instant,
    /// The next frame out comes after a loss.
    lost: bool,
    begun: bool,
    key_frame_wanted: bool,
    ask_at: Instant,
    ask_again: Duration,
    plain: Vec<u8>,
    frames: VecDeque<ReceivedFrame>,
    stats: ReceiverStats,
}

impl Intake {
    pub(super) fn new(decryptor: FrameDecryptor, now: Instant) -> Self {
        Self {
            assembler: Assembler::new(decryptor.codec()),
            decryptor,
            held: HoldQueue::new(),
            retry_at: now,
            lost: false,
            begun: false,
            key_frame_wanted: false,
            ask_at: now,
            ask_again: ASK,
            plain: Vec::new(),
            frames: VecDeque::new(),
            stats: ReceiverStats::default(),
        }
    }

    pub(super) fn handle_packet(&mut self, packet: MediaPacket, now: Instant) {
        self.assembler.handle_packet(packet, now);
        self.take_assembled(now);
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.assembler.handle_timeout(now);
        if !self.held.is_empty() && self.retry_at <= now {
            self.open_held(now);
        }
        self.take_assembled(now);
    }

    /// The application did not take a frame that came out.
    pub(super) fn handle_overflow(&mut self) {
        self.stats.overflowed += 1;
        self.lose();
    }

    pub(super) fn poll_frame(&mut self) -> Option<ReceivedFrame> {
        self.frames.pop_front()
    }

    /// Whether a key-frame request is to be sent now.
    pub(super) fn poll_key_frame_request(&mut self, now: Instant) -> bool {
        if !self.key_frame_wanted || now < self.ask_at {
            return false;
        }
        self.ask_at = now + self.ask_again;
        self.ask_again = (self.ask_again * 2).min(ASK_AT_LEAST);
        self.stats.key_frames_asked += 1;
        true
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let retry = (!self.held.is_empty()).then_some(self.retry_at);
        let ask = self.key_frame_wanted.then_some(self.ask_at);
        [self.assembler.poll_timeout(), retry, ask].into_iter().flatten().min()
    }

    pub(super) fn stats(&self) -> ReceiverStats {
        ReceiverStats { held: self.held.len(), losses: self.assembler.losses(), ..self.stats }
    }

    fn take_assembled(&mut self, now: Instant) {
        while let Some(frame) = self.assembler.poll_frame() {
            self.stats.received += 1;
            if frame.after_loss {
                self.lose();
            }
            self.handle_frame(frame, now);
        }
    }

    fn handle_frame(&mut self, frame: AssembledFrame, now: Instant) {
        if !self.held.is_empty() {
            self.open_held(now);
        }
        let at = clock::at(now);
        // A frame of several packets was put together here: nobody else has it.
        let mut data = BytesMut::from(frame.data);
        match self.decryptor.decrypt_bytes(&mut data, at) {
            Ok(()) => {
                // The held ones were just tried, and the assembler gave them out before this one:
                // it has overtaken them, and they must not be shown after it.
                self.held.clear();
                self.count_given_up();
                self.deliver(data.freeze(), frame.rtp_timestamp);
            }
            Err(DecryptError::UnknownKey(_)) => {
                if self.held.is_empty() {
                    self.retry_at = now + RETRY;
                }
                self.held.hold(&data, frame.rtp_timestamp, at);
                self.count_given_up();
            }
            Err(DecryptError::Replayed) => self.stats.replayed += 1,
            // Of an old key, or after the subscription's end: no key frame would help.
            Err(DecryptError::Expired) => {
                self.stats.undecryptable += 1;
                self.lost = true;
            }
            Err(_) => {
                self.stats.undecryptable += 1;
                self.lose();
            }
        }
    }

    /// Opens held frames from the oldest on, as far as their keys are here.
    fn open_held(&mut self, now: Instant) {
        self.retry_at = now + RETRY;
        let at = clock::at(now);
        let mut key_frame = None;
        while let Some((rtp_timestamp, opened)) =
            self.held.open_next(&mut self.decryptor, at, &mut self.plain)
        {
            match opened {
                Ok(()) => {
                    let data = Bytes::from(std::mem::take(&mut self.plain));
                    let is_key_frame = self.deliver(data, rtp_timestamp);
                    key_frame = Some(key_frame.unwrap_or(false) | is_key_frame);
                }
                Err(DecryptError::Replayed) => self.stats.replayed += 1,
                Err(_) => {
                    self.stats.undecryptable += 1;
                    self.lose();
                }
            }
        }
        if key_frame == Some(false) {
            self.want_key_frame();
        }
        self.held.handle_timeout(at);
        self.count_given_up();
    }

    fn count_given_up(&mut self) {
        let given_up = self.held.take_given_up();
        if given_up > 0 {
            self.stats.undecryptable += given_up as u64;
            self.lose();
        }
    }

    /// Hands out what was just opened; says whether it is a key frame.
    fn deliver(&mut self, data: Bytes, rtp_timestamp: u32) -> bool {
        let key_frame = self.decryptor.is_key_frame(&data);
        if key_frame {
            self.key_frame_wanted = false;
            self.ask_again = ASK;
        } else if !self.begun {
            self.want_key_frame();
        }
        self.begun = true;
        self.stats.opened += 1;
        self.frames.push_back(ReceivedFrame {
            data,
            rtp_timestamp,
            key_frame,
            after_loss: std::mem::take(&mut self.lost),
        });
        key_frame
    }

    fn lose(&mut self) {
        self.lost = true;
        self.want_key_frame();
    }

    fn want_key_frame(&mut self) {
        self.key_frame_wanted = self.decryptor.codec().is_video();
    }
}

#[cfg(test)]
mod tests;

//! What the relay forwarded, and what those who must not open it can make of it.

use std::collections::{HashMap, HashSet};

use anyhow::Context;
use olmcast::{
    media,
    primitives::{Codec, Position, Timestamp, TrackId},
    rtc::{Assembler, MediaPacket},
};
use olmcast_relay::{Kind, Recording};

use super::{PublisherLog, viewer::Viewer};
use crate::publish::Media;

/// Runs of the plain media this long are looked for at the relay, at every offset. By chance,
/// ciphertext holds none: some 10^5 runs against 10^6 offsets, among 2^64 values.
const RUN: usize = 8;

/// An encrypted frame as the relay saw it.
pub(crate) struct Frame {
    pub(crate) codec: Codec,
    track: TrackId,
    wire: Vec<u8>,
    position: Position,
    sent: Timestamp,
}

/// All that the relay kept.
pub(crate) struct Evidence {
    pub(crate) frames: Vec<Frame>,
    pub(crate) packets: usize,
    payloads: Vec<bytes::Bytes>,
}

impl Evidence {
    /// Puts the relay's packets together again, without any key.
    pub(crate) fn new(recording: &Recording, log: &PublisherLog) -> anyhow::Result<Self> {
        let mut assemblers: HashMap<Codec, Assembler> = HashMap::new();
        let mut frames = Vec::new();
        for packet in &recording.packets {
            let codec = if packet.kind == Kind::Video { Codec::Vp8 } else { Codec::Opus };
            let assembler = assemblers.entry(codec).or_insert_with(|| Assembler::new(codec));
            let media = MediaPacket {
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                marker: packet.marker,
                payload: packet.payload.clone(),
            };
            assembler.handle_packet(media, packet.received);
            while let Some(frame) = assembler.poll_frame() {
                let played = log.played.get(&(codec, frame.rtp_timestamp));
                let played = played.context("the relay saw a frame that was never sent")?;
                let wire = frame.data.to_vec();
                // What is no ciphertext of the stream is left to the search for plain media.
                let Some(position) = position(codec, &wire) else { continue };
                let track = TrackId(u16::from(codec == Codec::Opus));
                frames.push(Frame { codec, track, wire, position, sent: played.at });
            }
        }
        let payloads = recording.packets.iter().map(|packet| packet.payload.clone()).collect();
        Ok(Self { frames, packets: recording.packets.len(), payloads })
    }

    /// How many frames there are that fit, and how many of them a viewer opens with every key it
    /// was ever sent.
    pub(crate) fn try_all(&self, viewer: &Viewer, fits: impl Fn(&Frame) -> bool) -> (usize, usize) {
        let frames: Vec<_> = self.frames.iter().filter(|frame| fits(frame)).collect();
        let opens = |frame: &&&Frame| {
            viewer.hoard.try_open(frame.codec, frame.track, &frame.wire).is_some()
        };
        (frames.len(), frames.iter().filter(opens).count())
    }

    /// How many places of what the relay saw show a run of the plain media, beyond the bytes
    /// that stay clear for it.
    pub(crate) fn plaintext_matches(&self, media: &Media) -> usize {
        let video = media.video.iter().flat_map(|file| &file.frames);
        let audio = media.audio.iter().flat_map(|file| &file.packets);
        let frames = video.map(|f| (Codec::Vp8, f)).chain(audio.map(|f| (Codec::Opus, f)));
        let mut runs: HashSet<&[u8]> = HashSet::new();
        for (codec, frame) in frames {
            let clear = media::clear_length(codec, frame).unwrap_or(0);
            runs.extend(frame[clear..].chunks_exact(RUN));
        }
        let seen = self.payloads.iter().flat_map(|payload| payload.windows(RUN));
        seen.filter(|window| runs.contains(window)).count()
    }
}

/// The key that a frame names, if it is encrypted.
fn position(codec: Codec, wire: &[u8]) -> Option<Position> {
    media::position(media::header(codec, wire).ok()?.key_id)
}

impl Frame {
    /// Sent after a switch of keys, by its key or by the publisher's clock.
    ///
    /// By either: were the encryptors not to switch, the key alone would show no such frame. The
    /// clock is read just before a frame is encrypted, and a switch takes a moment.
    pub(crate) fn is_after(&self, position: Position, switched: Timestamp) -> bool {
        const MOMENT: std::time::Duration = std::time::Duration::from_millis(20);
        self.position >= position || self.sent >= switched + MOMENT
    }

    /// Sent before somebody asked to join, or with an earlier key than it was given.
    pub(crate) fn is_before(&self, first: Position, asked: Timestamp) -> bool {
        self.position < first || self.sent < asked
    }
}

//! What the relay received, kept so that a demo can show that it is ciphertext.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use rtc::rtp;

use crate::kind::Kind;
use crate::name::StreamName;

/// One RTP packet as it came from the publisher.
#[derive(Debug, Clone)]
pub struct RecordedPacket {
    /// The track's kind.
    pub kind: Kind,
    /// The simulcast layer that it belongs to, counted from the highest; 0 if there is only one.
    pub layer: usize,
    /// RTP sequence number.
    pub sequence: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// RTP payload, all that the relay can see of the media.
    pub payload: Bytes,
    /// When the relay received it.
    pub received: Instant,
}

/// The packets of one stream, in order of arrival.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// The packets.
    pub packets: Vec<RecordedPacket>,
    /// Whether packets are missing at the end because the relay's byte limit was reached.
    pub truncated: bool,
}

/// All recordings, under one limit.
pub(crate) struct Recorder {
    /// Bytes that may be kept.
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    bytes: usize,
    streams: HashMap<StreamName, Recording>,
}

impl Recorder {
    /// Counted for every packet beside its payload, so that tiny packets are bounded too.
    const OVERHEAD: usize = size_of::<RecordedPacket>();

    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, kept: Mutex::default() }
    }

    /// Starts a stream's recording; one of an earlier stream of that name is forgotten.
    pub(crate) fn start(&self, name: &StreamName) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = kept.streams.remove(name) {
            kept.bytes -= old.packets.iter().map(cost).sum::<usize>();
        }
        // An empty recording costs a map entry only; a relay that has reached its limit stops
        // making them, so streams without packets cannot grow the map for ever.
        if kept.bytes < self.limit && kept.streams.len() < self.limit / Self::OVERHEAD {
            kept.streams.insert(name.clone(), Recording::default());
        }
    }

    pub(crate) fn record(&self, name: &StreamName, kind: Kind, layer: usize, packet: &rtp::Packet) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let packet = RecordedPacket {
            kind,
            layer,
            sequence: packet.header.sequence_number,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            // A copy: the packet's own payload would pin the whole receive buffer.
            payload: Bytes::copy_from_slice(&packet.payload),
            received: Instant::now(),
        };
        let kept = &mut *kept;
        let bytes = kept.bytes + cost(&packet);
        let Some(recording) = kept.streams.get_mut(name) else { return };
        if recording.truncated || bytes > self.limit {
            recording.truncated = true;
            return;
        }
        recording.packets.push(packet);
        kept.bytes = bytes;
    }

    pub(crate) fn recording(&self, name: &StreamName) -> Option<Recording> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.streams.get(name).cloned()
    }
}

fn cost(packet: &RecordedPacket) -> usize {
    packet.payload.len() + Recorder::OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence_number: u16, len: usize) -> rtp::Packet {
        let header = rtp::Header { sequence_number, ..Default::default() };
        rtp::Packet { header, payload: Bytes::from(vec![7; len]) }
    }

    #[test]
    fn a_full_recorder_says_so_and_a_new_start_frees_its_bytes() -> Result<(), &'static str> {
        let name = StreamName::parse("s").ok_or("name")?;
        let recorder = Recorder::new(2 * (100 + Recorder::OVERHEAD));
        recorder.start(&name);
        for sequence in 0..3 {
            recorder.record(&name, Kind::Video, 0, &packet(sequence, 100));
        }
        // Nothing after a gap: what is kept is a prefix.
        recorder.record(&name, Kind::Video, 0, &packet(3, 0));
        let full = recorder.recording(&name).ok_or("recording")?;
        assert_eq!((full.packets.len(), full.truncated), (2, true));

        recorder.start(&name);
        recorder.record(&name, Kind::Audio, 0, &packet(9, 100));
        let again = recorder.recording(&name).ok_or("recording")?;
        assert_eq!((again.packets.len(), again.truncated), (1, false));
        Ok(())
    }
}

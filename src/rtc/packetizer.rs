//! Encrypted frames into RTP packets.

use bytes::Bytes;
use rtc::rtp;

use super::payload::{Malformed, Payloader};
use crate::{media, primitives::Codec};

/// Bytes of an RTP packet, header included: what libwebrtc sends, too. It leaves room for SRTP,
/// UDP, IP and a tunnel below the 1,500 of Ethernet.
const MAX_PACKET: usize = 1_200;
/// A header without CSRCs and extensions (RFC 3550 §5.1).
const HEADER: usize = 12;

/// What packets say of a frame beside its encrypted bytes, so that an SFU can switch layers and
/// find key frames. Whoever forwards the packets can read it, and alter it.
///
/// Only VP9 uses it: in the other codecs the readable bytes of an encrypted frame say as much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// Whether the frame can be decoded without those before it.
    pub key_frame: bool,
    /// Width and height in pixels, if known. They are sent with key frames only.
    pub dimensions: Option<(u16, u16)>,
}

impl FrameInfo {
    /// What there is to say of a frame as it left the encoder.
    pub fn of(codec: Codec, frame: &[u8]) -> Self {
        let key_frame = media::is_key_frame(codec, frame);
        Self { key_frame, dimensions: media::dimensions(codec, frame) }
    }
}

/// Why a frame did not become packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PacketizeError {
    /// The bytes have not the form of the codec's frames. Pass what a
    /// [`FrameEncryptor`](crate::media::FrameEncryptor) of this codec made.
    #[error("not a frame of {0}; pass what an encryptor of that codec made")]
    NotAFrame(Codec),
}

/// Packetizes the frames of one track.
#[derive(Debug)]
pub struct Packetizer {
    codec: Codec,
    payloader: Payloader,
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
}

impl Packetizer {
    /// A packetizer whose first packet has the given sequence number; take a random one.
    pub fn new(codec: Codec, payload_type: u8, ssrc: u32, sequence: u16) -> Self {
        Self { codec, payloader: Payloader::new(codec), payload_type, ssrc, sequence }
    }

    /// The packets of one frame; the last one has the marker. An empty frame gives none.
    ///
    /// H.264 must be in the byte stream format of Annex B, and AV1 in the low-overhead bitstream
    /// format, as [`Codec`] says; any bytes are a frame of the other codecs.
    ///
    /// # Errors
    /// [`PacketizeError::NotAFrame`]; then no sequence number is spent.
    pub fn packetize(
        &mut self,
        frame: &Bytes,
        info: FrameInfo,
        rtp_timestamp: u32,
    ) -> Result<impl ExactSizeIterator<Item = rtp::Packet> + use<'_>, PacketizeError> {
        let payloads = self
            .payloader
            .payloads(frame, info, MAX_PACKET - HEADER)
            .map_err(|Malformed| PacketizeError::NotAFrame(self.codec))?;
        let last = payloads.len().saturating_sub(1);
        Ok(payloads.into_iter().enumerate().map(move |(index, payload)| {
            let header = rtp::Header {
                version: 2,
                marker: index == last,
                payload_type: self.payload_type,
                sequence_number: self.sequence,
                timestamp: rtp_timestamp,
                ssrc: self.ssrc,
                ..Default::default()
            };
            self.sequence = self.sequence.wrapping_add(1);
            rtp::Packet { header, payload }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_becomes_packets_below_the_limit_and_the_last_is_marked() {
        let mut packetizer = Packetizer::new(Codec::Vp8, 96, 7, u16::MAX);
        let frame = Bytes::from(vec![1; 3_000]);
        let packets: Vec<_> =
            packetizer.packetize(&frame, FrameInfo::default(), 90).unwrap().collect();
        assert_eq!(packets.len(), 3);
        assert!(packets.iter().all(|packet| packet.payload.len() + HEADER <= MAX_PACKET));
        let markers: Vec<_> = packets.iter().map(|packet| packet.header.marker).collect();
        assert_eq!(markers, [false, false, true]);
        let sequences: Vec<_> =
            packets.iter().map(|packet| packet.header.sequence_number).collect();
        assert_eq!(sequences, [u16::MAX, 0, 1]);
        assert_eq!(
            packetizer.packetize(&Bytes::new(), FrameInfo::default(), 91).unwrap().count(),
            0
        );
    }

    #[test]
    fn an_opus_frame_is_one_packet() {
        let mut packetizer = Packetizer::new(Codec::Opus, 111, 7, 0);
        let frame = Bytes::from(vec![1; 300]);
        let packets: Vec<_> =
            packetizer.packetize(&frame, FrameInfo::default(), 960).unwrap().collect();
        assert_eq!((packets.len(), &packets[0].payload), (1, &frame));
    }

    #[test]
    fn what_is_no_frame_of_the_codec_is_refused_and_changes_nothing() {
        for codec in [Codec::H264, Codec::Av1] {
            let mut packetizer = Packetizer::new(codec, 102, 7, 5);
            let refused =
                packetizer.packetize(&Bytes::from_static(&[0xFF]), FrameInfo::default(), 0);
            assert_eq!(refused.err(), Some(PacketizeError::NotAFrame(codec)));
            let frame: &[u8] =
                if codec == Codec::H264 { &[0, 0, 0, 1, 0x65, 0x88] } else { &[0x32, 1, 0xAA] };
            let frame = Bytes::from_static(frame);
            let packets: Vec<_> =
                packetizer.packetize(&frame, FrameInfo::default(), 0).unwrap().collect();
            assert_eq!((packets.len(), packets[0].header.sequence_number), (1, 5));
        }
    }
}

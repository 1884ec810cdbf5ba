//! Encrypted frames into RTP packets.

use bytes::Bytes;
use rtc::rtp::{
    self,
    codec::{opus::OpusPayloader, vp8::Vp8Payloader},
    packetizer::Payloader,
};
use webrtc::error::Error;

use crate::primitives::Codec;

/// Bytes of an RTP packet, header included: what libwebrtc sends, too. It leaves room for SRTP,
/// UDP, IP and a tunnel below the 1,500 of Ethernet.
const MAX_PACKET: usize = 1_200;
/// A header without CSRCs and extensions (RFC 3550 §5.1).
const HEADER: usize = 12;

/// Packetizes the frames of one track.
#[derive(Debug)]
pub struct Packetizer {
    payloader: Box<dyn Payloader>,
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
}

impl Packetizer {
    /// A packetizer whose first packet has the given sequence number; take a random one.
    pub fn new(codec: Codec, payload_type: u8, ssrc: u32, sequence: u16) -> Self {
        let payloader: Box<dyn Payloader> = match codec {
            Codec::Vp8 => {
                let mut payloader = Vp8Payloader::default();
                payloader.enable_picture_id = true;
                Box::new(payloader)
            }
            _ => Box::new(OpusPayloader),
        };
        Self { payloader, payload_type, ssrc, sequence }
    }

    /// The packets of one frame; the last one has the marker. An empty frame gives none.
    ///
    /// # Errors
    /// Those of the codec's payloader; none is known for VP8 and Opus.
    pub fn packetize(
        &mut self,
        frame: &Bytes,
        rtp_timestamp: u32,
    ) -> Result<impl ExactSizeIterator<Item = rtp::Packet> + use<'_>, Error> {
        let payloads = self.payloader.payload(MAX_PACKET - HEADER, frame)?;
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
        let packets: Vec<_> = packetizer.packetize(&frame, 90).unwrap().collect();
        assert_eq!(packets.len(), 3);
        assert!(packets.iter().all(|packet| packet.payload.len() + HEADER <= MAX_PACKET));
        let markers: Vec<_> = packets.iter().map(|packet| packet.header.marker).collect();
        assert_eq!(markers, [false, false, true]);
        let sequences: Vec<_> =
            packets.iter().map(|packet| packet.header.sequence_number).collect();
        assert_eq!(sequences, [u16::MAX, 0, 1]);
        assert_eq!(packetizer.packetize(&Bytes::new(), 91).unwrap().count(), 0);
    }

    #[test]
    fn an_opus_frame_is_one_packet() {
        let mut packetizer = Packetizer::new(Codec::Opus, 111, 7, 0);
        let frame = Bytes::from(vec![1; 300]);
        let packets: Vec<_> = packetizer.packetize(&frame, 960).unwrap().collect();
        assert_eq!((packets.len(), &packets[0].payload), (1, &frame));
    }
}

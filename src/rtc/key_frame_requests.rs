//! Key-frame requests on their way from the wire to the application.

use std::{collections::VecDeque, time::Instant};

use rtc::{
    interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket},
    rtcp::{
        self,
        payload_feedbacks::{
            full_intra_request::FullIntraRequest, picture_loss_indication::PictureLossIndication,
        },
    },
    sansio::Protocol,
};
use webrtc::error::Error;

/// Whether an RTCP packet asks for a key frame of the track with this SSRC.
pub(super) fn asks_for_key_frame(packet: &dyn rtcp::Packet, ssrc: u32) -> bool {
    let packet = packet.as_any();
    if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
        return pli.media_ssrc == ssrc;
    }
    packet
        .downcast_ref::<FullIntraRequest>()
        .is_some_and(|fir| fir.fir.iter().any(|entry| entry.ssrc == ssrc))
}

/// An interceptor that marks PLI and FIR for delivery; webrtc-rs keeps all RTCP to itself
/// otherwise. Any other RTCP ends here.
#[derive(Default)]
pub(super) struct DeliverKeyFrameRequests {
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for DeliverKeyFrameRequests {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(reports) = &mut packet.message.packet {
            reports.retain(|report| {
                let report = report.as_any();
                report.is::<PictureLossIndication>() || report.is::<FullIntraRequest>()
            });
            if reports.is_empty() {
                return Ok(());
            }
            packet.message.add(Attribute::DeliverToApplication);
        }
        self.read.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.write.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }
}

impl Interceptor for DeliverKeyFrameRequests {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

//! The WebRTC stack as the relay wants it: two codecs, NACK and reports, quick notice of loss.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{Attribute, Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use webrtc::peer_connection::{
    MediaEngine, Registry, SettingEngine, SettingEngineBuilder, configure_nack,
    configure_rtcp_reports,
};

use crate::kind::Kind;

/// Silence after which ICE is "disconnected", and the further silence after which it has failed.
/// Together they are the time in which a killed peer is noticed.
const ICE_DISCONNECTED: Duration = Duration::from_secs(2);
const ICE_FAILED: Duration = Duration::from_secs(2);
/// How often consent is checked; several checks must fit into [`ICE_DISCONNECTED`].
const ICE_KEEP_ALIVE: Duration = Duration::from_millis(500);

pub(crate) fn settings() -> SettingEngine {
    SettingEngineBuilder::new()
        // Its multicast socket cannot be made on a machine without a multicast interface.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        .with_ice_timeouts(Some(ICE_DISCONNECTED), Some(ICE_FAILED), Some(ICE_KEEP_ALIVE))
        .build()
}

/// NACK and RTCP reports only: every default interceptor would add header extensions and
/// transport-wide feedback that end at the relay anyway.
pub(crate) fn media() -> Result<(MediaEngine, Registry), Error> {
    let mut engine = MediaEngine::default();
    for kind in Kind::ALL {
        engine.register_codec(kind.codec(), kind.rtc())?;
    }
    let registry = configure_nack(Registry::new(), &mut engine);
    let registry = configure_rtcp_reports(registry)
        // Application-most, so that every other interceptor has seen all RTCP before.
        .with(Slot::from(14_000), KeyFrameRequests::default());
    Ok((engine, registry))
}

/// Hands key-frame requests (PLI, FIR) to the application; other RTCP ends here.
#[derive(Default)]
struct KeyFrameRequests {
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyFrameRequests {
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

impl Interceptor for KeyFrameRequests {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

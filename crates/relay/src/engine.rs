//! The WebRTC stack as the relay wants it: few codecs, NACK and reports, quick notice of loss.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use rtc::ice::mdns::MulticastDnsMode;
use rtc::interceptor::{Attribute, Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtp_transceiver::rtp_sender::RTCRtpHeaderExtensionCapability;
use rtc::sansio::Protocol;
use rtc::shared::error::Error;
use webrtc::peer_connection::{
    MediaEngine, Registry, SettingEngine, SettingEngineBuilder, configure_nack,
    configure_rtcp_reports,
};

use crate::codec::Codec;
use crate::kind::Kind;
use crate::rids;

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
/// transport-wide feedback that end at the relay anyway. A kind that `codecs` has one of is
/// negotiated with that codec alone. `simulcast` adds the header extensions that tell layers apart.
pub(crate) fn media(codecs: &[Codec], simulcast: bool) -> Result<(MediaEngine, Registry), Error> {
    let mut engine = MediaEngine::default();
    for codec in Codec::ALL {
        let chosen = codecs.iter().find(|chosen| chosen.kind() == codec.kind());
        if chosen.is_none_or(|chosen| *chosen == codec) {
            engine.register_codec(codec.parameters(), codec.kind().rtc())?;
        }
    }
    for uri in rids::EXTENSIONS.into_iter().filter(|_| simulcast) {
        let extension = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
        engine.register_header_extension(extension, Kind::Video.rtc(), None)?;
    }
    let registry = configure_nack(Registry::new(), &mut engine);
    let registry = configure_rtcp_reports(registry)
        // Application-most, so that every other interceptor has seen all packets before.
        .with(Slot::from(14_000), Intake::default());
    Ok((engine, registry))
}

/// Hands to the application the media of tracks and layers that were offered, and requests for
/// key frames (PLI, FIR). Other RTCP ends here.
#[derive(Default)]
struct Intake {
    offered: HashSet<u32>,
    warned: bool,
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Intake {
    fn is_offered(&mut self, ssrc: u32) -> bool {
        let offered = self.offered.contains(&ssrc);
        if !offered && !self.warned {
            // Once per connection: whoever sends such packets sends many.
            self.warned = true;
            tracing::warn!("packets that belong to no offered track or layer are ignored");
        }
        offered
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Intake {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(media) = &packet.message.packet
            && !self.is_offered(media.header.ssrc)
        {
            return Ok(());
        }
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

impl Interceptor for Intake {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}

    fn bind_remote_stream(&mut self, stream: &StreamInfo) {
        self.offered.insert(stream.ssrc);
    }

    fn unbind_remote_stream(&mut self, stream: &StreamInfo) {
        self.offered.remove(&stream.ssrc);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_of_what_was_not_offered_is_not_taken_and_said_once() {
        let mut intake = Intake::default();
        intake.bind_remote_stream(&StreamInfo { ssrc: 7, ..Default::default() });
        assert!(intake.is_offered(7) && !intake.warned);
        assert!(!intake.is_offered(8) && intake.warned);
        intake.unbind_remote_stream(&StreamInfo { ssrc: 7, ..Default::default() });
        assert!(!intake.is_offered(7));
    }
}

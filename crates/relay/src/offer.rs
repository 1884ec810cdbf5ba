//! An SDP offer, checked before it reaches the WebRTC stack.

use rtc::peer_connection::sdp::RTCSessionDescription;

use crate::kind::Kind;
use crate::refusal::Refusal;

/// Who makes the offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
}

impl Role {
    /// Directions of a media section that cannot serve this role.
    fn useless(self) -> [&'static str; 2] {
        match self {
            Self::Publisher => ["recvonly", "inactive"],
            Self::Subscriber => ["sendonly", "inactive"],
        }
    }
}

/// A well-formed offer of at most one VP8 and one Opus track.
pub(crate) struct Offer {
    pub(crate) description: RTCSessionDescription,
    kinds: Vec<Kind>,
}

impl Offer {
    /// # Errors
    ///
    /// [`Refusal::Sdp`] for text that is no SDP or holds no track; [`Refusal::TooManyTracks`],
    /// [`Refusal::Codec`] and [`Refusal::Direction`] for tracks that cannot be forwarded.
    pub(crate) fn parse(text: &str, role: Role) -> Result<Self, Refusal> {
        let description = RTCSessionDescription::offer(text.to_owned()).map_err(Refusal::sdp)?;
        let parsed = description.unmarshal().map_err(Refusal::sdp)?;
        let mut kinds = Vec::new();
        for section in &parsed.media_descriptions {
            let kind = match section.media_name.media.as_str() {
                "video" => Kind::Video,
                "audio" => Kind::Audio,
                other => return Err(Refusal::sdp(format!("{other} is not forwarded"))),
            };
            if kinds.contains(&kind) {
                return Err(Refusal::TooManyTracks(kind));
            }
            if role.useless().iter().any(|direction| section.attribute(direction).is_some()) {
                return Err(Refusal::Direction);
            }
            let offered = |value: &str| {
                let encoding = value.split_once(' ').map_or("", |(_, encoding)| encoding);
                encoding.len() >= kind.encoding().len()
                    && encoding.is_char_boundary(kind.encoding().len())
                    && encoding[..kind.encoding().len()].eq_ignore_ascii_case(kind.encoding())
            };
            let mut maps = section.attributes.iter().filter(|a| a.key == "rtpmap");
            if !maps.any(|a| a.value.as_deref().is_some_and(offered)) {
                return Err(Refusal::Codec(kind));
            }
            kinds.push(kind);
        }
        if kinds.is_empty() {
            return Err(Refusal::sdp("it has neither an audio nor a video section"));
        }
        Ok(Self { description, kinds })
    }

    pub(crate) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(sections: &[&str]) -> String {
        let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
        head.to_owned() + &sections.concat()
    }

    const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n\
                         a=rtpmap:96 VP8/90000\r\na=sendonly\r\n";
    const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n\
                         a=rtpmap:111 opus/48000/2\r\na=sendonly\r\n";
    const H264: &str = "m=video 9 UDP/TLS/RTP/SAVPF 97\r\nc=IN IP4 0.0.0.0\r\n\
                        a=rtpmap:97 H264/90000\r\na=sendonly\r\n";
    const DATA: &str = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n";

    #[test]
    fn one_vp8_and_one_opus_track_are_taken() {
        let offer = Offer::parse(&sdp(&[VIDEO, AUDIO]), Role::Publisher).ok();
        assert_eq!(offer.map(|o| o.kinds), Some(vec![Kind::Video, Kind::Audio]));
    }

    #[test]
    fn what_cannot_be_forwarded_is_refused() {
        let refused = |sections: &[&str], role| Offer::parse(&sdp(sections), role).err();
        let publisher = |sections: &[&str]| refused(sections, Role::Publisher);
        assert!(matches!(publisher(&[VIDEO, VIDEO]), Some(Refusal::TooManyTracks(Kind::Video))));
        assert!(matches!(publisher(&[H264]), Some(Refusal::Codec(Kind::Video))));
        assert!(matches!(publisher(&[AUDIO, DATA]), Some(Refusal::Sdp(_))));
        assert!(matches!(publisher(&[]), Some(Refusal::Sdp(_))));
        assert!(matches!(refused(&[AUDIO], Role::Subscriber), Some(Refusal::Direction)));
        assert!(Offer::parse("hello", Role::Publisher).is_err());
    }
}

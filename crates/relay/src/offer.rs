//! An SDP offer, checked before it reaches the WebRTC stack.

use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::sdp::description::media::MediaDescription;

use crate::codec::Codec;
use crate::kind::Kind;
use crate::refusal::Refusal;
use crate::rids;

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

/// A well-formed offer of at most one video and one audio track.
pub(crate) struct Offer {
    pub(crate) description: RTCSessionDescription,
    pub(crate) tracks: Vec<Track>,
}

/// One media section.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Track {
    pub(crate) kind: Kind,
    /// Those that the relay forwards, in the offer's order of preference; never empty.
    pub(crate) codecs: Vec<Codec>,
    /// A publisher's simulcast layers, highest first; empty if there is one encoding without rid.
    pub(crate) rids: Vec<String>,
    pub(crate) mid: Option<String>,
}

impl Offer {
    /// # Errors
    ///
    /// [`Refusal::Sdp`] for text that is no SDP or holds no track; [`Refusal::TooManyTracks`],
    /// [`Refusal::TooManyLayers`], [`Refusal::Codec`] and [`Refusal::Direction`] for tracks that
    /// cannot be forwarded.
    pub(crate) fn parse(text: &str, role: Role) -> Result<Self, Refusal> {
        if text.trim().is_empty() {
            return Err(Refusal::sdp("the body is empty"));
        }
        let description = RTCSessionDescription::offer(text.to_owned()).map_err(Refusal::sdp)?;
        let parsed = description.unmarshal().map_err(Refusal::sdp)?;
        let mut tracks: Vec<Track> = Vec::new();
        for section in &parsed.media_descriptions {
            let track = Track::parse(section, role)?;
            if tracks.iter().any(|other| other.kind == track.kind) {
                return Err(Refusal::TooManyTracks(track.kind));
            }
            tracks.push(track);
        }
        if tracks.is_empty() {
            return Err(Refusal::sdp("it has neither an audio nor a video section"));
        }
        Ok(Self { description, tracks })
    }
}

impl Track {
    fn parse(section: &MediaDescription, role: Role) -> Result<Self, Refusal> {
        let kind = match section.media_name.media.as_str() {
            "video" => Kind::Video,
            "audio" => Kind::Audio,
            other => return Err(Refusal::sdp(format!("{other} is not forwarded"))),
        };
        if role.useless().iter().any(|direction| section.attribute(direction).is_some()) {
            return Err(Refusal::Direction);
        }
        let codecs = codecs(section, kind);
        if codecs.is_empty() {
            return Err(Refusal::Codec(kind));
        }
        let rids = rids::of(section)?;
        if !rids.is_empty() && (kind == Kind::Audio || role == Role::Subscriber) {
            return Err(Refusal::sdp("only a publisher's video may have rids"));
        }
        let mid = section.attribute("mid").flatten().map(str::to_owned);
        Ok(Self { kind, codecs, rids, mid })
    }
}

/// The codecs of a section that are forwarded, in the order of its formats.
fn codecs(section: &MediaDescription, kind: Kind) -> Vec<Codec> {
    let maps = section.attributes.iter().filter(|attribute| attribute.key == "rtpmap");
    let maps = maps.filter_map(|attribute| attribute.value.as_deref()?.split_once(' '));
    let maps: Vec<_> = maps.collect();
    let mut codecs = Vec::new();
    for format in &section.media_name.formats {
        let map = maps.iter().find(|(payload_type, _)| payload_type == format);
        let codec = map.and_then(|(_, encoding)| Codec::from_encoding(encoding));
        codecs.extend(codec.filter(|codec| codec.kind() == kind && !codecs.contains(codec)));
    }
    codecs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sdp(sections: &[&str]) -> String {
        let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n";
        head.to_owned() + &sections.concat()
    }

    const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n\
                         a=mid:v\r\na=rtpmap:96 VP8/90000\r\na=sendonly\r\n";
    const AUDIO: &str = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n\
                         a=rtpmap:111 opus/48000/2\r\na=sendonly\r\n";
    const MANY: &str = "m=video 9 UDP/TLS/RTP/SAVPF 97 45 102 98 103 96\r\nc=IN IP4 0.0.0.0\r\n\
                        a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=rtpmap:98 VP9/90000\r\n\
                        a=rtpmap:102 H264/90000\r\na=rtpmap:103 H264/90000\r\n\
                        a=rtpmap:45 AV1/90000\r\na=sendrecv\r\n";
    const H265: &str = "m=video 9 UDP/TLS/RTP/SAVPF 97\r\nc=IN IP4 0.0.0.0\r\n\
                        a=rtpmap:97 H265/90000\r\na=sendonly\r\n";
    const DATA: &str = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n";

    #[test]
    fn one_video_and_one_audio_track_are_taken() -> Result<(), Refusal> {
        let offer = Offer::parse(&sdp(&[VIDEO, AUDIO]), Role::Publisher)?;
        let codecs: Vec<_> = offer.tracks.iter().map(|track| &track.codecs[..]).collect();
        assert_eq!(codecs, [[Codec::Vp8], [Codec::Opus]]);
        assert_eq!(offer.tracks[0].mid.as_deref(), Some("v"));
        Ok(())
    }

    #[test]
    fn codecs_keep_the_order_of_the_offer() -> Result<(), Refusal> {
        let offer = Offer::parse(&sdp(&[MANY]), Role::Subscriber)?;
        let expected = [Codec::Av1, Codec::H264, Codec::Vp9, Codec::Vp8];
        assert_eq!(offer.tracks[0].codecs, expected);
        Ok(())
    }

    #[test]
    fn what_cannot_be_forwarded_is_refused() {
        let refused = |sections: &[&str], role| Offer::parse(&sdp(sections), role).err();
        let publisher = |sections: &[&str]| refused(sections, Role::Publisher);
        assert!(matches!(publisher(&[VIDEO, VIDEO]), Some(Refusal::TooManyTracks(Kind::Video))));
        assert!(matches!(publisher(&[H265]), Some(Refusal::Codec(Kind::Video))));
        assert!(matches!(publisher(&[AUDIO, DATA]), Some(Refusal::Sdp(_))));
        assert!(matches!(publisher(&[]), Some(Refusal::Sdp(_))));
        assert!(matches!(refused(&[AUDIO], Role::Subscriber), Some(Refusal::Direction)));
        assert!(Offer::parse("hello", Role::Publisher).is_err());
        let layered = VIDEO.replace("sendonly", "sendrecv") + "a=rid:h recv\r\n";
        assert!(matches!(refused(&[&layered], Role::Subscriber), Some(Refusal::Sdp(_))));
    }
}

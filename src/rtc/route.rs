//! The way of a track's packets, as webrtc-rs knows it.

use std::sync::Arc;

use bytes::Bytes;
use rtc::{
    media_stream::MediaStreamTrack,
    peer_connection::transport::RTCDtlsTransportState,
    rtp_transceiver::rtp_sender::{
        RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionParameters,
    },
};
use webrtc::{
    media_stream::track_local::{TrackLocal, static_rtp::TrackLocalStaticRTP},
    peer_connection::PeerConnection,
    rtp_transceiver::{RtpSender, RtpTransceiver},
};

use super::{engine, packetizer::Packetizer, sender::SendError};
use crate::primitives::Codec;

/// RFC 8851 sets no limit, an extension of RFC 8285's one-byte form does.
const MAX_RID: usize = 16;

/// Where packets of one SSRC go.
pub(super) struct Route {
    pub(super) track: Arc<TrackLocalStaticRTP>,
    sender: Arc<dyn RtpSender>,
    pub(super) ssrc: u32,
    layer: Option<Layer>,
}

/// A layer of a simulcast: nothing but what its packets say tells it from the others.
struct Layer {
    rid: String,
    transceiver: Arc<dyn RtpTransceiver>,
}

/// What every packet gets on its way, once that was negotiated.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) packetizer: Packetizer,
    /// Header extensions by their ids. On every packet, since any may be lost; with them a packet
    /// has up to 24 bytes more than the packetizer's limit.
    pub(super) extensions: Vec<(u8, Bytes)>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut route = f.debug_struct("Route");
        route.field("ssrc", &self.ssrc).field("rid", &self.rid()).finish_non_exhaustive()
    }
}

impl Route {
    /// Adds a track with one encoding to a connection.
    pub(super) async fn add(
        connection: &dyn PeerConnection,
        id: &str,
        codec: Codec,
    ) -> Result<Self, SendError> {
        let ssrc = getrandom::u32()?;
        let (track, sender) = add_track(connection, id, codec, &[(ssrc, "")]).await?;
        Ok(Self { track, sender, ssrc, layer: None })
    }

    /// Adds a track with several encodings: the routes of its layers.
    pub(super) async fn add_layers(
        connection: &dyn PeerConnection,
        id: &str,
        codec: Codec,
        rids: &[&str],
    ) -> Result<Vec<Self>, SendError> {
        if !matches!(codec, Codec::Vp8 | Codec::H264) {
            return Err(SendError::NoSimulcast(codec));
        }
        if !(2..=3).contains(&rids.len()) || !rids.iter().all(|rid| is_rid(rid)) {
            return Err(SendError::Rids);
        }
        let mut layers: Vec<(u32, &str)> = Vec::with_capacity(rids.len());
        for rid in rids {
            let ssrc = getrandom::u32()?;
            if layers.iter().any(|(other, name)| name == rid || *other == ssrc) {
                return Err(SendError::Rids);
            }
            layers.push((ssrc, rid));
        }
        let (track, sender) = add_track(connection, id, codec, &layers).await?;
        let transceiver = transceiver(connection, &sender).await?;
        let route = |(ssrc, rid): (u32, &str)| Self {
            track: Arc::clone(&track),
            sender: Arc::clone(&sender),
            ssrc,
            layer: Some(Layer { rid: rid.to_owned(), transceiver: Arc::clone(&transceiver) }),
        };
        Ok(layers.into_iter().map(route).collect())
    }

    pub(super) fn rid(&self) -> Option<&str> {
        self.layer.as_ref().map(|layer| layer.rid.as_str())
    }

    /// Reads what was negotiated. webrtc-rs rejects packets of another payload type, SSRC or
    /// extension in its driver, where only a log line says so, and drops what comes before DTLS
    /// is up.
    pub(super) async fn resolve(&self, codec: Codec) -> Result<Outgoing, SendError> {
        let transport = self.sender.transport().await?.ok_or(SendError::NotConnected)?;
        if transport.state().await? != RTCDtlsTransportState::Connected {
            return Err(SendError::NotConnected);
        }
        let parameters = self.sender.get_parameters().await?;
        let mime_type = engine::rtp_codec(codec).mime_type;
        let negotiated = parameters
            .rtp_parameters
            .codecs
            .iter()
            .find(|codec| codec.rtp_codec.mime_type.eq_ignore_ascii_case(&mime_type))
            .ok_or(SendError::CodecRefused(codec))?;
        let encodings = &parameters.encodings;
        if !encodings.iter().any(|e| e.rtp_coding_parameters.ssrc == Some(self.ssrc)) {
            return Err(SendError::SsrcLost);
        }
        let extensions = match &self.layer {
            Some(layer) => layer.extensions(&parameters.rtp_parameters.header_extensions).await?,
            None => Vec::new(),
        };
        let mut sequence = [0; 2];
        getrandom::fill(&mut sequence)?;
        let sequence = u16::from_be_bytes(sequence);
        let packetizer = Packetizer::new(codec, negotiated.payload_type, self.ssrc, sequence);
        Ok(Outgoing { packetizer, extensions })
    }
}

impl Layer {
    /// What names the track and the layer to the SFU, which has no SSRC to go by.
    async fn extensions(
        &self,
        negotiated: &[RTCRtpHeaderExtensionParameters],
    ) -> Result<Vec<(u8, Bytes)>, SendError> {
        let id = |uri: &str| {
            let extension = negotiated.iter().find(|extension| extension.uri == uri);
            let id = extension.and_then(|extension| u8::try_from(extension.id).ok());
            id.ok_or(SendError::SimulcastRefused)
        };
        let mid = self.transceiver.mid().await?.ok_or(SendError::NotConnected)?;
        Ok(vec![
            (id(engine::MID_EXTENSION)?, Bytes::from(mid)),
            (id(engine::RID_EXTENSION)?, Bytes::from(self.rid.clone())),
        ])
    }
}

/// RFC 8851 §10: letters and digits.
fn is_rid(rid: &str) -> bool {
    !rid.is_empty() && rid.len() <= MAX_RID && rid.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

async fn add_track(
    connection: &dyn PeerConnection,
    id: &str,
    codec: Codec,
    layers: &[(u32, &str)],
) -> Result<(Arc<TrackLocalStaticRTP>, Arc<dyn RtpSender>), SendError> {
    let encoding = |(ssrc, rid): &(u32, &str)| RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters {
            rid: (*rid).to_owned(),
            ssrc: Some(*ssrc),
            ..Default::default()
        },
        codec: engine::rtp_codec(codec),
        ..Default::default()
    };
    let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
        "olmcast".to_owned(),
        id.to_owned(),
        id.to_owned(),
        engine::kind(codec),
        layers.iter().map(encoding).collect(),
    )));
    let sender = connection.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await?;
    Ok((track, sender))
}

/// The transceiver of a sender: only it knows the track's mid.
async fn transceiver(
    connection: &dyn PeerConnection,
    sender: &Arc<dyn RtpSender>,
) -> Result<Arc<dyn RtpTransceiver>, SendError> {
    for transceiver in connection.get_transceivers().await {
        if transceiver.sender().await?.is_some_and(|other| other.id() == sender.id()) {
            return Ok(transceiver);
        }
    }
    Err(SendError::NotConnected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rid_is_a_short_word_of_letters_and_digits() {
        assert!(["h", "q2", "0123456789abcdef"].iter().all(|rid| is_rid(rid)));
        assert!(!["", "h;m", "h m", "é", "0123456789abcdefg"].iter().any(|rid| is_rid(rid)));
    }
}

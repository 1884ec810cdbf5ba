use super::{Admission, EndpointError};
use crate::{
    device::Identity,
    primitives::{Codec, RoomKeys, StreamId, Timestamp, TrackId},
    protocol::{StreamOffer, TrackOffer},
    sframe::CipherSuite,
    stream::PublicationConfig,
};

/// The longest description of a stream. It travels in each handover of the stream's key as well,
/// and must leave room for that.
const MAX_OFFER: usize = 32 * 1024;

/// What to publish.
#[derive(Clone, Debug)]
pub struct Publish {
    label: String,
    media: String,
    tracks: Vec<TrackOffer>,
    admission: Admission,
    suite: CipherSuite,
}

impl Publish {
    /// A stream that people see as `label`, "camera" for instance. Admission is
    /// [`Admission::Ask`], the suite AES-128-GCM.
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            media: String::new(),
            tracks: Vec::new(),
            admission: Admission::Ask,
            suite: CipherSuite::default(),
        }
    }

    /// Adds a track. Tracks are numbered in the order in which they are added.
    #[must_use]
    pub fn track(mut self, codec: Codec) -> Self {
        // A count beyond the numbers there are is refused by `publish`.
        let id = TrackId(u16::try_from(self.tracks.len()).unwrap_or(u16::MAX));
        self.tracks.push(TrackOffer { id, codec, layers: 1 });
        self
    }

    /// Where the media can be had: opaque to olmcast, shown to subscribers in the offer.
    #[must_use]
    pub fn media(mut self, address: impl Into<String>) -> Self {
        self.media = address.into();
        self
    }

    /// Who is admitted.
    #[must_use]
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = admission;
        self
    }

    /// Admits whoever has the room's invite.
    #[must_use]
    pub fn with_invite(self) -> Self {
        self.admission(Admission::Invite)
    }

    /// The cipher suite of all tracks.
    #[must_use]
    pub fn suite(mut self, suite: CipherSuite) -> Self {
        self.suite = suite;
        self
    }

    pub(super) fn into_config(
        self,
        stream: StreamId,
        identity: &Identity,
        keys: &RoomKeys,
        now: Timestamp,
    ) -> Result<PublicationConfig, EndpointError> {
        if self.tracks.is_empty() || self.tracks.len() > usize::from(u16::MAX) + 1 {
            return Err(EndpointError::NoTracks);
        }
        if self.admission == Admission::Invite && !keys.has_invite() {
            return Err(EndpointError::NoInvite);
        }
        let offer = StreamOffer {
            stream,
            label: self.label,
            name: identity.name().to_owned(),
            tracks: self.tracks,
            media: self.media,
            curve25519: identity.curve25519(),
            started: now,
            seq: 0,
        };
        let length = serde_json::to_vec(&offer).map_or(usize::MAX, |offer| offer.len());
        if length > MAX_OFFER {
            return Err(EndpointError::TooLarge);
        }
        Ok(PublicationConfig { offer, admission: self.admission, suite: self.suite })
    }
}

use std::collections::BTreeSet;

use indexmap::IndexMap;

use super::connection::DownReason;
use crate::{
    endpoint::Offer,
    primitives::{DeviceId, StreamId, StreamRef},
};

/// The room as the key service shows it: who is there and what is offered.
///
/// Who is there is the service's word and may be a lie; what is offered was signed by its
/// publisher.
#[derive(Clone, Debug, Default)]
pub struct RoomView {
    pub(super) present: BTreeSet<DeviceId>,
    pub(super) offers: IndexMap<StreamRef, (Offer, bool)>,
    pub(super) down: Option<DownReason>,
}

impl RoomView {
    /// The streams that are offered by publishers that are there, in the order of their offers.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.offers
            .values()
            .filter(|(offer, kept)| *kept && self.present.contains(&offer.stream.publisher))
            .map(|(offer, _)| offer)
    }

    /// The newest stream with this label, by this publisher if one is named.
    pub fn newest(&self, label: &str, publisher: Option<DeviceId>) -> Option<&Offer> {
        self.offers()
            .filter(|offer| offer.content.label == label)
            .filter(|offer| publisher.is_none_or(|device| offer.stream.publisher == device))
            .max_by_key(|offer| offer.content.started)
    }

    /// Whether this stream is still offered by a publisher that is there.
    pub fn is_offered(&self, stream: StreamRef) -> bool {
        self.offers().any(|offer| offer.stream == stream)
    }

    /// Who else is in the room.
    pub fn present(&self) -> impl Iterator<Item = DeviceId> {
        self.present.iter().copied()
    }

    /// Why there is no connection to the key service at the moment; `None` if there is one.
    pub fn down(&self) -> Option<&DownReason> {
        self.down.as_ref()
    }

    pub(super) fn mark(&mut self, publisher: DeviceId, stream: StreamId, kept: bool) {
        if let Some((_, in_state)) = self.offers.get_mut(&StreamRef { publisher, stream }) {
            *in_state = kept;
        }
    }
}

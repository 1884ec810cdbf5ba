use std::collections::BTreeSet;

use indexmap::IndexMap;

use crate::{
    endpoint::Offer,
    primitives::{DeviceId, StreamId, StreamRef},
};

/// Offers that are kept.
const MAX_OFFERS: usize = 256;

/// The room as the key service shows it: who is there and what is offered.
///
/// Who is there is the service's word and may be a lie; what is offered was signed by its
/// publisher.
#[derive(Clone, Debug, Default)]
pub struct RoomView {
    pub(super) present: BTreeSet<DeviceId>,
    pub(super) offers: IndexMap<StreamRef, (Offer, bool)>,
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

    /// Takes note of an offer. When there are too many, the oldest that is offered no more is
    /// forgotten, or else the oldest: a member can offer without end.
    pub(super) fn note(&mut self, offer: Offer) {
        if self.offers.len() >= MAX_OFFERS && !self.offers.contains_key(&offer.stream) {
            let stale = self.offers.values().position(|(_, kept)| !kept);
            self.offers.shift_remove_index(stale.unwrap_or(0));
        }
        self.offers.insert(offer.stream, (offer, true));
    }

    pub(super) fn mark(&mut self, publisher: DeviceId, stream: StreamId, kept: bool) {
        if let Some((_, in_state)) = self.offers.get_mut(&StreamRef { publisher, stream }) {
            *in_state = kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::Identity,
        primitives::{RoomId, Timestamp},
        protocol::{OfferHash, StreamOffer},
    };

    #[test]
    fn offers_without_end_are_forgotten_the_oldest_first() {
        let identity = Identity::generate();
        let offer = |number: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&number.to_be_bytes());
            let stream = StreamId::from_bytes(id);
            let content = StreamOffer {
                name: String::new(),
                stream,
                label: "camera".to_owned(),
                tracks: Vec::new(),
                media: String::new(),
                curve25519: identity.curve25519(),
                started: Timestamp::from_unix_millis(number),
                seq: 0,
            };
            let stream = StreamRef { publisher: identity.device(), stream };
            let hash = OfferHash::of(&number.to_be_bytes());
            Offer { stream, room: RoomId::from_name("room"), content, bytes: Vec::new(), hash }
        };
        let mut room = RoomView::default();
        room.present.insert(identity.device());
        for number in 0..1000 {
            room.note(offer(number));
        }
        assert_eq!(room.offers.len(), MAX_OFFERS);
        assert_eq!(room.newest("camera", None), Some(&offer(999)));
        room.mark(identity.device(), offer(999).stream.stream, false);
        room.note(offer(1000));
        assert_eq!(room.newest("camera", None), Some(&offer(1000)));
        assert!(!room.is_offered(offer(999).stream) && room.is_offered(offer(998).stream));
    }
}

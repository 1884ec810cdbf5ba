use std::collections::BTreeSet;

use indexmap::IndexMap;

use crate::{
    device::Distrust,
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
    pub(super) offers: IndexMap<StreamRef, Offered>,
}

/// A stream that was offered.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    pub(super) offer: Offer,
    /// Whether it is among what the service keeps for the room.
    kept: bool,
    /// What speaks against its publisher.
    distrust: Option<Distrust>,
}

impl RoomView {
    /// The streams that are offered by publishers that are there, in the order of their offers.
    pub fn offers(&self) -> impl Iterator<Item = &Offer> {
        self.offers
            .values()
            .filter(|o| o.kept && self.present.contains(&o.offer.stream.publisher))
            .map(|offered| &offered.offer)
    }

    /// What speaks against the publisher of a stream: it cannot be subscribed to until the user pins
    /// or verifies that device ([`Event::Distrusted`](crate::endpoint::Event::Distrusted)).
    pub fn distrust(&self, stream: StreamRef) -> Option<Distrust> {
        self.offers.get(&stream)?.distrust
    }

    /// The newest stream with this label, by this publisher if one is named. What cannot be
    /// subscribed to, since its publisher is [not trusted](Self::distrust), hides nothing else.
    pub fn newest(&self, label: &str, publisher: Option<DeviceId>) -> Option<&Offer> {
        self.offers()
            .filter(|offer| self.distrust(offer.stream).is_none())
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
            let stale = self.offers.values().position(|offered| !offered.kept);
            let distrusted = || self.offers.values().position(|o| o.distrust.is_some());
            self.offers.shift_remove_index(stale.or_else(distrusted).unwrap_or(0));
        }
        // Should anything speak against it, that is said next.
        self.offers.insert(offer.stream, Offered { offer, kept: true, distrust: None });
    }

    /// None of the offers is known to be kept, until it is marked so.
    pub(super) fn unmark_all(&mut self) {
        self.offers.values_mut().for_each(|offered| offered.kept = false);
    }

    /// Something speaks against a stream's publisher.
    pub(super) fn warn(&mut self, stream: StreamRef, distrust: Distrust) {
        if let Some(offered) = self.offers.get_mut(&stream) {
            offered.distrust = Some(distrust);
        }
    }

    /// Looks again what speaks against each publisher. True if that is something else now.
    pub(super) fn judge(&mut self, distrust: impl Fn(&Offer) -> Option<Distrust>) -> bool {
        let mut is_news = false;
        for offered in self.offers.values_mut() {
            let found = distrust(&offered.offer);
            is_news |= offered.distrust != found;
            offered.distrust = found;
        }
        is_news
    }

    pub(super) fn mark(&mut self, publisher: DeviceId, stream: StreamId, kept: bool) {
        if let Some(offered) = self.offers.get_mut(&StreamRef { publisher, stream }) {
            offered.kept = kept;
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

    /// An offer of this number, and made at that time.
    fn offer_of(identity: &Identity, number: u64) -> Offer {
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
    }

    #[test]
    fn an_offer_that_is_distrusted_hides_no_other_however_new_it_is() {
        let [honest, impostor] = [1000, u64::MAX].map(|started| {
            let identity = Identity::generate();
            offer_of(&identity, started)
        });
        let mut room = RoomView::default();
        room.present.extend([honest.stream.publisher, impostor.stream.publisher]);
        room.note(honest.clone());
        room.note(impostor.clone());
        assert_eq!(room.newest("camera", None), Some(&impostor));
        let distrust = Distrust::NameTaken(honest.stream.publisher);
        room.warn(impostor.stream, distrust);
        assert_eq!(room.newest("camera", None), Some(&honest));
        assert_eq!(room.newest("camera", Some(impostor.stream.publisher)), None);
        assert_eq!(room.distrust(impostor.stream), Some(distrust));
        assert!(room.offers().any(|offer| *offer == impostor), "it is shown nevertheless");
        // Until the user decides.
        assert!(room.judge(|_| None) && !room.judge(|_| None));
        assert_eq!(room.newest("camera", None), Some(&impostor));
        // And it is the first to go when there are too many.
        room.warn(impostor.stream, distrust);
        let identity = Identity::generate();
        room.present.insert(identity.device());
        for number in 1..MAX_OFFERS as u64 {
            room.note(offer_of(&identity, number));
        }
        assert!(room.is_offered(honest.stream) && !room.is_offered(impostor.stream));
    }

    #[test]
    fn offers_without_end_are_forgotten_the_oldest_first() {
        let identity = Identity::generate();
        let offer = |number| offer_of(&identity, number);
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

use indexmap::IndexMap;

use super::MessageError;
use crate::{
    primitives::{DeviceId, StreamRef},
    stream::Offer,
};

/// Offers kept for one publisher.
const MAX_PER_PUBLISHER: usize = 16;
/// Offers kept in all.
const MAX_OFFERS: usize = 4096;

/// What is offered in our rooms: hints, signed by their publishers.
#[derive(Debug, Default)]
pub(super) struct Offers(IndexMap<StreamRef, u64>);

impl Offers {
    /// Takes note of an offer.
    ///
    /// # Errors
    /// [`MessageError::Old`] if the same or a newer one of this stream is known.
    pub(super) fn note(&mut self, offer: &Offer) -> Result<(), MessageError> {
        if let Some(seq) = self.0.get_mut(&offer.stream) {
            if offer.content.seq <= *seq {
                return Err(MessageError::Old);
            }
            *seq = offer.content.seq;
            return Ok(());
        }
        let publisher = offer.stream.publisher;
        let of_publisher = self.0.keys().filter(|stream| stream.publisher == publisher).count();
        if of_publisher >= MAX_PER_PUBLISHER {
            // Its oldest is forgotten: a publisher that restarted often is still seen.
            self.0.retain({
                let mut forgotten = false;
                move |stream, _| {
                    let keep = forgotten || stream.publisher != publisher;
                    forgotten |= !keep;
                    keep
                }
            });
        } else if self.0.len() >= MAX_OFFERS {
            // What is forgotten is only that it was shown: many offers must not hide others.
            self.0.shift_remove_index(0);
        }
        self.0.insert(offer.stream, offer.content.seq);
        Ok(())
    }

    /// Forgets all streams of a publisher.
    pub(super) fn forget_all_of(&mut self, publisher: DeviceId) -> Vec<StreamRef> {
        let of_publisher = |stream: &&StreamRef| stream.publisher == publisher;
        let streams: Vec<_> = self.0.keys().filter(of_publisher).copied().collect();
        self.0.retain(|stream, _| stream.publisher != publisher);
        streams
    }

    /// Forgets a stream that ended. False if it was not known.
    pub(super) fn forget(&mut self, stream: StreamRef) -> bool {
        self.0.shift_remove(&stream).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        device::Identity,
        primitives::{RoomId, StreamId, Timestamp},
        protocol::{OfferHash, StreamOffer},
    };

    fn offer(publisher: u16, stream: u8, seq: u64) -> Offer {
        let mut device = [0; 32];
        device[..2].copy_from_slice(&publisher.to_be_bytes());
        let publisher = DeviceId::from_bytes(device);
        let stream = StreamRef { publisher, stream: StreamId::from_bytes([stream; 16]) };
        let content = StreamOffer {
            stream: stream.stream,
            label: "camera".to_owned(),
            name: String::new(),
            tracks: vec![],
            media: String::new(),
            curve25519: Identity::generate().curve25519(),
            started: Timestamp::default(),
            seq,
        };
        let (room, hash) = (RoomId::from_name("a"), OfferHash::of(b""));
        Offer { stream, room, content, bytes: vec![], hash }
    }

    #[test]
    fn a_publisher_that_offers_more_and_more_displaces_only_its_own_oldest() {
        let mut offers = Offers::default();
        offers.note(&offer(1, 0, 1)).unwrap();
        for stream in 0..=16 {
            offers.note(&offer(2, stream, 1)).unwrap();
        }
        assert_eq!(offers.0.len(), 1 + MAX_PER_PUBLISHER);
        assert_eq!(offers.note(&offer(1, 0, 1)), Err(MessageError::Old));
        for stream in 1..=16 {
            assert_eq!(offers.note(&offer(2, stream, 1)), Err(MessageError::Old));
        }
        assert_eq!(offers.note(&offer(2, 0, 1)), Ok(()), "forgotten, so shown again");
    }

    #[test]
    fn there_is_an_end_to_what_is_remembered() {
        let mut offers = Offers::default();
        let publishers = 1..=u16::try_from(MAX_OFFERS).unwrap();
        for publisher in publishers.clone() {
            offers.note(&offer(publisher, 0, 1)).unwrap();
        }
        assert_eq!(offers.note(&offer(0, 0, 1)), Ok(()), "many offers hide no other");
        assert_eq!(offers.0.len(), MAX_OFFERS);
        let is_known = |publisher| offers.0.contains_key(&offer(publisher, 0, 1).stream);
        assert!(!is_known(1));
        assert!(publishers.skip(1).all(is_known));
    }
}

use indexmap::IndexMap;

use super::MessageError;
use crate::{primitives::StreamRef, stream::Offer};

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

    /// Forgets a stream that ended. False if it was not known.
    pub(super) fn forget(&mut self, stream: StreamRef) -> bool {
        self.0.shift_remove(&stream).is_some()
    }
}

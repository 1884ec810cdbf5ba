//! Which handle an event is for.

use crate::{
    endpoint::Event,
    primitives::{StreamId, StreamRef},
};

/// The stream of our own that an event is about.
pub(super) fn published(event: &Event) -> Option<StreamId> {
    match event {
        Event::JoinRequest { stream, .. }
        | Event::Refused { stream, .. }
        | Event::HolderJoined { stream, .. }
        | Event::KeyConfirmed { stream, .. }
        | Event::HolderLeft { stream, .. }
        | Event::Stepped { stream, .. }
        | Event::Rotated { stream, .. } => Some(*stream),
        // Each is named, so that a new one is not forgotten.
        Event::Offered(_)
        | Event::Distrusted { .. }
        | Event::Ended { .. }
        | Event::PublisherGone { .. }
        | Event::PublisherBack { .. }
        | Event::KeyReceived { .. }
        | Event::Advanced { .. }
        | Event::Withheld { .. }
        | Event::Stalled { .. }
        | Event::Unanswered { .. }
        | Event::KeyMissing { .. }
        | Event::Resumed { .. }
        | Event::Verification { .. } => None,
    }
}

/// The stream of somebody else that an event is about.
pub(super) fn subscribed(event: &Event) -> Option<StreamRef> {
    match event {
        Event::Offered(offer) => Some(offer.stream),
        Event::Distrusted { stream, .. }
        | Event::Ended { stream, .. }
        | Event::PublisherGone { stream }
        | Event::PublisherBack { stream }
        | Event::KeyReceived { stream, .. }
        | Event::Advanced { stream, .. }
        | Event::Withheld { stream, .. }
        | Event::Stalled { stream }
        | Event::Unanswered { stream }
        | Event::KeyMissing { stream }
        | Event::Resumed { stream } => Some(*stream),
        Event::JoinRequest { .. }
        | Event::Refused { .. }
        | Event::HolderJoined { .. }
        | Event::KeyConfirmed { .. }
        | Event::HolderLeft { .. }
        | Event::Stepped { .. }
        | Event::Rotated { .. }
        | Event::Verification { .. } => None,
    }
}

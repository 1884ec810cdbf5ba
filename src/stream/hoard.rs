use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use super::sessions::InboundSession;
use crate::{
    media::{self, GenerationKeys},
    primitives::{Codec, Step, TrackId},
    sframe::OpenKey,
};

/// A subscriber that forgets nothing: every session it was ever sent, at the earliest step.
///
/// For tests and demonstrations, to show what somebody who joined late or was removed can open
/// *with everything they ever held*. An honest subscriber keeps no such thing; see
/// [`Endpoint::hoard_keys`](crate::endpoint::Endpoint::hoard_keys).
#[derive(Clone, Default)]
pub struct Hoard(Arc<Mutex<Vec<InboundSession>>>);

impl Hoard {
    pub(super) fn add(&self, session: InboundSession) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// How many sessions it holds.
    pub fn sessions(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Tries one encrypted frame with every session, as the step that the frame names and as the
    /// earliest one held: no window, no floor, no limit. Returns the frame if one of them fits.
    pub fn try_open(&self, codec: Codec, track: TrackId, wire: &[u8]) -> Option<Vec<u8>> {
        let header = media::header(codec, wire).ok()?;
        let named = media::position(header.key_id)?.step;
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.iter_mut().find_map(|session| {
            let earliest = Step::new(session.first_index())?;
            [named, earliest].into_iter().find_map(|step| {
                let base_key = session.base_key(step, track)?;
                media::open_with(codec, wire, &OpenKey::new(base_key, header.key_id))
            })
        })
    }
}

impl fmt::Debug for Hoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hoard").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}

use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use super::Limits;
use crate::protocol::service::ClientFrame;

/// How fast one connection may talk.
pub(super) struct Rate {
    all: DefaultDirectRateLimiter,
    room: DefaultDirectRateLimiter,
}

/// Whether a frame came too soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    TooFast,
}

impl Rate {
    pub(super) fn new(limits: &Limits) -> Self {
        let limiter = |rate: u32, burst: u32| {
            let at_least_one = |n| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
            RateLimiter::direct(
                Quota::per_second(at_least_one(rate)).allow_burst(at_least_one(burst)),
            )
        };
        Self {
            all: limiter(limits.rate, limits.rate_burst),
            room: limiter(limits.room_rate, limits.room_rate_burst),
        }
    }

    /// Counts a frame of `length` bytes: one unit, and another per KiB. What is copied to a
    /// whole room counts against the smaller allowance for that, too.
    pub(super) fn count(&self, frame: &ClientFrame, length: usize) -> Verdict {
        let units = u32::try_from(length / 1024).unwrap_or(u32::MAX).saturating_add(1);
        let units = NonZeroU32::new(units).unwrap_or(NonZeroU32::MIN);
        if !matches!(self.all.check_n(units), Ok(Ok(())))
            || (is_for_room(frame) && self.room.check().is_err())
        {
            return Verdict::TooFast;
        }
        Verdict::Pass
    }
}

/// Whether a frame is copied to a whole room.
pub(super) fn is_for_room(frame: &ClientFrame) -> bool {
    match frame {
        ClientFrame::Enter { .. }
        | ClientFrame::Leave { .. }
        | ClientFrame::Broadcast { .. }
        | ClientFrame::SetState { .. }
        | ClientFrame::ClearState { .. } => true,
        ClientFrame::Authenticate { .. } | ClientFrame::Send { .. } | ClientFrame::Ack { .. } => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::RoomId;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let limits = Limits {
            rate: 1,
            rate_burst: 10,
            room_rate: 1,
            room_rate_burst: 2,
            ..Limits::default()
        };
        let rate = Rate::new(&limits);
        let ack = ClientFrame::Ack { sequence: 1 };
        let leave = ClientFrame::Leave { room: RoomId::from_bytes([0; 32]) };
        assert_eq!(rate.count(&leave, 40), Verdict::Pass);
        assert_eq!(rate.count(&leave, 40), Verdict::Pass);
        assert_eq!(rate.count(&leave, 40), Verdict::TooFast, "the room's allowance");
        assert_eq!(rate.count(&ack, 5 * 1024), Verdict::Pass, "six units");
        assert_eq!(rate.count(&ack, 5 * 1024), Verdict::TooFast, "six more");
        assert_eq!(rate.count(&ack, 1 << 30), Verdict::TooFast, "more than any burst");
    }
}

use std::time::Duration;

use super::{RotationCause, sessions::OutboundSession};
use crate::primitives::Timestamp;

/// Leaves gather this long before a new session is made, so that a crowd costs one.
const GATHER: Duration = Duration::from_millis(250);
/// The encryptors switch this long after the first leave of a batch, acked or not.
const LEAVE_DEADLINE: Duration = Duration::from_secs(2);
/// The same for a removal.
const KICK_DEADLINE: Duration = Duration::from_secs(1);
/// The encryptors switch this long before the deadline at the latest, so that a timer which is a
/// little late does not make them stop.
const SWITCH_LEAD: Duration = Duration::from_millis(50);
/// A voided session is minted again this long before the deadline: late enough to take in most
/// of those who leave until then, early enough for a round trip to those who stay.
const REMINT_LEAD: Duration = Duration::from_millis(300);

/// A new generation on its way: from the first leave until the encryptors switch.
///
/// The deadline counts from the *first* leave and only ever moves closer, so the time in which a
/// leaver can still read is bounded however many others come and go meanwhile.
pub(super) struct Rotation {
    pub(super) cause: RotationCause,
    /// When the first of the batch left.
    pub(super) since: Timestamp,
    /// The session that is being handed out, once it is made.
    pub(super) minted: Option<OutboundSession>,
    mint_at: Timestamp,
    deadline: Timestamp,
    voided: bool,
    late: Option<(RotationCause, Timestamp)>,
}

impl Rotation {
    pub(super) fn new(cause: RotationCause, since: Timestamp, now: Timestamp) -> Self {
        let (gather, deadline) = match cause {
            RotationCause::Kick => (Duration::ZERO, KICK_DEADLINE),
            RotationCause::Leave => (GATHER, LEAVE_DEADLINE),
            RotationCause::Periodic => (Duration::ZERO, LEAVE_DEADLINE),
        };
        let mint_at = (since + gather).max(now);
        let deadline = (since + deadline).max(now);
        Self { cause, since, minted: None, mint_at, deadline, voided: false, late: None }
    }

    /// Somebody who left already is kicked as well: what applies to it has a kick's deadline now.
    pub(super) fn hurry(&mut self, now: Timestamp) {
        self.cause = RotationCause::Kick;
        self.deadline = self.deadline.min(now + KICK_DEADLINE);
        self.mint_at = self.mint_at.min(now);
        self.late = self.late.map(|(_, since)| (RotationCause::Kick, since));
    }

    /// Another holder left. `exposed`: it was sent the minted session.
    ///
    /// Returns the session that it made worthless, if any.
    pub(super) fn leave(
        &mut self,
        cause: RotationCause,
        exposed: bool,
        now: Timestamp,
    ) -> Option<OutboundSession> {
        if self.minted.is_some() && exposed && self.voided {
            // The session was already minted twice. Whoever leaves now waits for the next
            // generation, whose deadline counts from its own leave.
            self.late.get_or_insert((cause, now));
            if cause == RotationCause::Kick {
                self.late = self.late.map(|(_, since)| (cause, since));
            }
            return None;
        }
        if cause == RotationCause::Kick || self.cause == RotationCause::Periodic {
            self.cause = cause;
        }
        if cause == RotationCause::Kick {
            self.deadline = self.deadline.min(now + KICK_DEADLINE);
            self.mint_at = self.mint_at.min(now);
        }
        if !exposed {
            return None;
        }
        let voided = self.minted.take()?;
        self.voided = true;
        self.mint_at = match cause {
            RotationCause::Kick => now,
            _ => (self.deadline - REMINT_LEAD).max(now),
        };
        Some(voided)
    }

    /// Whether a session must be made now.
    pub(super) fn mint_due(&self, now: Timestamp) -> bool {
        self.minted.is_none() && (self.mint_at <= now || self.switch_due(now))
    }

    /// Whether the encryptors must switch now, acked or not.
    pub(super) fn switch_due(&self, now: Timestamp) -> bool {
        self.switch_at() <= now
    }

    fn switch_at(&self) -> Timestamp {
        self.deadline - SWITCH_LEAD
    }

    /// After when nothing may be encrypted with the key of before, since somebody left who has it.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        (self.cause != RotationCause::Periodic).then_some(self.deadline)
    }

    pub(super) fn poll_timeout(&self) -> Timestamp {
        if self.minted.is_none() { self.mint_at.min(self.switch_at()) } else { self.switch_at() }
    }

    /// The rotation that must follow this one at once, if somebody left too late for it.
    pub(super) fn next(&self, now: Timestamp) -> Option<Self> {
        self.late.map(|(cause, since)| Self::new(cause, since, now))
    }
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        primitives::{DeviceId, Generation, RoomId, StreamId, StreamRef},
        sframe::CipherSuite,
        stream::base_key::Scope,
    };

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_unix_millis(ms)
    }

    fn session() -> OutboundSession {
        let stream = StreamRef {
            publisher: DeviceId::from_bytes([0; 32]),
            stream: StreamId::from_bytes([0; 16]),
        };
        let room = RoomId::from_bytes([0; 32]);
        OutboundSession::new(Generation(1), Scope { room, stream, suite: CipherSuite::default() })
    }

    #[test]
    fn the_deadline_counts_from_the_first_leave_under_steady_churn() {
        let mut rotation = Rotation::new(RotationCause::Leave, at(0), at(0));
        assert!(!rotation.mint_due(at(249)));
        let mut mints = 0;
        for ms in (0..1950).step_by(50) {
            rotation.leave(RotationCause::Leave, rotation.minted.is_some(), at(ms));
            if rotation.mint_due(at(ms)) {
                rotation.minted = Some(session());
                mints += 1;
            }
            assert!(!rotation.switch_due(at(ms)));
        }
        assert!(rotation.switch_due(at(1950)));
        assert_eq!(mints, 2);
        // Those who left after the second mint are the first of the next batch.
        let next = rotation.next(at(1950)).unwrap();
        assert!(next.since < at(1950) && next.deadline <= at(3950));
    }

    #[test]
    fn a_kick_gathers_nothing_and_pulls_the_deadline_in() {
        let rotation = Rotation::new(RotationCause::Kick, at(0), at(0));
        assert!(rotation.mint_due(at(0)) && rotation.switch_due(at(1000)));

        let mut rotation = Rotation::new(RotationCause::Leave, at(0), at(0));
        rotation.leave(RotationCause::Kick, false, at(100));
        assert!(rotation.mint_due(at(100)) && rotation.switch_due(at(1100)));
    }

    #[test]
    fn a_session_that_a_leaver_saw_is_never_used() {
        let mut rotation = Rotation::new(RotationCause::Leave, at(0), at(0));
        rotation.minted = Some(session());
        assert!(rotation.leave(RotationCause::Leave, false, at(400)).is_none());
        assert!(rotation.minted.is_some());
        assert!(rotation.leave(RotationCause::Leave, true, at(500)).is_some());
        assert!(rotation.minted.is_none());
        assert!(!rotation.mint_due(at(1699)) && rotation.mint_due(at(1700)));
    }
}

use std::time::Duration;

use super::{Publication, SESSION_LIFETIME, STEP_INTERVAL, handover};
use crate::{
    primitives::{DeviceId, Generation},
    protocol::{Answers, WithheldCode},
    stream::{
        Effects, Event, LeaveReason, RotationCause,
        holder::{Holder, Which},
        rotation::Rotation,
        sessions::OutboundSession,
    },
};

/// A holder that was only unreachable may ask again after this long.
const RETURN_AFTER: Duration = Duration::from_secs(1);

impl Publication {
    /// A signed `Unsubscribe`.
    pub(crate) fn handle_unsubscribe(
        &mut self,
        fx: &mut Effects<'_>,
        device: DeviceId,
        sequence: u64,
    ) {
        // Of whoever was never considered there is nothing to forget, nor to remember.
        if self.sequences.contains_key(&device) && self.is_news(device, sequence) {
            self.sequences.insert(device, sequence);
            self.asking.shift_remove(&device);
            self.remove(fx, device, LeaveReason::Unsubscribed);
        }
    }

    /// Removes a device for good; the door is closed already.
    pub(crate) fn kick(&mut self, fx: &mut Effects<'_>, device: DeviceId) {
        self.asking.shift_remove(&device);
        let held = self.remove(fx, device, LeaveReason::Kicked);
        if !held && let Some(rotation) = &mut self.rotation {
            // Perhaps it left just now, and reads on until the switch.
            rotation.hurry(fx.now);
            self.drive_rotation(fx);
        }
    }

    fn remove(&mut self, fx: &mut Effects<'_>, device: DeviceId, reason: LeaveReason) -> bool {
        let Some(holder) = self.holders.shift_remove(&device) else { return false };
        self.tell_removed(fx, &holder, reason);
        fx.event(Event::HolderLeft { stream: self.id(), device, reason });
        // Whoever was never sent a key has nothing that could open anything.
        if holder.is_exposed() {
            let cause = match reason {
                LeaveReason::Kicked => RotationCause::Kick,
                _ => RotationCause::Leave,
            };
            let exposed_to_pending = holder.is_exposed_to_pending();
            match &mut self.rotation {
                None => self.rotation = Some(Rotation::new(cause, fx.now, fx.now)),
                Some(rotation) => {
                    if rotation.leave(cause, exposed_to_pending, fx.now).is_some() {
                        self.holders.values_mut().for_each(Holder::void_pending);
                    }
                }
            }
        }
        self.drive_rotation(fx);
        true
    }

    fn tell_removed(&self, fx: &mut Effects<'_>, holder: &Holder, reason: LeaveReason) {
        let retry_after = match reason {
            LeaveReason::Unsubscribed => return,
            LeaveReason::Kicked => None,
            LeaveReason::Gone | LeaveReason::LeaseExpired => Some(RETURN_AFTER),
        };
        let answers = Answers::OneTimeKey(holder.one_time_key);
        self.send_withheld(fx, holder.device, answers, WithheldCode::Removed, retry_after);
    }

    pub(super) fn expire_holders(&mut self, fx: &mut Effects<'_>) {
        let expired: Vec<_> = self
            .holders
            .values()
            .filter(|holder| holder.expires().0 <= fx.now)
            .map(|holder| (holder.device, holder.expires().1))
            .collect();
        for (device, lease) in expired {
            let reason = if lease { LeaveReason::LeaseExpired } else { LeaveReason::Gone };
            self.remove(fx, device, reason);
        }
    }

    /// Makes the next session when its time has come, and switches to it when all holders have
    /// it or the deadline has passed.
    pub(super) fn drive_rotation(&mut self, fx: &mut Effects<'_>) {
        if self.rotation.as_ref().is_some_and(|rotation| rotation.mint_due(fx.now)) {
            self.mint(fx);
        }
        self.switch_if_ready(fx);
    }

    fn mint(&mut self, fx: &mut Effects<'_>) {
        let Some(rotation) = &mut self.rotation else { return };
        let session = OutboundSession::new(self.next_generation, self.scope);
        self.next_generation = Generation(self.next_generation.0.saturating_add(1));
        let handover = handover(&self.keys, &self.scope, &self.offer);
        for holder in self.holders.values_mut() {
            holder.hand_over(fx, &handover, &session, Which::Pending, None);
        }
        rotation.minted = Some(session);
    }

    pub(super) fn switch_if_ready(&mut self, fx: &mut Effects<'_>) {
        let Some(rotation) = &mut self.rotation else { return };
        let all_have_it = self.holders.values().all(Holder::has_answered_pending);
        if !(all_have_it || rotation.deadline_passed(fx.now)) {
            return;
        }
        let Some(session) = rotation.minted.take() else { return };
        let (cause, since) = (rotation.cause, rotation.since);
        self.rotation = rotation.next(fx.now);
        self.current = session;
        self.holders.values_mut().for_each(Holder::promote);
        self.step_at = fx.now + STEP_INTERVAL;
        self.session_expires = fx.now + SESSION_LIFETIME;
        self.install();
        let (stream, position) = (self.id(), self.current.position());
        fx.event(Event::Rotated { stream, position, cause, since, switched: fx.now });
        if self.rotation.is_some() {
            self.drive_rotation(fx);
        }
    }
}

use std::time::Duration;

use super::{HOLDERS_AT_ONCE, Publication, SESSION_LIFETIME, STEP_INTERVAL};
use crate::{
    device::Memory,
    primitives::{DeviceId, Generation},
    protocol::{Answers, WithheldCode},
    stream::{
        Effects, Event, LeaveReason, Refusal, RotationCause,
        admission::{Applicant, Verdict},
        holder::{Holder, Which},
        rotation::Rotation,
        sessions::OutboundSession,
        visitors::Removed,
    },
};

/// A holder that was only unreachable may ask again after this long.
const RETURN_AFTER: Duration = Duration::from_secs(1);

impl Publication {
    /// A signed `Unsubscribe`. `has_invite` as for a `Subscribe`.
    pub(crate) fn handle_unsubscribe(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &Memory,
        device: DeviceId,
        sequence: u64,
        has_invite: bool,
    ) {
        // It may have overtaken its `Subscribe`, which must not be answered then. But strangers
        // must not make us remember them.
        let trust = Ok(memory.trust().state(&device));
        let applicant = Applicant { device, has_invite, keys: trust, trust };
        let may_come = || self.admission.judge(&applicant) == Verdict::Admit;
        if self.visitors.is_news(device, sequence)
            && (self.visitors.knows(device) || may_come())
            && self.visitors.note(device, sequence)
        {
            if self.asking.shift_remove(&device).is_some() {
                self.visitors.left(device);
            }
            self.remove(fx, device, LeaveReason::Unsubscribed);
        }
    }

    /// Removes a device for good; the door is closed already.
    pub(crate) fn kick(&mut self, fx: &mut Effects<'_>, device: DeviceId) {
        self.send_away(fx, device, Refusal::Blocked);
        self.remove(fx, device, LeaveReason::Kicked);
        self.hurry(fx, device);
    }

    /// What is known of devices has changed (of one of them, perhaps), or who is admitted: whoever may
    /// not stay is removed, and whoever waited for that is let in.
    pub(crate) fn review(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &mut Memory,
        changed: Option<DeviceId>,
    ) {
        let stays = |h: &Holder| self.admission.keeps(memory.trust(), h.device, &h.curve25519);
        let leave: Vec<_> =
            self.holders.iter().filter(|h| !stays(h)).map(|holder| holder.device).collect();
        for device in leave {
            self.remove(fx, device, LeaveReason::Revoked);
        }
        if let Some(device) = changed
            && !self.admission.allows(device, memory.trust().state(&device))
        {
            self.hurry(fx, device);
        }
        for device in self.asking.keys().copied().collect::<Vec<_>>() {
            self.judge_again(fx, memory, device);
        }
    }

    /// Somebody who may not hold the key is not trusted any more. Perhaps it left just now, and
    /// reads on until the switch, which must not take longer than if it had been removed.
    pub(crate) fn hurry(&mut self, fx: &mut Effects<'_>, device: DeviceId) {
        if self.holders.get(device).is_none()
            && self.visitors.knows(device)
            && let Some(rotation) = &mut self.rotation
        {
            rotation.hurry(fx.now);
            self.drive_rotation(fx);
        }
    }

    pub(super) fn remove(&mut self, fx: &mut Effects<'_>, device: DeviceId, reason: LeaveReason) {
        let Some(holder) = self.holders.remove(device) else { return };
        self.census.remove(device);
        let answer = match reason {
            LeaveReason::Unsubscribed => None,
            LeaveReason::Kicked | LeaveReason::Revoked => Some((WithheldCode::Removed, None)),
            LeaveReason::Gone | LeaveReason::LeaseExpired => {
                Some((WithheldCode::Removed, Some(RETURN_AFTER)))
            }
        };
        let backs_off = reason == LeaveReason::Unsubscribed;
        let removed = Removed { one_time_key: holder.one_time_key, answer, backs_off };
        self.visitors.removed(device, removed);
        self.tell_removed(fx, device, removed);
        fx.event(Event::HolderLeft { stream: self.id(), device, reason });
        // Whoever was never sent a key has nothing that could open anything.
        if holder.is_exposed() {
            let cause = match reason {
                LeaveReason::Kicked | LeaveReason::Revoked => RotationCause::Kick,
                _ => RotationCause::Leave,
            };
            let exposed_to_pending = holder.is_exposed_to_pending();
            match &mut self.rotation {
                None => self.rotation = Some(Rotation::new(cause, fx.now, fx.now)),
                Some(rotation) => {
                    if rotation.leave(cause, exposed_to_pending, fx.now).is_some() {
                        self.holders.update_all(Holder::void_pending);
                    }
                }
            }
        }
        self.drive_rotation(fx);
    }

    pub(super) fn tell_removed(&self, fx: &mut Effects<'_>, device: DeviceId, removed: Removed) {
        if let Some((code, retry_after)) = removed.answer {
            let answers = Answers::OneTimeKey(removed.one_time_key);
            self.send_withheld(fx, device, answers, code, retry_after);
        }
    }

    pub(super) fn expire_holders(&mut self, fx: &mut Effects<'_>) {
        for device in self.holders.due(fx.now, HOLDERS_AT_ONCE) {
            let Some((at, lease)) = self.holders.get(device).map(Holder::expires) else { continue };
            if at <= fx.now {
                let reason = if lease { LeaveReason::LeaseExpired } else { LeaveReason::Gone };
                self.remove(fx, device, reason);
            }
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
        rotation.minted = Some(OutboundSession::new(self.next_generation, self.scope));
        self.next_generation = Generation(self.next_generation.0.saturating_add(1));
        self.holders.update_all(|holder| holder.owe(fx, Which::Pending));
        self.deliver(fx);
    }

    pub(super) fn switch_if_ready(&mut self, fx: &mut Effects<'_>) {
        if let Some(rotation) = &mut self.rotation
            && (self.holders.all_have_answered() || rotation.switch_due(fx.now))
            && let Some(session) = rotation.minted.take()
        {
            let (cause, since) = (rotation.cause, rotation.since);
            self.rotation = rotation.next(fx.now);
            self.current = session;
            self.holders.update_all(Holder::promote);
            self.step_at = fx.now + STEP_INTERVAL;
            self.session_expires = fx.now + SESSION_LIFETIME;
            self.install();
            let (stream, position) = (self.id(), self.current.position());
            fx.event(Event::Rotated { stream, position, cause, since, switched: fx.now });
            if self.rotation.is_some() {
                self.drive_rotation(fx);
            }
        }
        self.set_deadline();
    }
}

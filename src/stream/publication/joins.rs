use std::time::Duration;

use super::{Publication, handover};
use crate::{
    device::{Doors, Pairwise},
    primitives::DeviceId,
    protocol::{Answers, Kind, StreamKeyWithheld, Subscribe, WithheldCode},
    stream::{
        Effects, Event, Recipient, Refusal,
        admission::Verdict,
        holder::{Holder, Which},
    },
};

/// Joins gather this long from the first of a batch, and share one step.
const GATHER: Duration = Duration::from_millis(150);
/// Requests that may wait for the application's answer.
const MAX_ASKING: usize = 256;

impl Publication {
    /// A signed `Subscribe` in this stream's room. `has_invite`: it carried a valid proof, or
    /// the room has no invite. False if it is old news.
    pub(crate) fn handle_subscribe(
        &mut self,
        fx: &mut Effects<'_>,
        doors: &mut Doors,
        device: DeviceId,
        subscribe: Subscribe,
        has_invite: bool,
    ) -> bool {
        let verdict = self.admission.judge(device, has_invite);
        if let Some(holder) = self.holders.get(&device)
            && holder.one_time_key == subscribe.one_time_key
            && !matches!(verdict, Verdict::Refuse(_))
        {
            // The same question again: its answer was lost, or is still to come. The answer is
            // the same bytes, so that a repeated question gives away nothing new.
            if !holder.answer().is_empty() {
                let bytes = holder.answer().to_vec();
                let to = Recipient::Device(device);
                fx.outputs.push_back(crate::stream::Output::Send { to, bytes });
            }
            return true;
        }
        if !self.is_news(device, subscribe.sequence) {
            return false;
        }
        if self.is_shut_out(fx, doors, device, &subscribe) {
            return true;
        }
        // Kept from here on only: strangers must not make us remember them.
        match verdict {
            Verdict::Admit => {
                self.sequences.insert(device, subscribe.sequence);
                self.let_in(fx, doors, device, subscribe);
            }
            Verdict::Refuse(reason) => {
                self.refuse(fx, device, &subscribe, WithheldCode::NotAdmitted, reason);
            }
            Verdict::Ask if self.asking.len() >= MAX_ASKING => {
                let busy = WithheldCode::Busy;
                self.withhold(fx, device, &subscribe, busy, Some(Duration::from_secs(10)));
            }
            Verdict::Ask => {
                let claim = subscribe.claim.clone();
                self.sequences.insert(device, subscribe.sequence);
                let news = self.asking.insert(device, subscribe).is_none();
                if news {
                    fx.event(Event::JoinRequest { stream: self.id(), device, claim });
                }
            }
        }
        true
    }

    /// Whether the door is shut to a device, which is then told so.
    fn is_shut_out(
        &self,
        fx: &mut Effects<'_>,
        doors: &Doors,
        device: DeviceId,
        subscribe: &Subscribe,
    ) -> bool {
        let Err(code) = doors.check(self.keys.room(), device) else { return false };
        let reason = match code {
            WithheldCode::Blocked => Refusal::Blocked,
            _ => Refusal::Closed,
        };
        self.refuse(fx, device, subscribe, code, reason);
        true
    }

    /// The application admits a device that asked. False if it did not ask.
    pub(crate) fn admit(
        &mut self,
        fx: &mut Effects<'_>,
        doors: &mut Doors,
        device: DeviceId,
    ) -> bool {
        let Some(subscribe) = self.asking.shift_remove(&device) else { return false };
        // It may have been closed since the device asked.
        if !self.is_shut_out(fx, doors, device, &subscribe) {
            self.let_in(fx, doors, device, subscribe);
        }
        true
    }

    /// The application refuses a device that asked. False if it did not ask.
    pub(crate) fn refuse_request(&mut self, fx: &mut Effects<'_>, device: DeviceId) -> bool {
        let Some(subscribe) = self.asking.shift_remove(&device) else { return false };
        self.refuse(fx, device, &subscribe, WithheldCode::NotAdmitted, Refusal::NotAdmitted);
        true
    }

    /// Sequences of a device only grow; an old `Subscribe` or `Unsubscribe` replayed says nothing.
    pub(super) fn is_news(&self, device: DeviceId, sequence: u64) -> bool {
        self.sequences.get(&device).is_none_or(|last| sequence > *last)
    }

    fn let_in(
        &mut self,
        fx: &mut Effects<'_>,
        doors: &mut Doors,
        device: DeviceId,
        subscribe: Subscribe,
    ) {
        let Subscribe { curve25519, one_time_key, claim, .. } = subscribe;
        // A key of low order makes no session, and its owner gets nothing.
        let Ok(olm) = Pairwise::outbound(fx.identity, device, curve25519, one_time_key) else {
            return;
        };
        doors.admitted(self.keys.room(), device);
        let mut holder = Holder::new(device, claim, olm, one_time_key, fx.now);
        if let Some(before) = self.holders.shift_remove(&device) {
            // The same device starts over; what it was sent before it still has.
            holder.remember_exposure(before);
        }
        self.holders.insert(device, holder);
        self.join_at.get_or_insert(fx.now + GATHER);
    }

    pub(super) fn drive_joins(&mut self, fx: &mut Effects<'_>) {
        if self.join_at.is_none_or(|at| at > fx.now) {
            return;
        }
        self.join_at = None;
        // Nobody may be given the step that others already used. At the last one there is no
        // next: a new generation is on its way then, and newcomers get that.
        let stepped = self.step(fx);
        let pending = self.rotation.as_ref().and_then(|rotation| rotation.minted.as_ref());
        let handover = handover(&self.keys, &self.scope, &self.offer);
        for holder in self.holders.values_mut().filter(|h| h.is_waiting_for_first_key()) {
            if stepped {
                holder.hand_over(fx, &handover, &self.current, Which::Current, None);
            }
            if let Some(session) = pending
                && holder.is_waiting_for_pending()
            {
                holder.hand_over(fx, &handover, session, Which::Pending, None);
            }
        }
    }

    /// Tells a device that it gets no key, and our own application why.
    pub(crate) fn refuse(
        &self,
        fx: &mut Effects<'_>,
        device: DeviceId,
        subscribe: &Subscribe,
        code: WithheldCode,
        reason: Refusal,
    ) {
        self.withhold(fx, device, subscribe, code, None);
        fx.event(Event::Refused { stream: self.id(), device, reason });
    }

    fn withhold(
        &self,
        fx: &mut Effects<'_>,
        device: DeviceId,
        subscribe: &Subscribe,
        code: WithheldCode,
        retry_after: Option<Duration>,
    ) {
        self.send_withheld(
            fx,
            device,
            Answers::OneTimeKey(subscribe.one_time_key),
            code,
            retry_after,
        );
    }

    pub(super) fn send_withheld(
        &self,
        fx: &mut Effects<'_>,
        device: DeviceId,
        answers: Answers,
        code: WithheldCode,
        retry_after: Option<Duration>,
    ) {
        let retry_after_ms = retry_after.and_then(|after| u32::try_from(after.as_millis()).ok());
        let withheld = StreamKeyWithheld { stream: self.id(), answers, code, retry_after_ms };
        let to = Recipient::Device(device);
        fx.send_signed(to, &self.keys, Kind::StreamKeyWithheld, &withheld);
    }
}

use std::time::Duration;

use super::{Asker, Publication};
use crate::{
    device::{Between, Distrust, Memory, Pairwise, looks},
    primitives::{DeviceId, Timestamp},
    protocol::{Answers, Kind, StreamKeyWithheld, Subscribe, WithheldCode},
    stream::{
        Effects, Event, LeaveReason, Output, Recipient, Refusal,
        admission::{Applicant, Verdict},
        holder::{Holder, Which},
        rate::Quota,
    },
};

/// Joins gather this long from the first of a batch, and share one step.
const GATHER: Duration = Duration::from_millis(150);
/// Requests that may wait for the application's answer.
const MAX_ASKING: usize = 256;
/// Whoever was not heard of for so long waits no more, if there is no room for others: a subscriber
/// repeats its question every 8 s.
const ASKS_ON: Duration = Duration::from_secs(60);
/// Devices that one stream lets in: some 200 µs of work each. A crowd of this many gets in at
/// once, the next ones are told to come again.
const ADMISSIONS: Quota = Quota { interval: Duration::from_millis(1), burst: 2000 };
/// Devices that are told that they get no key; whoever is blocked or a stranger may ask without end.
const REFUSALS: Quota = Quota { interval: Duration::from_millis(100), burst: 32 };
/// When whoever waits for the user's answer repeats its question …
const ASKED_RETRY: Duration = Duration::from_secs(8);
/// … and how often that is answered at most.
const ASKED_AGAIN: Duration = Duration::from_secs(1);
/// When to ask again at the latest, …
const MAX_WAIT: Duration = Duration::from_secs(30);
/// … and at the earliest, whatever the limit says.
const BUSY_RETRY: Duration = Duration::from_secs(1);

impl Publication {
    /// A signed `Subscribe` in this stream's room. `has_invite`: it carried a valid proof, or
    /// the room has no invite. False if it is old news.
    pub(crate) fn handle_subscribe(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &mut Memory,
        device: DeviceId,
        subscribe: Subscribe,
        has_invite: bool,
    ) -> bool {
        let applicant = Applicant::new(memory.trust(), device, &subscribe, has_invite);
        let (verdict, now) = (self.admission.judge(&applicant), fx.now);
        let held = self.holders.get(device).map(|holder| holder.one_time_key);
        if held == Some(subscribe.one_time_key) && !matches!(verdict, Verdict::Refuse(_)) {
            // The same question again: its answer was lost, or is still to come. The answer is
            // the same bytes, so that a repeated question gives away nothing new.
            let answer = self.holders.update(device, |holder| holder.repeat_answer(now));
            if let Some(bytes) = answer.flatten() {
                fx.outputs.push_back(Output::Send { to: Recipient::Device(device), bytes });
            }
            return true;
        }
        if !self.visitors.is_news(device, subscribe.sequence) {
            if let Some(asker) = self.asking.get_mut(&device) {
                let waited = now.since(std::mem::replace(&mut asker.heard, now));
                let is_same = asker.subscribe.one_time_key == subscribe.one_time_key;
                if is_same && waited >= ASKED_AGAIN {
                    self.withhold_for_now(fx, device);
                }
            }
            self.remind(fx, device, Some(subscribe.one_time_key));
            return false;
        }
        if let Some(reason) = self.refusal(memory, &applicant, verdict) {
            self.refuse(fx, device, &subscribe, has_invite, reason);
            return true;
        }
        // It was admitted as what it said that it was. Perhaps it says something else now.
        let is_as_admitted = self.holders.get(device).is_some_and(|holder| {
            (&*holder.name, holder.curve25519) == (&*subscribe.name, subscribe.curve25519)
        });
        if !is_as_admitted && matches!(verdict, Verdict::Ask(Some(_))) {
            self.remove(fx, device, LeaveReason::Revoked);
        }
        // Kept from here on only: strangers must not make us remember them.
        if let Err(wait) = self.may_come(device, subscribe.sequence, verdict, now) {
            let wait = fx.jitter(wait.max(BUSY_RETRY));
            self.withhold(fx, device, &subscribe, WithheldCode::Busy, Some(wait));
        } else if let Verdict::Ask(distrust) = verdict
            && (held.is_none() || distrust.is_some() && !is_as_admitted)
        {
            let (since, heard, request) = (now, now, 0);
            let looks = looks(&subscribe.name).collect();
            let asker = Asker { subscribe, has_invite, looks, distrust, request, since, heard };
            self.ask(fx, device, asker);
        } else {
            self.let_in(fx, memory, device, subscribe);
        }
        true
    }

    /// Puts a device to the user, and tells it so.
    fn ask(&mut self, fx: &mut Effects<'_>, device: DeviceId, mut asker: Asker) {
        let before = self.asking.get(&device);
        asker.since = before.map_or(fx.now, |before| before.since);
        match before.filter(|before| before.shown() == asker.shown()) {
            Some(before) => asker.request = before.request,
            None => {
                self.requests += 1;
                asker.request = self.requests;
                fx.event(asker.event(self.id(), device));
            }
        }
        self.asking.insert(device, asker);
        self.withhold_for_now(fx, device);
    }

    /// Tells a device that the user is asked, and nothing about why: whom we know by which name is
    /// nobody's business.
    fn withhold_for_now(&self, fx: &mut Effects<'_>, device: DeviceId) {
        let Some(asker) = self.asking.get(&device) else { return };
        let wait = fx.jitter(ASKED_RETRY);
        self.withhold(fx, device, &asker.subscribe, WithheldCode::Asked, Some(wait));
    }

    /// Devices have become known because they were seen. Whoever asks under the same name as one of
    /// them is looked at again.
    pub(crate) fn review_namesakes(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &mut Memory,
        pinned: &[DeviceId],
    ) {
        let known = pinned.iter().filter_map(|device| memory.trust().get(device));
        let bound: Vec<_> = known.flat_map(|known| looks(&known.name)).collect();
        let is_namesake = |(device, asker): &(&DeviceId, &Asker)| {
            pinned.contains(device) || asker.looks.iter().any(|look| bound.contains(look))
        };
        let namesakes = self.asking.iter().filter(is_namesake).map(|(device, _)| *device);
        for device in namesakes.collect::<Vec<_>>() {
            self.judge_again(fx, memory, device);
        }
    }

    /// What is known has changed, or who is admitted: whoever asks may come in now, or not at all, or
    /// is put to the user as what it turned out to be.
    pub(super) fn judge_again(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &mut Memory,
        device: DeviceId,
    ) {
        let Some(asker) = self.asking.get(&device) else { return };
        match self.admission.judge(&asker.applicant(memory.trust(), device)) {
            Verdict::Admit => drop(self.admit(fx, memory, device)),
            Verdict::Refuse(reason) => drop(self.refuse_request(fx, device, reason)),
            Verdict::Ask(distrust) if distrust != asker.distrust => {
                self.ask_anew(fx, device, distrust);
            }
            Verdict::Ask(_) => {}
        }
    }

    /// Something else speaks against a device than the user was told.
    fn ask_anew(&mut self, fx: &mut Effects<'_>, device: DeviceId, distrust: Option<Distrust>) {
        let stream = self.id();
        let Some(asker) = self.asking.get_mut(&device) else { return };
        self.requests += 1;
        (asker.distrust, asker.request) = (distrust, self.requests);
        fx.event(asker.event(stream, device));
    }

    /// Takes note of somebody who may come in, as far as its invite goes.
    ///
    /// # Errors
    /// If there is no room for it now, or if it comes and goes too often: how long to wait.
    fn may_come(
        &mut self,
        device: DeviceId,
        sequence: u64,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let is_here = self.holders.get(device).is_some() || self.asking.contains_key(&device);
        if matches!(verdict, Verdict::Ask(_)) && !is_here && self.asking.len() >= MAX_ASKING {
            let visitors = &mut self.visitors;
            self.asking.retain(|device, asker| {
                let asks_on = now.since(asker.heard) < ASKS_ON;
                if !asks_on {
                    visitors.left(*device);
                }
                asks_on
            });
            if self.asking.len() >= MAX_ASKING {
                return Err(MAX_WAIT);
            }
        }
        // What costs others last: whoever must wait takes nobody's turn.
        self.visitors.may_come(device, now)?;
        if !is_here {
            self.admissions.take(ADMISSIONS, now)?;
        }
        if self.visitors.let_in(device, sequence, now) { Ok(()) } else { Err(MAX_WAIT) }
    }

    /// Why a device gets nothing, whatever the user may say.
    fn refusal(&self, memory: &Memory, applicant: &Applicant, verdict: Verdict) -> Option<Refusal> {
        match verdict {
            Verdict::Refuse(Refusal::Blocked) => Some(Refusal::Blocked),
            _ if self.is_shut_out(memory, applicant) => Some(Refusal::Closed),
            Verdict::Refuse(reason) => Some(reason),
            Verdict::Admit | Verdict::Ask(_) => None,
        }
    }

    /// Whether the room was closed to a device. What the user decided about that very device counts
    /// for more.
    fn is_shut_out(&self, memory: &Memory, applicant: &Applicant) -> bool {
        let Applicant { device, keys, .. } = *applicant;
        let is_decided = memory.trust().get(&device).is_some_and(|known| known.decided);
        self.admission.heeds_door()
            && memory.doors().is_closed_to(self.keys.room(), device)
            && !(is_decided && keys.is_ok())
    }

    /// The application admits a device that asked. False if something else speaks against it than
    /// the application was told: it is asked anew.
    pub(crate) fn admit(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &mut Memory,
        device: DeviceId,
    ) -> bool {
        let Some(asker) = self.asking.get(&device) else { return false };
        let applicant = asker.applicant(memory.trust(), device);
        let verdict = self.admission.judge(&applicant);
        // It may have been closed since the device asked.
        if let Some(reason) = self.refusal(memory, &applicant, verdict) {
            return self.refuse_request(fx, device, reason);
        }
        if let Verdict::Ask(distrust) = verdict {
            if distrust != asker.distrust {
                self.ask_anew(fx, device, distrust);
                return false;
            }
            if distrust.is_some() {
                let Subscribe { curve25519, name, .. } = &asker.subscribe;
                memory.decide(|trust| trust.accept(device, *curve25519, name));
            }
        }
        if let Some(Asker { subscribe, .. }) = self.asking.shift_remove(&device) {
            self.let_in(fx, memory, device, subscribe);
        }
        true
    }

    /// A device that asked is refused. False if it did not ask.
    pub(crate) fn refuse_request(
        &mut self,
        fx: &mut Effects<'_>,
        device: DeviceId,
        reason: Refusal,
    ) -> bool {
        let asked = self.send_away(fx, device, reason);
        if asked {
            fx.event(Event::Refused { stream: self.id(), device, reason });
        }
        asked
    }

    /// Tells a device that asked that it gets no key. False if it did not ask.
    pub(super) fn send_away(
        &mut self,
        fx: &mut Effects<'_>,
        device: DeviceId,
        reason: Refusal,
    ) -> bool {
        let Some(Asker { subscribe, has_invite, .. }) = self.asking.shift_remove(&device) else {
            return false;
        };
        let code = reason.code(has_invite);
        self.withhold(fx, device, &subscribe, code, None);
        // Should the answer be lost, it gets the same again.
        let Subscribe { one_time_key, .. } = subscribe;
        self.visitors.refused(device, one_time_key, code, fx.now);
        true
    }

    fn let_in(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &mut Memory,
        device: DeviceId,
        subscribe: Subscribe,
    ) {
        let Subscribe { curve25519, one_time_key, .. } = subscribe;
        let (us, room) = (fx.identity.device(), self.keys.room());
        let between = Between { room, stream: self.scope.stream, us, peer: device };
        // A key of low order makes no session, and its owner gets nothing.
        let Ok(olm) = Pairwise::outbound(fx.identity, between, curve25519, one_time_key) else {
            return;
        };
        memory.admitted(room, device, curve25519, &subscribe.name);
        let mut holder = Holder::new(device, subscribe, olm, fx.now);
        if let Some(before) = self.holders.remove(device) {
            // The same device starts over; what it was sent before it still has.
            holder.follows(&before);
        }
        self.holders.insert(holder);
        self.newcomers.push(device);
        self.join_at.get_or_insert(fx.now + GATHER);
    }

    pub(super) fn drive_joins(&mut self, fx: &mut Effects<'_>) {
        if self.join_at.is_none_or(|at| at > fx.now) {
            return;
        }
        self.join_at = None;
        // Those who are there hear of them with the step.
        if self.current.can_advance() {
            let newcomers = self.newcomers.iter().copied();
            let here = newcomers.filter(|device| self.holders.get(*device).is_some());
            here.for_each(|device| self.census.insert(device));
        }
        // Nobody may be given the step that others already used. At the last one there is no
        // next: a new generation is on its way then, and newcomers wait for a step of that.
        if !self.step(fx) {
            self.join_at = Some(fx.now + GATHER);
            return;
        }
        let is_pending = self.rotation.as_ref().is_some_and(|rotation| rotation.minted.is_some());
        for device in std::mem::take(&mut self.newcomers) {
            self.holders.update(device, |holder| {
                if holder.is_newcomer() {
                    holder.owe(fx, Which::Current);
                }
                if holder.lacks_pending() && is_pending {
                    holder.owe(fx, Which::Pending);
                }
            });
        }
    }

    /// Tells a device that it gets no key, and our own application why. When there are too many of
    /// them, neither: whoever means it asks again.
    pub(crate) fn refuse(
        &mut self,
        fx: &mut Effects<'_>,
        device: DeviceId,
        subscribe: &Subscribe,
        has_invite: bool,
        reason: Refusal,
    ) {
        if self.refusals.take(REFUSALS, fx.now).is_err() {
            return;
        }
        self.withhold(fx, device, subscribe, reason.code(has_invite), None);
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
        let retry_after = retry_after.map(|after| after.min(MAX_WAIT).as_millis());
        let retry_after_ms = retry_after.and_then(|after| u32::try_from(after).ok());
        let withheld = StreamKeyWithheld { stream: self.id(), answers, code, retry_after_ms };
        let to = Recipient::Device(device);
        fx.send_signed(to, &self.keys, Kind::StreamKeyWithheld, &withheld);
    }
}

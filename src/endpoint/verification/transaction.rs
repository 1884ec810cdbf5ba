use std::time::Duration;

use crate::{
    device::{
        Memory, VerificationState,
        sas::{
            Accepted, Agreed, Comparing, Confirmed, KeySent, Party, Requested, Started,
            VerifiedPeer,
        },
        tidy,
    },
    primitives::{DeviceId, RoomId, RoomKeys, Timestamp, VerificationId},
    protocol::{CancelReason, Kind, PublicKey, VerificationMessage, VerificationStart},
    stream::{Effects, Recipient, Retry, signed_payload},
};

/// How long a verification may take.
pub(super) const LIFE: Duration = Duration::from_secs(10 * 60);
/// How long the other side may be silent once it has spoken. It repeats itself every 8 s.
pub(super) const SILENCE: Duration = Duration::from_secs(2 * 60);

/// One verification under way.
pub(super) struct Transaction {
    pub(super) keys: RoomKeys,
    pub(super) id: VerificationId,
    /// Which call of `verify` it belongs to; 0 as long as only the other side has asked.
    pub(super) number: u64,
    peer: DeviceId,
    /// What the other side calls itself, as it may be shown, and its key, once it has said so.
    pub(super) name: String,
    pub(super) curve25519: Option<PublicKey>,
    pub(super) began: Timestamp,
    heard_at: Option<Timestamp>,
    /// `None` only while it changes, and once it has failed.
    stage: Option<Stage>,
    /// What the other side has said, byte by byte: it may repeat itself, and say nothing else.
    heard: Vec<(Kind, Vec<u8>)>,
    /// What is repeated, because the other side may lack it.
    sent: Vec<Vec<u8>>,
    retry: Retry,
    /// The other side's own start, which ours was preferred to.
    pub(super) crossed: Option<VerificationId>,
}

enum Stage {
    Requested(Requested),
    Started(Started),
    KeySent(KeySent),
    Accepted(Accepted),
    Comparing(Comparing),
    Confirmed(Confirmed),
    Agreed(Agreed),
}

/// What came of a message.
pub(super) enum Progress {
    /// Nothing that the user would notice.
    None,
    /// There is another state to be shown.
    State,
    /// The other side has given up.
    Given(CancelReason),
    Verified(VerifiedPeer),
}

impl Transaction {
    /// We ask.
    pub(super) fn start(
        fx: &mut Effects<'_>,
        keys: &RoomKeys,
        peer: DeviceId,
        id: VerificationId,
        sequence: u64,
    ) -> Self {
        let started = Started::new(keys.room(), id, us(fx), peer, sequence);
        let payload = started.payload().to_vec();
        let mut transaction = Self::new(fx.now, keys, peer, id, Stage::Started(started));
        transaction.say(fx, vec![(Kind::VerificationStart, payload)]);
        transaction
    }

    /// The other side asks.
    pub(super) fn requested(
        now: Timestamp,
        keys: &RoomKeys,
        peer: DeviceId,
        start: VerificationStart,
        payload: &[u8],
    ) -> Self {
        let (id, name, curve25519) = (start.id, tidy(&start.name), start.curve25519);
        let requested = Requested::new(keys.room(), peer, start, payload);
        let mut transaction = Self::new(now, keys, peer, id, Stage::Requested(requested));
        (transaction.name, transaction.curve25519) = (name, Some(curve25519));
        transaction.heard.push((Kind::VerificationStart, payload.to_vec()));
        transaction.heard_at = Some(now);
        transaction
    }

    fn new(
        now: Timestamp,
        keys: &RoomKeys,
        peer: DeviceId,
        id: VerificationId,
        stage: Stage,
    ) -> Self {
        Self {
            keys: keys.clone(),
            id,
            number: 0,
            peer,
            name: String::new(),
            curve25519: None,
            began: now,
            heard_at: None,
            stage: Some(stage),
            heard: Vec::new(),
            sent: Vec::new(),
            retry: Retry::now(now),
            crossed: None,
        }
    }

    pub(super) fn state(&self) -> VerificationState {
        match &self.stage {
            Some(Stage::Requested(_)) => VerificationState::Requested,
            Some(Stage::Started(_) | Stage::KeySent(_) | Stage::Accepted(_)) => {
                VerificationState::Waiting
            }
            Some(Stage::Comparing(comparing)) => VerificationState::Comparing(comparing.short()),
            Some(Stage::Confirmed(_) | Stage::Agreed(_)) => VerificationState::Confirmed,
            None => VerificationState::Cancelled(CancelReason::Unexpected),
        }
    }

    pub(super) fn is_of(&self, room: RoomId, id: VerificationId) -> bool {
        (self.keys.room(), self.id) == (room, id)
    }

    /// Whether it asks for the same as another that our user was shown.
    pub(super) fn asks_like(&self, other: &Self) -> bool {
        (&self.name, self.curve25519) == (&other.name, other.curve25519)
    }

    /// Whether we have asked and were not answered.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(self.stage, Some(Stage::Started(_)))
    }

    /// Whether the other side has said exactly this already.
    pub(super) fn has_heard(&self, kind: Kind, payload: &[u8]) -> bool {
        self.heard.iter().any(|(said, bytes)| *said == kind && bytes == payload)
    }

    pub(super) fn hears(&mut self, now: Timestamp) {
        self.heard_at = Some(now);
    }

    pub(super) fn into_heard(self) -> Vec<(Kind, Vec<u8>)> {
        self.heard
    }

    /// What was said last.
    pub(super) fn last_said(&self) -> Option<Vec<u8>> {
        self.sent.last().cloned()
    }

    pub(super) fn deadline(&self) -> Timestamp {
        let silence = self.heard_at.map(|heard| heard + SILENCE);
        silence.into_iter().fold(self.began + LIFE, Timestamp::min)
    }

    pub(super) fn poll_timeout(&self) -> Timestamp {
        let deadline = self.deadline();
        if self.sent.is_empty() { deadline } else { deadline.min(self.retry.at()) }
    }

    /// Says again what is due.
    pub(super) fn repeat(&mut self, fx: &mut Effects<'_>) {
        if self.sent.is_empty() || !self.retry.is_due(fx.now) {
            return;
        }
        self.retry.sent(fx);
        for bytes in &self.sent {
            send(fx, self.peer, bytes.clone());
        }
    }

    pub(super) fn retry_soon(&mut self, now: Timestamp) {
        self.retry.restart(now);
    }

    /// Our user takes part in what the other side asked for.
    pub(super) fn accept(&mut self, fx: &mut Effects<'_>, sequence: u64) -> bool {
        match self.stage.take() {
            Some(Stage::Requested(requested)) => {
                let accepted = requested.accept(us(fx), sequence);
                let payload = accepted.payload().to_vec();
                self.say(fx, vec![(Kind::VerificationAccept, payload)]);
                self.stage = Some(Stage::Accepted(accepted));
                true
            }
            stage => {
                self.stage = stage;
                false
            }
        }
    }

    /// Our user says that the strings are the same. `None` if there are none.
    pub(super) fn confirm(&mut self, fx: &mut Effects<'_>) -> Option<Result<(), CancelReason>> {
        match self.stage.take() {
            Some(Stage::Comparing(comparing)) => Some(self.prove(fx, comparing)),
            stage => {
                self.stage = stage;
                None
            }
        }
    }

    fn prove(&mut self, fx: &mut Effects<'_>, comparing: Comparing) -> Result<(), CancelReason> {
        let (confirmed, mac) = comparing.confirm()?;
        let mac = envelope(fx, &self.keys, self.peer, &VerificationMessage::Mac(mac));
        // Our key stays: perhaps it is still on its way, and the proof means nothing without it.
        self.sent.push(mac);
        self.begin_to_repeat(fx);
        self.agree(fx, confirmed)
    }

    /// Says so if nothing is missing here any more.
    fn agree(&mut self, fx: &mut Effects<'_>, confirmed: Confirmed) -> Result<(), CancelReason> {
        match confirmed.agree()? {
            Err(confirmed) => self.stage = Some(Stage::Confirmed(confirmed)),
            Ok((agreed, done)) => {
                // The other side's proof came: it has our key. It may lack ours.
                let done = envelope(fx, &self.keys, self.peer, &VerificationMessage::Done(done));
                self.sent.drain(..self.sent.len().saturating_sub(1));
                self.sent.push(done);
                self.begin_to_repeat(fx);
                self.stage = Some(Stage::Agreed(agreed));
            }
        }
        Ok(())
    }

    /// A message of this verification, by the other side.
    ///
    /// # Errors
    /// Why it has failed.
    pub(super) fn take(
        &mut self,
        fx: &mut Effects<'_>,
        memory: &Memory,
        message: VerificationMessage,
        payload: &[u8],
    ) -> Result<Progress, CancelReason> {
        use VerificationMessage as Message;
        self.hears(fx.now);
        let kind = message.kind();
        if let Message::Cancel(cancel) = message {
            return Ok(Progress::Given(cancel.reason));
        }
        if self.heard.iter().any(|(said, _)| *said == kind) {
            let is_the_same = self.has_heard(kind, payload);
            return if is_the_same { Ok(Progress::None) } else { Err(CancelReason::Tampered) };
        }
        let stage = self.stage.take().ok_or(CancelReason::Unexpected)?;
        let progress = match (stage, message) {
            (Stage::Started(started), Message::Accept(accept)) => {
                if accept.version != VerificationStart::VERSION {
                    return Err(CancelReason::Version);
                }
                keeps_its_key(memory, self.peer, accept.curve25519)?;
                (self.name, self.curve25519) = (tidy(&accept.name), Some(accept.curve25519));
                let sent = started.accepted(accept, payload);
                let key = Message::Key(sent.our_key());
                self.say(fx, vec![(key.kind(), key.payload())]);
                self.stage = Some(Stage::KeySent(sent));
                Progress::None
            }
            (Stage::KeySent(sent), Message::Key(key)) => {
                self.stage = Some(Stage::Comparing(sent.key(&key)?));
                Progress::State
            }
            (Stage::Accepted(accepted), Message::Key(key)) => {
                let (comparing, ours) = accepted.key(&key)?;
                let ours = Message::Key(ours);
                self.say(fx, vec![(ours.kind(), ours.payload())]);
                self.stage = Some(Stage::Comparing(comparing));
                Progress::State
            }
            (Stage::Comparing(comparing), Message::Mac(mac)) => {
                self.stage = Some(Stage::Comparing(comparing.check(&mac)?));
                Progress::None
            }
            (Stage::Confirmed(confirmed), Message::Mac(mac)) => {
                self.agree(fx, confirmed.check(&mac)?)?;
                Progress::None
            }
            (Stage::Agreed(agreed), Message::Done(done)) => {
                let verified = agreed.done(&done)?;
                self.heard.push((kind, payload.to_vec()));
                return Ok(Progress::Verified(verified));
            }
            // They overtook what comes before them, and will be repeated.
            (stage @ Stage::KeySent(_), Message::Mac(_))
            | (stage @ Stage::Confirmed(_), Message::Done(_)) => {
                self.stage = Some(stage);
                return Ok(Progress::None);
            }
            // Nobody who keeps to the order can say that now.
            _ => return Err(CancelReason::Unexpected),
        };
        self.heard.push((kind, payload.to_vec()));
        Ok(progress)
    }

    /// Says something that takes the place of all that was said before.
    fn say(&mut self, fx: &mut Effects<'_>, said: Vec<(Kind, Vec<u8>)>) {
        let peer = Some(self.peer);
        let sign = |(kind, payload)| {
            let envelope = signed_payload(fx.identity, &self.keys, kind, peer, payload);
            envelope.encode().unwrap_or_default()
        };
        self.sent = said.into_iter().map(sign).collect();
        self.begin_to_repeat(fx);
    }

    fn begin_to_repeat(&mut self, fx: &mut Effects<'_>) {
        self.retry = Retry::now(fx.now);
        self.repeat(fx);
    }
}

/// We, as we say that we are: the key is the one that Olm uses.
fn us(fx: &Effects<'_>) -> Party {
    let identity = fx.identity;
    Party {
        device: identity.device(),
        curve25519: identity.curve25519(),
        name: identity.name().to_owned(),
    }
}

/// A device that is known must not state another key than the one it is known by.
pub(super) fn keeps_its_key(
    memory: &Memory,
    device: DeviceId,
    curve25519: PublicKey,
) -> Result<(), CancelReason> {
    let known = memory.trust().get(&device).and_then(|known| known.curve25519);
    if known.is_some_and(|known| known != curve25519) {
        return Err(CancelReason::KeyChanged);
    }
    Ok(())
}

/// A message as it travels.
pub(super) fn envelope(
    fx: &Effects<'_>,
    keys: &RoomKeys,
    to: DeviceId,
    message: &VerificationMessage,
) -> Vec<u8> {
    let (kind, payload) = (message.kind(), message.payload());
    let envelope = signed_payload(fx.identity, keys, kind, Some(to), payload);
    envelope.encode().unwrap_or_default()
}

pub(super) fn send(fx: &mut Effects<'_>, to: DeviceId, bytes: Vec<u8>) {
    let to = Recipient::Device(to);
    fx.outputs.push_back(crate::stream::Output::Send { to, bytes });
}

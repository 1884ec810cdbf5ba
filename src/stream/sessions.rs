use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use vodozemac::megolm::{
    GroupSession, InboundGroupSession, MegolmMessage, SessionConfig, SessionKey,
};
use zeroize::Zeroizing;

use super::{
    StreamCode,
    base_key::{RatchetSecret, Scope},
};
use crate::{
    media::GenerationKeys,
    primitives::{Generation, Position, Secret, Step, TrackId, overwrite_drawn},
    protocol::{Beacon, RosterDigest, SESSION_KEY_LENGTH},
    sframe::BaseKey,
};

/// The publisher's Megolm session of one generation.
pub(super) struct OutboundSession {
    session: GroupSession,
    /// The session at its current index. Making it signs it, and all holders get the same.
    key: Arc<Secret<SESSION_KEY_LENGTH>>,
    generation: Generation,
    scope: Scope,
}

impl OutboundSession {
    pub(super) fn new(generation: Generation, scope: Scope) -> Self {
        let session = GroupSession::new(SessionConfig::default());
        overwrite_drawn();
        Self { key: session_key(&session), session, generation, scope }
    }

    pub(super) fn position(&self) -> Position {
        // The session is replaced before its index passes the last step.
        let step = Step::new(self.session.message_index()).unwrap_or(Step::LAST);
        Position { generation: self.generation, step }
    }

    /// Advances by one step, unless this is the last one. The returned message announces the new
    /// step: `GroupSession` moves only by encrypting, so what it encrypts is made use of.
    pub(super) fn advance(&mut self, roster: RosterDigest) -> Option<Vec<u8>> {
        let step = Step::new(self.session.message_index() + 1)?;
        let stream = self.scope.stream.stream;
        let beacon = Beacon { stream, generation: self.generation, step, roster };
        let plaintext = serde_json::to_vec(&beacon).ok()?;
        let message = self.session.encrypt(plaintext).to_bytes();
        self.key = session_key(&self.session);
        Some(message)
    }

    /// The session at its current index, to hand over.
    pub(super) fn session_key(&self) -> &Arc<Secret<SESSION_KEY_LENGTH>> {
        &self.key
    }

    /// Whether there is a step after this one.
    pub(super) fn can_advance(&self) -> bool {
        self.position().step != Step::LAST
    }

    /// The code of this session, with the roster that its holders are told.
    pub(super) fn code(&self, roster: &RosterDigest) -> Option<StreamCode> {
        StreamCode::of(&self.scope, self.generation, &self.session.session_id(), roster)
    }

    /// The base keys of the current step, for each of these tracks.
    pub(super) fn base_keys(&self, tracks: impl Iterator<Item = TrackId>) -> Vec<BaseKey> {
        let position = self.position();
        RatchetSecret::from_exported(self.key.expose()).map_or_else(Vec::new, |secret| {
            tracks.map(|track| secret.base_key(&self.scope, position, track)).collect()
        })
    }
}

fn session_key(session: &GroupSession) -> Arc<Secret<SESSION_KEY_LENGTH>> {
    let bytes = Zeroizing::new(session.session_key().to_bytes());
    // The length is that of vodozemac's only version; a key of another one could not be read.
    Arc::new(Secret::fill(|key| key.copy_from_slice(&bytes[..SESSION_KEY_LENGTH])))
}

impl fmt::Debug for OutboundSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundSession")
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

/// A subscriber's copy of one generation's session, shared with the key ring that derives from
/// it on the receiving path.
#[derive(Clone)]
pub(super) struct InboundSession {
    session: Arc<Mutex<InboundGroupSession>>,
    generation: Generation,
    scope: Scope,
}

impl InboundSession {
    /// From a session key, unless its signature is wrong. An exported key, which carries none,
    /// cannot get here.
    pub(super) fn new(key: &[u8], generation: Generation, scope: Scope) -> Option<Self> {
        let key = SessionKey::from_bytes(key).ok()?;
        let session = InboundGroupSession::new(&key, SessionConfig::default());
        Some(Self { session: Arc::new(Mutex::new(session)), generation, scope })
    }

    pub(super) fn session_id(&self) -> String {
        self.lock().session_id()
    }

    /// The code of this session, with the roster that we were told.
    pub(super) fn code(&self, roster: &RosterDigest) -> Option<StreamCode> {
        StreamCode::of(&self.scope, self.generation, &self.session_id(), roster)
    }

    /// The first index it can derive.
    pub(super) fn first_index(&self) -> u32 {
        self.lock().first_known_index()
    }

    /// Checks and reads a message that announces a step.
    pub(super) fn open_beacon(&self, message: &[u8]) -> Option<Beacon> {
        let message = MegolmMessage::from_bytes(message).ok()?;
        let decrypted = self.lock().decrypt(&message).ok()?;
        let beacon: Beacon = serde_json::from_slice(&decrypted.plaintext).ok()?;
        let expected = decrypted.message_index.checked_add(1)?;
        let genuine = beacon.stream == self.scope.stream.stream
            && beacon.generation == self.generation
            && u32::from(beacon.step.get()) == expected;
        genuine.then_some(beacon)
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    fn lock(&self) -> MutexGuard<'_, InboundGroupSession> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl GenerationKeys for InboundSession {
    fn base_key(&mut self, step: Step, track: TrackId) -> Option<BaseKey> {
        let exported = self.lock().export_at(u32::from(step.get()))?;
        let exported = Zeroizing::new(exported.to_bytes());
        let position = Position { generation: self.generation, step };
        let secret = RatchetSecret::from_exported(&exported)?;
        Some(secret.base_key(&self.scope, position, track))
    }

    fn advance_to(&mut self, step: Step) {
        self.lock().advance_to(u32::from(step.get()));
    }
}

impl fmt::Debug for InboundSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundSession")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

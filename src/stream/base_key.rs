use hkdf::Hkdf;
use sha2::Sha256;

use crate::{
    primitives::{Position, RoomId, StreamRef, TrackId},
    sframe::{BaseKey, CipherSuite},
};

/// Where the ratchet stands in `SessionKey::to_bytes()`: behind a version byte and the index.
const RATCHET: std::ops::Range<usize> = 5..133;
/// Where the session's public Ed25519 key stands, which is its id.
const PUBLIC_KEY: std::ops::Range<usize> = 133..165;

/// The place a base key is for: the same ratchet gives another key anywhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) room: RoomId,
    pub(super) stream: StreamRef,
    pub(super) suite: CipherSuite,
}

/// What a Megolm session gives at one index: its id, and a key extracted from the 128 secret
/// ratchet bytes, which all tracks have in common.
pub(super) struct RatchetSecret {
    session_id: [u8; 32],
    extracted: Hkdf<Sha256>,
}

impl RatchetSecret {
    /// Takes them out of the bytes of a `SessionKey` or an `ExportedSessionKey`.
    pub(super) fn from_exported(bytes: &[u8]) -> Option<Self> {
        let session_id = bytes.get(PUBLIC_KEY)?.try_into().ok()?;
        let extracted = Hkdf::new(Some(b"olmcast/1 base key"), bytes.get(RATCHET)?);
        Some(Self { session_id, extracted })
    }

    //= RFC 9605 §4.1
    //# The key management system MUST ensure that each key used for encrypting media is used by
    //# exactly one media sender in order to avoid reuse of nonces.
    /// HKDF-SHA-256 with the ratchet as key material and the whole place as info, all integers
    /// big-endian and of fixed width.
    pub(super) fn base_key(&self, scope: &Scope, position: Position, track: TrackId) -> BaseKey {
        let mut info = Vec::with_capacity(128);
        info.extend_from_slice(scope.room.as_bytes());
        info.extend_from_slice(scope.stream.publisher.as_bytes());
        info.extend_from_slice(scope.stream.stream.as_bytes());
        info.extend_from_slice(&self.session_id);
        info.extend_from_slice(&position.generation.0.to_be_bytes());
        info.extend_from_slice(&u32::from(position.step.get()).to_be_bytes());
        info.extend_from_slice(&track.0.to_be_bytes());
        info.extend_from_slice(&scope.suite.id().to_be_bytes());
        BaseKey::fill(scope.suite, |out| {
            // At most 64 bytes, and HKDF-SHA-256 gives 8,160.
            let expanded = self.extracted.expand(&info, out);
            debug_assert!(expanded.is_ok());
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::primitives::{DeviceId, Generation, Step, StreamId};

    fn sealed_with(key: BaseKey) -> Vec<u8> {
        let mut out = Vec::new();
        crate::sframe::SealKey::new(key, crate::sframe::KeyId(0))
            .seal_into(b"", b"probe", &mut out, 0)
            .unwrap();
        out
    }

    #[test]
    fn each_part_of_the_place_changes_the_key() {
        let exported: Vec<u8> = (0..165).collect();
        let secret = RatchetSecret::from_exported(&exported).unwrap();
        let stream = StreamRef {
            publisher: DeviceId::from_bytes([1; 32]),
            stream: StreamId::from_bytes([2; 16]),
        };
        let suite = CipherSuite::AesGcm128Sha256;
        let scope = Scope { room: RoomId::from_bytes([0; 32]), stream, suite };
        let at = |g, s| Position { generation: Generation(g), step: Step::new(s).unwrap() };
        let track = TrackId(1);

        let mut other_session = exported.clone();
        other_session[140] ^= 1;
        let other_session = RatchetSecret::from_exported(&other_session).unwrap();
        let mut other_ratchet = exported.clone();
        other_ratchet[132] ^= 1;
        let other_ratchet = RatchetSecret::from_exported(&other_ratchet).unwrap();
        let publisher = DeviceId::from_bytes([9; 32]);
        let id = StreamId::from_bytes([9; 16]);

        let keys = [
            secret.base_key(&scope, at(0, 0), track),
            secret.base_key(&scope, at(1, 0), track),
            secret.base_key(&scope, at(0, 1), track),
            secret.base_key(&scope, at(0, 0), TrackId(2)),
            secret.base_key(&Scope { room: RoomId::from_bytes([9; 32]), ..scope }, at(0, 0), track),
            secret.base_key(
                &Scope { stream: StreamRef { publisher, ..stream }, ..scope },
                at(0, 0),
                track,
            ),
            secret.base_key(
                &Scope { stream: StreamRef { stream: id, ..stream }, ..scope },
                at(0, 0),
                track,
            ),
            other_session.base_key(&scope, at(0, 0), track),
            other_ratchet.base_key(&scope, at(0, 0), track),
        ];
        let sealed = keys.map(sealed_with);
        let distinct: HashSet<_> = sealed.iter().collect();
        assert_eq!(distinct.len(), sealed.len());
        assert_eq!(sealed[0], sealed_with(secret.base_key(&scope, at(0, 0), track)));
    }

    #[test]
    fn a_base_key_is_exactly_this() {
        // Fixed so that a change of the derivation, which would cut off every older peer, is seen.
        // The expected bytes were computed with Python's hmac and hashlib, and AES-GCM by OpenSSL.
        let exported: Vec<u8> = (0..165).collect();
        let secret = RatchetSecret::from_exported(&exported).unwrap();
        let scope = Scope {
            room: RoomId::from_bytes([0xA0; 32]),
            stream: StreamRef {
                publisher: DeviceId::from_bytes([0xB0; 32]),
                stream: StreamId::from_bytes([0xC0; 16]),
            },
            suite: CipherSuite::AesGcm128Sha256,
        };
        let position = Position { generation: Generation(1), step: Step::new(2).unwrap() };
        let key = secret.base_key(&scope, position, TrackId(3));
        let sealed: String = sealed_with(key).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sealed, "00cfcdeccc7df996dab84356fa8294fc47bf79851150");
    }
}

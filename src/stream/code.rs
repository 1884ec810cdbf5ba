use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use sha2::{Digest, Sha256};

use super::base_key::Scope;
use crate::{primitives::Generation, protocol::RosterDigest};

/// What working out a code costs: 8 MiB, gone through once by one thread. Some 5 ms for people,
/// and 2^66 times as much for a publisher that looks for two sessions with the same code.
const MEMORY_KIB: u32 = 8 * 1024;
/// Digits of a group, and what comes after the largest.
const GROUP: u128 = 100_000;

/// A number of 20 digits that stands for a stream's session and its roster.
///
/// People who see the same number have the same session of this stream, in the same room and of the
/// same publisher, and were told the same roster of holders. So a publisher that gives each of them
/// something else, and whoever could make it do so, is found out when they compare.
///
/// It is the same on all screens once a change has reached everybody: after somebody came or left,
/// holders whose keys and announcements are not lost agree within some 2 s, and those that lost one
/// with the next renewal, within half a minute. The step within a session is not part of it.
///
/// It says nothing about names: those are for the [trust store](crate::device::TrustStore).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamCode([u32; 4]);

impl StreamCode {
    /// Its four groups of five digits.
    pub fn groups(&self) -> [u32; 4] {
        self.0
    }

    /// `session_id`: the Megolm session's public key, in base64.
    pub(super) fn of(
        scope: &Scope,
        generation: Generation,
        session_id: &str,
        roster: &RosterDigest,
    ) -> Option<Self> {
        let mut hash = Sha256::new();
        hash.update(b"olmcast/1 stream code");
        // All of fixed length but the last.
        hash.update(scope.room.as_bytes());
        hash.update(scope.stream.publisher.as_bytes());
        hash.update(scope.stream.stream.as_bytes());
        hash.update(generation.0.to_be_bytes());
        hash.update(roster.holders.to_be_bytes());
        hash.update(roster.hash.0);
        hash.update(session_id);
        // 20 digits are few enough to search for two that look alike, so each try costs something.
        let mut stretched = [0; 16];
        let params = Params::new(MEMORY_KIB, 1, 1, Some(stretched.len())).ok()?;
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(&hash.finalize(), b"olmcast/1 stream code", &mut stretched)
            .ok()?;
        let mut number = u128::from_be_bytes(stretched);
        Some(Self(std::array::from_fn(|_| {
            let group = number % GROUP;
            number /= GROUP;
            u32::try_from(group).unwrap_or_default()
        })))
    }
}

impl fmt::Display for StreamCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d] = self.0;
        write!(f, "{a:05} {b:05} {c:05} {d:05}")
    }
}

impl fmt::Debug for StreamCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamCode({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        primitives::{DeviceId, RoomId, StreamId, StreamRef},
        protocol::RosterHash,
        sframe::CipherSuite,
    };

    fn scope(room: u8, publisher: u8, stream: u8) -> Scope {
        let stream = StreamRef {
            publisher: DeviceId::from_bytes([publisher; 32]),
            stream: StreamId::from_bytes([stream; 16]),
        };
        Scope { room: RoomId::from_bytes([room; 32]), stream, suite: CipherSuite::default() }
    }

    fn code(scope: Scope, generation: u32, session: &str, roster: RosterDigest) -> StreamCode {
        StreamCode::of(&scope, Generation(generation), session, &roster).unwrap()
    }

    #[test]
    fn each_part_of_what_is_agreed_on_changes_the_code_and_nothing_else_does() {
        let roster = RosterDigest { version: 1, holders: 2, hash: RosterHash([3; 16]) };
        let hash = RosterHash([9; 16]);
        let first = code(scope(1, 2, 3), 4, "session", roster);
        let others = [
            code(scope(9, 2, 3), 4, "session", roster),
            code(scope(1, 9, 3), 4, "session", roster),
            code(scope(1, 2, 9), 4, "session", roster),
            code(scope(1, 2, 3), 9, "session", roster),
            code(scope(1, 2, 3), 4, "another", roster),
            code(scope(1, 2, 3), 4, "session", RosterDigest { holders: 9, ..roster }),
            code(scope(1, 2, 3), 4, "session", RosterDigest { hash, ..roster }),
        ];
        let distinct: HashSet<_> = others.iter().chain([&first]).collect();
        assert_eq!(distinct.len(), others.len() + 1);
        let suite = CipherSuite::AesGcm256Sha512;
        let later = RosterDigest { version: 9, ..roster };
        assert_eq!(code(Scope { suite, ..scope(1, 2, 3) }, 4, "session", later), first);
    }

    #[test]
    fn a_code_is_exactly_this() {
        // Worked out with Python's hashlib, and OpenSSL's Argon2id.
        let roster = RosterDigest { version: 1, holders: 2, hash: RosterHash([3; 16]) };
        let code = code(scope(1, 2, 3), 4, "session", roster);
        assert_eq!(code.to_string(), "27076 46319 76472 26078");
    }
}

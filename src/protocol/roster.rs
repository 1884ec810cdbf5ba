use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

use super::olm::first_half;

/// What a publisher says of those who hold its stream's key: how many they are, and a hash of who
/// they are. Two people who are told different rosters can see it, without anybody's being told
/// who else is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RosterDigest {
    /// Grows with each change: the highest is current, whatever order messages come in.
    pub version: u64,
    /// How many hold the key.
    pub holders: u32,
    /// Which devices they are.
    pub hash: RosterHash,
}

/// The first half of a SHA-256 hash over the ids of a roster's devices, in order. In JSON 22
/// characters of unpadded base64, elsewhere 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RosterHash(pub [u8; 16]);

impl RosterHash {
    /// The hash of whatever stands for the roster.
    pub fn of(roster: &[u8]) -> Self {
        Self(first_half(Sha256::digest(roster).into()))
    }
}

impl fmt::Debug for RosterHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RosterHash({})", STANDARD_NO_PAD.encode(self.0))
    }
}

impl Serialize for RosterHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD_NO_PAD.encode(self.0))
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for RosterHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            let bytes = STANDARD_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            bytes.map(Self).ok_or_else(|| de::Error::custom("a hash is 16 bytes in base64"))
        } else {
            <[u8; 16]>::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_survives_both_forms_and_its_hash_has_no_other_length() {
        let hash = RosterHash([7; 16]);
        let digest = RosterDigest { version: u64::MAX, holders: 3, hash };
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<RosterDigest>(&json).unwrap(), digest);
        let bytes = postcard::to_allocvec(&digest).unwrap();
        assert_eq!(bytes.len(), 10 + 1 + 16);
        assert_eq!(postcard::from_bytes::<RosterDigest>(&bytes).unwrap(), digest);
        for length in [0, 15, 17, 32] {
            let text = format!("\"{}\"", STANDARD_NO_PAD.encode(vec![9; length]));
            assert!(serde_json::from_str::<RosterHash>(&text).is_err());
        }
    }
}

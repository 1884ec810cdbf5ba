use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The cipher suites of RFC 9605 §4.5 that olmcast offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CipherSuite {
    /// `AES_128_GCM_SHA256_128`, suite 4. The default.
    #[default]
    AesGcm128Sha256,
    /// `AES_256_GCM_SHA512_128`, suite 5.
    AesGcm256Sha512,
}

impl CipherSuite {
    /// Nonce length Nn, in bytes.
    pub const NONCE_LENGTH: usize = 12;
    /// Tag length Nt, in bytes.
    pub const TAG_LENGTH: usize = 16;

    /// The number in the IANA registry.
    pub const fn id(self) -> u16 {
        match self {
            Self::AesGcm128Sha256 => 4,
            Self::AesGcm256Sha512 => 5,
        }
    }

    /// The suite with this number, if it is one that olmcast offers.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            4 => Some(Self::AesGcm128Sha256),
            5 => Some(Self::AesGcm256Sha512),
            _ => None,
        }
    }

    /// Key length Nk, in bytes.
    pub const fn key_length(self) -> usize {
        match self {
            Self::AesGcm128Sha256 => 16,
            Self::AesGcm256Sha512 => 32,
        }
    }

    /// Hash length Nh, in bytes: the length of a base key made for this suite.
    pub const fn hash_length(self) -> usize {
        match self {
            Self::AesGcm128Sha256 => 32,
            Self::AesGcm256Sha512 => 64,
        }
    }
}

impl Serialize for CipherSuite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.id())
    }
}

impl<'de> Deserialize<'de> for CipherSuite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let id = u16::deserialize(deserializer)?;
        Self::from_id(id).ok_or_else(|| de::Error::custom("cipher suite is neither 4 nor 5"))
    }
}

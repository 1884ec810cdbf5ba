use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeTuple};
use sha2::{Digest, Sha256};

/// An identifier that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}: expected {length} bytes in unpadded URL-safe base64")]
pub struct IdError {
    what: &'static str,
    length: usize,
}

/// Fixed-size byte identifiers: base64 (URL-safe, unpadded, strict) for people and JSON, raw
/// bytes for binary formats. A text of any other length is refused rather than cut or padded.
macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $length]);

        impl $name {
            /// Length in bytes.
            pub const LENGTH: usize = $length;

            /// Takes the raw bytes as they are.
            pub const fn from_bytes(bytes: [u8; $length]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let error = IdError { what: stringify!($name), length: $length };
                let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| error.clone())?;
                Ok(Self(bytes.try_into().map_err(|_| error)?))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    let mut bytes = serializer.serialize_tuple($length)?;
                    self.0.iter().try_for_each(|byte| bytes.serialize_element(byte))?;
                    bytes.end()
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl<'de> de::Visitor<'de> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, concat!("a ", stringify!($name), " of {} bytes"), $length)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<$name, A::Error> {
                        let mut bytes = [0; $length];
                        for (at, byte) in bytes.iter_mut().enumerate() {
                            let next = seq.next_element()?;
                            *byte = next.ok_or_else(|| de::Error::invalid_length(at, &self))?;
                        }
                        Ok($name(bytes))
                    }
                }
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(Visitor)
                } else {
                    deserializer.deserialize_tuple($length, Visitor)
                }
            }
        }
    };
}

byte_id!(
    /// One Olm account, named by its 32-byte Ed25519 public key.
    ///
    /// Self-certifying: whoever signs for this id holds the key. A user name is only a claim.
    DeviceId,
    32
);
byte_id!(
    /// Where streams are offered: a hash of whatever bytes the application chooses.
    RoomId,
    32
);
byte_id!(
    /// One publication, drawn at random at every start of a publisher.
    StreamId,
    16
);
byte_id!(
    /// One verification of two devices by each other, drawn at random by the one that starts it.
    VerificationId,
    16
);
byte_id!(
    /// An Ed25519 signature.
    Signature,
    64
);

impl DeviceId {
    /// The first eight characters, for logs and tables. Never compare devices by it.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

impl RoomId {
    /// Names a room by any bytes an application has for it, a Matrix room id for instance.
    pub fn from_name(name: impl AsRef<[u8]>) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"olmcast/1 room name");
        hash.update(name.as_ref());
        Self(hash.finalize().into())
    }
}

/// A stream as the whole room knows it: two publishers may draw the same [`StreamId`], so the
/// publisher is part of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamRef {
    /// The device that owns the stream and its keys.
    pub publisher: DeviceId,
    /// The publication, among that device's.
    pub stream: StreamId,
}

/// One media track of a stream, allotted once by its publisher and never reused. Simulcast
/// layers share their track's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TrackId(pub u16);

/// Which Megolm session of the stream: 0, 1, 2 …, never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u32);

/// The Megolm ratchet index inside a generation, at most [`Step::LAST`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Step(u16);

impl Step {
    /// The first step of every generation.
    pub const FIRST: Self = Self(0);
    /// The last step a generation may use; twelve bits of the KID hold the step.
    pub const LAST: Self = Self(4095);

    /// A step, unless it lies beyond [`Step::LAST`].
    pub const fn new(step: u32) -> Option<Self> {
        if step <= Self::LAST.0 as u32 { Some(Self(step as u16)) } else { None }
    }

    /// The step as a number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// A point in a stream's key history. Later positions compare greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// The Megolm session.
    pub generation: Generation,
    /// The ratchet index inside it.
    pub step: Step,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.step)
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let step = u32::deserialize(deserializer)?;
        Self::new(step).ok_or_else(|| de::Error::custom("a step is at most 4095"))
    }
}

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_binary() {
        let id = DeviceId::from_bytes([7; 32]);
        assert_eq!(id.to_string().parse::<DeviceId>(), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(serde_json::from_str::<DeviceId>(&json).unwrap(), id);
        let binary = postcard::to_allocvec(&id).unwrap();
        assert_eq!(postcard::from_bytes::<DeviceId>(&binary).unwrap(), id);
    }

    #[test]
    fn text_of_another_length_or_alphabet_is_refused() {
        let good = DeviceId::from_bytes([255; 32]).to_string();
        assert!(good.contains('_'), "the URL-safe alphabet");
        for bad in [
            "",
            "AAAA",
            &good[..42],
            &format!("{good}A"),
            &format!("{good}="),
            &good.replace('_', "/"),
        ] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad}");
        }
        // 43 characters whose last one carries non-zero padding bits name no id either.
        assert!(format!("{}9", &good[..42]).parse::<DeviceId>().is_err());
    }

    #[test]
    fn a_step_beyond_4095_does_not_exist() {
        assert!(Step::new(4095).is_some());
        assert!(Step::new(4096).is_none());
        assert!(serde_json::from_str::<Step>("4096").is_err());
    }
}

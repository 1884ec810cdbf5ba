use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use vodozemac::Curve25519PublicKey;

/// The points of Curve25519 of order 1, 2, 4 and 8, the top bit cleared, and their encodings that
/// are not reduced: with any of them a shared secret would be known to all
/// (RFC 7748 §6.1; <https://cr.yp.to/ecdh.html#validate>).
#[rustfmt::skip]
const LOW_ORDER: [[u8; 32]; 7] = {
    const fn near_p(last: u8) -> [u8; 32] {
        let mut point = [0xff; 32];
        point[0] = last;
        point[31] = 0x7f;
        point
    }
    let zero = [0; 32];
    let mut one = [0; 32];
    one[0] = 1;
    [
        zero, one, near_p(0xec), near_p(0xed), near_p(0xee),
        [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
            0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ],
        [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
            0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ],
    ]
};

/// A public Curve25519 key: in JSON 43 characters of unpadded base64, decoded strictly; elsewhere
/// its 32 bytes. Points of low order are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub Curve25519PublicKey);

impl PublicKey {
    /// Whether every secret that is agreed on with it is known to all.
    pub(crate) fn is_of_low_order(&self) -> bool {
        let mut point = *self.0.as_bytes();
        point[31] &= 0x7f;
        LOW_ORDER.contains(&point)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&STANDARD_NO_PAD.encode(self.0.as_bytes()))
        } else {
            self.0.as_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            let bytes = STANDARD_NO_PAD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
            bytes.ok_or_else(|| de::Error::custom("a key is 32 bytes in base64"))?
        } else {
            <[u8; 32]>::deserialize(deserializer)?
        };
        let key = Self(Curve25519PublicKey::from_bytes(bytes));
        if key.is_of_low_order() {
            return Err(de::Error::custom("a key must not be a point of low order"));
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_survives_both_forms_and_has_no_other_length() {
        let key = PublicKey(Curve25519PublicKey::from_bytes([9; 32]));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        assert_eq!(postcard::to_allocvec(&key).unwrap(), [9; 32]);
        assert_eq!(postcard::from_bytes::<PublicKey>(&[9; 32]).unwrap(), key);
        for length in [0, 31, 33] {
            let text = format!("\"{}\"", STANDARD_NO_PAD.encode(vec![9; length]));
            assert!(serde_json::from_str::<PublicKey>(&text).is_err());
        }
        assert!(postcard::from_bytes::<PublicKey>(&[9; 31]).is_err());
    }

    /// vodozemac says which points are of low order: no session can be made with them.
    #[test]
    fn points_of_low_order_are_refused_and_no_others() {
        let account = vodozemac::olm::Account::new();
        let is_weak = |bytes: [u8; 32]| {
            let (config, good) =
                (vodozemac::olm::SessionConfig::default(), account.curve25519_key());
            let point = Curve25519PublicKey::from_bytes(bytes);
            account.create_outbound_session(config, good, point).is_err()
        };
        for point in LOW_ORDER {
            for top in [0, 0x80] {
                let mut bytes = point;
                bytes[31] |= top;
                assert!(is_weak(bytes), "{bytes:02x?}");
                assert!(postcard::from_bytes::<PublicKey>(&bytes).is_err());
                let json = format!("\"{}\"", STANDARD_NO_PAD.encode(bytes));
                assert!(serde_json::from_str::<PublicKey>(&json).is_err());
            }
        }
        for byte in 2..=255 {
            let mut bytes = [0; 32];
            bytes[0] = byte;
            assert_eq!(is_weak(bytes), postcard::from_bytes::<PublicKey>(&bytes).is_err());
        }
    }
}

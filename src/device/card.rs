use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use vodozemac::{Curve25519PublicKey, Ed25519PublicKey};

use super::{Identity, MAX_NAME};
use crate::{
    primitives::{DeviceId, length_prefixed},
    protocol::PublicKey,
};

/// What every card begins with.
const PREFIX: &str = "olmcast-device:";
/// The version that is written and read. Others may have other fields behind it.
const VERSION: &str = "1:";
/// Bytes of the two keys.
const KEYS: usize = 64;
/// Bytes of the checksum.
const CHECKSUM: usize = 4;

/// Why a text is no device card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// It begins with something else than `olmcast-device:`.
    #[error("a device's code begins with {PREFIX}; take the whole code that `olmcast id` printed")]
    Scheme,
    /// It is of a version that this library does not know.
    #[error("the code is of another version than 1; update olmcast on both sides")]
    Version,
    /// It is too long, too short, has other characters than a code has, or the checksum at its end
    /// is not its own.
    #[error(
        "the code has a typing error, or a part of it is missing; compare it with the original"
    )]
    Damaged,
    /// One of the keys is a point that no device has for a key.
    #[error("the code has a key that no device has; nobody's `olmcast id` printed it")]
    Key,
    /// The name is longer than names are, or no UTF-8.
    #[error("the code has a name that no device has; nobody's `olmcast id` printed it")]
    Name,
}

/// A device's keys and name on paper, or on a screen that is held into a camera: for people in one
/// place, who see from whom they take it.
///
/// Written as `olmcast-device:1:BODY`, where BODY is `device(32) ‖ curve25519(32) ‖ name ‖
/// checksum(4)` in unpadded URL-safe base64. The checksum (of SHA-256, over version, keys and name)
/// finds typing errors and keeps nobody from writing a card: that it is genuine, only the hand that
/// it comes from can tell. There is one way to write a card, and no other is read.
///
/// ```
/// use olmcast::device::{CardError, DeviceCard, Identity};
///
/// let card = Identity::generate().with_name("Ada's laptop").card();
/// let code = card.to_string();
/// assert_eq!(code.parse::<DeviceCard>()?, card);
/// assert_eq!(code[1..].parse::<DeviceCard>(), Err(CardError::Scheme));
/// # Ok::<(), CardError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCard {
    /// Its Ed25519 key.
    pub device: DeviceId,
    /// Its Curve25519 key, which Olm uses.
    pub curve25519: PublicKey,
    /// What it calls itself; 128 bytes at most.
    pub name: String,
}

impl DeviceCard {
    fn checksum(body: &[u8]) -> [u8; CHECKSUM] {
        let mut form = Vec::with_capacity(256);
        length_prefixed(&mut form, b"olmcast/1 device card");
        length_prefixed(&mut form, body);
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(form));
        [a, b, c, d]
    }
}

impl fmt::Display for DeviceCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As names are cut everywhere, so that what is written can be read.
        let name = &self.name[..self.name.floor_char_boundary(MAX_NAME)];
        let mut body = Vec::with_capacity(KEYS + name.len() + CHECKSUM);
        body.extend(self.device.as_bytes());
        body.extend(self.curve25519.0.as_bytes());
        body.extend(name.as_bytes());
        body.extend(Self::checksum(&body));
        write!(f, "{PREFIX}{VERSION}{}", URL_SAFE_NO_PAD.encode(body))
    }
}

impl FromStr for DeviceCard {
    type Err = CardError;

    fn from_str(code: &str) -> Result<Self, CardError> {
        let rest = code.strip_prefix(PREFIX).ok_or(CardError::Scheme)?;
        let body = rest.strip_prefix(VERSION).ok_or(CardError::Version)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| CardError::Damaged)?;
        let (body, checksum) = bytes.split_last_chunk().ok_or(CardError::Damaged)?;
        if Self::checksum(body) != *checksum {
            return Err(CardError::Damaged);
        }
        let (device, rest) = body.split_first_chunk().ok_or(CardError::Damaged)?;
        let (curve25519, name) = rest.split_first_chunk().ok_or(CardError::Damaged)?;
        let curve25519 = PublicKey(Curve25519PublicKey::from_bytes(*curve25519));
        if Ed25519PublicKey::from_slice(device).is_err() || curve25519.is_of_low_order() {
            return Err(CardError::Key);
        }
        let name = str::from_utf8(name).ok().filter(|name| name.len() <= MAX_NAME);
        let name = name.ok_or(CardError::Name)?.to_owned();
        Ok(Self { device: DeviceId::from_bytes(*device), curve25519, name })
    }
}

impl Identity {
    /// This device's card, for others to verify it by.
    pub fn card(&self) -> DeviceCard {
        DeviceCard {
            device: self.device(),
            curve25519: self.curve25519(),
            name: self.name().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A code with this body, whose checksum is right.
    fn sealed(body: &[u8]) -> String {
        let body = [body, &DeviceCard::checksum(body)].concat();
        format!("olmcast-device:1:{}", URL_SAFE_NO_PAD.encode(body))
    }

    fn ada() -> DeviceCard {
        // The base points of Ed25519 (RFC 8032 §5.1) and of X25519 (RFC 7748 §4.1).
        let mut device = [0x66; 32];
        device[0] = 0x58;
        let mut curve25519 = [0; 32];
        curve25519[0] = 9;
        DeviceCard {
            device: DeviceId::from_bytes(device),
            curve25519: PublicKey(Curve25519PublicKey::from_bytes(curve25519)),
            name: "Ada".to_owned(),
        }
    }

    fn body(card: &DeviceCard) -> Vec<u8> {
        [card.device.as_bytes(), card.curve25519.0.as_bytes(), card.name.as_bytes()].concat()
    }

    #[test]
    fn the_form_of_a_card_does_not_change() {
        // Computed by another program, from the description above.
        let code = ada().to_string();
        assert_eq!(
            code,
            concat!(
                "olmcast-device:1:",
                "WGZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmZmYJAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEFkYeg_r5o",
            )
        );
    }

    #[test]
    fn any_other_character_anywhere_is_noticed() {
        let code = ada().to_string();
        let others: Vec<char> = (' '..='~').chain(['\t', '\n', 'ä', '\u{200B}']).collect();
        for (at, character) in code.char_indices() {
            let (before, behind) = (&code[..at], &code[at + 1..]);
            for other in others.iter().filter(|other| **other != character) {
                let changed = format!("{before}{other}{behind}");
                assert!(changed.parse::<DeviceCard>().is_err(), "{changed}");
                let longer = format!("{before}{other}{character}{behind}");
                assert!(longer.parse::<DeviceCard>().is_err(), "{longer}");
            }
            let shorter = format!("{before}{behind}");
            assert!(shorter.parse::<DeviceCard>().is_err(), "{shorter}");
            assert!(before.parse::<DeviceCard>().is_err(), "{before}");
            if let Some(next) = behind.chars().next().filter(|next| *next != character) {
                let swapped = format!("{before}{next}{character}{}", &behind[1..]);
                assert!(swapped.parse::<DeviceCard>().is_err(), "{swapped}");
            }
        }
        for behind in others {
            assert!(format!("{code}{behind}").parse::<DeviceCard>().is_err());
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let card = ada();
        let code = card.to_string();
        let keys = body(&DeviceCard { name: String::new(), ..card.clone() });
        let weak = [card.device.as_bytes(), &[0; 32][..]].concat();
        // y = 2 is on no point of the curve.
        let mut no_point = [0; 32];
        no_point[0] = 2;
        let no_point = [&no_point[..], card.curve25519.0.as_bytes()].concat();
        for (bad, error) in [
            (String::new(), CardError::Scheme),
            ("Ada".to_owned(), CardError::Scheme),
            (card.device.to_string(), CardError::Scheme),
            (format!(" {code}"), CardError::Scheme),
            (code.replace("olmcast-device:1:", "OLMCAST-DEVICE:1:"), CardError::Scheme),
            (code.replace(":1:", ":2:"), CardError::Version),
            (code.replace(":1:", ":"), CardError::Version),
            ("olmcast-device:".to_owned(), CardError::Version),
            ("olmcast-device:1:".to_owned(), CardError::Damaged),
            ("olmcast-device:1:AAAA".to_owned(), CardError::Damaged),
            (format!("{code}="), CardError::Damaged),
            (code[..code.len() - 4].to_owned(), CardError::Damaged),
            (sealed(&[]), CardError::Damaged),
            (sealed(&keys[..63]), CardError::Damaged),
            (sealed(&weak), CardError::Key),
            (sealed(&no_point), CardError::Key),
            (sealed(&[&keys[..], b"\xFF"].concat()), CardError::Name),
            (sealed(&[&keys[..], &[b'x'; MAX_NAME + 1]].concat()), CardError::Name),
        ] {
            assert_eq!(bad.parse::<DeviceCard>(), Err(error), "{bad}");
        }
        // The same way of writing them with nothing wrong.
        assert_eq!(sealed(&body(&card)), code);
        assert!(sealed(&[&keys[..], &[b'x'; MAX_NAME]].concat()).parse::<DeviceCard>().is_ok());
    }

    #[test]
    fn a_card_has_the_keys_and_the_name_of_its_device() {
        let identity = Identity::generate().with_name("Ada");
        let card = identity.card();
        assert_eq!((card.device, card.curve25519), (identity.device(), identity.curve25519()));
        assert_eq!(card.name, "Ada");
    }

    proptest! {
        #[test]
        fn a_card_reads_back_whatever_the_name(name in any::<String>()) {
            let card = Identity::generate().with_name(name).card();
            prop_assert_eq!(card.to_string().parse::<DeviceCard>(), Ok(card));
        }

        #[test]
        fn a_name_that_is_too_long_is_cut_where_a_character_ends(name in ".{0,200}") {
            let card = DeviceCard { name: name.clone(), ..ada() };
            let read: DeviceCard = card.to_string().parse().unwrap();
            prop_assert!(name.starts_with(&read.name));
            prop_assert!(name == read.name || read.name.len() > MAX_NAME - 4);
        }

        #[test]
        fn no_text_makes_reading_panic_and_whatever_is_read_is_written_so(
            text in "(olmcast-device:(1:)?)?[A-Za-z0-9_=:-]{0,120}|.{0,40}",
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            for code in [text, sealed(&body)] {
                if let Ok(card) = code.parse::<DeviceCard>() {
                    prop_assert_eq!(card.to_string(), code);
                }
            }
        }
    }
}

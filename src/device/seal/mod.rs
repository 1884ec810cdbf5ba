//! A device as bytes that only its passphrase or key opens.
//!
//! The frame ([`frame`]) is the same in all versions. Version 1 has in its body:
//!
//! ```text
//! kind u8 (1 passphrase, 2 key) ‖ salt 16 ‖ memory u32 ‖ passes u32 ‖ lanes u32 (0 for a key)
//!   ‖ key check 32 ‖ nonce 12 ‖ AES-256-GCM(length u32 ‖ account ‖ JSON ‖ spaces)
//! ```
//!
//! The additional data is all that stands before the ciphertext. The spaces fill up to a multiple
//! of 4 KiB, so that the size says little of how many devices are known. Each seal draws a nonce:
//! 2^32 of them under one key are safe, which is one each second for 136 years.

mod frame;
mod key;
#[cfg(test)]
mod tests;

use std::fmt;

use aes_gcm::{
    Aes256Gcm,
    aead::{AeadInOut, KeyInit},
};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

#[cfg(feature = "client")]
pub(crate) use self::key::random_secret;
pub use self::key::{Cost, SealingKey};
use self::key::{Derived, Made, SALT, Salt};
use super::Memory;

const VERSION: u16 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;
/// What stands before the ciphertext in the body.
const HEAD: usize = 1 + SALT + 3 * 4 + 32 + NONCE;
/// The plaintext is filled up to multiples of this.
const PADDING: usize = 4096;

/// Why a device could not be sealed or opened. Nothing changed, and no error quotes what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// It is something else, or some of its bytes are wrong.
    #[error("it is damaged, or no vault at all; restore it from a backup")]
    Damaged,
    /// Its end is missing.
    #[error("its end is missing; restore it from a backup")]
    CutShort,
    /// It is whole, but of a version that this program does not know.
    #[error("it is of version {0}, which this program does not know; use a newer olmcast")]
    Version(u16),
    /// The passphrase is another.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// The key is another.
    #[error("the key is wrong: it belongs to another vault")]
    WrongKey,
    /// It was sealed with a passphrase, and a key was given.
    #[error("it opens with a passphrase, not with a key file")]
    NeedsPassphrase,
    /// It was sealed with a key, and a passphrase was given.
    #[error("it opens with a key file, not with a passphrase")]
    NeedsKey,
    /// The passphrase or key is right, and yet this is not what was sealed: somebody changed it
    /// and made it look whole.
    #[error("somebody changed it on purpose; restore it from a backup")]
    Tampered,
    /// It opened, but says what this program does not understand.
    #[error("its content cannot be read; use the olmcast that wrote it, or a newer one")]
    Content,
    /// Its passphrase costs more work to try than is ever asked for.
    #[error("it asks for more memory or time than any vault; restore it from a backup")]
    Cost,
    /// There is no memory to work a passphrase out.
    #[error("not enough memory to work with the passphrase")]
    Memory,
    /// A passphrase must not be empty.
    #[error("the passphrase is empty; use some random words")]
    EmptyPassphrase,
    /// The device was never given a passphrase or key.
    #[error("there is no passphrase and no key to seal it with")]
    NoKey,
    /// It would be larger than what can be opened.
    #[error("too much is known to be kept; forget some devices")]
    TooLarge,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

/// What is sealed besides the account.
#[derive(Serialize)]
struct Rest<'a> {
    name: &'a str,
    memory: &'a Memory,
}

/// What was sealed.
#[derive(Deserialize)]
pub(super) struct Opened {
    /// The account's pickle, as it was when it was made.
    #[serde(skip)]
    pub(super) account: Zeroizing<Vec<u8>>,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) memory: Memory,
}

/// Seals one device, again and again.
#[derive(Clone)]
pub(super) struct Seal(Derived);

impl Seal {
    /// Works the key out, which takes a while with a passphrase.
    pub(super) fn new(key: &SealingKey) -> Result<Self, SealError> {
        Derived::new(key).map(Self)
    }

    pub(super) fn seal(
        &self,
        account: &[u8],
        name: &str,
        memory: &Memory,
    ) -> Result<Vec<u8>, SealError> {
        let rest = serde_json::to_vec(&Rest { name, memory }).map_err(|_| SealError::Content)?;
        let rest = Zeroizing::new(rest);
        let length = u32::try_from(account.len()).map_err(|_| SealError::TooLarge)?;
        let text = (4 + account.len() + rest.len()).next_multiple_of(PADDING);
        let cipher = self.cipher()?;
        // All of it has its place from the beginning: what grows leaves copies behind.
        let mut bytes = frame::begin(VERSION, HEAD + text + TAG)?;
        self.head(&mut bytes)?;
        let head = bytes.len();
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(account);
        bytes.extend_from_slice(&rest);
        bytes.resize(head + text, b' ');
        let (before, text) = bytes.split_at_mut(head);
        let nonce = before.last_chunk().copied().unwrap_or_default();
        let sealed = cipher.encrypt_inout_detached(&nonce.into(), before, text.into());
        let Ok(tag) = sealed else {
            Zeroizing::new(bytes);
            return Err(SealError::TooLarge);
        };
        bytes.extend_from_slice(&tag);
        frame::finish(&mut bytes);
        Ok(bytes)
    }

    /// Opens what was sealed with the same passphrase or key.
    pub(super) fn open(bytes: &[u8], key: &SealingKey) -> Result<(Self, Opened), SealError> {
        let version = frame::check(bytes)?;
        if version != VERSION {
            return Err(SealError::Version(version));
        }
        let header = Header::read(frame::body(bytes)).ok_or(SealError::Tampered)?;
        let derived = Derived::again(key, header.made)?;
        if !bool::from(derived.check.ct_eq(&header.check)) {
            return Err(match header.made {
                Made::FromPassphrase(..) => SealError::WrongPassphrase,
                Made::FromRandom(_) => SealError::WrongKey,
            });
        }
        let seal = Self(derived);
        let head = &bytes[..frame::HEAD + HEAD];
        let mut text = Zeroizing::new(header.ciphertext.to_vec());
        seal.cipher()?
            .decrypt_inout_detached(
                &header.nonce.into(),
                head,
                text.as_mut_slice().into(),
                &header.tag.into(),
            )
            .map_err(|_| SealError::Tampered)?;
        let opened = read(&text).ok_or(SealError::Content)?;
        Ok((seal, opened))
    }

    fn cipher(&self) -> Result<Box<Aes256Gcm>, SealError> {
        Aes256Gcm::new_from_slice(self.0.key.expose()).map(Box::new).map_err(|_| SealError::NoKey)
    }

    /// Writes what stands before the ciphertext, with a new nonce at its end.
    fn head(&self, bytes: &mut Vec<u8>) -> Result<(), SealError> {
        let (kind, salt, cost) = match self.0.made {
            Made::FromPassphrase(salt, Cost { memory, passes, lanes }) => {
                (PASSPHRASE, salt, [memory, passes, lanes])
            }
            Made::FromRandom(salt) => (RANDOM, salt, [0; 3]),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&salt);
        cost.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        bytes.extend_from_slice(&self.0.check);
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Randomness)?;
        bytes.extend_from_slice(&nonce);
        Ok(())
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("made", &self.0.made).finish_non_exhaustive()
    }
}

const PASSPHRASE: u8 = 1;
const RANDOM: u8 = 2;

/// A body of version 1.
struct Header<'a> {
    made: Made,
    check: [u8; 32],
    nonce: [u8; NONCE],
    ciphertext: &'a [u8],
    tag: [u8; TAG],
}

impl<'a> Header<'a> {
    fn read(body: &'a [u8]) -> Option<Self> {
        let (kind, body) = body.split_first()?;
        let (salt, body) = body.split_first_chunk::<SALT>()?;
        let (memory, body) = body.split_first_chunk()?;
        let (passes, body) = body.split_first_chunk()?;
        let (lanes, body) = body.split_first_chunk()?;
        let (check, body) = body.split_first_chunk()?;
        let (nonce, body) = body.split_first_chunk()?;
        let (ciphertext, tag) = body.split_last_chunk()?;
        let [memory, passes, lanes] = [memory, passes, lanes].map(|n| u32::from_be_bytes(*n));
        let salt: Salt = *salt;
        let made = match (*kind, [memory, passes, lanes]) {
            (PASSPHRASE, _) => Made::FromPassphrase(salt, Cost { memory, passes, lanes }),
            (RANDOM, [0, 0, 0]) => Made::FromRandom(salt),
            _ => return None,
        };
        Some(Self { made, check: *check, nonce: *nonce, ciphertext, tag: *tag })
    }
}

fn read(text: &[u8]) -> Option<Opened> {
    let (length, text) = text.split_first_chunk()?;
    let (account, rest) = text.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let opened: Opened = serde_json::from_slice(rest).ok()?;
    Some(Opened { account: Zeroizing::new(account.to_vec()), ..opened })
}

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::SealError;
use crate::primitives::Secret;

/// What a device is sealed with: a passphrase, or 32 random bytes that are kept somewhere else.
#[derive(Clone)]
pub struct SealingKey(Source);

#[derive(Clone)]
enum Source {
    Passphrase(Zeroizing<String>, Cost),
    Random(Secret<32>),
}

impl SealingKey {
    /// A passphrase, byte by byte: its letters are not normalized. A sealed file can be tried at
    /// leisure, so six random words are not too many.
    ///
    /// # Errors
    /// [`SealError::EmptyPassphrase`].
    pub fn passphrase(passphrase: impl Into<String>) -> Result<Self, SealError> {
        Self::passphrase_at(passphrase, Cost::default())
    }

    /// The same, with another cost than the default: for tests.
    ///
    /// # Errors
    /// [`SealError::EmptyPassphrase`].
    #[doc(hidden)]
    pub fn passphrase_at(passphrase: impl Into<String>, cost: Cost) -> Result<Self, SealError> {
        let passphrase = Zeroizing::new(passphrase.into());
        if passphrase.is_empty() {
            return Err(SealError::EmptyPassphrase);
        }
        Ok(Self(Source::Passphrase(passphrase, cost)))
    }

    /// 32 bytes, which must be random.
    pub fn random(bytes: Secret<32>) -> Self {
        Self(Source::Random(bytes))
    }

    /// Draws a key.
    ///
    /// # Errors
    /// [`SealError::Randomness`].
    pub fn generate() -> Result<Self, SealError> {
        random_secret().map(Self::random)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::Passphrase(..) => "SealingKey::Passphrase(..)",
            Source::Random(_) => "SealingKey::Random(..)",
        })
    }
}

/// 32 bytes of the operating system's.
pub(crate) fn random_secret() -> Result<Secret<32>, SealError> {
    let mut drawn = Ok(());
    let secret = Secret::fill(|bytes| drawn = getrandom::fill(bytes));
    drawn.map(|()| secret).map_err(|_| SealError::Randomness)
}

/// What one attempt at a passphrase costs (argon2id, RFC 9106 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes, which could be filled at the same time.
    pub lanes: u32,
}

impl Default for Cost {
    /// RFC 9106's second choice, with one lane instead of four, since ours are filled one after
    /// another: 64 MiB, 3 passes.
    fn default() -> Self {
        Self { memory: 64 << 10, passes: 3, lanes: 1 }
    }
}

impl Cost {
    /// What is paid at most on the word of a file, which somebody may have forged.
    const MOST: Self = Self { memory: 1 << 20, passes: 16, lanes: 16 };

    fn params(self) -> Result<Params, SealError> {
        let Self { memory, passes, lanes } = self;
        if memory > Self::MOST.memory || passes > Self::MOST.passes || lanes > Self::MOST.lanes {
            return Err(SealError::Cost);
        }
        Params::new(memory, passes, lanes, Some(32)).map_err(|_| SealError::Cost)
    }
}

pub(super) const SALT: usize = 16;
pub(super) type Salt = [u8; SALT];

/// How the key of a sealed file is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    FromPassphrase(Salt, Cost),
    FromRandom(Salt),
}

/// The key of a sealed file. It is made once and kept, for every time the file is written.
#[derive(Clone)]
pub(super) struct Derived {
    pub(super) made: Made,
    pub(super) key: Secret<32>,
    /// Tells a wrong passphrase from a damaged file, and commits to the key, which AES-GCM does
    /// not.
    pub(super) check: [u8; 32],
}

impl Derived {
    /// A new key.
    pub(super) fn new(from: &SealingKey) -> Result<Self, SealError> {
        let mut salt = Salt::default();
        getrandom::fill(&mut salt).map_err(|_| SealError::Randomness)?;
        let made = match &from.0 {
            Source::Passphrase(_, cost) => Made::FromPassphrase(salt, *cost),
            Source::Random(_) => Made::FromRandom(salt),
        };
        Self::again(from, made)
    }

    /// The key of a file that was made so.
    pub(super) fn again(from: &SealingKey, made: Made) -> Result<Self, SealError> {
        let (key, check) = match (&from.0, made) {
            (Source::Passphrase(passphrase, _), Made::FromPassphrase(salt, cost)) => {
                expand(&stretch(passphrase.as_bytes(), &salt, cost)?, &salt)?
            }
            (Source::Random(secret), Made::FromRandom(salt)) => expand(secret, &salt)?,
            (Source::Random(_), Made::FromPassphrase(..)) => {
                return Err(SealError::NeedsPassphrase);
            }
            (Source::Passphrase(..), Made::FromRandom(_)) => return Err(SealError::NeedsKey),
        };
        Ok(Self { made, key, check })
    }
}

fn stretch(passphrase: &[u8], salt: &Salt, cost: Cost) -> Result<Secret<32>, SealError> {
    let params = cost.params()?;
    // The library's own memory would be given back as it is.
    let mut memory = Zeroizing::new(Vec::new());
    memory.try_reserve_exact(params.block_count()).map_err(|_| SealError::Memory)?;
    memory.resize(params.block_count(), Block::default());
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut made = Ok(());
    let stretched = Secret::fill(|out| {
        made = argon2.hash_password_into_with_memory(passphrase, salt, out, memory.as_mut_slice());
    });
    made.map(|()| stretched).map_err(|_| SealError::Cost)
}

fn expand(secret: &Secret<32>, salt: &Salt) -> Result<(Secret<32>, [u8; 32]), SealError> {
    let prk = Hkdf::<Sha256>::new(Some(salt), secret.expose());
    let (mut check, mut made) = ([0; 32], Ok(()));
    let key = Secret::fill(|key| {
        made = prk
            .expand(b"olmcast/1 vault key", key)
            .and_then(|()| prk.expand(b"olmcast/1 vault check", &mut check));
    });
    // It fails only above 255 hash lengths.
    made.map(|()| (key, check)).map_err(|_| SealError::Cost)
}

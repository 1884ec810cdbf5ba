use std::{
    fmt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{VaultError, file::Place};
use crate::{
    device::{Cost, SealingKey, random_secret},
    primitives::Secret,
};

/// A key in base64, without the end of the line.
const TEXT: usize = 44;

/// What a vault opens with.
pub struct Unlock(With);

enum With {
    Passphrase(Zeroizing<String>, Cost),
    KeyFile(PathBuf),
}

impl Unlock {
    /// A passphrase, byte by byte. Whoever has the file can try as many as they like, each at the
    /// cost of 64 MiB and some tenths of a second, so six random words are not too many.
    pub fn passphrase(passphrase: impl Into<String>) -> Self {
        Self::passphrase_at(passphrase, Cost::default())
    }

    /// The same, with another cost for a vault that is made: for tests.
    #[doc(hidden)]
    pub fn passphrase_at(passphrase: impl Into<String>, cost: Cost) -> Self {
        Self(With::Passphrase(Zeroizing::new(passphrase.into()), cost))
    }

    /// A file with a key, for programs that nobody sits in front of: 32 random bytes in base64, on
    /// one line. It is made if there is no vault either; then it needs a backup, in another place
    /// than the vault's. Whoever has both files is this device.
    pub fn key_file(path: impl Into<PathBuf>) -> Self {
        Self(With::KeyFile(path.into()))
    }

    /// A key file that is the vault itself would be written over, and opens nothing.
    pub(super) fn refuse_vault(&self, vault: &Place) -> Result<(), VaultError> {
        let With::KeyFile(path) = &self.0 else { return Ok(()) };
        match Place::find(path) {
            Ok(key) if key.path == vault.path => Err(VaultError::KeyIsVault(vault.path.clone())),
            Ok(_) | Err(VaultError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The key of a vault that is there.
    pub(super) fn key(&self, vault: &Path) -> Result<SealingKey, VaultError> {
        match &self.0 {
            With::Passphrase(passphrase, cost) => of_passphrase(passphrase, *cost, vault),
            With::KeyFile(path) => {
                let missing =
                    || VaultError::KeyFileMissing { path: path.clone(), vault: vault.to_owned() };
                let place = match Place::find(path) {
                    Err(VaultError::NotFound(_)) => return Err(missing()),
                    place => place?,
                };
                read(&place)?.ok_or_else(missing)
            }
        }
    }

    /// The key of a vault that is to be made.
    pub(super) fn new_key(&self, vault: &Path) -> Result<SealingKey, VaultError> {
        match &self.0 {
            With::Passphrase(passphrase, cost) => of_passphrase(passphrase, *cost, vault),
            With::KeyFile(path) => {
                let place = Place::make(path)?;
                if let Some(key) = used(&place)? {
                    return Ok(key);
                }
                let secret = random_secret().map_err(VaultError::seal(vault))?;
                let mut text = Zeroizing::new([0; TEXT + 1]);
                // 32 bytes always fit.
                let _ = STANDARD.encode_slice(secret.expose(), text.as_mut_slice());
                text[TEXT] = b'\n';
                if place.create(text.as_slice())? {
                    return Ok(SealingKey::random(secret));
                }
                // Another process was faster, with another vault: both have its key.
                used(&place)?.ok_or_else(|| VaultError::KeyFile(place.path.clone()))
            }
        }
    }
}

fn of_passphrase(passphrase: &str, cost: Cost, vault: &Path) -> Result<SealingKey, VaultError> {
    SealingKey::passphrase_at(passphrase, cost).map_err(VaultError::seal(vault))
}

/// A key file that is there already, for a new vault.
fn used(place: &Place) -> Result<Option<SealingKey>, VaultError> {
    let key = read(place)?;
    if key.is_some() {
        // Whoever made it may not have come that far. Where it cannot be written, it was not made.
        let _ = place.sync_folder();
    }
    Ok(key)
}

fn read(place: &Place) -> Result<Option<SealingKey>, VaultError> {
    // With two characters for the end of the line.
    let Some(text) = place.read(TEXT + 2)? else { return Ok(None) };
    let text = Zeroizing::new(text);
    let wrong = || VaultError::KeyFile(place.path.clone());
    let mut decoded = Err(wrong());
    let secret = Secret::<32>::fill(|bytes| {
        // The library wants room for a whole last group.
        let mut whole = Zeroizing::new([0; 33]);
        if let Ok(32) = STANDARD.decode_slice(text.trim_ascii_end(), whole.as_mut_slice()) {
            bytes.copy_from_slice(&whole[..32]);
            decoded = Ok(());
        }
    });
    decoded.map(|()| Some(SealingKey::random(secret)))
}

impl fmt::Debug for Unlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            With::Passphrase(..) => f.write_str("Unlock::Passphrase(..)"),
            With::KeyFile(path) => f.debug_tuple("Unlock::KeyFile").field(path).finish(),
        }
    }
}

//! Where this device is kept.

use std::{
    env::{self, VarError},
    io::{IsTerminal, stderr, stdin},
    mem,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use olmcast::{
    client::{Unlock, Vault},
    device::{Identity, MAX_NAME},
    primitives::DeviceId,
};
use rpassword::prompt_password;
use zeroize::Zeroizing;

/// The passphrase, for programs that start this one. There is no option for it: anybody on the
/// machine can read the command lines of others.
const PASSPHRASE: &str = "OLMCAST_PASSPHRASE";

/// For every command that is one device, today and tomorrow.
#[derive(clap::Args)]
// Without a name of its own, which would be that of the arguments around it.
#[group(skip)]
pub(crate) struct Arguments {
    /// The file that keeps this device, sealed: its keys, and what it knows of other devices.
    /// `olmcast id` makes one. Its passphrase is in OLMCAST_PASSPHRASE, or is asked for
    #[arg(long, env = "OLMCAST_VAULT", value_name = "FILE", global = true)]
    vault: Option<PathBuf>,
    /// The file that opens the vault in place of a passphrase
    #[arg(long, env = "OLMCAST_KEY_FILE", value_name = "FILE", global = true)]
    key_file: Option<PathBuf>,
}

/// The same for those that others see.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Named {
    #[command(flatten)]
    vault: Arguments,
    /// What this device calls itself to others, who see it as a claim until they have verified the
    /// device. The vault keeps it
    #[arg(long, value_parser = name)]
    name: Option<String>,
}

fn name(text: &str) -> Result<String, String> {
    let is_name = text.len() <= MAX_NAME;
    is_name.then(|| text.to_owned()).ok_or_else(|| format!("a name has at most {MAX_NAME} bytes"))
}

impl Arguments {
    /// The vault's path.
    pub(crate) fn path(&self) -> anyhow::Result<&Path> {
        self.vault.as_deref().context(
            "this needs the file that keeps the device: --vault FILE, or OLMCAST_VAULT; \
             `olmcast id --vault FILE` makes one",
        )
    }

    /// Opens the vault.
    pub(crate) fn open(&self) -> anyhow::Result<Vault> {
        let path = self.path()?;
        ensure!(
            path.try_exists().with_context(|| format!("cannot see {}", path.display()))?,
            "there is no vault {}; make it with: olmcast id --vault {0}",
            path.display(),
        );
        Ok(Vault::open(path, &self.unlock(path, false)?)?)
    }

    /// Opens the vault, or makes it with a new device in it. Says whether it was made.
    fn open_or_create(&self) -> anyhow::Result<(Vault, bool)> {
        let path = self.path()?;
        let is_there =
            path.try_exists().with_context(|| format!("cannot see {}", path.display()))?;
        let vault = Vault::load_or_create(path, &self.unlock(path, !is_there)?)?;
        Ok((vault, !is_there))
    }

    fn unlock(&self, path: &Path, is_new: bool) -> anyhow::Result<Unlock> {
        if let Some(key_file) = &self.key_file {
            return Ok(Unlock::key_file(key_file));
        }
        let mut passphrase = match env::var(PASSPHRASE).map(Zeroizing::new) {
            Ok(passphrase) => passphrase,
            Err(VarError::NotPresent) => {
                if !is_new {
                    // Nobody types a passphrase to hear then that somebody else has the vault.
                    Vault::check_free(path)?;
                }
                ask(path, is_new)?
            }
            Err(VarError::NotUnicode(_)) => bail!("{PASSPHRASE} is no UTF-8"),
        };
        Ok(Unlock::passphrase(mem::take(&mut *passphrase)))
    }
}

/// Asks for a passphrase on the terminal, which does not show it; for a new one twice.
fn ask(path: &Path, is_new: bool) -> anyhow::Result<Zeroizing<String>> {
    ensure!(
        stdin().is_terminal() || stderr().is_terminal(),
        "the vault {} needs a passphrase, and there is no terminal to ask for it; set {PASSPHRASE}, \
         or take --key-file",
        path.display(),
    );
    let ask = |what: &str| {
        let typed = prompt_password(format!("{what} {}: ", path.display()));
        typed.map(Zeroizing::new).context("no passphrase was typed")
    };
    if !is_new {
        return ask("passphrase of");
    }
    let passphrase = ask("choose a passphrase for the new vault")?;
    // That an empty one is none, is said at once.
    if !passphrase.is_empty() {
        let again = ask("the same again for")?;
        ensure!(passphrase == again, "the two passphrases differ; nothing was made");
    }
    Ok(passphrase)
}

impl Named {
    /// The device in the vault.
    pub(crate) fn open(&self) -> anyhow::Result<Vault> {
        self.named(self.vault.open()?)
    }

    /// The device in the vault, which is made if it is not there.
    pub(crate) fn open_or_create(&self) -> anyhow::Result<Vault> {
        let (vault, is_new) = self.vault.open_or_create()?;
        if is_new {
            eprintln!("made the vault {} and a new device in it", self.vault.path()?.display());
        }
        self.named(vault)
    }

    /// The device in the vault, or without one a device for this run.
    pub(crate) fn open_or_generate(&self) -> anyhow::Result<Vault> {
        if self.vault.vault.is_some() {
            return self.open();
        }
        ensure!(self.vault.key_file.is_none(), "--key-file opens a vault: there is no --vault");
        let name = self.name.as_deref().unwrap_or_default();
        Ok(Vault::from(Identity::generate().with_name(name)))
    }

    /// Says who this device is, and whether it will be tomorrow.
    pub(crate) fn introduce(&self, device: DeviceId) {
        eprintln!("this device is {device}");
        if !self.is_kept() {
            eprintln!(
                "it is new and is forgotten at the end; --vault keeps it, whom it verified or \
                 blocked, and that a room is closed"
            );
        }
    }

    /// Whether it will be the same tomorrow, and remember what was decided.
    pub(crate) fn is_kept(&self) -> bool {
        self.vault.vault.is_some()
    }

    fn named(&self, mut vault: Vault) -> anyhow::Result<Vault> {
        if let Some(name) = &self.name
            && vault.identity().name() != name
        {
            vault.update(|identity| identity.set_name(name.as_str()))?;
        }
        Ok(vault)
    }
}

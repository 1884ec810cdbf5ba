use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::device::SealError;

/// Why a vault cannot be opened or written. Nothing that was there changed, except after
/// [`NotDurable`](Self::NotDurable).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// There is none.
    #[error("there is no vault at {}", .0.display())]
    NotFound(PathBuf),
    /// Another process has it, or another part of this one.
    #[error("the vault {} is in use by {holder}; end that first, or take another vault", path.display())]
    Locked {
        /// Which.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// Its bytes cannot be opened or made.
    #[error("the vault {}: {error}", path.display())]
    Seal {
        /// Which.
        path: PathBuf,
        /// Why.
        error: SealError,
    },
    /// The vault is there and its key file is not.
    #[error(
        "the key file {} is missing, and the vault {} opens with nothing else; restore it from a \
         backup",
        path.display(), vault.display()
    )]
    KeyFileMissing {
        /// The key file.
        path: PathBuf,
        /// The vault.
        vault: PathBuf,
    },
    /// The file is no key file.
    #[error(
        "{} is no key file: that is 32 bytes in base64, 44 characters, on one line; restore it \
         from a backup",
        .0.display()
    )]
    KeyFile(PathBuf),
    /// Others than its owner may use the file.
    #[error("others can read or change {0} (mode {mode:03o}); run: chmod 600 {0}", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// What they may, as `chmod` takes it.
        mode: u32,
    },
    /// Others than its owner and group may change its folder.
    #[error(
        "others can change the folder {0} (mode {mode:03o}), and so put another file in the place \
         of the vault; run: chmod o-w {0}, or keep the vault in a folder of its own",
        path.display()
    )]
    ExposedFolder {
        /// Which.
        path: PathBuf,
        /// What they may, as `chmod` takes it.
        mode: u32,
    },
    /// The file has a second name, by which another process could open it too.
    #[error(
        "{} is there by a second name as well, a hard link; remove one of the two, or put a copy in \
         its place",
        .0.display()
    )]
    HardLink(PathBuf),
    /// The vault and its key file would be one file.
    #[error("{} cannot be the vault and its key file; name another key file", .0.display())]
    KeyIsVault(PathBuf),
    /// The name is one that lock files and temporary files have.
    #[error("{} is a name that olmcast uses for itself; take another name", .0.display())]
    Reserved(PathBuf),
    /// An update would have made the vault another device's.
    #[error("a vault keeps one device for good; make another vault for another device")]
    OtherDevice,
    /// It is written and in force, but the operating system did not confirm that it would survive a
    /// power failure.
    #[error(
        "{} is written, but might be lost in a power failure: the folder cannot be written: \
         {message}",
        path.display()
    )]
    NotDurable {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        message: String,
    },
    /// There is something else of that name: a folder, a device, or a link to nowhere.
    #[error("{} is no file, or a link to nowhere; name another", .0.display())]
    NotAFile(PathBuf),
    /// The operating system refused.
    #[error("cannot {doing} {}: {message}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What kind of refusal it was.
        kind: io::ErrorKind,
        /// What the operating system said.
        message: String,
    },
}

impl VaultError {
    pub(super) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| {
            let (kind, message) = (error.kind(), error.to_string());
            Self::Io { doing, path: path.to_owned(), kind, message }
        }
    }

    pub(super) fn seal(path: &Path) -> impl FnOnce(SealError) -> Self {
        move |error| Self::Seal { path: path.to_owned(), error }
    }
}

/// The process that has a vault, as far as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: Option<u32>,
    /// Its program.
    pub program: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.program, self.pid) {
            (Some(program), Some(pid)) => write!(f, "{program}, process {pid}"),
            (None, Some(pid)) => write!(f, "process {pid}"),
            _ => f.write_str("another process"),
        }
    }
}

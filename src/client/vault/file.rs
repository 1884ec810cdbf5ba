//! Files that only their owner may use, and that are replaced as a whole.
//!
//! What lies beside them for olmcast's own use has names that nobody chooses, and that are refused
//! for anything else: nothing of the user's is ever removed or written over.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, Metadata, OpenOptions},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use super::VaultError;

/// Endings of the hidden names that olmcast uses for itself.
const TEMPORARY: &str = ".olmcast-tmp";
const LOCK: &str = ".olmcast-lock";

/// A file by its true name: without links, in a folder that is there. Two names of one vault are one
/// vault, and a link to it stays one when the vault is replaced.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    folder: PathBuf,
    name: OsString,
}

impl Place {
    /// Makes its folder if that is missing.
    pub(super) fn make(path: &Path) -> Result<Self, VaultError> {
        refuse_reserved(path)?;
        make_folders(folder_of(path), |_| {})?;
        Self::find(path)
    }

    pub(super) fn find(path: &Path) -> Result<Self, VaultError> {
        refuse_reserved(path)?;
        let io = || VaultError::io("find", path);
        let not_a_file = || VaultError::NotAFile(path.to_owned());
        let path = match fs::canonicalize(path) {
            Ok(path) => path,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // A link to nowhere. Anything else was made just now, by another process.
                if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
                    return Err(not_a_file());
                }
                let name = path.file_name().ok_or_else(not_a_file)?;
                match fs::canonicalize(folder_of(path)) {
                    Ok(folder) => folder.join(name),
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        return Err(VaultError::NotFound(path.to_owned()));
                    }
                    Err(error) => return Err(io()(error)),
                }
            }
            Err(error) => return Err(io()(error)),
        };
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(not_a_file());
        };
        refuse_reserved(&path)?;
        Ok(Self { folder: folder.to_owned(), name: name.to_owned(), path })
    }

    pub(super) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// What is locked while somebody has the file.
    pub(super) fn lock(&self) -> PathBuf {
        self.beside(LOCK)
    }

    fn temporary(&self) -> PathBuf {
        self.beside(TEMPORARY)
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(&self.name);
        name.push(ending);
        self.folder.join(name)
    }

    /// Reads a file of at most so many bytes that nobody else may read or change, into one buffer
    /// that is never moved.
    pub(super) fn read(&self, most: usize) -> Result<Option<Vec<u8>>, VaultError> {
        let io = || VaultError::io("read", &self.path);
        match fs::metadata(&self.path) {
            // Before it is opened, since that may take for ever with something else.
            Ok(found) if found.is_file() => {}
            Ok(_) => return Err(VaultError::NotAFile(self.path.clone())),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io()(error)),
        }
        let file = private(OpenOptions::new().read(true)).open(&self.path).map_err(io())?;
        let found = file.metadata().map_err(io())?;
        self.refuse_exposed(&found)?;
        let length = usize::try_from(found.len()).unwrap_or(most).min(most);
        let mut bytes = Vec::with_capacity(length + 1);
        file.take(length as u64 + 1).read_to_end(&mut bytes).map_err(io())?;
        Ok(Some(bytes))
    }

    #[cfg(unix)]
    fn refuse_exposed(&self, found: &Metadata) -> Result<(), VaultError> {
        let mode = std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o777;
        if mode & 0o077 == 0 {
            return Ok(());
        }
        Err(VaultError::Exposed { path: self.path.clone(), mode })
    }

    #[cfg(not(unix))]
    fn refuse_exposed(&self, _: &Metadata) -> Result<(), VaultError> {
        Ok(())
    }

    /// Whoever can change the folder can put another file in the place of this one. A group may: many
    /// systems give each user one of their own, and folders that it can change.
    #[cfg(unix)]
    pub(super) fn refuse_exposed_folder(&self) -> Result<(), VaultError> {
        const STICKY: u32 = 0o1000;
        let found = fs::metadata(&self.folder).map_err(VaultError::io("find", &self.folder))?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o7777;
        if mode & 0o002 == 0 || mode & STICKY != 0 {
            return Ok(());
        }
        Err(VaultError::ExposedFolder { path: self.folder.clone(), mode })
    }

    #[cfg(not(unix))]
    pub(super) fn refuse_exposed_folder(&self) -> Result<(), VaultError> {
        Ok(())
    }

    /// By its other name the file would have another lock, and with the next write each name would
    /// have a file of its own.
    #[cfg(unix)]
    pub(super) fn refuse_hard_link(&self) -> Result<(), VaultError> {
        use std::os::unix::fs::MetadataExt;
        let linked =
            fs::metadata(&self.path).is_ok_and(|found| found.is_file() && found.nlink() > 1);
        if linked { Err(VaultError::HardLink(self.path.clone())) } else { Ok(()) }
    }

    #[cfg(not(unix))]
    pub(super) fn refuse_hard_link(&self) -> Result<(), VaultError> {
        Ok(())
    }

    /// Makes the file, whole, if there is none; false if there is one by now. It is never replaced.
    pub(super) fn create(&self, bytes: &[u8]) -> Result<bool, VaultError> {
        let io = || VaultError::io("write", &self.path);
        let mut prefix = OsString::from(".");
        prefix.push(&self.name);
        prefix.push(".");
        // Many may be about to make it: each has a temporary file of its own, of mode 0600.
        let mut temporary = tempfile::Builder::new()
            .prefix(&prefix)
            .suffix(TEMPORARY)
            .tempfile_in(&self.folder)
            .map_err(io())?;
        temporary.write_all(bytes).map_err(io())?;
        temporary.as_file().sync_all().map_err(io())?;
        match temporary.persist_noclobber(&self.path) {
            Ok(_) => self.sync_folder().map(|()| true),
            Err(refused) if refused.error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(refused) => Err(io()(refused.error)),
        }
    }

    /// Replaces the file, or makes it: whatever happens, either the old or the new one is there.
    ///
    /// After [`VaultError::NotDurable`] it is the new one, and after any other error the old one.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), VaultError> {
        self.write_in_steps(bytes, |_| {})
    }

    pub(super) fn write_in_steps(
        &self,
        bytes: &[u8],
        mut done: impl FnMut(Step),
    ) -> Result<(), VaultError> {
        let temporary = self.temporary();
        let written = self.write_temporary(&temporary, bytes, &mut done).and_then(|()| {
            let renamed = fs::rename(&temporary, &self.path);
            renamed.map_err(VaultError::io("replace", &self.path))
        });
        if written.is_err() {
            // Whether that works or not: the next start removes it.
            let _ = fs::remove_file(&temporary);
            return written;
        }
        done(Step::Renamed);
        self.sync_folder()?;
        done(Step::Lasting);
        Ok(())
    }

    fn write_temporary(
        &self,
        temporary: &Path,
        bytes: &[u8],
        done: &mut impl FnMut(Step),
    ) -> Result<(), VaultError> {
        let io = || VaultError::io("write", temporary);
        self.remove_temporary()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mut file = private(&mut options).open(temporary).map_err(io())?;
        done(Step::Made);
        let (first, second) = bytes.split_at(bytes.len() / 2);
        file.write_all(first).map_err(io())?;
        done(Step::Half);
        file.write_all(second).map_err(io())?;
        done(Step::Written);
        file.sync_all().map_err(io())?;
        done(Step::Synced);
        Ok(())
    }

    /// Removes what a process that was killed may have left.
    pub(super) fn remove_temporary(&self) -> Result<(), VaultError> {
        let temporary = self.temporary();
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(VaultError::io("remove", &temporary)(error))
            }
            _ => Ok(()),
        }
    }

    /// The new name, too, is to survive a power failure.
    pub(super) fn sync_folder(&self) -> Result<(), VaultError> {
        sync(&self.folder).map_err(|error| VaultError::NotDurable {
            path: self.path.clone(),
            message: error.to_string(),
        })
    }
}

/// Makes folders that only their owner may use, each of them to survive a power failure.
pub(super) fn make_folders(folder: &Path, mut synced: impl FnMut(&Path)) -> Result<(), VaultError> {
    let mut missing: Vec<_> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
    // Behind the first part of a relative path comes an empty one, which is where we are.
    missing.retain(|folder| !folder.as_os_str().is_empty());
    for folder in missing.into_iter().rev() {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(folder) {
            // Somebody was faster, or it is `..`.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            made => made.map_err(VaultError::io("make the folder", folder))?,
        }
        let parent = folder_of(folder);
        sync(parent).map_err(VaultError::io("write the folder", parent))?;
        synced(parent);
    }
    Ok(())
}

#[cfg(unix)]
fn sync(folder: &Path) -> std::io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Refuses a name that is olmcast's own.
fn refuse_reserved(path: &Path) -> Result<(), VaultError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let is_reserved = name.starts_with('.') && (name.ends_with(TEMPORARY) || name.ends_with(LOCK));
    if is_reserved { Err(VaultError::Reserved(path.to_owned())) } else { Ok(()) }
}

/// How far a write has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Made,
    Half,
    Written,
    Synced,
    Renamed,
    Lasting,
}

/// Makes files that only their owner may use, and follows no link that somebody put in the place of
/// one: links that the user made were resolved before.
pub(super) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600).custom_flags(libc::O_NOFOLLOW);
    }
    options
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
    process, thread,
    time::Duration,
};

use super::{Holder, VaultError, file};

/// A holder that is just starting or ending gets this long to say who it is, or to be gone.
const MOMENT: Duration = Duration::from_millis(20);
/// What is read of a lock file.
const MAX_HOLDER: u64 = 512;

/// Nobody else has the vault. The operating system gives it back when this process ends, however
/// that happens.
///
/// The file stays: were it removed, two processes might each lock one of that name. It says who has
/// the vault, so that the next one can name it. One that says something else is not ours: it is
/// locked, and not written to.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    is_ours: bool,
}

impl Lock {
    pub(super) fn take(path: &Path, vault: &Path) -> Result<Self, VaultError> {
        let io = || VaultError::io("lock", path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut lock = file::private(&mut options).open(path).map_err(io())?;
        if !try_lock(&lock).map_err(io())? {
            thread::sleep(MOMENT);
            if !try_lock(&lock).map_err(io())? {
                let (path, holder) = (vault.to_owned(), holder(&mut lock));
                return Err(VaultError::Locked { path, holder });
            }
        }
        let is_ours = is_ours(&mut lock);
        if is_ours {
            // If it cannot be said who has it, it is locked nevertheless.
            let _ = say(&mut lock);
        }
        Ok(Self { file: lock, is_ours })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = self.file.set_len(0);
        }
    }
}

fn try_lock(file: &File) -> std::io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether it is empty, or says something like what [`say`] writes.
fn is_ours(file: &mut File) -> bool {
    let mut text = String::new();
    if file.take(MAX_HOLDER + 1).read_to_string(&mut text).is_err() {
        return false;
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let (pid, program) = line.split_once(' ').unwrap_or((line, ""));
    let is_pid = pid.parse::<u32>().is_ok() && pid.bytes().all(|byte| byte.is_ascii_digit());
    text.is_empty() || (is_pid && !program.chars().any(char::is_control))
}

fn say(file: &mut File) -> std::io::Result<()> {
    let program = std::env::current_exe().unwrap_or_default();
    let program = program.file_name().unwrap_or_default().to_string_lossy();
    let program: String = program.chars().filter(|c| !c.is_control()).take(64).collect();
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(format!("{} {program}\n", process::id()).as_bytes())
}

/// Who says that it has the lock. Where locks are mandatory, the file cannot be read.
fn holder(file: &mut File) -> Holder {
    let mut text = String::new();
    if file.rewind().is_err() || file.take(MAX_HOLDER).read_to_string(&mut text).is_err() {
        return Holder::default();
    }
    let (pid, program) = text.trim_end().split_once(' ').unwrap_or((text.trim_end(), ""));
    let program: String = program.chars().filter(|c| !c.is_control()).collect();
    Holder { pid: pid.parse().ok(), program: Some(program).filter(|name| !name.is_empty()) }
}

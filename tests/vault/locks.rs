//! One process at a time.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use olmcast::client::{Unlock, Vault, VaultError};

use crate::process::{Process, say, wait_for_the_end, works_on};

/// How soon a second process must be refused.
const AT_ONCE: Duration = Duration::from_millis(100);

fn unlock(folder: &Path) -> Unlock {
    Unlock::key_file(folder.join("key"))
}

#[test]
#[ignore = "the other tests run it, in a process of its own"]
fn the_holder() {
    let folder = works_on();
    let vault = Vault::load_or_create(folder.join("vault"), &unlock(&folder)).unwrap();
    say(&vault.identity().device().to_string());
    wait_for_the_end();
}

#[test]
fn the_second_process_is_refused_at_once_and_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let mut holder = Process::start("locks::the_holder", folder.path());
    let device = holder.heard().expect("it holds the vault");
    let before = std::fs::read(&path).unwrap();
    let program = std::env::current_exe().unwrap().file_name().unwrap().to_owned();
    // With a passphrase, that would have to be worked out, and is not.
    for unlock in [unlock(folder.path()), Unlock::passphrase("whatever it is")] {
        for create in [true, false, true] {
            let started = Instant::now();
            let refused = if create {
                Vault::load_or_create(&path, &unlock)
            } else {
                Vault::open(&path, &unlock)
            };
            let took = started.elapsed();
            let error = refused.unwrap_err();
            assert!(took < AT_ONCE, "{took:?}");
            let text = error.to_string();
            let VaultError::Locked { holder: named, .. } = error else { panic!("{error:?}") };
            assert_eq!(named.pid, Some(holder.child.id()));
            assert_eq!(named.program.as_deref(), program.to_str());
            assert!(text.contains(&holder.child.id().to_string()), "{text}");
        }
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);

    // Who was killed holds nothing.
    holder.kill();
    let started = Instant::now();
    let vault = Vault::open(&path, &unlock(folder.path())).unwrap();
    assert!(started.elapsed() < AT_ONCE);
    assert_eq!(vault.identity().device().to_string(), device);
}

#[test]
fn within_a_process_there_is_one_as_well_until_it_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let (path, unlock) = (folder.path().join("vault"), unlock(folder.path()));
    let vault = Vault::load_or_create(&path, &unlock).unwrap();
    let error = Vault::open(&path, &unlock).unwrap_err();
    let VaultError::Locked { holder, .. } = error else { panic!("{error:?}") };
    assert_eq!(holder.pid, Some(std::process::id()));
    drop(vault);
    assert!(Vault::open(&path, &unlock).is_ok());
}

#[test]
#[cfg(unix)]
fn by_another_name_it_is_the_same_vault() {
    let folder = tempfile::tempdir().unwrap();
    let (path, unlock) = (folder.path().join("vault"), unlock(folder.path()));
    let link = folder.path().join("another name");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let dangling = Vault::load_or_create(&link, &unlock).unwrap_err();
    assert!(matches!(dangling, VaultError::NotAFile(_)), "{dangling:?}");
    let mut vault = Vault::load_or_create(&path, &unlock).unwrap();
    let device = vault.identity().device();
    assert!(matches!(Vault::open(&link, &unlock), Err(VaultError::Locked { .. })));
    vault.update(|identity| identity.set_name("Ada")).unwrap();
    drop(vault);
    let mut vault = Vault::load_or_create(&link, &unlock).unwrap();
    assert_eq!((vault.identity().device(), vault.identity().name()), (device, "Ada"));
    assert!(matches!(Vault::open(&path, &unlock), Err(VaultError::Locked { .. })));
    // The link stays a link when what it shows is replaced.
    vault.update(|identity| identity.set_name("Eve")).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    drop(vault);
    assert_eq!(Vault::open(&path, &unlock).unwrap().identity().name(), "Eve");
}

#[test]
#[cfg(unix)]
fn no_file_of_somebody_else_is_written_through_a_link() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (path, unlock) = (folder.path().join("vault"), unlock(other.path()));
    let precious = other.path().join("precious");
    std::fs::write(&precious, "precious").unwrap();
    for name in [".vault.olmcast-lock", ".vault.olmcast-tmp"] {
        std::os::unix::fs::symlink(&precious, folder.path().join(name)).unwrap();
    }
    let refused = Vault::load_or_create(&path, &unlock).unwrap_err();
    assert!(matches!(refused, VaultError::Io { .. }), "{refused:?}");
    std::fs::remove_file(folder.path().join(".vault.olmcast-lock")).unwrap();
    Vault::load_or_create(&path, &unlock).unwrap();
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
}

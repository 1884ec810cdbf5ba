//! What lies beside a vault is somebody else's.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    sync::Barrier,
    thread,
};

use olmcast::client::{Unlock, Vault, VaultError};

use crate::process::{Process, say, wait_for_the_end, works_on};

fn unlock(folder: &Path) -> Unlock {
    Unlock::key_file(folder.join("key"))
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn vaults_with_similar_names_leave_each_other_alone() {
    let folder = tempfile::tempdir().unwrap();
    let unlock = unlock(folder.path());
    let similar =
        ["id", "id.new", "id.lock", "id.tmp", ".id", "id~"].map(|n| folder.path().join(n));
    // All of them are in use while the others are opened and written.
    let mut open: Vec<_> =
        similar.iter().map(|path| Vault::load_or_create(path, &unlock).unwrap()).collect();
    let devices: Vec<_> = open.iter().map(|vault| vault.identity().device()).collect();
    for vault in &mut open {
        vault.update(|identity| identity.set_name("Ada")).unwrap();
    }
    drop(open);
    for (path, device) in similar.iter().zip(devices) {
        // With the wrong key as well.
        let wrong = Unlock::passphrase("open sesame");
        assert!(matches!(Vault::load_or_create(path, &wrong), Err(VaultError::Seal { .. })));
        let vault = Vault::open(path, &unlock).unwrap();
        assert_eq!((vault.identity().device(), vault.identity().name()), (device, "Ada"));
    }
}

#[test]
fn files_beside_a_vault_and_its_key_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let others = ["vault.new", "vault.lock", "vault.tmp", "key.new", "key.lock", "key.tmp"];
    for name in others {
        fs::write(folder.path().join(name), name).unwrap();
    }
    let path = folder.path().join("vault");
    for _ in 0..2 {
        let mut vault = Vault::load_or_create(&path, &unlock(folder.path())).unwrap();
        vault.update(|identity| identity.set_name("Ada")).unwrap();
    }
    for name in others {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), name);
    }
}

#[test]
fn a_key_file_may_have_any_name_but_the_vaults() {
    for name in ["vault.new", "vault.lock", "vault.tmp", ".vault"] {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("vault"), folder.path().join(name));
        for _ in 0..2 {
            let mut vault = Vault::load_or_create(&path, &Unlock::key_file(&key)).unwrap();
            vault.update(|identity| identity.set_name("Ada")).unwrap();
        }
        assert_eq!(fs::metadata(&key).unwrap().len(), 45, "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/vault");
    let same = [path.clone(), folder.path().join("deep/../deep/vault")];
    for key in &same {
        let refused = Vault::load_or_create(&path, &Unlock::key_file(key)).unwrap_err();
        assert!(refused.to_string().contains("key file"), "{refused}");
        assert!(!path.exists());
    }
    // One that is there already is no key either.
    drop(Vault::load_or_create(&path, &unlock(folder.path())).unwrap());
    let before = fs::read(&path).unwrap();
    for key in &same {
        let refused = Vault::open(&path, &Unlock::key_file(key)).unwrap_err();
        assert!(refused.to_string().contains("another"), "{refused}");
    }
    #[cfg(unix)]
    {
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let refused = Vault::load_or_create(&link, &Unlock::key_file(&path)).unwrap_err();
        assert!(refused.to_string().contains("another"), "{refused}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn the_names_that_olmcast_uses_for_itself_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in [".vault.olmcast-tmp", ".key.olmcast-lock", ".vault.OLMCAST-TMP", ".olmcast-lock"] {
        let reserved = folder.path().join(name);
        for (path, key) in [
            (reserved.clone(), folder.path().join("key")),
            (folder.path().join("other"), reserved.clone()),
        ] {
            let unlock = Unlock::key_file(&key);
            let refused = Vault::load_or_create(&path, &unlock).unwrap_err();
            assert!(refused.to_string().contains("take another name"), "{refused}");
            assert!(!path.exists() && !key.exists());
        }
    }
    #[cfg(unix)]
    {
        drop(Vault::load_or_create(folder.path().join("vault"), &unlock(folder.path())).unwrap());
        let link = folder.path().join(".vault.olmcast-tmp");
        std::os::unix::fs::symlink(folder.path().join("vault"), &link).unwrap();
        let refused = Vault::open(&link, &unlock(folder.path())).unwrap_err();
        assert!(refused.to_string().contains("take another name"), "{refused}");
    }
}

/// Whatever took the name of the lock is locked, and not written to.
#[test]
fn a_lock_file_with_something_else_in_it_is_only_locked() {
    let folder = tempfile::tempdir().unwrap();
    let (path, lock) = (folder.path().join("vault"), folder.path().join(".vault.olmcast-lock"));
    for precious in ["precious", "12 monkeys\nand more", "-1 x\n", "\u{0}"] {
        fs::write(&lock, precious).unwrap();
        let vault = Vault::load_or_create(&path, &unlock(folder.path())).unwrap();
        let locked = Vault::open(&path, &unlock(folder.path()));
        assert!(matches!(locked, Err(VaultError::Locked { .. })));
        drop(vault);
        assert_eq!(fs::read_to_string(&lock).unwrap(), precious);
    }
    // One of ours, of a process that was killed while it wrote.
    for ours in ["", "1", "12 ", "4194304 olmcast-test of mine\n"] {
        fs::write(&lock, ours).unwrap();
        drop(Vault::open(&path, &unlock(folder.path())).unwrap());
        assert_eq!(fs::read_to_string(&lock).unwrap(), "");
    }
}

/// The next vault of a process that was killed is looked at, and perhaps saved, by its owner.
#[test]
fn what_a_killed_process_left_stays_until_the_vault_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (path, left) = (folder.path().join("vault"), folder.path().join(".vault.olmcast-tmp"));
    drop(Vault::load_or_create(&path, &unlock(folder.path())).unwrap());
    fs::write(&left, "a beginning").unwrap();
    Vault::open(&path, &Unlock::passphrase("open sesame")).unwrap_err();
    assert!(left.exists());
    drop(Vault::open(&path, &unlock(folder.path())).unwrap());
    assert!(!left.exists());
    assert_eq!(names(folder.path()), [".vault.olmcast-lock", "key", "vault"]);
}

#[test]
#[ignore = "another test runs it, many times at once"]
fn the_service() {
    let path = works_on();
    say("up");
    wait_for_the_end();
    let unlock = unlock(path.parent().unwrap());
    let vault = Vault::load_or_create(&path, &unlock).unwrap();
    say(&vault.identity().device().to_string());
}

/// All vaults of a folder open with the one key that is there, and nothing else is left.
fn assert_one_key(folder: &Path, vaults: &[PathBuf]) {
    for path in vaults {
        Vault::open(path, &unlock(folder)).unwrap_or_else(|error| panic!("{error}"));
    }
    let allowed = |name: &String| {
        name == "key" || name.starts_with("vault") || name.ends_with(".olmcast-lock")
    };
    let names = names(folder);
    assert!(names.iter().all(allowed), "{names:?}");
}

#[test]
fn services_that_start_at_once_share_one_key_file() {
    const SERVICES: usize = 8;
    for _ in 0..10 {
        let folder = tempfile::tempdir().unwrap();
        let vaults: Vec<_> =
            (0..SERVICES).map(|n| folder.path().join(format!("vault{n}"))).collect();
        let mut services: Vec<_> =
            vaults.iter().map(|path| Process::start("beside::the_service", path)).collect();
        for service in &mut services {
            assert_eq!(service.heard().as_deref(), Some("up"));
        }
        services.iter_mut().for_each(Process::go_on);
        let devices: HashSet<_> = services.iter_mut().map(|service| service.heard()).collect();
        assert_eq!(devices.len(), SERVICES);
        assert_one_key(folder.path(), &vaults);
    }
}

#[test]
fn threads_that_start_at_once_share_one_key_file() {
    const THREADS: usize = 16;
    for _ in 0..100 {
        let folder = tempfile::tempdir().unwrap();
        let vaults: Vec<_> =
            (0..THREADS).map(|n| folder.path().join(format!("vault{n}"))).collect();
        let (start, folder) = (&Barrier::new(THREADS), folder.path());
        thread::scope(|scope| {
            for path in &vaults {
                scope.spawn(move || {
                    start.wait();
                    Vault::load_or_create(path, &unlock(folder)).unwrap();
                });
            }
        });
        assert_one_key(folder, &vaults);
    }
}

/// By another name for the same file it would have another lock, and a copy of its own after the
/// next write.
#[test]
#[cfg(unix)]
fn a_vault_with_two_hard_links_is_refused_until_one_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("vault"), folder.path().join("link"));
    let vault = Vault::load_or_create(&path, &unlock(folder.path())).unwrap();
    fs::hard_link(&path, &link).unwrap();
    let refused = Vault::open(&link, &unlock(folder.path())).unwrap_err();
    assert!(refused.to_string().contains("hard link"), "{refused}");
    drop(vault);
    for path in [&path, &link] {
        let refused = Vault::load_or_create(path, &unlock(folder.path())).unwrap_err();
        assert!(refused.to_string().contains("hard link"), "{refused}");
    }
    fs::remove_file(&link).unwrap();
    let mut vault = Vault::open(&path, &unlock(folder.path())).unwrap();
    // Who replaces it leaves no second one.
    vault.update(|identity| identity.set_name("Ada")).unwrap();
    drop(vault);
    assert!(Vault::open(&path, &unlock(folder.path())).is_ok());
}

#[test]
#[cfg(unix)]
fn a_folder_that_others_can_change_is_refused_with_what_to_do() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let folder = fs::canonicalize(parent.path()).unwrap().join("folder");
    fs::create_dir(&folder).unwrap();
    let set = |mode| fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    let (path, unlock) = (folder.join("vault"), unlock(parent.path()));
    for mode in [0o777, 0o757, 0o702, 0o773] {
        set(mode);
        let refused = Vault::load_or_create(&path, &unlock).unwrap_err().to_string();
        let advice = format!("chmod o-w {}", folder.display());
        assert!(refused.contains(&advice) && refused.contains(&format!("{mode:o}")), "{refused}");
        assert_eq!(names(&folder), [""; 0]);
    }
    for mode in [0o755, 0o750, 0o700, 0o775, 0o720, 0o1777, 0o1775] {
        set(mode);
        assert!(Vault::load_or_create(&path, &unlock).is_ok(), "{mode:o}");
    }
    set(0o777);
    assert!(Vault::open(&path, &unlock).is_err());
}

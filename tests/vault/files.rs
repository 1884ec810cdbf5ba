//! What the files are, and what is said of those that are wrong.

use std::{
    fs,
    path::{Path, PathBuf},
};

use olmcast::{
    client::{Unlock, Vault, VaultError},
    device::{Cost, SealError},
};

const CHEAP: Cost = Cost { memory: 8, passes: 1, lanes: 1 };

struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
    key: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("vault"), folder.path().join("key"));
        Self { _folder: folder, path, key }
    }

    fn unlock(&self) -> Unlock {
        Unlock::key_file(&self.key)
    }

    /// What both ways of opening it say, without changing anything.
    fn error(&self, unlock: &Unlock) -> VaultError {
        let before = fs::read(&self.path).ok();
        let error = Vault::load_or_create(&self.path, unlock).unwrap_err();
        assert_eq!(Vault::open(&self.path, unlock).unwrap_err(), error);
        assert_eq!(fs::read(&self.path).ok(), before, "nothing changed");
        error
    }

    fn seal_error(&self, unlock: &Unlock) -> SealError {
        match self.error(unlock) {
            VaultError::Seal { error, .. } => error,
            other => panic!("{other:?}"),
        }
    }

    fn write(&self, bytes: &[u8]) {
        // The file stays the one that it was, with its mode.
        fs::write(&self.path, bytes).unwrap();
    }
}

fn words(words: &str) -> Unlock {
    Unlock::passphrase_at(words, CHEAP)
}

#[test]
fn a_device_is_the_same_at_each_start() {
    for unlock in [words("open sesame"), Unlock::key_file(Place::new().key)] {
        let place = Place::new();
        let mut vault = Vault::load_or_create(&place.path, &unlock).unwrap();
        let device = vault.identity().device();
        vault.update(|identity| identity.set_name("Ada")).unwrap();
        drop(vault);
        for _ in 0..3 {
            let vault = Vault::load_or_create(&place.path, &unlock).unwrap();
            assert_eq!(vault.identity().device(), device);
            assert_eq!(vault.identity().name(), "Ada");
        }
    }
}

#[test]
fn each_kind_of_damage_has_an_error_of_its_own_and_changes_nothing() {
    let place = Place::new();
    drop(Vault::load_or_create(&place.path, &words("open sesame")).unwrap());
    let whole = fs::read(&place.path).unwrap();
    let right = words("open sesame");
    for at in (0..whole.len()).step_by(61) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        place.write(&damaged);
        assert_eq!(place.seal_error(&right), SealError::Damaged, "byte {at}");
    }
    for length in (0..whole.len()).step_by(61) {
        place.write(&whole[..length]);
        assert_eq!(place.seal_error(&right), SealError::CutShort, "{length} bytes");
    }
    let mut later = whole.clone();
    later[9] = 2;
    let end = later.len() - 32;
    let checksum = <sha2::Sha256 as sha2::Digest>::digest(&later[..end]);
    later[end..].copy_from_slice(&checksum);
    place.write(&later);
    assert_eq!(place.seal_error(&right), SealError::Version(2));

    place.write(&whole);
    assert_eq!(place.seal_error(&words("open sesamy")), SealError::WrongPassphrase);
    let other = Place::new();
    drop(Vault::load_or_create(&other.path, &other.unlock()).unwrap());
    assert_eq!(place.seal_error(&other.unlock()), SealError::NeedsPassphrase);
    assert_eq!(other.seal_error(&right), SealError::NeedsKey);
    let third = Place::new();
    drop(Vault::load_or_create(&third.path, &third.unlock()).unwrap());
    assert_eq!(other.seal_error(&third.unlock()), SealError::WrongKey);
    assert!(Vault::open(&place.path, &right).is_ok());
    assert_eq!(
        Place::new().error_of_new(&words("")),
        VaultError::Seal { path: PathBuf::new(), error: SealError::EmptyPassphrase }
    );
}

impl Place {
    fn error_of_new(&self, unlock: &Unlock) -> VaultError {
        let error = Vault::load_or_create(&self.path, unlock).unwrap_err();
        assert!(!self.path.exists());
        match error {
            VaultError::Seal { error, .. } => VaultError::Seal { path: PathBuf::new(), error },
            other => other,
        }
    }
}

#[test]
fn a_vault_that_is_not_there_is_made_only_if_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("vault"), folder.path().join("deep/down/vault")] {
        let missing = Vault::open(&path, &words("open sesame")).unwrap_err();
        assert_eq!(missing, VaultError::NotFound(path));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "not even a lock");
}

#[test]
fn a_key_file_is_made_with_its_vault_and_never_again() {
    let place = Place::new();
    let device = {
        let vault = Vault::load_or_create(&place.path, &place.unlock()).unwrap();
        vault.identity().device()
    };
    let text = fs::read_to_string(&place.key).unwrap();
    assert_eq!((text.len(), text.ends_with('\n')), (45, true));

    // As an editor, or a mail, may give it back.
    for form in [text.trim_end().to_owned(), text.replace('\n', "\r\n")] {
        fs::write(&place.key, form).unwrap();
        assert!(Vault::open(&place.path, &place.unlock()).is_ok());
    }
    for wrong in ["", "\n", &text[..43], &format!("{}{text}", &text[..44]), &"!".repeat(44)] {
        fs::write(&place.key, wrong).unwrap();
        assert!(matches!(place.error(&place.unlock()), VaultError::KeyFile(_)), "{wrong:?}");
    }
    fs::remove_file(&place.key).unwrap();
    for key in [place.key.clone(), place.key.with_file_name("deep").join("key")] {
        let missing = place.error(&Unlock::key_file(&key));
        assert!(matches!(missing, VaultError::KeyFileMissing { .. }), "{missing:?}");
        assert!(!key.exists(), "a new key would open nothing");
    }
    fs::write(&place.key, &text).unwrap();
    // It is exposed now, as files are that are written without care.
    #[cfg(unix)]
    set_mode(&place.key, 0o600);
    let vault = Vault::load_or_create(&place.path, &place.unlock()).unwrap();
    assert_eq!(vault.identity().device(), device);

    // One that is there already is used for a new vault.
    let other = Place::new();
    drop(Vault::load_or_create(&other.path, &place.unlock()).unwrap());
    assert_eq!(fs::read_to_string(&place.key).unwrap(), text);
    assert!(Vault::open(&other.path, &place.unlock()).is_ok());
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
#[cfg(unix)]
fn only_the_owner_may_use_what_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (vaults, keys) = (folder.path().join("a/b"), folder.path().join("c/d"));
    let (path, key) = (vaults.join("vault"), keys.join("key"));
    let mut vault = Vault::load_or_create(&path, &Unlock::key_file(&key)).unwrap();
    for _ in 0..2 {
        for made in [&vaults, &keys, &folder.path().join("a"), &folder.path().join("c")] {
            assert_eq!(mode(made), 0o700, "{}", made.display());
        }
        for made in [&path, &key, &vaults.join(".vault.olmcast-lock")] {
            assert_eq!(mode(made), 0o600, "{}", made.display());
        }
        vault.update(|identity| identity.set_name("Ada")).unwrap();
    }
    // A folder that was there is the user's business.
    let open = folder.path().join("open");
    fs::create_dir(&open).unwrap();
    set_mode(&open, 0o755);
    drop(Vault::load_or_create(open.join("vault"), &words("open sesame")).unwrap());
    assert_eq!(mode(&open), 0o755);
}

#[test]
#[cfg(unix)]
fn files_that_others_can_use_are_refused_with_what_to_do() {
    let place = Place::new();
    drop(Vault::load_or_create(&place.path, &place.unlock()).unwrap());
    for exposed in [&place.path, &place.key] {
        for bits in [0o640, 0o604, 0o660, 0o602, 0o610, 0o644, 0o777] {
            set_mode(exposed, bits);
            let error = place.error(&place.unlock());
            let true_path = fs::canonicalize(exposed).unwrap();
            assert_eq!(error, VaultError::Exposed { path: true_path.clone(), mode: bits });
            let text = error.to_string();
            let advice = format!("chmod 600 {}", true_path.display());
            assert!(text.contains(&advice) && text.contains(&format!("{bits:o}")), "{text}");
        }
        set_mode(exposed, 0o400);
        assert!(Vault::open(&place.path, &place.unlock()).is_ok());
        set_mode(exposed, 0o600);
    }
}

#[test]
fn what_is_no_file_is_no_vault() {
    let folder = tempfile::tempdir().unwrap();
    let unlock = words("open sesame");
    let is_refused = |path: &Path| {
        let error = Vault::load_or_create(path, &unlock).unwrap_err();
        assert!(matches!(error, VaultError::NotAFile(_) | VaultError::Io { .. }), "{error:?}");
    };
    is_refused(folder.path());
    is_refused(Path::new("/"));
    is_refused(Path::new(".."));
    is_refused(Path::new(""));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    is_refused(&file.join("vault"));
}

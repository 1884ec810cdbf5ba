//! Each step of a write, and writes that fail.

use std::{fs, path::PathBuf, time::Duration};

use tokio::{sync::broadcast, time::timeout};

use super::{
    file::{Place, Step, make_folders},
    *,
};
use crate::{client::ClientEvent, device::SealingKey, primitives::SigningForm};

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// All that lies in a folder.
fn image(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path: PathBuf| {
            (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[cfg(unix)]
fn assert_private(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
}

/// What a crash after any step leaves: the old vault or the new one, whole, and beside it nothing
/// but a beginning of the new one's sealed bytes and the name of this process.
#[test]
#[cfg(unix)]
fn at_no_step_of_a_write_there_is_anything_on_disk_but_sealed_bytes() {
    let folder = folder();
    let path = folder.path().join("vault");
    let key = SealingKey::generate().unwrap();
    let mut identity = Identity::generate();
    identity.seal_with(&key).unwrap();
    let old = identity.sealed().unwrap();
    let new = identity.sealed().unwrap();
    let store = Store::lock(Place::make(&path).unwrap()).unwrap();
    store.write(&old).unwrap();
    let mut steps = Vec::new();
    let done = |step| {
        steps.push(step);
        assert_private(folder.path());
        let mut image = image(folder.path());
        let (name, holder) = image.remove(0);
        assert_eq!(name, ".vault.olmcast-lock");
        assert!(holder.starts_with(std::process::id().to_string().as_bytes()));
        let (name, vault) = image.pop().unwrap();
        assert_eq!(name, "vault");
        let is_replaced = matches!(step, Step::Renamed | Step::Lasting);
        assert_eq!(vault, if is_replaced { new.clone() } else { old.clone() });
        if is_replaced {
            assert!(image.is_empty());
        } else {
            let [(name, temporary)] = &image[..] else { panic!("{image:?}") };
            assert_eq!(name, ".vault.olmcast-tmp");
            assert!(new.starts_with(temporary));
            assert_eq!(temporary.len() < new.len(), matches!(step, Step::Made | Step::Half));
        }
    };
    store.place.write_in_steps(&new, done).unwrap();
    let all = [Step::Made, Step::Half, Step::Written, Step::Synced, Step::Renamed, Step::Lasting];
    assert_eq!(steps, all);
    drop(store);
    assert_eq!(
        image(folder.path()),
        [(".vault.olmcast-lock".into(), vec![]), ("vault".into(), new)]
    );
}

#[test]
fn what_a_killed_process_left_is_removed_at_the_next_start() {
    let folder = folder();
    let path = folder.path().join("vault");
    let unlock = Unlock::key_file(folder.path().join("key"));
    let device = Vault::load_or_create(&path, &unlock).unwrap().identity().device();
    fs::write(folder.path().join(".vault.olmcast-tmp"), "a beginning").unwrap();
    fs::write(folder.path().join(".vault.olmcast-lock"), "1 init\n").unwrap();
    let vault = Vault::open(&path, &unlock).unwrap();
    assert_eq!(vault.identity().device(), device);
    assert!(!folder.path().join(".vault.olmcast-tmp").exists());
}

#[test]
fn a_change_that_cannot_be_written_is_no_change() {
    let folder = folder();
    let path = folder.path().join("vault");
    let unlock = Unlock::key_file(folder.path().join("key"));
    let mut vault = Vault::load_or_create(&path, &unlock).unwrap();
    vault.update(|identity| identity.set_name("Ada")).unwrap();
    let before = fs::read(&path).unwrap();
    // Stands for a disk that refuses.
    fs::create_dir_all(folder.path().join(".vault.olmcast-tmp/full")).unwrap();
    let stranger = Identity::generate().device();
    let refused = vault.update(|identity| {
        identity.set_name("Eve");
        identity.memory_mut().block(stranger);
    });
    assert!(matches!(refused, Err(VaultError::Io { .. })), "{refused:?}");
    assert_eq!(vault.identity().name(), "Ada");
    assert_eq!(vault.identity().memory().trust().iter().count(), 0);
    assert_eq!(fs::read(&path).unwrap(), before);
    fs::remove_dir_all(folder.path().join(".vault.olmcast-tmp")).unwrap();
    vault.update(|identity| identity.memory_mut().block(stranger)).unwrap();
    drop(vault);
    let vault = Vault::open(&path, &unlock).unwrap();
    assert_eq!(vault.identity().name(), "Ada");
    assert_eq!(vault.identity().memory().trust().iter().count(), 1);
}

/// What the disk has is what the process goes on with, even if it is not known to last.
#[test]
fn a_change_that_is_written_but_perhaps_not_durable_is_a_change() {
    let folder = folder();
    let (there, away) = (folder.path().join("there"), folder.path().join("away"));
    let path = there.join("vault");
    let unlock = Unlock::key_file(folder.path().join("key"));
    let mut vault = Vault::load_or_create(&path, &unlock).unwrap();
    let change = |identity: &mut Identity| identity.set_name("Ada");
    // A folder that is gone cannot be written out.
    let write = |store: &Store, sealed: &[u8]| {
        let step = |step| {
            if step == Step::Renamed {
                fs::rename(&there, &away).unwrap();
            }
        };
        store.place.write_in_steps(sealed, step)
    };
    let unsure = vault.update_with(change, write).unwrap_err();
    assert!(matches!(unsure, VaultError::NotDurable { .. }), "{unsure:?}");
    assert!(unsure.to_string().contains("is written"), "{unsure}");
    assert_eq!(vault.identity().name(), "Ada");
    fs::rename(&away, &there).unwrap();
    drop(vault);
    let mut vault = Vault::open(&path, &unlock).unwrap();
    assert_eq!(vault.identity().name(), "Ada");
    vault.update(|identity| identity.set_name("Eve")).unwrap();
}

#[test]
fn no_update_makes_a_vault_another_device() {
    let folder = folder();
    let path = folder.path().join("vault");
    let unlock = Unlock::key_file(folder.path().join("key"));
    let mut kept = Vault::load_or_create(&path, &unlock).unwrap();
    kept.update(|identity| identity.set_name("Ada")).unwrap();
    let before = fs::read(&path).unwrap();
    for vault in [&mut kept, &mut Vault::from(Identity::generate().with_name("Ada"))] {
        let (device, form) = (
            vault.identity().device(),
            SigningForm { kind: "test", room: None, recipient: None, payload: b"" },
        );
        let refused = vault.update(|identity| {
            *identity = Identity::generate().with_name("Eve");
            identity.seal_with(&SealingKey::generate().unwrap()).unwrap();
        });
        assert_eq!(refused, Err(VaultError::OtherDevice));
        assert_eq!((vault.identity().device(), vault.identity().name()), (device, "Ada"));
        let signature = vault.identity().signer().sign(form);
        assert_eq!(form.verify(&device, &signature), Ok(()), "with the keys that it had");
    }
    assert_eq!(fs::read(&path).unwrap(), before);
    kept.update(|identity| identity.set_name("Eve")).unwrap();
    let device = kept.identity().device();
    drop(kept);
    let vault = Vault::open(&path, &unlock).unwrap();
    assert_eq!((vault.identity().device(), vault.identity().name()), (device, "Eve"));
}

#[test]
fn each_folder_that_is_made_is_written_out_in_the_one_above() {
    let folder = folder();
    let top = folder.path();
    let synced = |path: &str| {
        let mut synced = Vec::new();
        make_folders(&top.join(path), |folder| synced.push(folder.to_owned())).unwrap();
        synced
    };
    assert_eq!(synced("a/b/c"), [top.to_owned(), top.join("a"), top.join("a/b")]);
    assert_eq!(synced("a/b/d"), [top.join("a/b")]);
    assert_eq!(synced("a/b"), [""; 0].map(PathBuf::from));
    assert_eq!(synced("x/../y"), [top.to_owned(), top.join("x"), top.join("x/..")]);
    fs::write(top.join("file"), "").unwrap();
    assert!(make_folders(&top.join("file/a"), |_| {}).is_err());
}

struct Stage {
    folder: tempfile::TempDir,
    keeper: Keeper,
    kept: Kept,
    events: broadcast::Receiver<ClientEvent>,
    sealed: Vec<Vec<u8>>,
    _sender: broadcast::Sender<ClientEvent>,
}

impl Stage {
    fn new() -> Self {
        let folder = folder();
        let mut identity = Identity::generate();
        identity.seal_with(&SealingKey::generate().unwrap()).unwrap();
        let sealed: Vec<_> = (0..4).map(|_| identity.sealed().unwrap()).collect();
        let store = Store::lock(Place::make(&folder.path().join("vault")).unwrap()).unwrap();
        store.write(&sealed[0]).unwrap();
        let (sender, events) = broadcast::channel(16);
        let keeper = Keeper::new(Some(store), sender.downgrade()).unwrap();
        let kept = keeper.kept();
        Self { folder, keeper, kept, events, sealed, _sender: sender }
    }

    fn on_disk(&self) -> usize {
        let bytes = fs::read(self.folder.path().join("vault")).unwrap();
        self.sealed.iter().position(|sealed| *sealed == bytes).unwrap()
    }

    fn break_disk(&self) {
        fs::create_dir_all(self.folder.path().join(".vault.olmcast-tmp/full")).unwrap();
    }

    fn mend_disk(&self) {
        fs::remove_dir_all(self.folder.path().join(".vault.olmcast-tmp")).unwrap();
    }

    fn write(&self, number: usize) {
        self.keeper.write(self.sealed[number].clone());
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn what_was_waited_for_is_on_disk() {
    let stage = Stage::new();
    stage.kept.wait().await.unwrap();
    for number in [1, 2, 3] {
        stage.write(number);
        stage.kept.wait().await.unwrap();
        assert_eq!(stage.on_disk(), number);
    }
    for number in [1, 2, 0, 3] {
        stage.write(number);
    }
    stage.kept.wait().await.unwrap();
    assert_eq!(stage.on_disk(), 3, "the latest wins");
}

#[tokio::test]
async fn a_write_that_fails_is_told_once_and_tried_again_by_itself() {
    let mut stage = Stage::new();
    stage.break_disk();
    stage.write(1);
    assert!(matches!(stage.kept.wait().await, Err(VaultError::Io { .. })));
    assert!(stage.kept.wait().await.is_err(), "nor is it there later");
    stage.write(2);
    assert!(stage.kept.wait().await.is_err());
    assert_eq!(stage.on_disk(), 0);
    let told = timeout(PATIENCE, stage.events.recv()).await.unwrap();
    assert!(matches!(told, Ok(ClientEvent::VaultFailed(VaultError::Io { .. }))), "{told:?}");
    stage.mend_disk();
    timeout(PATIENCE, async {
        // It is on disk a moment before the folder is, and then it counts.
        while stage.kept.wait().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it was not tried again");
    assert_eq!(stage.on_disk(), 2);
    assert!(stage.events.try_recv().is_err(), "once is enough");
}

#[tokio::test]
async fn a_newer_state_is_tried_at_once_after_a_failure() {
    let stage = Stage::new();
    stage.break_disk();
    // The retries' waits add up to several seconds.
    for _ in 0..4 {
        stage.write(1);
        assert!(stage.kept.wait().await.is_err());
    }
    stage.mend_disk();
    let started = std::time::Instant::now();
    stage.write(2);
    stage.kept.wait().await.unwrap();
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
    assert_eq!(stage.on_disk(), 2);
}

#[tokio::test]
async fn the_last_state_is_written_before_the_vault_is_free() {
    let locked = |stage: &Stage| {
        let place = Place::find(&stage.folder.path().join("vault")).unwrap();
        matches!(Store::lock(place), Err(VaultError::Locked { .. }))
    };
    let mut stage = Stage::new();
    stage.write(1);
    assert!(locked(&stage));
    let keeper = std::mem::replace(&mut stage.keeper, nowhere());
    keeper.finish().await;
    assert_eq!(stage.on_disk(), 1);
    assert!(!locked(&stage));

    // A keeper that is merely dropped, by a runtime that ends, does the same.
    let mut stage = Stage::new();
    stage.write(2);
    drop(std::mem::replace(&mut stage.keeper, nowhere()));
    assert_eq!(stage.on_disk(), 2);
    assert!(!locked(&stage));

    // Even if the disk refuses, it ends.
    let mut stage = Stage::new();
    stage.break_disk();
    stage.write(3);
    drop(std::mem::replace(&mut stage.keeper, nowhere()));
    assert_eq!(stage.on_disk(), 0);
    stage.mend_disk();
    assert!(!locked(&stage));
    assert!(stage.kept.wait().await.is_err());
}

fn nowhere() -> Keeper {
    Keeper::new(None, broadcast::channel(1).0.downgrade()).unwrap()
}

#[test]
fn debug_output_shows_where_and_who_and_no_secret() {
    let folder = folder();
    let unlock = Unlock::key_file(folder.path().join("key"));
    let vault = Vault::load_or_create(folder.path().join("vault"), &unlock).unwrap();
    let path = vault.path().unwrap().to_owned();
    assert_eq!(
        format!("{vault:?}"),
        format!(
            "Vault {{ identity: Identity {{ device: {:?}, .. }}, path: Some({path:?}), .. }}",
            vault.identity().device()
        )
    );
    assert_eq!(format!("{:?}", Unlock::passphrase("open sesame")), "Unlock::Passphrase(..)");
    assert_eq!(format!("{:?}", Unlock::key_file("a")), "Unlock::KeyFile(\"a\")");
}

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use redb::{StorageBackend, backends::InMemoryBackend};

use super::*;
use crate::server::store::conformance::{self, Backend, conformance};

fn commits() -> Histogram {
    Histogram::new([1.0])
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let mut name = [0; 8];
        getrandom::fill(&mut name).unwrap();
        let name = format!("olmcast-redb-{:016x}", u64::from_ne_bytes(name));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> Result<Redb, OpenError> {
        Redb::open(&self.0, Limits::default(), Doorbells::default(), commits())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Backend for Folder {
    async fn start() -> Self {
        Self::new()
    }

    async fn open(&self, limits: Limits, bells: Doorbells) -> Arc<dyn Store> {
        Arc::new(Redb::open(&self.0, limits, bells, commits()).unwrap())
    }
}

conformance!(Folder, durable);

fn mail(text: &[u8]) -> NewMail {
    let device = |n| DeviceId::from_bytes([n; 32]);
    NewMail { from: device(1), to: device(2), stranger: false, bytes: text.into() }
}

async fn hand_in(store: &Redb, text: &[u8]) -> Result<(), StoreError> {
    store.submit(mail(text), now()).await?.await
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

#[cfg(unix)]
#[test]
fn folder_and_file_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    drop(folder.open().unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder.0), mode(&folder.0.join(FILE))), (0o700, 0o600));
}

#[test]
fn a_second_process_is_told_that_the_file_is_in_use() {
    let folder = Folder::new();
    let _first = folder.open().unwrap();
    let second = folder.open().err().unwrap();
    assert!(second.to_string().contains("another process uses it"), "{second}");

    // Already when the first one is about to make the file.
    let folder = Folder::new();
    make(&folder.0).unwrap();
    let _first = lock(&folder.0).unwrap();
    assert!(matches!(folder.open(), Err(OpenError::Locked)));
}

#[test]
fn a_file_of_another_layout_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    drop(folder.open().unwrap());
    let path = folder.0.join(FILE);
    for layout in [LAYOUT + 1, LAYOUT] {
        let database = builder().create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(NUMBERS).unwrap().insert(LAYOUT_KEY, layout).unwrap();
        transaction.commit().unwrap();
        drop(database);
        match folder.open() {
            Ok(_) => assert_eq!(layout, LAYOUT),
            Err(OpenError::Layout(found)) => assert_eq!(found, LAYOUT + 1),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_service_that_was_killed_while_it_made_the_file_starts_the_next_time() {
    let folder = Folder::new();
    make(&folder.0).unwrap();
    // What redb has written by then is a file of its size without its head.
    fs::write(folder.0.join(NEW), vec![0; 1 << 20]).unwrap();
    drop(folder.open().unwrap());
    assert!(!folder.0.join(NEW).exists());
    drop(folder.open().unwrap());
}

#[tokio::test]
async fn a_writer_that_ends_by_mistake_counts_as_a_failure_and_one_that_is_closed_does_not() {
    let (states, state) = watch::channel(State::Open);
    let ending = Ending(states);
    drop(ending);
    assert!(matches!(&*state.borrow(), State::Failed(_)));

    let (store, ..) = on_a_disk();
    store.close().await;
    assert_eq!(*store.state.borrow(), State::Closed);
    let failed = tokio::time::timeout(std::time::Duration::from_millis(50), store.failed());
    assert!(failed.await.is_err());
    assert!(matches!(hand_in(&store, b"late").await, Err(StoreError::Unavailable(_))));
}

#[test]
fn a_file_that_is_no_store_is_refused() {
    let folder = Folder::new();
    make(&folder.0).unwrap();
    fs::write(folder.0.join(FILE), vec![b'x'; 10_000]).unwrap();
    assert!(matches!(folder.open(), Err(OpenError::Database(_))));
    assert_eq!(fs::read(folder.0.join(FILE)).unwrap(), vec![b'x'; 10_000]);
}

/// A disk that can be told to fail.
#[derive(Debug)]
struct Disk {
    memory: InMemoryBackend,
    sync_fails: Arc<AtomicBool>,
    is_full: Arc<AtomicBool>,
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.memory.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.memory.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => self.memory.set_len(len),
        }
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        match self.sync_fails.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the disk is broken")),
            false => self.memory.sync_data(),
        }
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.memory.write(offset, data)
    }
}

/// A store on such a disk, with its two switches: whether syncing fails, and whether it is full.
fn on_a_disk() -> (Redb, Arc<AtomicBool>, Arc<AtomicBool>) {
    let (sync_fails, is_full) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let disk = Disk {
        memory: InMemoryBackend::new(),
        sync_fails: sync_fails.clone(),
        is_full: is_full.clone(),
    };
    let database = builder().create_with_backend(disk).unwrap();
    let store = Redb::new(database, Limits::default(), Doorbells::default(), commits()).unwrap();
    (store, sync_fails, is_full)
}

#[tokio::test]
async fn when_syncing_fails_nothing_is_confirmed_any_more_and_the_store_says_why() {
    let (store, sync_fails, _) = on_a_disk();
    hand_in(&store, b"before").await.unwrap();
    sync_fails.store(true, Ordering::SeqCst);
    let failure = hand_in(&store, b"lost").await.unwrap_err();
    assert!(matches!(&failure, StoreError::Failed(why) if why.contains("broken")), "{failure}");
    assert_eq!(store.failed().await, failure);

    // That it works again helps nothing: what the disk has by then is not known.
    sync_fails.store(false, Ordering::SeqCst);
    assert_eq!(hand_in(&store, b"later").await, Err(failure.clone()));
    let claim = store.claim(conformance::once(), &conformance::device(), false).await;
    assert_eq!(claim, Err(failure.clone()));
    assert_eq!(store.ready().await, Err(failure));
    let shown = store.mail_after(&mail(b"").to, 0, 10).await.unwrap();
    assert_eq!(shown.len(), 1, "mail is not shown that is not durable");
}

#[tokio::test]
async fn a_full_disk_refuses_what_it_cannot_keep_and_stops_the_store() {
    let (store, _, is_full) = on_a_disk();
    is_full.store(true, Ordering::SeqCst);
    let mut confirmed = 0;
    let failure = loop {
        // Until the space that is left inside the file is used up.
        match hand_in(&store, &[7; 60_000]).await {
            Ok(()) => confirmed += 1,
            Err(StoreError::Refused(code)) => panic!("{code}"),
            Err(failure) => break failure,
        }
    };
    assert!(matches!(failure, StoreError::Failed(_)), "{failure}");
    assert_eq!(store.failed().await, failure);
    let shown = store.mail_after(&mail(b"").to, 0, usize::MAX).await.unwrap();
    assert_eq!(shown.len(), confirmed);
}

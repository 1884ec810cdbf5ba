//! A client that ends, or is ended, and comes back.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use olmcast::{
    client::{Client, ClientError, ClientEvent, Publication, Unlock, Vault, VaultError},
    device::{Identity, TrustState},
    endpoint::{Event, Publish, Refusal},
    primitives::{Codec, DeviceId, Invite},
    protocol::WithheldCode,
    server::{Limits, Server},
};
use tokio::time::{sleep, timeout};

use crate::{
    fixture::{PATIENCE, invite, serve},
    image::assert_hidden,
    opener::{With, secrets_of_vault},
};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("vault/vault")
    }

    fn unlock(&self) -> Unlock {
        Unlock::key_file(self.0.path().join("key"))
    }

    fn load(&self) -> Vault {
        Vault::load_or_create(self.path(), &self.unlock()).unwrap()
    }

    /// What a power failure at this moment would leave, opened.
    fn after_a_crash(&self) -> Vault {
        let copy = self.0.path().join("copy");
        fs::copy(self.path(), &copy).unwrap();
        Vault::open(&copy, &self.unlock()).unwrap()
    }

    /// Waits until the client that has it has ended.
    async fn free(&self) -> Vault {
        let free = async {
            loop {
                match Vault::open(self.path(), &self.unlock()) {
                    Err(VaultError::Locked { .. }) => sleep(Duration::from_millis(10)).await,
                    vault => return vault.unwrap(),
                }
            }
        };
        timeout(PATIENCE, free).await.expect("it stays locked")
    }

    fn secrets(&self) -> crate::opener::Secrets {
        secrets_of_vault(&self.path(), With::KeyFile(&self.0.path().join("key")))
    }

    fn folder(&self) -> PathBuf {
        self.path().parent().unwrap().to_owned()
    }
}

/// What stands for a disk that refuses.
struct Broken(PathBuf);

impl Broken {
    fn disk(folder: &Path) -> Self {
        let inside = folder.join(".vault.olmcast-tmp");
        fs::create_dir_all(inside.join("full")).unwrap();
        Self(inside)
    }

    fn mend(self) {
        fs::remove_dir_all(self.0).unwrap();
    }
}

async fn publish(client: &Client) -> Publication {
    client.publish(Publish::new("camera").track(Codec::Opus).with_invite()).await.unwrap()
}

async fn stage() -> (Server, Invite) {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    (server, invite)
}

async fn someone(invite: &Invite) -> Client {
    Client::connect(invite, Identity::generate()).await.unwrap()
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("waited in vain")
}

fn state(vault: &Vault, device: DeviceId) -> TrustState {
    vault.identity().memory().trust().state(&device)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_outlives_its_publisher_and_the_door_stays_closed() {
    let ((server, invite), place) = (stage().await, Place::new());
    let old = Place::new();
    let publisher = Client::connect(&invite, place.load()).await.unwrap();
    let publication = publish(&publisher).await;
    let (member, mallory) =
        (Client::connect(&invite, old.load()).await.unwrap(), someone(&invite).await);
    let watching = within(member.subscribe("camera")).await.unwrap();
    let _mallory_watches = within(mallory.subscribe("camera")).await.unwrap();
    publication.kick(mallory.device()).await.unwrap();
    // Nothing is awaited after the kick: this is what was on disk when it returned.
    let vault = place.after_a_crash();
    let device = publisher.device();
    drop((publication, publisher, watching, member));
    drop((place.free().await, old.free().await));

    assert_eq!(vault.identity().device(), device);
    assert_eq!(state(&vault, mallory.device()), TrustState::Blocked);
    let publisher = Client::connect(&invite, vault).await.unwrap();
    let mut publication = publish(&publisher).await;
    // Mallory has the invite, and makes itself a new device.
    let again = someone(&invite).await;
    let refused = within(again.subscribe("camera")).await.unwrap_err();
    assert_eq!(refused, ClientError::Withheld(WithheldCode::Closed));
    let told = within(publication.event()).await.unwrap();
    assert!(
        matches!(told, Event::Refused { reason: Refusal::Closed, device, .. } if device == again.device()),
        "{told:?}"
    );
    // Who was in before is let in, as the device that it was.
    let member = Client::connect(&invite, old.load()).await.unwrap();
    within(member.subscribe("camera")).await.unwrap();
    let holders = publication.holders().await.unwrap();
    assert_eq!(holders.iter().map(|holder| holder.device).collect::<Vec<_>>(), [member.device()]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_admitted_or_seen_is_on_disk_soon_on_both_sides() {
    let ((server, invite), place, other) = (stage().await, Place::new(), Place::new());
    let publisher = Client::connect(&invite, place.load()).await.unwrap();
    let _publication = publish(&publisher).await;
    let subscriber = Client::connect(&invite, other.load()).await.unwrap();
    let _subscription = within(subscriber.subscribe("camera")).await.unwrap();
    let soon = async {
        while state(&place.after_a_crash(), subscriber.device()) != TrustState::Pinned
            || state(&other.after_a_crash(), publisher.device()) != TrustState::Pinned
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(3), soon).await.expect("within half a second or so");
    for place in [&place, &other] {
        assert_hidden(&place.folder(), &place.secrets());
    }
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_ends_writes_what_it_still_has_and_frees_the_vault() {
    let ((server, invite), place) = (stage().await, Place::new());
    let publisher = Client::connect(&invite, place.load()).await.unwrap();
    let publication = publish(&publisher).await;
    let subscriber = someone(&invite).await;
    let _subscription = within(subscriber.subscribe("camera")).await.unwrap();
    let refused = Vault::open(place.path(), &place.unlock()).unwrap_err();
    assert!(matches!(refused, VaultError::Locked { .. }));
    assert_eq!(state(&place.after_a_crash(), subscriber.device()), TrustState::Unknown);
    // Long before the half second is over.
    drop((publication, publisher));
    let vault = place.free().await;
    assert_eq!(state(&vault, subscriber.device()), TrustState::Pinned);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kick_that_cannot_be_written_says_so_and_is_written_when_that_works() {
    let ((server, invite), place) = (stage().await, Place::new());
    let publisher = Client::connect(&invite, place.load()).await.unwrap();
    let mut events = publisher.events();
    let publication = publish(&publisher).await;
    let (first, second) = (someone(&invite).await, someone(&invite).await);
    let _watching = within(first.subscribe("camera")).await.unwrap();
    let _watching = within(second.subscribe("camera")).await.unwrap();
    let broken = Broken::disk(&place.folder());
    let not_kept = publication.kick(first.device()).await.unwrap_err();
    assert!(matches!(not_kept, ClientError::NotKept(VaultError::Io { .. })), "{not_kept:?}");
    assert_eq!(state(&place.after_a_crash(), first.device()), TrustState::Unknown);
    let told = async {
        loop {
            if let ClientEvent::VaultFailed(_) = events.recv().await.unwrap() {
                return;
            }
        }
    };
    within(told).await;
    // It is in force nevertheless.
    let holders = publication.holders().await.unwrap();
    assert!(holders.iter().all(|holder| holder.device != first.device()));
    broken.mend();
    publication.kick(second.device()).await.unwrap();
    let vault = place.after_a_crash();
    assert_eq!(state(&vault, first.device()), TrustState::Blocked);
    assert_eq!(state(&vault, second.device()), TrustState::Blocked);
    server.shutdown().await;
}

/// On one thread, on which nothing else runs until it is awaited.
#[tokio::test]
async fn a_vault_that_cannot_connect_is_free_again() {
    let place = Place::new();
    let invite = Invite::generate("127.0.0.1:1").unwrap();
    let unreachable = Client::connect(&invite, place.load()).await.unwrap_err();
    assert!(matches!(unreachable, ClientError::Service(_)), "{unreachable:?}");
    // At once: whoever is told may try again.
    for _ in 0..10 {
        Client::connect(&invite, place.load()).await.unwrap_err();
    }
    // The same if the service is there, and refuses.
    let server = serve(crate::fixture::limits(|l| l.rooms_per_device = 0)).await;
    let invite = crate::fixture::invite(&server);
    for _ in 0..3 {
        let refused = Client::connect(&invite, place.load()).await.unwrap_err();
        assert!(matches!(refused, ClientError::Refused(_)), "{refused:?}");
    }
    server.shutdown().await;
}

#[test]
fn a_runtime_that_ends_with_its_client_loses_no_decision_and_frees_the_vault() {
    let place = Place::new();
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let serving = runtime();
    let (server, invite) = serving.block_on(stage());
    let kicked = runtime().block_on(async {
        let publisher = Client::connect(&invite, place.load()).await.unwrap();
        let publication = publish(&publisher).await;
        let mallory = someone(&invite).await;
        let _watching = within(mallory.subscribe("camera")).await.unwrap();
        publication.kick(mallory.device()).await.unwrap();
        mallory.device()
    });
    // The runtime is gone, and nobody waited for the client to end.
    let vault = Vault::open(place.path(), &place.unlock()).unwrap();
    assert_eq!(state(&vault, kicked), TrustState::Blocked);
    serving.block_on(server.shutdown());
}

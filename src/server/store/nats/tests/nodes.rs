use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use tokio::time::timeout;

use super::servers::{self, Servers};
use crate::{
    primitives::DeviceId,
    server::{
        doorbells::Doorbells,
        store::{
            Store, StoreError,
            conformance::{device, first_upload, limits, mail, once, send, until_left},
            nats::{Nats, NatsConfig, recent::Recents},
        },
    },
};

async fn node(config: &NatsConfig) -> (Nats, Doorbells) {
    let bells = Doorbells::default();
    (Nats::open(config, limits(), bells.clone()).await.unwrap(), bells)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_that_is_submitted_at_one_node_rings_and_is_read_at_the_other() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_cluster();
    let ((one, bells_of_one), (two, bells_of_two)) = (node(&config).await, node(&config).await);
    assert_eq!(one.instance(), two.instance());
    let (alice, bob, carol) = (device(), device(), device());
    let (at_one, at_two) = (bells_of_one.hang(carol), bells_of_two.hang(bob));
    for bell in [&at_one, &at_two] {
        bell.notified().await;
    }
    let mut last = 0;
    for number in 0..50_u8 {
        send(&one, mail(alice, bob, [number])).await.unwrap();
        timeout(Duration::from_secs(5), at_two.notified()).await.expect("it should ring");
        // Whichever replica answers: what the bell rang for is there.
        let read = two.mail_after(&bob, last, 10).await.unwrap();
        assert_eq!(read.iter().map(|m| &m.bytes[..]).collect::<Vec<_>>(), [[number]]);
        last = read[0].sequence;
    }
    two.ack(&bob, last).await.unwrap();
    until_left(&one, &bob, 0).await;
    assert!(timeout(Duration::from_millis(200), at_one.notified()).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_one_node_carried_out_is_replayed_at_the_other() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_cluster();
    let ((one, _), (two, _)) = (node(&config).await, node(&config).await);
    let (alice, upload, claim) = (device(), once(), once());
    let now = std::time::SystemTime::now().into();
    assert_eq!(one.upload(upload, alice, first_upload(alice, 1..=5, None), now).await, Ok(5));
    let again = two.upload(upload, alice, first_upload(alice, 6..=7, None), now).await;
    assert_eq!(again, Err(StoreError::Replayed));
    assert!(two.claim(claim, &alice, false).await.unwrap().is_some());
    assert_eq!(one.claim(claim, &alice, false).await, Err(StoreError::Replayed));
    assert_eq!(one.device(&alice).await.unwrap().unwrap().one_time_keys, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_of_one_device_at_two_nodes_lose_nothing() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_cluster();
    let ((one, _), (two, _)) = (node(&config).await, node(&config).await);
    let alice = device();
    let now = std::time::SystemTime::now().into();
    one.upload(once(), alice, first_upload(alice, [], None), now).await.unwrap();
    for round in 0..5 {
        // The same keys at both, as a device does that got no answer.
        let keys = || first_upload(alice, round * 10..round * 10 + 10, Some(1000));
        let both = tokio::join!(
            one.upload(once(), alice, keys(), now),
            two.upload(once(), alice, keys(), now)
        );
        assert!(both.0.is_ok() && both.1.is_ok(), "{both:?}");
        let expected = usize::try_from(round * 10 + 10).unwrap();
        assert_eq!(one.device(&alice).await.unwrap().unwrap().one_time_keys, expected);
    }
}

/// Replicas may be behind, which on one machine they hardly ever are: so mail is announced that is
/// still to come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_waits_for_mail_that_is_known_to_be_stored() {
    if !servers::are_here() {
        return;
    }
    let (store, _) = node(&Servers::shared_single()).await;
    let (alice, bob) = (device(), device());
    send(&store, mail(alice, bob, "first")).await.unwrap();
    let first = store.mail_after(&bob, 0, 10).await.unwrap()[0].sequence;
    store.shared.recents.stored(&bob, first + 1);
    let late = async {
        tokio::time::sleep(Duration::from_millis(60)).await;
        send(&store, mail(alice, bob, "second")).await.unwrap();
    };
    let (read, ()) = tokio::join!(store.mail_after(&bob, first, 10), late);
    assert_eq!(read.unwrap().len(), 1);
    // What never comes is not waited for again and again.
    store.shared.recents.stored(&bob, first + 10);
    for _ in 0..20 {
        let read = timeout(Duration::from_secs(2), store.mail_after(&bob, first, 10)).await;
        assert_eq!(read.expect("it waits too long").unwrap().len(), 1);
    }
}

/// Stores mail as another node does whose wake-up is lost.
async fn store_unheard(store: &Nats, to: DeviceId, text: &'static str) {
    let mut bytes = device().as_bytes().to_vec();
    bytes.extend(text.as_bytes());
    let message = PublishMessage::build().payload(bytes.into());
    let subject = store.shared.layout.mail_from(&to, &device());
    store.shared.nats.store(subject, message).await.unwrap();
}

/// Replicas are behind when a read answers without what is stored; here it is stored after that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whose_read_was_behind_or_knew_nothing_is_rung_again() {
    if !servers::are_here() {
        return;
    }
    let (store, bells) = node(&Servers::shared_single()).await;
    let late = Duration::from_secs(4);
    // Nothing is known of Bob, and wake-ups for what waits for him were before this node started.
    let bob = device();
    let bell = bells.hang(bob);
    bell.notified().await;
    assert!(store.mail_after(&bob, 0, 10).await.unwrap().is_empty());
    store_unheard(&store, bob, "first").await;
    timeout(late, bell.notified()).await.expect("it should ring");
    let first = store.mail_after(&bob, 0, 10).await.unwrap()[0].sequence;
    // That ends, unless wake-ups may have been lost again.
    store.ack(&bob, first).await.unwrap();
    while store.shared.recents.next_ring(&bob).is_some() {}
    store.shared.nats.client.force_reconnect().await.unwrap();
    while let Ok(()) = timeout(Duration::from_millis(1200), bell.notified()).await {
        let read = timeout(late, store.mail_after(&bob, first, 10)).await.unwrap();
        assert!(read.unwrap_or_default().is_empty());
    }
    store_unheard(&store, bob, "after").await;
    timeout(Duration::from_secs(8), bell.notified()).await.expect("it should ring");
    // Of Alice it is known that more is stored than what is answered for as long as a read waits.
    let alice = device();
    assert!(store.mail_after(&alice, 0, 10).await.unwrap().is_empty());
    while store.shared.recents.next_ring(&alice).is_some() {}
    // The one that was under way.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    store.shared.recents.stored(&alice, first + 1);
    let bell = bells.hang(alice);
    bell.notified().await;
    assert!(store.mail_after(&alice, 0, 10).await.unwrap().is_empty());
    store_unheard(&store, alice, "second").await;
    timeout(late, bell.notified()).await.expect("it should ring");
    assert_eq!(store.mail_after(&alice, 0, 10).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bells_ring_again_a_few_times_only() {
    let (recents, device) = (Recents::default(), device());
    assert_eq!(recents.bounds(&device), (0, 0, true));
    assert_eq!(recents.bounds(&device), (0, 0, false), "one who is known by now is not rung again");
    assert!(recents.ring_again(&device));
    let (mut rings, mut all) = (0, Duration::ZERO);
    while let Some(pause) = recents.next_ring(&device) {
        (rings, all) = (rings + 1, all + pause);
        // Should a read be behind meanwhile, it starts over, but there are not two who ring.
        if rings == 2 {
            assert!(!recents.ring_again(&device));
        }
    }
    assert_eq!(rings, 6);
    assert!((18..36).contains(&all.as_secs()), "{all:?}");
    assert!(recents.ring_again(&device), "that is over");
}

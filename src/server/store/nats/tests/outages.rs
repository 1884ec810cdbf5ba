use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::{task::JoinSet, time::sleep};

use super::servers::{self, Servers};
use crate::{
    primitives::DeviceId,
    server::{
        Limits,
        doorbells::Doorbells,
        store::{
            Claimed, Store, StoreError,
            conformance::{device, first_upload, limits, mail, once, send},
            nats::{Nats, NatsConfig},
        },
    },
};

/// By when everything must be well again.
const WELL: Duration = Duration::from_secs(40);

async fn open(config: &NatsConfig) -> Arc<Nats> {
    let limits = Limits { sender_quota: 10_000, mailbox_count: 10_000, ..limits() };
    Arc::new(Nats::open(config, limits, Doorbells::default()).await.unwrap())
}

/// The server that leads a stream.
async fn leader(store: &Nats, servers: &Servers, stream: String) -> usize {
    let mut stream = store.shared.nats.context.get_stream(stream).await.unwrap();
    let leader = stream.info().await.unwrap().cluster.as_ref().unwrap().leader.clone();
    servers.led_by(&leader.unwrap())
}

/// Claims until there is an answer, with a new request each time, as a client does.
async fn claim(store: &Nats, device: &DeviceId) -> Claimed {
    let until = Instant::now() + WELL;
    loop {
        match store.claim(once(), device, false).await {
            Ok(claimed) => return claimed.expect("there is a fallback key"),
            Err(StoreError::Unavailable(reason)) => {
                assert!(Instant::now() < until, "{reason}");
                sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_goes_out_twice_while_a_server_is_killed() {
    if !servers::are_here() {
        return;
    }
    let servers = Servers::cluster();
    let config = servers.config();
    let stores = [open(&config).await, open(&config).await];
    let alice = device();
    let upload = first_upload(alice, 1..=100, Some(1000));
    let now = SystemTime::now().into();
    assert_eq!(stores[0].upload(once(), alice, upload, now).await, Ok(100));
    let first = leader(&stores[0], &servers, stores[0].shared.layout.keys_stream(&alice)).await;

    let answered = Arc::new(AtomicUsize::new(0));
    let mut contenders = JoinSet::new();
    for index in 0..500 {
        let (store, answered) = (stores[index % 2].clone(), answered.clone());
        contenders.spawn(async move {
            let claimed = claim(&store, &alice).await;
            answered.fetch_add(1, Ordering::Relaxed);
            claimed
        });
    }
    while answered.load(Ordering::Relaxed) < 20 {
        sleep(Duration::from_millis(1)).await;
    }
    let before = answered.load(Ordering::Relaxed);
    servers.kill(first);

    let (mut numbers, mut fallbacks) = (HashSet::new(), 0);
    while let Some(claimed) = contenders.join_next().await {
        match claimed.unwrap() {
            Claimed::OneTime(key) => assert!(numbers.insert(key.number), "{} twice", key.number),
            Claimed::Fallback(_) => fallbacks += 1,
        }
    }
    eprintln!("killed after {before} answers: {} keys, {fallbacks} fallbacks", numbers.len());
    assert!(before < 100, "the server should be killed while there are keys");
    assert_eq!(numbers.len() + fallbacks, 500);
    // Some keys may be burnt, but not those that nobody was about to delete.
    assert!(numbers.len() > 20, "{}", numbers.len());
    assert_eq!(stores[1].device(&alice).await.unwrap().unwrap().one_time_keys, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_taken_over_is_there_in_order_after_a_server_was_killed() {
    if !servers::are_here() {
        return;
    }
    let servers = Servers::cluster();
    let config = servers.config();
    let (one, two) = (open(&config).await, open(&config).await);
    let (alice, bob) = (device(), device());
    send(&*one, mail(alice, bob, 0_u32.to_be_bytes())).await.unwrap();
    let first = leader(&one, &servers, one.shared.layout.mail_stream(&bob)).await;

    let mut taken: Vec<u32> = vec![0];
    let (mut refused, mut killed, mut well) = (0, None, None);
    let mut number: u32 = 0;
    while well.is_none_or(|well| number < well + 50) {
        number += 1;
        if number == 50 {
            servers.kill(first);
            killed = Some(Instant::now());
        }
        assert!(killed.is_none_or(|killed| killed.elapsed() < WELL), "after {refused} refusals");
        // Several are under way at a time.
        let sent = [0_u32, 1, 2, 3].map(|part| {
            one.submit(
                mail(alice, bob, (4 * number + part).to_be_bytes()),
                SystemTime::now().into(),
            )
        });
        let mut under_way = Vec::new();
        for submitted in sent {
            under_way.push(submitted.await);
        }
        let mut all = true;
        for (part, submitted) in (0..).zip(under_way) {
            let stored = match submitted {
                Ok(durable) => durable.await,
                Err(error) => Err(error),
            };
            match stored {
                Ok(()) => taken.push(4 * number + part),
                Err(StoreError::Unavailable(_)) => {
                    (all, refused) = (false, refused + 1);
                    sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if all && killed.is_some_and(|killed| killed.elapsed() > Duration::from_secs(1)) {
            well = well.or(Some(number));
        }
    }
    eprintln!(
        "{} taken over, {refused} not; killed {:?} ago",
        taken.len(),
        killed.unwrap().elapsed()
    );
    let read = two.mail_after(&bob, 0, 10_000).await.unwrap();
    assert!(read.is_sorted_by(|a, b| a.sequence < b.sequence));
    let numbers: Vec<u32> =
        read.iter().map(|m| u32::from_be_bytes(m.bytes[..].try_into().unwrap())).collect();
    let there: HashSet<_> = numbers.iter().copied().collect();
    let lost: Vec<_> = taken.iter().filter(|number| !there.contains(number)).collect();
    assert!(lost.is_empty(), "{lost:?} were taken over and are not there");
    // What was refused for want of an answer may be there nevertheless.
    let in_order: Vec<_> =
        numbers.iter().copied().filter(|number| taken.contains(number)).collect();
    assert_eq!(in_order, taken, "in the order of submission");
    assert_eq!(one.ready().await, Ok(()));
}

use super::*;
use crate::{protocol::service::RefusalCode, server::store::StoreError};

const LONG: Duration = Duration::from_secs(3600);

fn gone(node: [u8; 16]) -> Entry {
    Entry { node, value: Value::Gone }
}

#[test]
fn what_is_to_be_deleted_is_not_forgotten_before_and_comes_in_rounds() {
    let (node, now) = ([1; 16], Instant::now());
    let mut mirror = Mirror::new(node, Duration::from_secs(1), 1 << 20);
    for revision in 1..=10 {
        mirror.take(Key::Presence(room(), device()), revision, gone(node), now);
        let key = Key::State(room(), device(), StreamId::from_bytes([1; 16]));
        mirror.take(key, 100 + revision, Entry { node, value: Value::Cleared(None) }, now);
    }
    let later = now + Duration::from_secs(61);
    let mut deleted = 0;
    loop {
        let round = mirror.chores(later, 6).delete;
        // As if that had failed: it comes again.
        assert_eq!(mirror.chores(later, 6).delete, round);
        assert!(round.len() <= 6);
        if round.is_empty() {
            break;
        }
        deleted += round.len();
        for (key, revision) in round {
            // Something newer has nothing to do with it.
            mirror.forget(key, revision + 1);
            mirror.forget(key, revision);
        }
    }
    assert_eq!(deleted, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_much_to_tidy_up_stays_alive_to_the_others() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    let (room, alice) = (super::room(), device());
    one.bus.propose(enter(room, alice)).await.unwrap();
    two.heard.until_change(&enter(room, alice)).await;
    // Many have left an hour ago. NATS does not have them, but has to be asked for each.
    let node = one.store.shared.node;
    let left = Instant::now() - LONG;
    for revision in 0..30_000 {
        let key = Key::Presence(super::room(), device());
        one.bus.rooms.lock().mirror.take(key, 1 << 32 | revision, gone(node), left);
    }
    sleep(Duration::from_secs(12)).await;
    assert_eq!(two.heard.count(&leave(room, alice)), 0);
    let still = one.bus.rooms.lock().mirror.chores(Instant::now(), usize::MAX).delete.len();
    assert!(still < 29_000, "{still} are not tidied up");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_away_itself_takes_nobody_for_gone() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    let (room, alice) = (room(), device());
    two.bus.propose(enter(room, alice)).await.unwrap();
    one.heard.until_change(&enter(room, alice)).await;
    let rooms = one.bus.rooms.clone();
    let stopped = tokio::task::spawn_blocking(move || {
        let _nothing_is_done = rooms.lock();
        std::thread::sleep(Duration::from_secs(7));
    });
    stopped.await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(one.heard.count(&leave(room, alice)), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_rooms_take_nothing_new_but_that_something_is_over() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    for node in [&one, &two] {
        node.bus.rooms.lock().mirror.at_most = 4000;
    }
    let (room, alice, bob) = (room(), device(), device());
    let full = Err(StoreError::Refused(RefusalCode::QuotaExceeded));
    one.bus.propose(enter(room, alice)).await.unwrap();
    one.bus.propose(set(room, alice, &[1; 3000])).await.unwrap();
    // By what both nodes have said.
    two.heard.until_change(&set(room, alice, &[1; 3000])).await;
    assert_eq!(two.bus.propose(enter(room, bob)).await, full);
    assert_eq!(one.bus.propose(set(room, alice, b"another")).await, full);
    assert_eq!(one.bus.propose(enter(room, alice)).await, Ok(()));
    assert_eq!(one.bus.propose(clear(room, alice, b"end")).await, Ok(()));
    assert_eq!(one.bus.propose(set(room, alice, b"another")).await, Ok(()));
    assert_eq!(one.bus.propose(leave(room, alice)).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_of_rooms_is_a_quota_that_is_exceeded() {
    if !servers::are_here() {
        return;
    }
    let one = node(&Servers::shared_single()).await;
    let (room, alice) = (room(), device());
    one.bus.propose(enter(room, alice)).await.unwrap();
    let context = &one.store.shared.nats.context;
    let stream = context.get_stream(one.store.shared.layout.rooms_stream()).await.unwrap();
    let mut config = stream.cached_info().config.clone();
    assert!(config.max_bytes > 0, "without a bound it fills the disk");
    config.max_bytes = 2000;
    context.update_stream(config).await.unwrap();
    let refused = one.bus.propose(set(room, alice, &[1; 3000])).await;
    assert_eq!(refused, Err(StoreError::Refused(RefusalCode::QuotaExceeded)));
    assert_eq!(one.bus.propose(set(room, alice, b"small")).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_about_to_come_over_is_not_taken_for_one_who_went() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    let (room, alice) = (room(), device());
    one.bus.propose(enter(room, alice)).await.unwrap();
    two.heard.until_change(&enter(room, alice)).await;
    // As NATS may take its time to store that she enters, while the rooms are tidied up.
    two.bus.rooms.lock().own.enter(room, alice);
    sleep(Duration::from_millis(2500)).await;
    two.bus.rooms.say(Key::Presence(room, alice), Value::Present).await.unwrap();
    two.bus.rooms.lock().own.entered(room, alice);
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(two.heard.count(&leave(room, alice)), 0);
    // When she goes back, that is heard.
    one.bus.propose(enter(room, alice)).await.unwrap();
    two.heard.until_change(&enter(room, alice)).await;
    sleep(Duration::from_millis(100)).await;
    assert!(!two.bus.rooms.lock().own.is_here(room, alice));
}

mod keeping;

use std::{
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use super::{
    NatsBus,
    entry::{Entry, Key, Value},
    mirror::Mirror,
};
use crate::{
    primitives::{DeviceId, RoomId, StreamId, Timestamp},
    protocol::service::Payload,
    server::{
        Limits,
        bus::{Bus, BusEvents, RoomChange},
        doorbells::Doorbells,
        store::{
            conformance::{device, limits},
            nats::{
                Nats, NatsConfig,
                tests::servers::{self, Servers},
            },
        },
    },
};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Change(RoomChange),
    Broadcast(RoomId, DeviceId, Payload),
    AttachedElsewhere(DeviceId, Timestamp),
}

/// Writes down what the bus says.
#[derive(Default)]
struct Recorder(Mutex<Vec<Heard>>);

impl BusEvents for Recorder {
    fn apply(&self, change: RoomChange) {
        self.0.lock().unwrap().push(Heard::Change(change));
    }

    fn broadcast(&self, room: RoomId, from: DeviceId, bytes: Payload) {
        self.0.lock().unwrap().push(Heard::Broadcast(room, from, bytes));
    }

    fn attached_elsewhere(&self, device: DeviceId, at: Timestamp) {
        self.0.lock().unwrap().push(Heard::AttachedElsewhere(device, at));
    }
}

impl Recorder {
    fn all(&self) -> Vec<Heard> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, change: &RoomChange) -> usize {
        self.all().iter().filter(|heard| **heard == Heard::Change(change.clone())).count()
    }

    async fn until(&self, heard: Heard, at_most: Duration) {
        let there = async {
            while !self.all().contains(&heard) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let there = timeout(at_most, there).await;
        there.unwrap_or_else(|_| panic!("{heard:?} is not among {:?}", self.all()));
    }

    async fn until_change(&self, change: &RoomChange) {
        self.until(Heard::Change(change.clone()), SOON).await;
    }
}

const SOON: Duration = Duration::from_secs(5);

/// One node of the service. Dropped, it vanishes without a word.
struct TestNode {
    heard: Arc<Recorder>,
    bus: Arc<NatsBus>,
    store: Nats,
}

async fn node(config: &NatsConfig) -> TestNode {
    let limits = Limits { state_grace: Duration::from_secs(1), ..limits() };
    let store = Nats::open(config, limits, Doorbells::default()).await.unwrap();
    let (bus, heard) = (store.bus(), Arc::new(Recorder::default()));
    let events: Arc<dyn BusEvents> = heard.clone();
    bus.start(Arc::downgrade(&events)).await.unwrap();
    TestNode { heard, bus, store }
}

fn room() -> RoomId {
    RoomId::from_bytes(*device().as_bytes())
}

fn enter(room: RoomId, device: DeviceId) -> RoomChange {
    RoomChange::Enter { room, device }
}

fn leave(room: RoomId, device: DeviceId) -> RoomChange {
    RoomChange::Leave { room, device }
}

fn set(room: RoomId, device: DeviceId, bytes: &[u8]) -> RoomChange {
    let stream = StreamId::from_bytes([4; 16]);
    RoomChange::SetState { room, device, stream, bytes: bytes.into() }
}

fn clear(room: RoomId, device: DeviceId, bytes: &[u8]) -> RoomChange {
    let stream = StreamId::from_bytes([4; 16]);
    RoomChange::ClearState { room, device, stream, bytes: Some(bytes.into()) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_come_back_in_one_order_on_all_nodes() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    let (room, alice, bob) = (room(), device(), device());
    let changes = [
        enter(room, alice),
        set(room, alice, b"offer"),
        enter(room, bob),
        set(room, alice, b"another offer"),
        clear(room, alice, b"end"),
        leave(room, bob),
    ];
    for (index, change) in changes.iter().enumerate() {
        // Bob is connected to the other node.
        let by_bob = matches!(change, RoomChange::Enter { device, .. } | RoomChange::Leave { device, .. } if *device == bob);
        let from = if by_bob { &two } else { &one };
        from.bus.propose(change.clone()).await.unwrap();
        assert_eq!(from.heard.all().len(), index + 1, "it was applied before that returned");
        let other = if by_bob { &one } else { &two };
        other.heard.until_change(change).await;
    }
    let expected: Vec<_> = changes.into_iter().map(Heard::Change).collect();
    assert_eq!(one.heard.all(), expected);
    assert_eq!(two.heard.all(), expected);

    // A node that comes later is told what is so, not how that came.
    let three = node(&config).await;
    let told = three.heard.all();
    assert_eq!(told[0], Heard::Change(enter(room, alice)));
    assert!(told[1..].iter().all(|heard| *heard == Heard::Change(clear(room, alice, b"end"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_later_is_told_who_is_there_and_then_what_they_publish() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let one = node(&config).await;
    let (room, alice, bob) = (room(), device(), device());
    for device in [alice, bob] {
        one.bus.propose(enter(room, device)).await.unwrap();
        one.bus.propose(set(room, device, b"offer")).await.unwrap();
    }
    // Alice comes back: her presence is now younger than her state.
    one.bus.propose(leave(room, alice)).await.unwrap();
    one.bus.propose(enter(room, alice)).await.unwrap();
    one.bus.propose(leave(room, bob)).await.unwrap();
    let two = node(&config).await;
    let told: Vec<_> = [enter(room, alice), set(room, alice, b"offer")].map(Heard::Change).into();
    assert_eq!(two.heard.all(), told, "what Bob publishes is of no use without him");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_and_attachments_are_heard_by_the_others_only() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    let (room, alice) = (room(), device());
    let at = Timestamp::from_unix_millis(5);
    one.bus.broadcast(room, alice, b"beacon".into()).await;
    one.bus.attached(alice, at).await.unwrap();
    two.bus.attached(alice, at).await.unwrap();
    two.heard.until(Heard::Broadcast(room, alice, b"beacon".into()), SOON).await;
    two.heard.until(Heard::AttachedElsewhere(alice, at), SOON).await;
    one.heard.until(Heard::AttachedElsewhere(alice, at), SOON).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(one.heard.all(), [Heard::AttachedElsewhere(alice, at)]);
    assert_eq!(two.heard.all().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_went_over_to_another_node_does_not_leave_by_the_old_one() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    let (room, alice) = (room(), device());
    one.bus.propose(enter(room, alice)).await.unwrap();
    two.bus.propose(enter(room, alice)).await.unwrap();
    // The old connection ends only now, whether its node knows of the new one or not.
    one.bus.propose(leave(room, alice)).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    for node in [&one, &two] {
        assert_eq!(node.heard.all(), vec![Heard::Change(enter(room, alice)); 2]);
    }
    two.bus.propose(leave(room, alice)).await.unwrap();
    one.heard.until_change(&leave(room, alice)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_behind_takes_nobody_out_who_went_over_to_another() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    let (room, alice) = (room(), device());
    one.bus.propose(enter(room, alice)).await.unwrap();
    // It hears nothing more.
    super::take(&one.bus.tasks).shutdown().await;
    two.bus.propose(enter(room, alice)).await.unwrap();
    one.bus.propose(leave(room, alice)).await.unwrap();
    two.bus.propose(set(room, alice, b"offer")).await.unwrap();
    assert_eq!(two.heard.count(&leave(room, alice)), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_connected_to_a_node_that_vanished_counts_as_left() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    let (room, alice, bob) = (room(), device(), device());
    one.bus.propose(enter(room, alice)).await.unwrap();
    one.bus.propose(set(room, alice, b"offer")).await.unwrap();
    two.bus.propose(enter(room, bob)).await.unwrap();
    two.heard.until_change(&enter(room, alice)).await;
    let vanished = Instant::now();
    drop(one);
    let left = Heard::Change(leave(room, alice));
    two.heard.until(left, Duration::from_secs(8)).await;
    let after = vanished.elapsed();
    assert!(after > Duration::from_secs(3), "{after:?}: one word less must not do that");
    // The stream says so too, for whoever comes later, and the state goes after its grace.
    sleep(Duration::from_secs(3)).await;
    let three = node(&config).await;
    assert_eq!(three.heard.all(), [Heard::Change(enter(room, bob))]);
    let left = two.store.shared.nats.count_all(&two.store.shared.layout.rooms_stream()).await;
    assert_eq!(left, Ok(2), "Bob, and that Alice is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_says_good_bye_is_gone_at_once() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    let (room, alice) = (room(), device());
    one.bus.propose(enter(room, alice)).await.unwrap();
    two.heard.until_change(&enter(room, alice)).await;
    one.bus.close().await;
    two.heard.until(Heard::Change(leave(room, alice)), Duration::from_secs(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_took_back_by_mistake_is_said_again() {
    if !servers::are_here() {
        return;
    }
    let config = Servers::shared_single();
    let (one, two) = (node(&config).await, node(&config).await);
    let (room, alice) = (room(), device());
    one.bus.propose(enter(room, alice)).await.unwrap();
    one.bus.propose(set(room, alice, b"offer")).await.unwrap();
    two.heard.until_change(&set(room, alice, b"offer")).await;
    // As if nothing had been heard of that node for too long.
    two.bus.rooms.write(Key::Presence(room, alice), Value::Gone, None).await.unwrap();
    for node in [&one, &two] {
        node.heard.until_change(&leave(room, alice)).await;
    }
    let again = async {
        while two.heard.count(&enter(room, alice)) < 2
            || two.heard.count(&set(room, alice, b"offer")) < 2
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, again).await.expect("it should be said again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_was_not_started_says_so() {
    if !servers::are_here() {
        return;
    }
    let store = Nats::open(&Servers::shared_single(), limits(), Doorbells::default()).await;
    let bus = store.unwrap().bus();
    assert!(bus.propose(enter(room(), device())).await.is_err());
    // One whose events nobody wants any more does not fail either.
    let nobody: Weak<dyn BusEvents> = Weak::<Recorder>::new();
    bus.start(nobody).await.unwrap();
    assert_eq!(bus.propose(enter(room(), device())).await, Ok(()));
}

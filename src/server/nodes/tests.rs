use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{Nodes, WAITING};
use crate::{
    primitives::{DeviceId, RoomId, Timestamp},
    protocol::service::Payload,
    server::{
        Limits,
        bus::{Bus, BusEvents, RoomChange},
        doorbells::Doorbells,
        hub::Hub,
        store::{StoreError, memory::Memory},
    },
};

/// A bus as slow as the test wants it: each proposal takes a permit.
struct Slow {
    permits: Semaphore,
    there: AtomicBool,
    proposed: Mutex<Vec<RoomChange>>,
    attached: Mutex<Vec<(DeviceId, Timestamp)>>,
}

impl Slow {
    fn stuck() -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(0),
            there: AtomicBool::new(true),
            proposed: Mutex::default(),
            attached: Mutex::default(),
        })
    }

    fn nodes(self: &Arc<Self>) -> Nodes {
        let bus: Arc<dyn Bus> = self.clone();
        Nodes::new(&bus)
    }

    async fn until(&self, what: impl Fn(&Self) -> bool) {
        let there = async {
            while !what(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(5), there).await.expect("waited in vain");
    }
}

#[async_trait]
impl Bus for Slow {
    async fn start(&self, _: Weak<dyn BusEvents>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn propose(&self, change: RoomChange) -> Result<(), StoreError> {
        self.permits.acquire().await.unwrap().forget();
        self.proposed.lock().unwrap().push(change);
        Ok(())
    }

    async fn broadcast(&self, _: RoomId, _: DeviceId, _: Payload) {}

    async fn attached(&self, device: DeviceId, at: Timestamp) -> Result<(), StoreError> {
        if !self.there.load(Ordering::Relaxed) {
            return Err(StoreError::Unavailable("not there".to_owned()));
        }
        self.attached.lock().unwrap().push((device, at));
        Ok(())
    }

    async fn close(&self) {}
}

const ROOM: RoomId = RoomId::from_bytes([1; 32]);
const DEVICE: DeviceId = DeviceId::from_bytes([2; 32]);
const ENTER: RoomChange = RoomChange::Enter { room: ROOM, device: DEVICE };
const LEAVE: RoomChange = RoomChange::Leave { room: ROOM, device: DEVICE };

/// As many as fit; all of them succeed when the bus goes on.
async fn fill(nodes: &Nodes) -> usize {
    let mut taken = 0;
    loop {
        let mut applied = Box::pin(nodes.propose(ENTER));
        if let Ok(refused) = timeout(Duration::ZERO, &mut applied).await {
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
            // The one that is being told leaves its place to another.
            sleep(Duration::from_millis(20)).await;
            if timeout(Duration::ZERO, nodes.propose(ENTER)).await.is_err() {
                taken += 1;
            }
            return taken;
        }
        taken += 1;
    }
}

#[tokio::test]
async fn who_leaves_is_always_said_and_in_order_however_much_waits() {
    let bus = Slow::stuck();
    let nodes = bus.nodes();
    let taken = fill(&nodes).await;
    assert!((WAITING..WAITING + 3).contains(&taken), "{taken}");
    nodes.leave(ROOM, DEVICE);
    bus.permits.add_permits(2 * WAITING);
    bus.until(|bus| bus.proposed.lock().unwrap().len() > taken).await;
    let proposed = bus.proposed.lock().unwrap().clone();
    assert_eq!((proposed.len(), proposed.last()), (taken + 1, Some(&LEAVE)));
    assert!(proposed[..taken].iter().all(|change| *change == ENTER));
}

#[tokio::test]
async fn to_leave_again_takes_no_room_and_to_enter_in_between_does_not_hide_it() {
    let bus = Slow::stuck();
    let nodes = bus.nodes();
    // It is being told; what follows waits.
    drop(nodes.propose(ENTER));
    sleep(Duration::from_millis(20)).await;
    for _ in 0..1000 {
        nodes.leave(ROOM, DEVICE);
    }
    drop(nodes.propose(ENTER));
    for _ in 0..1000 {
        nodes.leave(ROOM, DEVICE);
    }
    bus.permits.add_permits(5000);
    bus.until(|bus| bus.proposed.lock().unwrap().len() >= 4).await;
    sleep(Duration::from_millis(50)).await;
    assert_eq!(*bus.proposed.lock().unwrap(), [ENTER, LEAVE, ENTER, LEAVE]);
    // Said once, it can be said again.
    nodes.leave(ROOM, DEVICE);
    bus.until(|bus| bus.proposed.lock().unwrap().len() == 5).await;
}

#[tokio::test]
async fn that_a_device_connected_is_said_at_once_whatever_waits() {
    let bus = Slow::stuck();
    let nodes = bus.nodes();
    fill(&nodes).await;
    let at = crate::server::now();
    nodes.attached(DEVICE, at);
    bus.until(|bus| *bus.attached.lock().unwrap() == [(DEVICE, at)]).await;
}

#[tokio::test]
async fn that_a_device_connected_is_said_again_until_it_can_be_or_is_too_old() {
    let bus = Slow::stuck();
    bus.there.store(false, Ordering::Relaxed);
    let nodes = bus.nodes();
    let at = crate::server::now();
    let old = DeviceId::from_bytes([3; 32]);
    nodes.attached(old, at - Duration::from_secs(60));
    nodes.attached(DEVICE, at);
    sleep(Duration::from_millis(100)).await;
    bus.there.store(true, Ordering::Relaxed);
    bus.until(|bus| !bus.attached.lock().unwrap().is_empty()).await;
    assert_eq!(*bus.attached.lock().unwrap(), [(DEVICE, at)]);
}

#[tokio::test]
async fn only_a_connection_that_is_older_ends_when_a_device_comes_to_another_node() {
    let bells = Doorbells::default();
    let store = Arc::new(Memory::new([0; 16], Limits::default(), bells.clone()));
    let hub = Arc::new(Hub::new(Limits::default(), store, bells));
    let before = crate::server::now() - Duration::from_millis(1);
    let mut attachment = hub.attach(DEVICE);
    hub.attached_elsewhere(DEVICE, before);
    let news = timeout(Duration::from_millis(50), attachment.outbox.recv()).await;
    assert!(news.is_err(), "what is late ends nothing");
    hub.attached_elsewhere(DEVICE, crate::server::now() + Duration::from_millis(1));
    assert_eq!(attachment.outbox.recv().await, None, "it was replaced");
}

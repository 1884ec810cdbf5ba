use std::time::Duration;

use super::*;
use crate::server::store::memory::Memory;

const ROOM: RoomId = RoomId::from_bytes([9; 32]);
const A: DeviceId = DeviceId::from_bytes([1; 32]);
const B: DeviceId = DeviceId::from_bytes([2; 32]);

fn hub(limits: Limits) -> Arc<Hub> {
    let bells = Doorbells::default();
    let store = Arc::new(Memory::new([0; 16], limits.clone(), bells.clone()));
    Arc::new(Hub::new(limits, store, bells))
}

fn stream(number: u8) -> StreamId {
    StreamId::from_bytes([number; 16])
}

fn offer(number: u8) -> Payload {
    vec![number; 1000].into()
}

/// The streams in a picture.
fn shown(frames: &[ServerFrame]) -> Vec<StreamId> {
    match frames {
        [ServerFrame::Entered { state, .. }] => state.iter().map(|state| state.stream).collect(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn whoever_enters_is_shown_the_room_by_its_own_connection_as_it_is_by_then() {
    let hub = hub(Limits::default());
    let (_a, mut b) = (hub.attach(A), hub.attach(B));
    hub.enter(ROOM, A).await.unwrap();
    hub.set_state(ROOM, A, stream(1), offer(1)).await.unwrap();
    hub.enter(ROOM, B).await.unwrap();
    hub.set_state(ROOM, A, stream(2), offer(2)).await.unwrap();
    // Under the lock nothing but a note was made.
    assert!(matches!(b.outbox.try_recv(), Ok(Told::Picture(ROOM))));
    assert_eq!(shown(&b.picture(ROOM)), [stream(1), stream(2)]);
    // And what came meanwhile is said once more.
    assert!(matches!(b.outbox.try_recv(), Ok(Told::Frame(_))));
    assert!(b.outbox.try_recv().is_err());
    hub.leave(ROOM, B).await.unwrap();
    assert_eq!(b.picture(ROOM), [], "who left may not know");
}

#[tokio::test]
async fn whoever_enters_again_and_again_is_shown_the_room_once_when_it_reads_again() {
    let hub = hub(Limits::default());
    let (_a, mut b) = (hub.attach(A), hub.attach(B));
    hub.enter(ROOM, A).await.unwrap();
    for _ in 0..2 * OUTBOX {
        hub.enter(ROOM, B).await.unwrap();
    }
    assert!(b.outbox.try_recv().is_ok());
    assert_eq!(b.catch_up(), Some(vec![ROOM]));
    assert!(b.outbox.try_recv().is_err(), "the picture replaces what waited");
    assert_eq!(b.catch_up(), None);
}

#[tokio::test]
async fn more_than_a_slice_of_what_is_due_goes_in_one_turn() {
    let hub = hub(Limits { state_grace: Duration::ZERO, ..Limits::default() });
    let many = u8::MAX;
    let rooms: Vec<_> = (0..2).map(|n| RoomId::from_bytes([n; 32])).collect();
    for device in 1..=40 {
        let device = DeviceId::from_bytes([device; 32]);
        for &room in &rooms {
            hub.enter(room, device).await.unwrap();
            for number in 0..8 {
                hub.set_state(room, device, stream(many - number), offer(0)).await.unwrap();
            }
            hub.leave(room, device).await.unwrap();
        }
    }
    hub.expire();
    assert!(hub.lock().rooms.expire(Instant::now(), usize::MAX).dropped.is_empty());
}

#[tokio::test]
async fn mail_to_oneself_is_a_strangers_also_from_within_a_room() {
    let hub = hub(Limits::default());
    for device in [A, B] {
        hub.enter(ROOM, device).await.unwrap();
    }
    assert!(hub.is_stranger(&A, &A));
    assert!(!hub.is_stranger(&A, &B));
}

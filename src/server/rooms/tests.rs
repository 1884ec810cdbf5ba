use std::time::Duration;

use super::*;

const ROOM: RoomId = RoomId::from_bytes([9; 32]);
const A: DeviceId = DeviceId::from_bytes([1; 32]);
const B: DeviceId = DeviceId::from_bytes([2; 32]);
const STREAM: StreamId = StreamId::from_bytes([5; 16]);

/// As the hub does it: asked first, and done if that was right.
impl Rooms {
    fn try_enter(&mut self, device: DeviceId, limits: &Limits) -> Result<bool, RefusalCode> {
        self.may_enter(&ROOM, &device, limits)?;
        Ok(self.enter(ROOM, device))
    }

    fn try_set(
        &mut self,
        device: DeviceId,
        stream: StreamId,
        bytes: Payload,
        limits: &Limits,
    ) -> Result<bool, RefusalCode> {
        self.may_set_state(&ROOM, device, stream, &bytes, limits)?;
        Ok(self.set_state(ROOM, device, stream, bytes))
    }
}

fn offer() -> Payload {
    Payload::from(b"offer")
}

#[test]
fn only_who_is_in_a_room_learns_of_it_or_changes_it() {
    let (mut rooms, limits) = (Rooms::default(), Limits::default());
    assert_eq!(rooms.try_enter(A, &limits), Ok(true));
    assert_eq!(rooms.try_set(A, STREAM, offer(), &limits), Ok(true));
    assert_eq!(rooms.entry(&ROOM, &B), None);
    let refused = Err(RefusalCode::NotInRoom);
    assert_eq!(rooms.try_set(B, STREAM, offer(), &limits), refused);
    assert_eq!(rooms.may_clear_state(&ROOM, &B), Err(RefusalCode::NotInRoom));

    assert_eq!(rooms.try_enter(B, &limits), Ok(true));
    let state = vec![RoomState { device: A, stream: STREAM, bytes: offer() }];
    assert_eq!(rooms.entry(&ROOM, &B), Some(Entry { roster: vec![A], state }));
    // Its own stream is not told to a device: it may be one of an earlier process.
    assert_eq!(rooms.entry(&ROOM, &A), Some(Entry { roster: vec![B], state: vec![] }));
}

#[test]
fn state_outlives_its_device_by_the_grace_and_returns_only_if_said_again() {
    let (mut rooms, limits, now) = (Rooms::default(), Limits::default(), Instant::now());
    let old = StreamId::from_bytes([6; 16]);
    rooms.try_enter(A, &limits).unwrap();
    for stream in [STREAM, old] {
        rooms.try_set(A, stream, offer(), &limits).unwrap();
    }
    assert!(rooms.leave(&ROOM, &A, &limits, now));
    assert!(!rooms.leave(&ROOM, &A, &limits, now), "it is gone already");
    assert_eq!(rooms.expire(now + limits.state_grace - Duration::from_millis(1)), []);

    // It comes back in time, but says only one of its streams again.
    rooms.try_enter(A, &limits).unwrap();
    assert_eq!(rooms.try_set(A, STREAM, offer(), &limits), Ok(false), "unchanged");
    let dropped = Dropped { room: ROOM, device: A, stream: old };
    assert_eq!(rooms.expire(now + limits.state_grace), [dropped]);
    rooms.try_enter(B, &limits).unwrap();
    assert_eq!(rooms.entry(&ROOM, &B).unwrap().state.len(), 1);
}

#[test]
fn members_who_left_are_acquaintances_for_a_while_and_then_strangers() {
    let (mut rooms, limits, now) = (Rooms::default(), Limits::default(), Instant::now());
    rooms.try_enter(A, &limits).unwrap();
    assert!(!rooms.acquainted(&A, &B));
    rooms.try_enter(B, &limits).unwrap();
    assert!(rooms.acquainted(&A, &B));
    rooms.leave(&ROOM, &B, &limits, now);
    assert!(rooms.acquainted(&A, &B), "mail for who will be back");
    assert!(!rooms.acquainted(&B, &A), "who is in no room sends as a stranger");
    rooms.expire(now + limits.acquaintance);
    assert!(!rooms.acquainted(&A, &B));
    rooms.leave(&ROOM, &A, &limits, now);
    rooms.expire(now + limits.acquaintance);
    assert!(rooms.rooms.is_empty() && rooms.places.is_empty(), "nothing is left behind");
}

#[test]
fn rooms_members_and_streams_are_bounded() {
    let limits = Limits {
        rooms_per_device: 1,
        room_members: 2,
        streams_per_device: 1,
        room_payload: 5,
        ..Limits::default()
    };
    let mut rooms = Rooms::default();
    let (other, third) = (RoomId::from_bytes([8; 32]), DeviceId::from_bytes([3; 32]));
    for device in [A, B] {
        rooms.try_enter(device, &limits).unwrap();
    }
    assert_eq!(rooms.try_enter(third, &limits), Err(RefusalCode::RoomFull));
    assert_eq!(rooms.may_enter(&other, &A, &limits), Err(RefusalCode::QuotaExceeded));
    assert_eq!(rooms.try_enter(A, &limits), Ok(false), "it is in already");

    rooms.try_set(A, STREAM, offer(), &limits).unwrap();
    let second = StreamId::from_bytes([6; 16]);
    let quota = Err(RefusalCode::QuotaExceeded);
    assert_eq!(rooms.try_set(A, second, offer(), &limits), quota);
    let large = Payload::from(b"offers");
    assert_eq!(rooms.try_set(A, STREAM, large, &limits), Err(RefusalCode::TooLarge));
    rooms.clear_state(&ROOM, A, STREAM);
    assert_eq!(rooms.try_set(A, second, offer(), &limits), Ok(true));
}

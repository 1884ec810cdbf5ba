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
        Ok(self.set_state(ROOM, device, stream, bytes, limits, Instant::now()))
    }
}

impl Rooms {
    fn expire_all(&mut self, now: Instant) -> Vec<Dropped> {
        let expired = self.expire(now, usize::MAX);
        assert!(!expired.more);
        self.check();
        expired.dropped
    }

    /// That what is counted is what is there.
    fn check(&self) {
        let (mut leavers, mut stale, mut bytes) = (BTreeSet::new(), BTreeSet::new(), 0);
        for (&room, members) in &self.rooms {
            assert!(!members.is_over(), "{room} is remembered for nothing");
            leavers.extend(members.left.iter().map(|(&device, &until)| (until, room, device)));
            let mut here = 0;
            for (&(device, stream), stored) in &members.state {
                here += stored.cost();
                stale.extend(stored.expires.map(|expires| (expires, room, device, stream)));
            }
            assert_eq!(members.bytes, here);
            bytes += here;
        }
        assert_eq!((&self.leavers, &self.stale, self.bytes), (&leavers, &stale, bytes));
    }
}

fn room(number: u8) -> RoomId {
    RoomId::from_bytes([number; 32])
}

fn stream(number: u8) -> StreamId {
    StreamId::from_bytes([number; 16])
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
    assert_eq!(rooms.expire_all(now + limits.state_grace - Duration::from_millis(1)), []);

    // It comes back in time, but says only one of its streams again.
    rooms.try_enter(A, &limits).unwrap();
    assert_eq!(rooms.try_set(A, STREAM, offer(), &limits), Ok(false), "unchanged");
    let dropped = Dropped { room: ROOM, device: A, stream: old };
    assert_eq!(rooms.expire_all(now + limits.state_grace), [dropped]);
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
    rooms.expire_all(now + limits.acquaintance);
    assert!(!rooms.acquainted(&A, &B));
    rooms.leave(&ROOM, &A, &limits, now);
    rooms.expire_all(now + limits.acquaintance);
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

#[test]
fn the_state_of_one_room_and_of_all_together_is_bounded_in_bytes() {
    let each = KEEPING + 10;
    let limits = Limits { room_state_bytes: 2 * each, state_bytes: 3 * each, ..Limits::default() };
    let (mut rooms, quota) = (Rooms::default(), Err(RefusalCode::QuotaExceeded));
    let bytes = |length: usize| Payload::from(vec![7; length]);
    let may = |rooms: &Rooms, number, n, length| {
        rooms.may_set_state(&room(number), A, stream(n), &bytes(length), &limits)
    };
    let set = |rooms: &mut Rooms, number, n, length| {
        may(rooms, number, n, length).unwrap();
        rooms.set_state(room(number), A, stream(n), bytes(length), &limits, Instant::now());
        rooms.check();
    };
    for number in [1, 2] {
        rooms.enter(room(number), A);
    }
    set(&mut rooms, 1, 1, 10);
    set(&mut rooms, 1, 2, 10);
    assert_eq!(may(&rooms, 1, 3, 0), quota, "the room is full, also of empty ones");
    assert_eq!(may(&rooms, 1, 2, 11), quota);
    set(&mut rooms, 1, 2, 10);
    set(&mut rooms, 2, 1, 10);
    assert_eq!(may(&rooms, 2, 2, 0), quota, "all rooms are full");
    set(&mut rooms, 1, 2, 4);
    assert_eq!(may(&rooms, 2, 1, 17), quota);
    set(&mut rooms, 2, 1, 16);
    rooms.clear_state(&room(1), A, stream(1));
    set(&mut rooms, 2, 2, 0);

    // What is dropped makes room as well.
    let now = Instant::now();
    rooms.leave(&room(2), &A, &limits, now);
    assert_eq!(rooms.expire_all(now + limits.state_grace).len(), 2);
    rooms.enter(room(2), A);
    set(&mut rooms, 2, 3, each + 10 - 4);
}

#[test]
fn rooms_and_those_who_left_them_are_bounded() {
    let limits = Limits { rooms: 2, ..Limits::default() };
    let (mut rooms, now) = (Rooms::default(), Instant::now());
    for number in [1, 2] {
        assert_eq!(rooms.may_enter(&room(number), &A, &limits), Ok(()));
        rooms.enter(room(number), A);
    }
    assert_eq!(rooms.may_enter(&room(3), &B, &limits), Err(RefusalCode::QuotaExceeded));
    assert_eq!(rooms.may_enter(&room(2), &B, &limits), Ok(()), "into one that is there");

    // More than are remembered come and go: of the first, nothing stays.
    for n in 10..30 {
        let device = DeviceId::from_bytes([n; 32]);
        rooms.enter(room(1), device);
        rooms.leave(&room(1), &device, &limits, now + Duration::from_millis(n.into()));
        rooms.check();
        assert!(rooms.leavers.len() <= 2 * LEAVERS);
    }
    assert!(rooms.acquainted(&A, &DeviceId::from_bytes([29; 32])));
    assert!(!rooms.acquainted(&A, &DeviceId::from_bytes([10; 32])));
    // An empty room counts until nobody is remembered of it.
    rooms.leave(&room(2), &A, &limits, now);
    assert_eq!(rooms.may_enter(&room(3), &B, &limits), Ok(()), "the earliest is pushed out");
}

#[test]
fn what_is_due_is_forgotten_in_slices_and_nothing_else_is_looked_at() {
    let (mut rooms, limits, now) = (Rooms::default(), Limits::default(), Instant::now());
    for n in 0..10 {
        rooms.try_enter(A, &limits).unwrap();
        rooms.try_set(A, stream(n), offer(), &limits).unwrap();
    }
    rooms.leave(&ROOM, &A, &limits, now);
    let due = now + limits.state_grace;
    for (dropped, more) in [(4, true), (4, true), (2, false), (0, false)] {
        let expired = rooms.expire(due, 4);
        assert_eq!((expired.dropped.len(), expired.more), (dropped, more));
        rooms.check();
    }
    // It comes and goes: each time counts anew, and the earlier ones count no more.
    let later = now + Duration::from_secs(30);
    rooms.try_enter(A, &limits).unwrap();
    rooms.check();
    rooms.leave(&ROOM, &A, &limits, later);
    rooms.try_enter(B, &limits).unwrap();
    rooms.expire_all(now + limits.acquaintance);
    assert!(rooms.acquainted(&B, &A));
    rooms.expire_all(later + limits.acquaintance);
    assert!(!rooms.acquainted(&B, &A));
}

#[test]
fn state_that_is_told_when_its_device_has_gone_ends_by_itself() {
    let (mut rooms, limits, now) = (Rooms::default(), Limits::default(), Instant::now());
    rooms.enter(ROOM, A);
    rooms.leave(&ROOM, &A, &limits, now);
    for text in [b"late", b"more"] {
        assert!(rooms.set_state(ROOM, A, STREAM, text.into(), &limits, now));
    }
    rooms.check();
    let dropped = Dropped { room: ROOM, device: A, stream: STREAM };
    assert_eq!(rooms.expire_all(now + limits.state_grace), [dropped]);
}

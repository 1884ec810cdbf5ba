use super::*;

fn device(number: u32) -> DeviceId {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    DeviceId::from_bytes(bytes)
}

fn room(byte: u8) -> RoomId {
    RoomId::from_bytes([byte; 32])
}

fn round_trip(doors: &Doors) -> Doors {
    let json = serde_json::to_string(doors).unwrap();
    let read: Doors = serde_json::from_str(&json).unwrap();
    let bytes = postcard::to_allocvec(&read).unwrap();
    postcard::from_bytes(&bytes).unwrap()
}

#[test]
fn a_closed_room_lets_in_those_of_before_only_also_when_it_was_kept() {
    let mut doors = Doors::default();
    assert!(doors.admitted(room(1), device(1)) && !doors.admitted(room(1), device(1)));
    assert!(!doors.is_closed_to(room(1), device(2)));
    assert!(doors.close(room(1)) && !doors.close(room(1)));
    for doors in [&doors, &round_trip(&doors)] {
        assert!(!doors.is_closed_to(room(1), device(1)));
        assert!(doors.is_closed_to(room(1), device(2)));
        assert!(!doors.is_closed_to(room(2), device(2)), "another room is another door");
        assert_eq!(doors.closed().collect::<Vec<_>>(), [room(1)]);
    }
    assert!(doors.reopen(room(1)) && !doors.reopen(room(1)) && !doors.reopen(room(3)));
    assert!(!doors.is_closed_to(room(1), device(2)));
}

#[test]
fn whoever_is_shut_out_closes_the_rooms_that_it_was_in_and_no_others() {
    let mut doors = Doors::default();
    doors.admitted(room(1), device(1));
    doors.admitted(room(1), device(2));
    doors.admitted(room(2), device(1));
    doors.admitted(room(3), device(2));
    doors.shut_out(device(1));
    assert_eq!(doors.closed().collect::<Vec<_>>(), [room(1), room(2)]);
    assert!(doors.is_closed_to(room(1), device(1)) && !doors.is_closed_to(room(1), device(2)));
    assert!(!doors.knows(device(1)) && doors.knows(device(2)));
}

#[test]
fn admissions_are_bounded_and_no_closed_room_opens_for_that() {
    let mut doors = Doors::default();
    doors.admitted(room(1), device(0));
    doors.close(room(1));
    doors.admitted(room(2), device(0));
    // Whoever comes again is not the oldest any more.
    doors.admitted(room(3), device(0));
    doors.admitted(room(3), device(1));
    assert!(!doors.admitted(room(3), device(0)));
    let count = u32::try_from(MAX_ADMITTED).unwrap();
    for number in 0..count - 1 {
        assert!(doors.admitted(room(4), device(number)));
    }
    let mut doors = round_trip(&doors);
    assert_eq!(doors.order.len(), MAX_ADMITTED);
    assert!(doors.is_closed_to(room(1), device(0)), "forgotten, so it does not return");
    assert!(doors.knows(device(0)) && !doors.rooms.contains_key(&room(2)));
    let of_three: Vec<_> = doors.rooms[&room(3)].admitted.keys().copied().collect();
    assert_eq!(of_three, [device(0)]);
    // The next one displaces that, in the order of before.
    doors.admitted(room(4), device(count));
    assert!(!doors.rooms.contains_key(&room(3)));
    assert_eq!(doors.closed().collect::<Vec<_>>(), [room(1)]);
}

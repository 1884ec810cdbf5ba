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
    doors.admitted(room(3), device(0));
    doors.admitted(room(3), device(1));
    let count = u32::try_from(MAX_ADMITTED).unwrap();
    for number in 0..count - 1 {
        assert!(doors.admitted(room(4), device(number)));
    }
    let doors = round_trip(&doors);
    assert_eq!(doors.rooms.values().map(|door| door.admitted.len()).sum::<usize>(), doors.count);
    assert!((MAX_ADMITTED - FORGOTTEN_AT_ONCE..=MAX_ADMITTED).contains(&doors.count));
    assert!(doors.is_closed_to(room(1), device(0)), "forgotten, so it does not return");
    assert_eq!(doors.closed().collect::<Vec<_>>(), [room(1)]);
    assert!(!doors.rooms.contains_key(&room(2)) && !doors.rooms.contains_key(&room(3)));
    // The oldest were forgotten, and no others.
    let numbers: Vec<_> = doors.rooms[&room(4)].admitted.keys().copied().collect();
    let forgotten = count + 3 - u32::try_from(doors.count).unwrap();
    assert_eq!(numbers[0], device(forgotten - 4));
    assert_eq!(numbers.len(), doors.count);
}

#[test]
fn whoever_comes_again_is_not_the_oldest_any_more() {
    let mut doors = Doors::default();
    doors.admitted(room(1), device(0));
    doors.admitted(room(1), device(1));
    assert!(!doors.admitted(room(1), device(0)));
    let doors = round_trip(&doors);
    let admitted = &doors.rooms[&room(1)].admitted;
    assert!(admitted[&device(0)] > admitted[&device(1)]);
}

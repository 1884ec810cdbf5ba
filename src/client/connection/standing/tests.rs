use super::*;
use crate::primitives::Invite;

const TO: DeviceId = DeviceId::from_bytes([2; 32]);
const STREAM: StreamId = StreamId::from_bytes([5; 16]);

fn speaker() -> Speaker {
    Speaker { device: DeviceId::from_bytes([1; 32]), nonce: [7; 32] }
}

fn mail(bytes: &[u8]) -> Command {
    Command::Send { to: TO, bytes: bytes.into() }
}

#[test]
fn a_new_connection_is_told_rooms_then_states_then_what_was_not_accepted() {
    let invite = Invite::generate("h:1").unwrap();
    let (room, now) = (invite.room(), Instant::now());
    let mut standing = Standing::new(vec![(room, invite.door_key().unwrap())]);
    let offer = Payload::from(b"offer");
    let set = Command::SetState { room, stream: STREAM, bytes: offer.clone() };
    assert_eq!(standing.take(set, None, now), None, "there is no connection yet");
    for bytes in [b"1", b"2"] {
        assert_eq!(standing.take(mail(bytes), None, now), None);
    }
    let broadcast = Command::Broadcast { room, bytes: offer.clone() };
    assert_eq!(standing.take(broadcast, None, now), None, "lost, as broadcasts may be");

    assert_eq!(standing.done(1), Some(TO));
    let told = standing.say_all(&speaker(), now);
    let [ClientFrame::Enter { room: entered, door, signature }, set, send] = &told[..] else {
        panic!("{told:?}");
    };
    let (nonce, device) = (speaker().nonce, speaker().device);
    assert!(DoorKey::opens(door, entered, &nonce, &device, signature));
    assert_eq!(*set, ClientFrame::SetState { room, stream: STREAM, bytes: offer });
    assert_eq!(*send, ClientFrame::Send { request: 2, to: TO, bytes: Payload::from(b"2") });

    // The next connection is told the same until it is answered, the states for ever.
    assert_eq!(standing.say_all(&speaker(), now), told);
    standing.done(2);
    assert_eq!(standing.say_all(&speaker(), now), told[..2]);
    standing.take(Command::Leave { room }, None, now);
    assert_eq!(standing.say_all(&speaker(), now), []);
}

#[test]
fn a_stream_that_ended_while_the_service_was_away_is_taken_back_once() {
    let (room, now) = (RoomId::from_bytes([3; 32]), Instant::now());
    let mut standing = Standing::default();
    let bytes = Payload::from(b"end");
    standing.take(Command::SetState { room, stream: STREAM, bytes: bytes.clone() }, None, now);
    let clear = || Command::ClearState { room, stream: STREAM, bytes: bytes.clone() };
    standing.take(clear(), None, now);
    let end = ClientFrame::ClearState { room, stream: STREAM, bytes: bytes.clone() };
    assert_eq!(standing.say_all(&speaker(), now), std::slice::from_ref(&end));
    assert_eq!(standing.say_all(&speaker(), now), []);
    assert_eq!(standing.take(clear(), Some(&speaker()), now), Some(end));
    assert_eq!(standing.say_all(&speaker(), now), [], "it was said at once");
}

#[test]
fn what_came_too_fast_is_tried_again_later_and_what_waited_too_long_is_dropped() {
    let (mut standing, now) = (Standing::default(), Instant::now());
    let sent = standing.take(mail(b"m"), Some(&speaker()), now).unwrap();
    assert_eq!(standing.next_again(), None);
    standing.slow_down(1, now);
    let at = standing.next_again().unwrap();
    assert!(at > now);
    assert_eq!(standing.again(&speaker(), now), []);
    assert_eq!(standing.again(&speaker(), at), [sent]);
    assert_eq!(standing.again(&speaker(), at), [], "it is under way");
    assert_eq!(standing.say_all(&speaker(), now + KEPT), []);
    assert_eq!((standing.waiting_bytes, standing.done(1)), (0, None));
}

#[test]
fn what_waits_is_bounded_in_count_and_in_bytes() {
    let now = Instant::now();
    for size in [1, 64 * 1024] {
        let (mut standing, message) = (Standing::default(), vec![0; size]);
        let mut taken = 0;
        while standing.has_room() {
            standing.take(mail(&message), None, now);
            taken += 1;
        }
        assert_eq!(taken, WAITING.min(WAITING_BYTES / size));
        standing.done(1);
        assert!(standing.has_room());
    }
}

#[test]
fn rooms_and_states_that_could_not_be_taken_are_said_again_once() {
    let invite = Invite::generate("h:1").unwrap();
    let (room, now) = (invite.room(), Instant::now());
    let mut standing = Standing::new(vec![(room, invite.door_key().unwrap())]);
    let bytes = Payload::from(b"offer");
    standing.take(Command::SetState { room, stream: STREAM, bytes }, None, now);
    let told = standing.say_all(&speaker(), now);
    assert_eq!((told.len(), standing.next_again()), (2, None));
    standing.say_again(now);
    standing.say_again(now + RESTATE);
    assert_eq!(standing.again(&speaker(), now), []);
    assert_eq!(standing.next_again(), Some(now + RESTATE));
    assert_eq!(standing.again(&speaker(), now + RESTATE), told);
    assert_eq!(standing.next_again(), None);
    // A room that is entered by then is not entered once more.
    standing.entered(room);
    standing.say_again(now);
    assert_eq!(standing.again(&speaker(), now + RESTATE), told[1..]);
    // A new connection is told anyway.
    standing.say_again(now);
    assert_eq!(standing.say_all(&speaker(), now), told);
    assert_eq!(standing.next_again(), None);
}

use std::time::{Duration, Instant};

use olmcast::{
    client::connection::{CommandError, ConnectionEvent, DownReason},
    protocol::service::{RefusalCode, Subject},
    server::Limits,
};
use tokio::time::timeout;

use crate::fixture::*;

#[tokio::test]
async fn a_process_that_vanishes_is_seen_to_be_gone_at_once() {
    let server = serve(Limits::default()).await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let mut at_a = a.connect(&invite).await;
    let (room, device) = (invite.room(), b.id());
    let (mut at_b, nonce) = b.raw(&server).await;
    at_b.enter(&b, &invite, &nonce).await;
    assert_eq!(wait_for(&mut at_a, |_| true).await, ConnectionEvent::Present { room, device });
    // No goodbye: the operating system resets the connection of a process that was killed.
    at_b.0.get_ref().set_zero_linger().unwrap();
    let since = Instant::now();
    drop(at_b);
    assert_eq!(wait_for(&mut at_a, |_| true).await, ConnectionEvent::Gone { room, device });
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
}

#[tokio::test]
async fn a_process_that_falls_silent_is_gone_after_the_idle_time_and_one_that_answers_is_not() {
    let server = serve(limits(|limits| {
        limits.ping_interval = Duration::from_millis(100);
        limits.idle_timeout = Duration::from_millis(500);
    }))
    .await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let mut at_a = a.connect(&invite).await;
    let (room, device) = (invite.room(), b.id());
    let (mut at_b, nonce) = b.raw(&server).await;
    at_b.enter(&b, &invite, &nonce).await;
    assert_eq!(wait_for(&mut at_a, |_| true).await, ConnectionEvent::Present { room, device });
    // The socket stays open, but nobody reads the pings and answers them.
    assert_eq!(wait_for(&mut at_a, |_| true).await, ConnectionEvent::Gone { room, device });
    at_b.expect_refusal(Subject::Connection, RefusalCode::Silent).await;
    // `a` said nothing either in all that time, but answered the pings.
    tokio::time::sleep(Duration::from_secs(1)).await;
    silence(&mut at_a).await;
}

#[tokio::test]
async fn leaving_and_closing_are_seen_by_the_others() {
    let server = serve(Limits::default()).await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let mut at_a = a.connect(&invite).await;
    let at_b = b.connect(&invite).await;
    let (room, device) = (invite.room(), b.id());
    let present = ConnectionEvent::Present { room, device };
    assert_eq!(wait_for(&mut at_a, |_| true).await, present);
    at_b.handle().leave(room).unwrap();
    assert_eq!(wait_for(&mut at_a, |_| true).await, ConnectionEvent::Gone { room, device });
    at_b.handle().enter(room, invite.door_key().unwrap()).unwrap();
    assert_eq!(wait_for(&mut at_a, |_| true).await, present);

    // What was given before the close is carried out by it.
    let handle = at_b.handle();
    handle.send(a.id(), b"farewell").unwrap();
    at_b.close().await;
    // Mail and presence travel side by side, so either may come first.
    let (mut farewell, mut gone) = (false, false);
    wait_for(&mut at_a, |event| {
        farewell |= matches!(event, ConnectionEvent::Mail { .. });
        gone |= *event == ConnectionEvent::Gone { room, device };
        farewell && gone
    })
    .await;
    assert_eq!(handle.leave(room), Err(CommandError::Ended));
}

#[tokio::test]
async fn a_second_connection_of_a_device_replaces_the_first_which_gives_up() {
    let server = serve(Limits::default()).await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let mut first = a.connect(&invite).await;
    let mut second = a.connect(&invite).await;
    let reason = DownReason::Refused(RefusalCode::Replaced);
    assert!(reason.is_final());
    let down = wait_for(&mut first, |_| true).await;
    assert_eq!(down, ConnectionEvent::Down { reason });
    assert_eq!(timeout(PATIENCE, first.next()).await, Ok(None));

    let at_b = b.connect(&invite).await;
    at_b.handle().send(a.id(), b"to whom?").unwrap();
    assert_eq!(mail(&mut second).await, "to whom?");
}

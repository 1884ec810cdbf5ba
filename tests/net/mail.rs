use olmcast::{
    client::connection::{CommandError, ConnectionEvent},
    protocol::service::{ClientFrame, MAX_PAYLOAD, Payload, RefusalCode, ServerFrame, Subject},
    server::Limits,
};

use crate::fixture::*;

#[tokio::test]
async fn two_devices_exchange_mail() {
    let server = serve(Limits::default()).await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let (mut at_a, mut at_b) = (a.connect(&invite).await, b.connect(&invite).await);
    at_a.handle().send(b.id(), b"hello").unwrap();
    let event = wait_for(&mut at_b, |e| matches!(e, ConnectionEvent::Mail { .. })).await;
    assert_eq!(event, ConnectionEvent::Mail { from: a.id(), bytes: Payload::from(b"hello") });
    at_b.handle().send(a.id(), vec![b'x'; MAX_PAYLOAD]).unwrap();
    assert_eq!(mail(&mut at_a).await.len(), MAX_PAYLOAD);
    let too_large = at_a.handle().send(b.id(), vec![0; MAX_PAYLOAD + 1]);
    assert_eq!(too_large, Err(CommandError::TooLarge));
}

#[tokio::test]
async fn mail_for_who_is_away_arrives_on_return_and_disappears_only_once_acked() {
    let server = serve(Limits::default()).await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let at_a = a.connect(&invite).await;
    let (mut at_b, nonce) = b.raw(&server).await;
    at_b.enter(&b, &invite, &nonce).await;
    drop(at_b);
    for text in ["one", "two", "three"] {
        at_a.handle().send(b.id(), text.as_bytes()).unwrap();
    }

    // Read, but never acked: it comes again. Acked as far as "two": only the rest comes again.
    let mut expected = vec!["one", "two", "three"];
    for acked in [0, 2] {
        let (mut at_b, _) = b.raw(&server).await;
        let mut sequences = vec![];
        for text in &expected {
            match at_b.receive().await {
                ServerFrame::Mail { sequence, from, bytes } => {
                    assert_eq!((from, &*bytes), (a.id(), text.as_bytes()));
                    sequences.push(sequence);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(sequences.is_sorted());
        if acked > 0 {
            at_b.send(&ClientFrame::Ack { sequence: sequences[acked - 1] }).await;
            // An answer behind it tells that the ack was read.
            at_b.send(&ClientFrame::Send { request: 1, to: a.id(), bytes: b"ok".into() }).await;
            assert_eq!(at_b.receive().await, ServerFrame::Accepted { request: 1 });
        }
        expected.drain(..acked);
    }

    // A real connection acks what it hands out, so that afterwards nothing is left.
    let mut at_b = b.open(&invite);
    assert_eq!(mail(&mut at_b).await, "three");
    at_a.handle().send(b.id(), b"four").unwrap();
    assert_eq!(mail(&mut at_b).await, "four");
    tokio::time::sleep(A_WHILE).await;
    at_b.close().await;
    let mut at_b = b.open(&invite);
    while let Ok(Some(event)) = tokio::time::timeout(A_WHILE, at_b.next()).await {
        assert!(!matches!(event, ConnectionEvent::Mail { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_full_mailbox_refuses_the_sender_and_keeps_what_it_has() {
    let server = serve(limits(|limits| limits.mailbox_count = 3)).await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let mut at_a = a.connect(&invite).await;
    b.connect(&invite).await.close().await;
    for text in ["1", "2", "3", "4"] {
        at_a.handle().send(b.id(), text.as_bytes()).unwrap();
    }
    let refused = ConnectionEvent::SendRefused { to: b.id(), code: RefusalCode::MailboxFull };
    wait_for(&mut at_a, |event| *event == refused).await;

    let mut at_b = b.open(&invite);
    for text in ["1", "2", "3"] {
        assert_eq!(mail(&mut at_b).await, text);
    }
    // The mail was collected, so there is room again; and the refused message never comes.
    tokio::time::sleep(A_WHILE).await;
    at_a.handle().send(b.id(), b"5").unwrap();
    assert_eq!(mail(&mut at_b).await, "5");
}

#[tokio::test]
async fn strangers_share_a_small_lane_which_does_not_touch_the_members_mail() {
    let server = serve(limits(|limits| limits.stranger_lane = 2)).await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let at_a = a.connect(&invite).await;
    b.connect(&invite).await.close().await;
    let send = |request| ClientFrame::Send { request, to: b.id(), bytes: b"spam".into() };
    for (n, stranger) in [Device::new(), Device::new(), Device::new()].iter().enumerate() {
        let (mut raw, _) = stranger.raw(&server).await;
        raw.send(&send(7)).await;
        match n {
            0 | 1 => assert_eq!(raw.receive().await, ServerFrame::Accepted { request: 7 }),
            _ => raw.expect_refusal(Subject::Request(7), RefusalCode::MailboxFull).await,
        }
    }
    at_a.handle().send(b.id(), b"from a member").unwrap();
    let mut at_b = b.open(&invite);
    for text in ["spam", "spam", "from a member"] {
        assert_eq!(mail(&mut at_b).await, text);
    }
}

#[tokio::test]
async fn a_burst_above_the_rate_arrives_whole_only_later() {
    let server = serve(limits(|limits| {
        limits.rate = 50;
        limits.rate_burst = 20;
    }))
    .await;
    let (invite, a, b) = (invite(&server), Device::new(), Device::new());
    let (at_a, mut at_b) = (a.connect(&invite).await, b.connect(&invite).await);
    let mut expected: Vec<_> = (0..60).map(|n| n.to_string()).collect();
    for text in &expected {
        at_a.handle().send(b.id(), text.as_bytes()).unwrap();
    }
    let mut got = Vec::new();
    for _ in 0..expected.len() {
        got.push(mail(&mut at_b).await);
    }
    got.sort();
    expected.sort();
    assert_eq!(got, expected, "each exactly once, in whatever order");
}

#[tokio::test]
async fn whoever_asks_too_fast_is_told_so() {
    let server = serve(limits(|limits| {
        limits.rate = 1;
        limits.rate_burst = 2;
    }))
    .await;
    let device = Device::new();
    let (mut raw, _) = device.raw(&server).await;
    for request in 1..=3 {
        raw.send(&ClientFrame::Send { request, to: device.id(), bytes: b"".into() }).await;
    }
    let mut answers = Vec::new();
    while answers.len() < 3 {
        match raw.receive().await {
            ServerFrame::Mail { .. } => {}
            answer => answers.push(answer),
        }
    }
    let (subject, code) = (Subject::Request(3), RefusalCode::RateLimited);
    // What is taken over is confirmed when it is durable; a refusal need not wait for that.
    for answer in [
        ServerFrame::Accepted { request: 1 },
        ServerFrame::Accepted { request: 2 },
        ServerFrame::Refused { subject, code },
    ] {
        assert!(answers.contains(&answer), "{answer:?} is not in {answers:?}");
    }
}

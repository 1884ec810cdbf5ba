//! The half of mail.

use super::*;

pub(in crate::server::store) async fn mail_is_read_in_the_order_of_its_coming(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let (alice, bob, carol) = (device(), device(), device());
    assert_eq!(read(&*store, &carol).await, []);
    for (from, text) in [(alice, "1"), (bob, "2"), (alice, "3"), (carol, "4"), (bob, "")] {
        send(&*store, mail(from, carol, text)).await.unwrap();
        send(&*store, mail(from, bob, "other mail")).await.unwrap();
    }
    send(&*store, from_stranger(carol, "6")).await.unwrap();
    let all = read(&*store, &carol).await;
    assert_eq!(texts(&all), [&b"1"[..], b"2", b"3", b"4", b"", b"6"]);
    assert_eq!(
        all[..5].iter().map(|m| m.from).collect::<Vec<_>>(),
        [alice, bob, alice, carol, bob]
    );
    assert_increasing(&all);
    // In parts, as a connection reads.
    assert_eq!(store.mail_after(&carol, 0, 2).await.unwrap(), all[..2]);
    assert_eq!(store.mail_after(&carol, all[1].sequence, 3).await.unwrap(), all[2..5]);
    assert_eq!(store.mail_after(&carol, all[4].sequence, 10).await.unwrap(), all[5..]);
    assert_eq!(store.mail_after(&carol, all[5].sequence, 10).await.unwrap(), []);
    // Reading takes nothing away.
    assert_eq!(read(&*store, &carol).await, all);
}

pub(in crate::server::store) async fn what_one_task_submits_keeps_its_order_without_waiting(
    backend: &impl Backend,
) {
    let roomy = Limits { sender_quota: 1000, ..limits() };
    let store = backend.open(roomy, Doorbells::default()).await;
    let (alice, bob, carol) = (device(), device(), device());
    let mut durable = Vec::new();
    for number in 0..200_u32 {
        let from = if number % 3 == 0 { alice } else { bob };
        let mail = mail(from, carol, number.to_be_bytes());
        durable.push(store.submit(mail, now()).await.unwrap());
    }
    // In the other order, so that nothing depends on who waits first.
    for durable in durable.into_iter().rev() {
        durable.await.unwrap();
    }
    let all = read(&*store, &carol).await;
    let numbers: Vec<_> =
        texts(&all).iter().map(|m| u32::from_be_bytes((*m).try_into().unwrap())).collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
    assert_increasing(&all);
}

pub(in crate::server::store) async fn an_ack_covers_all_mail_before_it_and_no_other_mailbox(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let (alice, bob, carol) = (device(), device(), device());
    for text in ["1", "2", "3", "4"] {
        send(&*store, mail(alice, carol, text)).await.unwrap();
        send(&*store, from_stranger(carol, "stranger")).await.unwrap();
        send(&*store, mail(alice, bob, text)).await.unwrap();
    }
    let all = read(&*store, &carol).await;
    assert_eq!(all.len(), 8);
    store.ack(&carol, all[4].sequence).await.unwrap();
    until_left(&*store, &carol, 3).await;
    assert_eq!(read(&*store, &carol).await, all[5..]);
    // An earlier ack, one of nothing, and one that comes again.
    for sequence in [all[2].sequence, 0, all[4].sequence] {
        store.ack(&carol, sequence).await.unwrap();
    }
    assert_eq!(read(&*store, &carol).await, all[5..]);
    store.ack(&carol, all[7].sequence).await.unwrap();
    until_left(&*store, &carol, 0).await;
    assert_eq!(texts(&read(&*store, &bob).await), [b"1", b"2", b"3", b"4"]);
}

pub(in crate::server::store) async fn sequences_go_on_in_a_mailbox_that_was_emptied(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let (alice, bob) = (device(), device());
    let mut last = 0;
    for _ in 0..3 {
        send(&*store, mail(alice, bob, "again")).await.unwrap();
        let [mail] = &read(&*store, &bob).await[..] else { panic!("one message") };
        assert!(mail.sequence > last, "{} after {last}", mail.sequence);
        last = mail.sequence;
        store.ack(&bob, last).await.unwrap();
        until_left(&*store, &bob, 0).await;
    }
}

pub(in crate::server::store) async fn a_full_mailbox_refuses_and_keeps_what_it_has(
    backend: &impl Backend,
) {
    let few = Limits { mailbox_count: 4, ..limits() };
    let store = backend.open(few, Doorbells::default()).await;
    let (alice, bob, carol) = (device(), device(), device());
    for text in ["1", "2", "3", "4"] {
        send(&*store, mail(alice, carol, text)).await.unwrap();
    }
    let before = read(&*store, &carol).await;
    for from in [alice, bob] {
        assert_eq!(send(&*store, mail(from, carol, "5")).await, Err(REFUSED_FULL));
    }
    assert_eq!(send(&*store, from_stranger(carol, "5")).await, Err(REFUSED_FULL));
    assert_eq!(read(&*store, &carol).await, before);
    assert_eq!(send(&*store, mail(alice, bob, "another mailbox")).await, Ok(()));
    store.ack(&carol, before[0].sequence).await.unwrap();
    until_left(&*store, &carol, 3).await;
    send_after_ack(&*store, mail(bob, carol, "5")).await;
    assert_eq!(texts(&read(&*store, &carol).await), [b"2", b"3", b"4", b"5"]);
}

pub(in crate::server::store) async fn a_sender_has_its_quota_with_each_recipient(
    backend: &impl Backend,
) {
    let few = Limits { sender_quota: 3, ..limits() };
    let store = backend.open(few, Doorbells::default()).await;
    let (alice, bob, carol) = (device(), device(), device());
    for text in ["1", "2", "3"] {
        send(&*store, mail(alice, carol, text)).await.unwrap();
    }
    assert_eq!(send(&*store, mail(alice, carol, "4")).await, Err(REFUSED_QUOTA));
    assert_eq!(send(&*store, mail(bob, carol, "4")).await, Ok(()));
    assert_eq!(send(&*store, mail(alice, bob, "1")).await, Ok(()));
    let all = read(&*store, &carol).await;
    assert_eq!(texts(&all), [b"1", b"2", b"3", b"4"]);
    store.ack(&carol, all[0].sequence).await.unwrap();
    until_left(&*store, &carol, 3).await;
    send_after_ack(&*store, mail(alice, carol, "5")).await;
    assert_eq!(send(&*store, mail(alice, carol, "6")).await, Err(REFUSED_QUOTA));
}

pub(in crate::server::store) async fn strangers_share_a_lane(backend: &impl Backend) {
    let few = Limits { stranger_lane: 3, ..limits() };
    let store = backend.open(few, Doorbells::default()).await;
    let (alice, bob) = (device(), device());
    for text in ["1", "2", "3"] {
        send(&*store, from_stranger(bob, text)).await.unwrap();
    }
    assert_eq!(send(&*store, from_stranger(bob, "4")).await, Err(REFUSED_FULL));
    assert_eq!(send(&*store, mail(alice, bob, "4")).await, Ok(()));
    assert_eq!(send(&*store, from_stranger(alice, "1")).await, Ok(()));
    let all = read(&*store, &bob).await;
    assert_eq!(texts(&all), [b"1", b"2", b"3", b"4"]);
    assert_eq!(all.iter().map(|mail| mail.from).collect::<HashSet<_>>().len(), 4);
    store.ack(&bob, all[0].sequence).await.unwrap();
    until_left(&*store, &bob, 3).await;
    send_after_ack(&*store, from_stranger(bob, "5")).await;
}

/// Sends until it is refused: how many were taken.
async fn fill(store: &dyn Store, new: impl Fn() -> NewMail) -> usize {
    for taken in 0..1000 {
        match send(store, new()).await {
            Ok(()) => {}
            refused => {
                assert_eq!(refused, Err(REFUSED_FULL));
                return taken;
            }
        }
    }
    panic!("it never ends")
}

pub(in crate::server::store) async fn the_bytes_of_a_mailbox_are_limited<B: Backend>(backend: &B) {
    if !B::HOLDS.mailbox_bytes {
        return;
    }
    let few = Limits { mailbox_bytes: 100_000, ..limits() };
    let store = backend.open(few, Doorbells::default()).await;
    let (alice, bob) = (device(), device());
    let taken = fill(&*store, || mail(alice, bob, vec![7; 10_000])).await;
    assert!((7..=10).contains(&taken), "{taken}");
    assert_eq!(read(&*store, &bob).await.len(), taken);
    assert_eq!(send(&*store, mail(alice, device(), vec![7; 10_000])).await, Ok(()));
}

pub(in crate::server::store) async fn the_bytes_of_strangers_are_limited<B: Backend>(backend: &B) {
    if !B::HOLDS.stranger_bytes {
        return;
    }
    let few = Limits { stranger_bytes: 100_000, ..limits() };
    let store = backend.open(few, Doorbells::default()).await;
    let bob = device();
    let taken = fill(&*store, || from_stranger(device(), vec![7; 10_000])).await;
    assert!((7..=10).contains(&taken), "{taken}");
    assert_eq!(send(&*store, mail(device(), bob, vec![7; 10_000])).await, Ok(()));
}

pub(in crate::server::store) async fn the_bytes_of_all_mail_are_limited(backend: &impl Backend) {
    let few = Limits { store_bytes: 4_000_000, ..limits() };
    let store = backend.open(few, Doorbells::default()).await;
    let alice = device();
    let first = device();
    send(&*store, mail(alice, first, "first")).await.unwrap();
    let (mut taken, mut refused) = (0, 0);
    // A backend in parts fills each of them, so one refusal is not the end.
    for _ in 0..200 {
        match send(&*store, mail(alice, device(), vec![7; 60_000])).await {
            Ok(()) => taken += 1,
            other => {
                assert_eq!(other, Err(REFUSED_FULL));
                refused += 1;
            }
        }
    }
    assert!((30..=66).contains(&taken), "{taken}");
    assert!(refused > 0);
    assert_eq!(texts(&read(&*store, &first).await), [b"first"], "nobody's mail is evicted");
}

pub(in crate::server::store) async fn mail_that_is_too_large_is_refused(backend: &impl Backend) {
    let small = Limits { mail_payload: 1000, ..limits() };
    let store = backend.open(small, Doorbells::default()).await;
    let (alice, bob) = (device(), device());
    let refused = send(&*store, mail(alice, bob, vec![7; 1001])).await;
    assert_eq!(refused, Err(StoreError::Refused(RefusalCode::TooLarge)));
    assert_eq!(read(&*store, &bob).await, []);
    assert_eq!(send(&*store, mail(alice, bob, vec![7; 1000])).await, Ok(()));
    assert_eq!(texts(&read(&*store, &bob).await), [[7; 1000]]);
}

pub(in crate::server::store) async fn mail_that_nobody_collects_is_forgotten(
    backend: &impl Backend,
) {
    let short = Limits { mail_ttl: Duration::from_secs(2), sender_quota: 1, ..limits() };
    let store = backend.open(short, Doorbells::default()).await;
    let (alice, bob) = (device(), device());
    send(&*store, mail(alice, bob, "in vain")).await.unwrap();
    store.expire(now()).await.unwrap();
    let before = read(&*store, &bob).await;
    assert_eq!(texts(&before), [b"in vain"], "not before its time");
    let later = backend.pass(Duration::from_millis(2500)).await;
    store.expire(later).await.unwrap();
    until_left(&*store, &bob, 0).await;
    // It counts no more.
    assert_eq!(store.submit(mail(alice, bob, "new"), later).await.unwrap().await, Ok(()));
    assert!(read(&*store, &bob).await[0].sequence > before[0].sequence);
}

pub(in crate::server::store) async fn the_bell_rings_when_mail_is_durable(backend: &impl Backend) {
    let bells = Doorbells::default();
    let store = backend.open(limits(), bells.clone()).await;
    let (alice, bob) = (device(), device());
    let (at_alice, at_bob) = (bells.hang(alice), bells.hang(bob));
    // It rings once as it is hung up.
    for bell in [&at_alice, &at_bob] {
        timeout(LATER, bell.notified()).await.unwrap();
    }
    let waits = tokio::spawn({
        let store = store.clone();
        async move {
            timeout(LATER, at_bob.notified()).await.expect("the bell did not ring");
            read(&*store, &bob).await
        }
    });
    send(&*store, mail(alice, bob, "open the door")).await.unwrap();
    assert_eq!(texts(&waits.await.unwrap()), [b"open the door"]);
    let silent = timeout(Duration::from_millis(200), at_alice.notified()).await;
    assert!(silent.is_err(), "it rang at somebody else's door");
}

pub(in crate::server::store) async fn mail_is_taken_over_even_if_nobody_waits_for_it(
    backend: &impl Backend,
) {
    let bells = Doorbells::default();
    let store = backend.open(limits(), bells.clone()).await;
    let (alice, bob) = (device(), device());
    let bell = bells.hang(bob);
    timeout(LATER, bell.notified()).await.unwrap();
    drop(store.submit(mail(alice, bob, "sent and gone"), now()).await.unwrap());
    timeout(LATER, bell.notified()).await.expect("the bell did not ring");
    assert_eq!(texts(&read(&*store, &bob).await), [b"sent and gone"]);
}

pub(in crate::server::store) async fn mail_is_delivered_again_after_a_reopening(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let (alice, bob) = (device(), device());
    let instance = store.instance();
    for text in ["1", "2", "3"] {
        send(&*store, mail(alice, bob, text)).await.unwrap();
    }
    let all = read(&*store, &bob).await;
    store.ack(&bob, all[0].sequence).await.unwrap();
    until_left(&*store, &bob, 2).await;
    store.close().await;
    drop(store);

    let store = backend.open(limits(), Doorbells::default()).await;
    assert_eq!(store.instance(), instance);
    // An ack may be forgotten in a crash, but not by closing.
    assert_eq!(read(&*store, &bob).await, all[1..]);
}

pub(in crate::server::store) async fn sequences_go_on_after_a_mailbox_was_emptied_and_the_store_reopened(
    backend: &impl Backend,
) {
    let (alice, bob) = (device(), device());
    let mut last = 0;
    for _ in 0..3 {
        let store = backend.open(limits(), Doorbells::default()).await;
        send(&*store, mail(alice, bob, "again")).await.unwrap();
        let [mail] = &read(&*store, &bob).await[..] else { panic!("one message") };
        assert!(mail.sequence > last, "{} after {last}", mail.sequence);
        last = mail.sequence;
        store.ack(&bob, last).await.unwrap();
        until_left(&*store, &bob, 0).await;
        store.close().await;
    }
}

pub(in crate::server::store) async fn quotas_count_what_was_there_before_a_reopening(
    backend: &impl Backend,
) {
    let few = Limits { sender_quota: 2, mailbox_count: 3, ..limits() };
    let store = backend.open(few.clone(), Doorbells::default()).await;
    let (alice, bob, carol) = (device(), device(), device());
    for text in ["1", "2"] {
        send(&*store, mail(alice, carol, text)).await.unwrap();
    }
    store.close().await;
    drop(store);

    let store = backend.open(few, Doorbells::default()).await;
    assert_eq!(send(&*store, mail(alice, carol, "3")).await, Err(REFUSED_QUOTA));
    assert_eq!(send(&*store, mail(bob, carol, "3")).await, Ok(()));
    assert_eq!(send(&*store, mail(bob, carol, "4")).await, Err(REFUSED_FULL));
    let all = read(&*store, &carol).await;
    store.ack(&carol, all[0].sequence).await.unwrap();
    until_left(&*store, &carol, 2).await;
    send_after_ack(&*store, mail(alice, carol, "5")).await;
}

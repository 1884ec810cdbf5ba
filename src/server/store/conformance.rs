//! The contract of a [`Store`], tested on every backend.
//!
//! A backend says in [`Backend`] how it is opened, and `conformance!(Backend)` makes a test of each
//! case; `conformance!(Backend, durable)` also of those that close the store and open it again.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{task::JoinSet, time::timeout};
use vodozemac::Curve25519PublicKey;

use super::{Claimed, NewMail, Once, Store, StoreError, StoredMail};
use crate::{
    primitives::{DeviceId, Signature, Timestamp},
    protocol::{
        DeviceKeys, FallbackKey, KeysUpload, OneTimeKey, PublicKey,
        service::{Payload, RefusalCode},
    },
    server::{Limits, doorbells::Doorbells},
};

/// Where a store remembers, and what is different about it.
pub(super) trait Backend: Sized {
    /// What it holds; see [`Holds`].
    const HOLDS: Holds = Holds::EVERYTHING;

    /// Whether it can be tried here. If not, it says so itself.
    fn is_here() -> bool {
        true
    }

    /// A place in which nothing was ever remembered.
    async fn start() -> Self;

    /// Opens the store in that place; what was opened before is closed by then.
    async fn open(&self, limits: Limits, bells: Doorbells) -> Arc<dyn Store>;

    /// Lets time pass, and says what time it is then. Stores that are told the time need not wait.
    async fn pass(&self, time: Duration) -> Timestamp {
        now() + time
    }
}

/// Which limits a backend holds by the letter. Of the others only that is tested which must hold
/// with every store: what is refused changes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Holds {
    /// `Limits::directory_devices`, exactly; otherwise no more than that.
    pub(super) devices: bool,
    /// `Limits::mailbox_bytes`.
    pub(super) mailbox_bytes: bool,
    /// `Limits::stranger_bytes`.
    pub(super) stranger_bytes: bool,
}

impl Holds {
    pub(super) const EVERYTHING: Self =
        Self { devices: true, mailbox_bytes: true, stranger_bytes: true };
}

/// Makes a test of each case.
macro_rules! conformance {
    ($backend:ty) => {
        $crate::server::store::conformance::cases! { $backend:
            what_is_uploaded_is_found_and_claimed,
            unknown_devices_and_those_without_keys_answer_alike,
            five_hundred_contenders_get_each_one_time_key_once_and_then_the_fallback_key,
            an_upload_that_is_repeated_brings_no_key_back,
            a_new_fallback_key_takes_the_place_of_the_old_one_and_nothing_else,
            a_request_that_is_replayed_is_refused_and_changes_nothing,
            too_many_one_time_keys_are_refused_together,
            one_time_keys_without_device_keys_are_refused,
            more_devices_than_the_directory_holds_are_refused,
            mail_is_read_in_the_order_of_its_coming,
            what_one_task_submits_keeps_its_order_without_waiting,
            an_ack_covers_all_mail_before_it_and_no_other_mailbox,
            sequences_go_on_in_a_mailbox_that_was_emptied,
            a_full_mailbox_refuses_and_keeps_what_it_has,
            a_sender_has_its_quota_with_each_recipient,
            strangers_share_a_lane,
            the_bytes_of_a_mailbox_are_limited,
            the_bytes_of_strangers_are_limited,
            the_bytes_of_all_mail_are_limited,
            mail_that_is_too_large_is_refused,
            mail_that_nobody_collects_is_forgotten,
            the_bell_rings_when_mail_is_durable,
            mail_is_taken_over_even_if_nobody_waits_for_it,
            an_open_store_is_ready
        }
    };
    ($backend:ty, durable) => {
        $crate::server::store::conformance::conformance!($backend);
        $crate::server::store::conformance::cases! { $backend:
            keys_and_what_was_claimed_survive_a_reopening,
            a_request_is_replayed_after_a_reopening_too,
            mail_is_delivered_again_after_a_reopening,
            sequences_go_on_after_a_mailbox_was_emptied_and_the_store_reopened,
            quotas_count_what_was_there_before_a_reopening
        }
    };
}

macro_rules! cases {
    ($backend:ty: $($case:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if !<$backend as $crate::server::store::conformance::Backend>::is_here() {
                return;
            }
            let backend = <$backend as $crate::server::store::conformance::Backend>::start().await;
            $crate::server::store::conformance::$case(&backend).await;
        }
    )+};
}

pub(super) use {cases, conformance};

/// How long whatever may take effect later may take.
const LATER: Duration = Duration::from_secs(10);

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// A device that no other case knows: some backends share one server.
pub(super) fn device() -> DeviceId {
    DeviceId::from_bytes(random())
}

/// A request that was never seen.
pub(super) fn once() -> Once {
    Once { id: random(), until: now() + Duration::from_secs(60) }
}

/// Limits that no case comes near to by chance.
pub(super) fn limits() -> Limits {
    Limits { one_time_keys: 100, directory_devices: 10_000, ..Limits::default() }
}

fn public_key(number: u64) -> PublicKey {
    let mut bytes = [9; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    PublicKey(Curve25519PublicKey::from_bytes(bytes))
}

fn device_keys(device: DeviceId) -> DeviceKeys {
    let signature = Signature::from_bytes([1; 64]);
    DeviceKeys { device, curve25519: public_key(u64::MAX), signature }
}

fn one_time_key(number: u64) -> OneTimeKey {
    OneTimeKey { number, key: public_key(number), signature: Signature::from_bytes([2; 64]) }
}

fn fallback_key(number: u64) -> FallbackKey {
    FallbackKey { key: public_key(number), signature: Signature::from_bytes([3; 64]) }
}

fn one_time_keys(numbers: impl IntoIterator<Item = u64>) -> KeysUpload {
    let one_time_keys = numbers.into_iter().map(one_time_key).collect();
    KeysUpload { one_time_keys, ..KeysUpload::default() }
}

/// All that a device uploads at first.
pub(super) fn first_upload(
    device: DeviceId,
    numbers: impl IntoIterator<Item = u64>,
    fallback: Option<u64>,
) -> KeysUpload {
    KeysUpload {
        device_keys: Some(device_keys(device)),
        fallback_key: fallback.map(fallback_key),
        ..one_time_keys(numbers)
    }
}

/// Claims until there is nothing but the fallback key or nothing at all: the numbers, in order.
async fn drain(store: &dyn Store, device: &DeviceId) -> (Vec<u64>, Option<FallbackKey>) {
    let mut numbers = BTreeSet::new();
    loop {
        match store.claim(once(), device).await.unwrap() {
            Some(Claimed::OneTime(key)) => {
                assert_eq!(key, one_time_key(key.number), "as it was uploaded");
                assert!(numbers.insert(key.number), "{} went out twice", key.number);
            }
            Some(Claimed::Fallback(key)) => return (numbers.into_iter().collect(), Some(key)),
            None => return (numbers.into_iter().collect(), None),
        }
    }
}

pub(super) fn mail(from: DeviceId, to: DeviceId, bytes: impl Into<Vec<u8>>) -> NewMail {
    NewMail { from, to, stranger: false, bytes: Payload::from(bytes.into()) }
}

fn from_stranger(to: DeviceId, bytes: impl Into<Vec<u8>>) -> NewMail {
    NewMail { stranger: true, ..mail(device(), to, bytes) }
}

/// Hands mail in and waits until it is durable. Backends refuse at either point.
pub(super) async fn send(store: &dyn Store, mail: NewMail) -> Result<(), StoreError> {
    store.submit(mail, now()).await?.await
}

/// The same, where an ack that was given before makes room: it may take effect later.
async fn send_after_ack(store: &dyn Store, mail: NewMail) {
    let taken = async {
        while let Err(error) = send(store, mail.clone()).await {
            assert!(matches!(error, StoreError::Refused(_)), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATER, taken).await.expect("an ack should make room");
}

async fn read(store: &dyn Store, device: &DeviceId) -> Vec<StoredMail> {
    store.mail_after(device, 0, 10_000).await.unwrap()
}

fn texts(mail: &[StoredMail]) -> Vec<&[u8]> {
    mail.iter().map(|mail| &mail.bytes[..]).collect()
}

fn assert_increasing(mail: &[StoredMail]) {
    assert!(mail.is_sorted_by(|a, b| a.sequence < b.sequence), "sequences increase");
    assert!(mail.first().is_none_or(|mail| mail.sequence > 0), "0 is before all mail");
}

/// Waits until a mailbox has so many messages: an ack may take effect later.
pub(super) async fn until_left(store: &dyn Store, device: &DeviceId, count: usize) {
    let left = async {
        while read(store, device).await.len() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LATER, left).await.unwrap_or_else(|_| panic!("there should be {count} messages left"));
}

const REFUSED_QUOTA: StoreError = StoreError::Refused(RefusalCode::QuotaExceeded);
const REFUSED_FULL: StoreError = StoreError::Refused(RefusalCode::MailboxFull);

// The directory.

pub(super) async fn what_is_uploaded_is_found_and_claimed(backend: &impl Backend) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let (alice, bob) = (device(), device());
    let upload = first_upload(alice, 1..=20, Some(1000));
    assert_eq!(store.upload(once(), alice, upload, now()).await, Ok(20));
    let upload = first_upload(bob, [], None);
    assert_eq!(store.upload(once(), bob, upload, now()).await, Ok(0));

    let found = store.device(&alice).await.unwrap().unwrap();
    assert_eq!(found.keys, device_keys(alice));
    assert_eq!(found.fallback, Some(fallback_key(1000)));
    assert_eq!(found.one_time_keys, 20);
    let found = store.device(&bob).await.unwrap().unwrap();
    assert_eq!((found.keys, found.fallback), (device_keys(bob), None));

    let Some(Claimed::OneTime(claimed)) = store.claim(once(), &alice).await.unwrap() else {
        panic!("a one-time key")
    };
    assert_eq!(claimed, one_time_key(claimed.number));
    assert_eq!(store.device(&alice).await.unwrap().unwrap().one_time_keys, 19);
    assert_eq!(store.upload(once(), alice, one_time_keys(21..=25), now()).await, Ok(24));

    let (rest, fallback) = drain(&*store, &alice).await;
    assert_eq!(rest, (1..=25).filter(|n| *n != claimed.number).collect::<Vec<_>>());
    assert_eq!(fallback, Some(fallback_key(1000)));
    assert_eq!(store.device(&alice).await.unwrap().unwrap().one_time_keys, 0);
}

pub(super) async fn unknown_devices_and_those_without_keys_answer_alike(backend: &impl Backend) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let (unknown, exhausted) = (device(), device());
    let upload = first_upload(exhausted, [1], None);
    assert_eq!(store.upload(once(), exhausted, upload, now()).await, Ok(1));
    assert!(matches!(store.claim(once(), &exhausted).await, Ok(Some(Claimed::OneTime(_)))));
    assert_eq!(store.claim(once(), &exhausted).await, Ok(None));
    assert_eq!(store.claim(once(), &unknown).await, Ok(None));
    assert_eq!(store.device(&unknown).await, Ok(None));
}

pub(super) async fn five_hundred_contenders_get_each_one_time_key_once_and_then_the_fallback_key(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let upload = first_upload(alice, 1..=100, Some(1000));
    assert_eq!(store.upload(once(), alice, upload, now()).await, Ok(100));
    let mut contenders = JoinSet::new();
    for _ in 0..500 {
        let store = store.clone();
        contenders.spawn(async move { store.claim(once(), &alice).await });
    }
    let (mut numbers, mut fallbacks) = (HashSet::new(), 0);
    while let Some(claimed) = contenders.join_next().await {
        match claimed.unwrap().unwrap() {
            Some(Claimed::OneTime(key)) => assert!(numbers.insert(key.number), "{key:?} twice"),
            Some(Claimed::Fallback(key)) => {
                assert_eq!(key, fallback_key(1000));
                fallbacks += 1;
            }
            None => panic!("there is a fallback key"),
        }
    }
    assert_eq!((numbers.len(), fallbacks), (100, 400));
}

pub(super) async fn an_upload_that_is_repeated_brings_no_key_back(backend: &impl Backend) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let upload = first_upload(alice, 5..=10, None);
    assert_eq!(store.upload(once(), alice, upload.clone(), now()).await, Ok(6));
    // Nothing was claimed, so nothing is new.
    assert_eq!(store.upload(once(), alice, upload.clone(), now()).await, Ok(6));
    assert!(store.claim(once(), &alice).await.unwrap().is_some());
    assert_eq!(store.upload(once(), alice, upload.clone(), now()).await, Ok(5));
    assert_eq!(drain(&*store, &alice).await.0.len(), 5);
    assert_eq!(store.upload(once(), alice, upload, now()).await, Ok(0));
    // Numbers below the highest that was seen count as seen; those above are new.
    assert_eq!(store.upload(once(), alice, one_time_keys([1, 4, 11]), now()).await, Ok(1));
    assert_eq!(drain(&*store, &alice).await.0, [11]);
    // Within one upload each number counts once, in whatever order they stand.
    assert_eq!(store.upload(once(), alice, one_time_keys([14, 13, 14, 13]), now()).await, Ok(2));
    assert_eq!(drain(&*store, &alice).await.0, [13, 14]);
}

pub(super) async fn a_new_fallback_key_takes_the_place_of_the_old_one_and_nothing_else(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let upload = first_upload(alice, [], Some(1000));
    assert_eq!(store.upload(once(), alice, upload, now()).await, Ok(0));
    let fallback_key = fallback_key(1001);
    let upload = KeysUpload { fallback_key: Some(fallback_key), ..KeysUpload::default() };
    assert_eq!(store.upload(once(), alice, upload, now()).await, Ok(0));
    assert_eq!(store.upload(once(), alice, one_time_keys([1]), now()).await, Ok(1));
    assert_eq!(drain(&*store, &alice).await, (vec![1], Some(fallback_key)));
    // It may go out many times.
    assert_eq!(drain(&*store, &alice).await, (vec![], Some(fallback_key)));
    assert_eq!(store.device(&alice).await.unwrap().unwrap().keys, device_keys(alice));
}

pub(super) async fn a_request_that_is_replayed_is_refused_and_changes_nothing(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let (first, second, claim) = (once(), once(), once());
    let upload = first_upload(alice, 1..=3, None);
    assert_eq!(store.upload(first, alice, upload, now()).await, Ok(3));
    let more = one_time_keys(4..=6);
    let replayed = store.upload(first, alice, more.clone(), now()).await;
    assert_eq!(replayed, Err(StoreError::Replayed));
    assert_eq!(store.device(&alice).await.unwrap().unwrap().one_time_keys, 3);
    assert_eq!(store.upload(second, alice, more, now()).await, Ok(6));

    assert!(store.claim(claim, &alice).await.unwrap().is_some());
    assert_eq!(store.claim(claim, &alice).await, Err(StoreError::Replayed));
    assert_eq!(store.claim(first, &alice).await, Err(StoreError::Replayed));
    assert_eq!(store.device(&alice).await.unwrap().unwrap().one_time_keys, 5);
    // Forgetting what is out of date forgets no request that might still be accepted.
    store.expire(now()).await.unwrap();
    assert_eq!(store.claim(claim, &alice).await, Err(StoreError::Replayed));
}

pub(super) async fn too_many_one_time_keys_are_refused_together(backend: &impl Backend) {
    let few = Limits { one_time_keys: 10, ..limits() };
    let store = backend.open(few, Doorbells::default()).await;
    let alice = device();
    let upload = first_upload(alice, 1..=11, None);
    assert_eq!(store.upload(once(), alice, upload, now()).await, Err(REFUSED_QUOTA));
    assert_eq!(store.device(&alice).await, Ok(None));
    let upload = first_upload(alice, 1..=6, None);
    assert_eq!(store.upload(once(), alice, upload, now()).await, Ok(6));
    let upload = first_upload(alice, 7..=11, Some(1000));
    assert_eq!(store.upload(once(), alice, upload, now()).await, Err(REFUSED_QUOTA));
    let found = store.device(&alice).await.unwrap().unwrap();
    assert_eq!((found.one_time_keys, found.fallback), (6, None));
    // What is passed over does not count, and what was refused was not seen.
    assert_eq!(store.upload(once(), alice, one_time_keys(1..=10), now()).await, Ok(10));
    assert_eq!(drain(&*store, &alice).await.0, (1..=10).collect::<Vec<_>>());
    assert_eq!(store.upload(once(), alice, one_time_keys(11..=20), now()).await, Ok(10));
}

pub(super) async fn one_time_keys_without_device_keys_are_refused(backend: &impl Backend) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let refused = store.upload(once(), alice, one_time_keys([1]), now()).await;
    assert_eq!(refused, Err(StoreError::UnknownDevice));
    let only_fallback = KeysUpload { fallback_key: Some(fallback_key(1)), ..KeysUpload::default() };
    let refused = store.upload(once(), alice, only_fallback, now()).await;
    assert_eq!(refused, Err(StoreError::UnknownDevice));
    assert_eq!(store.device(&alice).await, Ok(None));
    assert_eq!(store.claim(once(), &alice).await, Ok(None));
    // The number was not seen either.
    assert_eq!(store.upload(once(), alice, first_upload(alice, [1], None), now()).await, Ok(1));
}

pub(super) async fn more_devices_than_the_directory_holds_are_refused<B: Backend>(backend: &B) {
    let few = Limits { directory_devices: 8, ..limits() };
    let store = backend.open(few, Doorbells::default()).await;
    let mut taken = Vec::new();
    for _ in 0..40 {
        let device = device();
        match store.upload(once(), device, first_upload(device, [1], None), now()).await {
            Ok(1) => taken.push(device),
            refused => {
                assert_eq!(refused, Err(REFUSED_QUOTA));
                assert_eq!(store.device(&device).await, Ok(None));
                assert_eq!(store.claim(once(), &device).await, Ok(None));
            }
        }
    }
    if B::HOLDS.devices {
        assert_eq!(taken.len(), 8);
    } else {
        assert!((1..=8).contains(&taken.len()), "{}", taken.len());
    }
    // Who is in it goes on.
    for device in taken {
        let upload = first_upload(device, [2], Some(1000));
        assert_eq!(store.upload(once(), device, upload, now()).await, Ok(2));
    }
}

// Mail.

pub(super) async fn mail_is_read_in_the_order_of_its_coming(backend: &impl Backend) {
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

pub(super) async fn what_one_task_submits_keeps_its_order_without_waiting(backend: &impl Backend) {
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

pub(super) async fn an_ack_covers_all_mail_before_it_and_no_other_mailbox(backend: &impl Backend) {
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

pub(super) async fn sequences_go_on_in_a_mailbox_that_was_emptied(backend: &impl Backend) {
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

pub(super) async fn a_full_mailbox_refuses_and_keeps_what_it_has(backend: &impl Backend) {
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

pub(super) async fn a_sender_has_its_quota_with_each_recipient(backend: &impl Backend) {
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

pub(super) async fn strangers_share_a_lane(backend: &impl Backend) {
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

pub(super) async fn the_bytes_of_a_mailbox_are_limited<B: Backend>(backend: &B) {
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

pub(super) async fn the_bytes_of_strangers_are_limited<B: Backend>(backend: &B) {
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

pub(super) async fn the_bytes_of_all_mail_are_limited(backend: &impl Backend) {
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

pub(super) async fn mail_that_is_too_large_is_refused(backend: &impl Backend) {
    let small = Limits { mail_payload: 1000, ..limits() };
    let store = backend.open(small, Doorbells::default()).await;
    let (alice, bob) = (device(), device());
    let refused = send(&*store, mail(alice, bob, vec![7; 1001])).await;
    assert_eq!(refused, Err(StoreError::Refused(RefusalCode::TooLarge)));
    assert_eq!(read(&*store, &bob).await, []);
    assert_eq!(send(&*store, mail(alice, bob, vec![7; 1000])).await, Ok(()));
    assert_eq!(texts(&read(&*store, &bob).await), [[7; 1000]]);
}

pub(super) async fn mail_that_nobody_collects_is_forgotten(backend: &impl Backend) {
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

pub(super) async fn the_bell_rings_when_mail_is_durable(backend: &impl Backend) {
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

pub(super) async fn mail_is_taken_over_even_if_nobody_waits_for_it(backend: &impl Backend) {
    let bells = Doorbells::default();
    let store = backend.open(limits(), bells.clone()).await;
    let (alice, bob) = (device(), device());
    let bell = bells.hang(bob);
    timeout(LATER, bell.notified()).await.unwrap();
    drop(store.submit(mail(alice, bob, "sent and gone"), now()).await.unwrap());
    timeout(LATER, bell.notified()).await.expect("the bell did not ring");
    assert_eq!(texts(&read(&*store, &bob).await), [b"sent and gone"]);
}

pub(super) async fn an_open_store_is_ready(backend: &impl Backend) {
    let store = backend.open(limits(), Doorbells::default()).await;
    assert_eq!(store.ready().await, Ok(()));
    let failed = timeout(Duration::from_millis(100), store.failed()).await;
    assert!(failed.is_err(), "{failed:?}");
    store.close().await;
}

// What outlives the process.

pub(super) async fn keys_and_what_was_claimed_survive_a_reopening(backend: &impl Backend) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let upload = first_upload(alice, 1..=10, Some(1000));
    assert_eq!(store.upload(once(), alice, upload.clone(), now()).await, Ok(10));
    let mut claimed = HashSet::new();
    for _ in 0..4 {
        let Some(Claimed::OneTime(key)) = store.claim(once(), &alice).await.unwrap() else {
            panic!("a one-time key")
        };
        claimed.insert(key.number);
    }
    store.close().await;
    drop(store);

    let store = backend.open(limits(), Doorbells::default()).await;
    let found = store.device(&alice).await.unwrap().unwrap();
    assert_eq!((found.keys, found.one_time_keys), (device_keys(alice), 6));
    assert_eq!(store.upload(once(), alice, upload, now()).await, Ok(6), "all were seen before");
    let (rest, fallback) = drain(&*store, &alice).await;
    assert_eq!(rest, (1..=10).filter(|n| !claimed.contains(n)).collect::<Vec<_>>());
    assert_eq!(fallback, Some(fallback_key(1000)));
}

pub(super) async fn a_request_is_replayed_after_a_reopening_too(backend: &impl Backend) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let (first, claim) = (once(), once());
    assert_eq!(store.upload(first, alice, first_upload(alice, 1..=3, None), now()).await, Ok(3));
    assert!(store.claim(claim, &alice).await.unwrap().is_some());
    store.close().await;
    drop(store);

    let store = backend.open(limits(), Doorbells::default()).await;
    store.expire(now()).await.unwrap();
    let replayed = store.upload(first, alice, one_time_keys([4]), now()).await;
    assert_eq!(replayed, Err(StoreError::Replayed));
    assert_eq!(store.claim(claim, &alice).await, Err(StoreError::Replayed));
    assert_eq!(store.device(&alice).await.unwrap().unwrap().one_time_keys, 2);
}

pub(super) async fn mail_is_delivered_again_after_a_reopening(backend: &impl Backend) {
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

pub(super) async fn sequences_go_on_after_a_mailbox_was_emptied_and_the_store_reopened(
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

pub(super) async fn quotas_count_what_was_there_before_a_reopening(backend: &impl Backend) {
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

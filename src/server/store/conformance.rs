//! The contract of a [`Store`], tested on every backend.
//!
//! A backend says in [`Backend`] how it is opened, and `conformance!(Backend)` makes a test of each
//! case; `conformance!(Backend, durable)` also of those that close the store and open it again.

mod directory;
mod mail;

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
            one_time_keys_that_are_to_be_spared_are_there_afterwards,
            an_upload_that_is_repeated_brings_no_key_back,
            one_time_keys_that_are_replaced_go_out_no_more,
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
pub(super) use {directory::*, mail::*};

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
        match store.claim(once(), device, false).await.unwrap() {
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

pub(super) async fn an_open_store_is_ready(backend: &impl Backend) {
    let store = backend.open(limits(), Doorbells::default()).await;
    assert_eq!(store.ready().await, Ok(()));
    let failed = timeout(Duration::from_millis(100), store.failed()).await;
    assert!(failed.is_err(), "{failed:?}");
    store.close().await;
}

// What outlives the process.

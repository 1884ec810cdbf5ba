//! The directory's half.

use super::*;

pub(in crate::server::store) async fn what_is_uploaded_is_found_and_claimed(
    backend: &impl Backend,
) {
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

    let Some(Claimed::OneTime(claimed)) = store.claim(once(), &alice, false).await.unwrap() else {
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

pub(in crate::server::store) async fn unknown_devices_and_those_without_keys_answer_alike(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let (unknown, exhausted) = (device(), device());
    let upload = first_upload(exhausted, [1], None);
    assert_eq!(store.upload(once(), exhausted, upload, now()).await, Ok(1));
    assert!(matches!(store.claim(once(), &exhausted, false).await, Ok(Some(Claimed::OneTime(_)))));
    assert_eq!(store.claim(once(), &exhausted, false).await, Ok(None));
    assert_eq!(store.claim(once(), &unknown, false).await, Ok(None));
    assert_eq!(store.device(&unknown).await, Ok(None));
}

pub(in crate::server::store) async fn five_hundred_contenders_get_each_one_time_key_once_and_then_the_fallback_key(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let upload = first_upload(alice, 1..=100, Some(1000));
    assert_eq!(store.upload(once(), alice, upload, now()).await, Ok(100));
    let mut contenders = JoinSet::new();
    for _ in 0..500 {
        let store = store.clone();
        contenders.spawn(async move { store.claim(once(), &alice, false).await });
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

pub(in crate::server::store) async fn one_time_keys_that_are_to_be_spared_are_there_afterwards(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    store.upload(once(), alice, first_upload(alice, [1], Some(7)), now()).await.unwrap();
    for _ in 0..2 {
        let spared = store.claim(once(), &alice, true).await.unwrap();
        assert_eq!(spared, Some(Claimed::Fallback(fallback_key(7))));
    }
    let claimed = store.claim(once(), &alice, false).await.unwrap();
    assert!(matches!(claimed, Some(Claimed::OneTime(_))), "{claimed:?}");
}

pub(in crate::server::store) async fn an_upload_that_is_repeated_brings_no_key_back(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let upload = first_upload(alice, 5..=10, None);
    assert_eq!(store.upload(once(), alice, upload.clone(), now()).await, Ok(6));
    // Nothing was claimed, so nothing is new.
    assert_eq!(store.upload(once(), alice, upload.clone(), now()).await, Ok(6));
    assert!(store.claim(once(), &alice, false).await.unwrap().is_some());
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

pub(in crate::server::store) async fn one_time_keys_that_are_replaced_go_out_no_more(
    backend: &impl Backend,
) {
    let few = Limits { one_time_keys: 10, ..limits() };
    let store = backend.open(few, Doorbells::default()).await;
    let (alice, bob) = (device(), device());
    let replacing = |numbers: std::ops::RangeInclusive<u64>| KeysUpload {
        replace_one_time_keys: true,
        ..one_time_keys(numbers)
    };
    let refused = store.upload(once(), alice, replacing(1..=1), now()).await;
    assert_eq!(refused, Err(StoreError::UnknownDevice));
    for device in [alice, bob] {
        let upload = first_upload(device, 1..=8, Some(1000));
        assert_eq!(store.upload(once(), device, upload, now()).await, Ok(8));
    }
    // What is refused replaces nothing.
    assert_eq!(store.upload(once(), alice, replacing(9..=19), now()).await, Err(REFUSED_QUOTA));
    assert_eq!(store.device(&alice).await.unwrap().unwrap().one_time_keys, 8);
    // The ones that go take no place.
    assert_eq!(store.upload(once(), alice, replacing(9..=18), now()).await, Ok(10));
    let (numbers, fallback) = drain(&*store, &alice).await;
    assert_eq!(numbers, (9..=18).collect::<Vec<_>>());
    assert_eq!(fallback, Some(fallback_key(1000)), "which stays");
    // With none in their place; and their numbers were seen.
    assert_eq!(store.upload(once(), alice, one_time_keys(19..=20), now()).await, Ok(2));
    let nothing = KeysUpload { replace_one_time_keys: true, ..KeysUpload::default() };
    for _ in 0..2 {
        assert_eq!(store.upload(once(), alice, nothing.clone(), now()).await, Ok(0));
    }
    assert_eq!(drain(&*store, &alice).await.0, [0; 0]);
    assert_eq!(store.upload(once(), alice, one_time_keys(17..=21), now()).await, Ok(1));
    assert_eq!(drain(&*store, &alice).await.0, [21]);
    // All others keep theirs.
    assert_eq!(drain(&*store, &bob).await.0, (1..=8).collect::<Vec<_>>());
}

pub(in crate::server::store) async fn a_new_fallback_key_takes_the_place_of_the_old_one_and_nothing_else(
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

pub(in crate::server::store) async fn a_request_that_is_replayed_is_refused_and_changes_nothing(
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

    assert!(store.claim(claim, &alice, false).await.unwrap().is_some());
    assert_eq!(store.claim(claim, &alice, false).await, Err(StoreError::Replayed));
    assert_eq!(store.claim(first, &alice, false).await, Err(StoreError::Replayed));
    assert_eq!(store.device(&alice).await.unwrap().unwrap().one_time_keys, 5);
    // Forgetting what is out of date forgets no request that might still be accepted.
    store.expire(now()).await.unwrap();
    assert_eq!(store.claim(claim, &alice, false).await, Err(StoreError::Replayed));
}

pub(in crate::server::store) async fn too_many_one_time_keys_are_refused_together(
    backend: &impl Backend,
) {
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

pub(in crate::server::store) async fn one_time_keys_without_device_keys_are_refused(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let refused = store.upload(once(), alice, one_time_keys([1]), now()).await;
    assert_eq!(refused, Err(StoreError::UnknownDevice));
    let only_fallback = KeysUpload { fallback_key: Some(fallback_key(1)), ..KeysUpload::default() };
    let refused = store.upload(once(), alice, only_fallback, now()).await;
    assert_eq!(refused, Err(StoreError::UnknownDevice));
    assert_eq!(store.device(&alice).await, Ok(None));
    assert_eq!(store.claim(once(), &alice, false).await, Ok(None));
    // The number was not seen either.
    assert_eq!(store.upload(once(), alice, first_upload(alice, [1], None), now()).await, Ok(1));
}

pub(in crate::server::store) async fn more_devices_than_the_directory_holds_are_refused<
    B: Backend,
>(
    backend: &B,
) {
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
                assert_eq!(store.claim(once(), &device, false).await, Ok(None));
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

pub(in crate::server::store) async fn keys_and_what_was_claimed_survive_a_reopening(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let upload = first_upload(alice, 1..=10, Some(1000));
    assert_eq!(store.upload(once(), alice, upload.clone(), now()).await, Ok(10));
    let mut claimed = HashSet::new();
    for _ in 0..4 {
        let Some(Claimed::OneTime(key)) = store.claim(once(), &alice, false).await.unwrap() else {
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

pub(in crate::server::store) async fn a_request_is_replayed_after_a_reopening_too(
    backend: &impl Backend,
) {
    let store = backend.open(limits(), Doorbells::default()).await;
    let alice = device();
    let (first, claim) = (once(), once());
    assert_eq!(store.upload(first, alice, first_upload(alice, 1..=3, None), now()).await, Ok(3));
    assert!(store.claim(claim, &alice, false).await.unwrap().is_some());
    store.close().await;
    drop(store);

    let store = backend.open(limits(), Doorbells::default()).await;
    store.expire(now()).await.unwrap();
    let replayed = store.upload(first, alice, one_time_keys([4]), now()).await;
    assert_eq!(replayed, Err(StoreError::Replayed));
    assert_eq!(store.claim(claim, &alice, false).await, Err(StoreError::Replayed));
    assert_eq!(store.device(&alice).await.unwrap().unwrap().one_time_keys, 2);
}

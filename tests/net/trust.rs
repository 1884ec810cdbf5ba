//! What a client's user decides about devices, and what comes of it over a real service.

use std::time::Duration;

use olmcast::{
    client::{Client, ClientError, Publication, Subscription},
    device::{Distrust, Identity, TrustState},
    endpoint::{Admission, Event, LeaveReason, Publish, SubscriptionStatus},
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{Codec, Invite},
    protocol::WithheldCode,
    server::Limits,
};
use tokio::time::{Instant, sleep, timeout};

use crate::fixture::*;

async fn client(invite: &Invite, name: &str) -> Client {
    Client::connect(invite, Identity::generate().with_name(name)).await.unwrap()
}

fn camera(admission: Admission) -> Publish {
    Publish::new("camera").track(Codec::Opus).admission(admission)
}

async fn until(publication: &mut Publication, is_it: impl Fn(&Event) -> bool) -> Event {
    let event = async {
        loop {
            let event = publication.event().await.unwrap();
            if is_it(&event) {
                return event;
            }
        }
    };
    timeout(PATIENCE, event).await.expect("it did not happen")
}

async fn watches(subscription: &Subscription) -> FrameDecryptor {
    subscription.decryptors().await.unwrap().remove(0)
}

fn opens(from: &mut FrameEncryptor, to: &mut FrameDecryptor) -> bool {
    let wire = from.encrypt(b"a packet").unwrap();
    to.decrypt_into(&wire, Client::now(), &mut Vec::new()).is_ok()
}

#[tokio::test]
async fn a_device_under_a_known_name_waits_until_the_user_admits_it() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let publisher = client(&invite, "Publisher").await;
    let mut publication = publisher.publish(camera(Admission::Invite)).await.unwrap();
    let alice = client(&invite, "Alice").await;
    let hers = timeout(PATIENCE, alice.subscribe("camera")).await.unwrap().unwrap();
    let state = hers.state().await.unwrap();
    assert_eq!((state.status, state.holders), (SubscriptionStatus::Live, Some(1)));
    let known = state.known.unwrap();
    assert_eq!((&*known.name, known.state), ("Publisher", TrustState::Pinned));

    let mallory = client(&invite, "Аlice").await;
    let asking = tokio::spawn({
        let mallory = mallory.clone();
        async move { mallory.subscribe("camera").await }
    });
    let request = until(&mut publication, |e| matches!(e, Event::JoinRequest { .. })).await;
    let taken = Some(Distrust::NameTaken(alice.device()));
    let Event::JoinRequest { device, request, distrust, .. } = request else { panic!() };
    assert_eq!((device, distrust), (mallory.device(), taken));
    let asked = publication.asking().await.unwrap();
    assert_eq!((asked.len(), asked[0].device, asked[0].distrust), (1, mallory.device(), taken));
    sleep(A_WHILE).await;
    assert!(!asking.is_finished());
    assert_eq!(publication.holders().await.unwrap().len(), 1);
    let known = publisher.known_devices().await.unwrap();
    assert_eq!(known.iter().map(|known| known.device).collect::<Vec<_>>(), [alice.device()]);

    publication.admit(mallory.device(), request).await.unwrap();
    let theirs = timeout(PATIENCE, asking).await.unwrap().unwrap().unwrap();
    until(
        &mut publication,
        |e| matches!(e, Event::KeyConfirmed { device, .. } if *device == mallory.device()),
    )
    .await;
    assert_eq!(publisher.known_devices().await.unwrap().len(), 2);
    let mut encryptor = publication.encryptors().next().unwrap();
    assert!(opens(&mut encryptor, &mut watches(&hers).await));
    assert!(opens(&mut encryptor, &mut watches(&theirs).await));

    // All three see the same number, once the beacon has come.
    let agreed = async {
        loop {
            let ours = publication.code().await.unwrap();
            let (a, b) = (hers.code().await.unwrap(), theirs.code().await.unwrap());
            if ours.is_some() && a == ours && b == ours {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, agreed).await.expect("the numbers differ");
    assert_eq!(hers.state().await.unwrap().holders, Some(2));
}

#[tokio::test]
async fn a_holder_that_is_verified_no_more_is_out_within_two_seconds() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let publisher = client(&invite, "Publisher").await;
    let identities = ["Alice", "Bob"].map(|name| Identity::generate().with_name(name));
    let keys = identities.each_ref().map(|i| (i.device(), i.curve25519(), i.name().to_owned()));
    for (device, key, name) in &keys {
        publisher.mark_verified(*device, *key, &**name).await.unwrap();
    }
    let mut publication = publisher.publish(camera(Admission::Verified)).await.unwrap();
    let mut clients = Vec::new();
    for identity in identities {
        let client = Client::connect(&invite, identity).await.unwrap();
        let held = timeout(PATIENCE, client.subscribe("camera")).await.unwrap().unwrap();
        clients.push((client, held));
    }
    let stranger = client(&invite, "Carol").await;
    let refused = timeout(PATIENCE, stranger.subscribe("camera")).await.unwrap();
    assert_eq!(refused.unwrap_err(), ClientError::Withheld(WithheldCode::NotVerified));

    let [(_, a), (_, b)] = &mut clients[..] else { panic!() };
    let mut encryptor = publication.encryptors().next().unwrap();
    let (mut at_a, mut at_b) = (watches(a).await, watches(b).await);
    assert!(opens(&mut encryptor, &mut at_a) && opens(&mut encryptor, &mut at_b));
    let start = Instant::now();
    let (device, key, name) = &keys[0];
    publisher.pin(*device, *key, &**name).await.unwrap();
    let left = until(&mut publication, |e| matches!(e, Event::HolderLeft { .. })).await;
    assert!(matches!(left, Event::HolderLeft { reason: LeaveReason::Revoked, .. }));
    until(&mut publication, |e| matches!(e, Event::Rotated { .. })).await;
    let wire = encryptor.encrypt(b"a packet").unwrap();
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(at_b.decrypt_into(&wire, Client::now(), &mut Vec::new()).is_ok());
    assert!(at_a.decrypt_into(&wire, Client::now(), &mut Vec::new()).is_err());
    // It is told why, on its own handle.
    let told = async {
        loop {
            if let Event::Withheld { code, .. } = a.event().await.unwrap() {
                return code;
            }
        }
    };
    assert_eq!(timeout(PATIENCE, told).await.unwrap(), WithheldCode::Removed);
    let removed = SubscriptionStatus::Closed(Some(WithheldCode::Removed));
    assert_eq!(a.state().await.unwrap().status, removed);
    // Everybody with the invite is welcome from now on, so the door is open.
    publication.set_admission(Admission::Invite).await.unwrap();
    let again = timeout(PATIENCE, stranger.subscribe("camera")).await.unwrap();
    assert!(again.is_ok());
}

#[tokio::test]
async fn a_blocked_device_is_out_and_its_streams_are_gone_from_the_room() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let publisher = client(&invite, "Publisher").await;
    let mut publication = publisher.publish(camera(Admission::Invite)).await.unwrap();
    let alice = client(&invite, "Alice").await;
    let held = timeout(PATIENCE, alice.subscribe("camera")).await.unwrap().unwrap();
    let screen = Publish::new("screen").track(Codec::Opus).with_invite();
    let screen = alice.publish(screen).await.unwrap();
    timeout(PATIENCE, publisher.find("screen", None)).await.unwrap().unwrap();

    publisher.block(alice.device()).await.unwrap();
    until(&mut publication, |e| matches!(e, Event::Rotated { .. })).await;
    let mut encryptor = publication.encryptors().next().unwrap();
    assert!(!opens(&mut encryptor, &mut watches(&held).await));
    assert!(publisher.room().borrow().newest("screen", None).is_none());
    let known = publisher.known_devices().await.unwrap();
    assert!(matches!(&known[..], [known] if known.state == TrustState::Blocked));
    // Its new device has the invite, and the door is closed.
    let second = client(&invite, "Alice").await;
    let refused = timeout(PATIENCE, second.subscribe("camera")).await.unwrap();
    assert_eq!(refused.unwrap_err(), ClientError::Withheld(WithheldCode::Closed));
    assert!(publisher.reopen_room().await.unwrap() && !publisher.reopen_room().await.unwrap());
    assert!(timeout(PATIENCE, second.subscribe("camera")).await.unwrap().is_ok());
    let refused = timeout(PATIENCE, alice.subscribe("camera")).await.unwrap();
    assert_eq!(refused.unwrap_err(), ClientError::Withheld(WithheldCode::Blocked));
    assert!(publisher.forget(alice.device()).await.unwrap());
    assert!(!publisher.forget(alice.device()).await.unwrap());
    drop(screen);
}

#[tokio::test]
async fn a_subscription_hears_that_its_key_does_not_come() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let publisher = client(&invite, "Publisher").await;
    let publication = publisher.publish(camera(Admission::Invite)).await.unwrap();
    let alice = client(&invite, "Alice").await;
    let mut held = timeout(PATIENCE, alice.subscribe("camera")).await.unwrap().unwrap();
    // Frames of a generation that does not exist: a KID of two bytes, 5 << 12.
    let mut decryptor = watches(&held).await;
    let forged = [&[0x91, 0x50, 0x00, 0x01][..], &[0; 40]].concat();
    let told = async {
        loop {
            let _ = decryptor.decrypt_into(&forged, Client::now(), &mut Vec::new());
            let event = timeout(Duration::from_millis(100), held.event()).await;
            if matches!(event, Ok(Ok(Event::KeyMissing { .. }))) {
                return;
            }
        }
    };
    timeout(PATIENCE, told).await.expect("it was not told");
    assert_eq!(held.state().await.unwrap().status, SubscriptionStatus::KeyMissing);
    drop(publication);
}

#[tokio::test]
async fn a_stream_under_a_known_name_hides_none_that_is_honest_until_the_user_pins_it() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let [ada, mallory] = ["Ada", "АdА"].map(|name| Identity::generate().with_name(name));
    let (key, other_key) = (ada.curve25519(), mallory.curve25519());
    let bob = client(&invite, "Bob").await;
    // Mallory's is the newer one, and Bob finds out who Ada is when he has seen both.
    let ada = Client::connect(&invite, ada).await.unwrap();
    let hers = ada.publish(camera(Admission::Invite)).await.unwrap();
    sleep(Duration::from_millis(20)).await;
    let mallory = Client::connect(&invite, mallory).await.unwrap();
    let forged = mallory.publish(camera(Admission::Invite)).await.unwrap();
    let (mut room, stream) = (bob.room(), forged.stream());
    timeout(PATIENCE, room.wait_for(|room| room.is_offered(stream))).await.unwrap().unwrap();
    assert_eq!(room.borrow().newest("camera", None).unwrap().stream, stream);
    bob.pin(ada.device(), key, "Ada").await.unwrap();
    let taken = Some(Distrust::NameTaken(ada.device()));
    let is_warned = |room: &olmcast::client::RoomView| room.distrust(stream) == taken;
    timeout(PATIENCE, room.wait_for(is_warned)).await.unwrap().unwrap();
    assert_eq!(room.borrow().newest("camera", None).unwrap().stream, hers.stream());
    let held = timeout(PATIENCE, bob.subscribe("camera")).await.unwrap().unwrap();
    assert_eq!(held.stream(), hers.stream());

    bob.pin(mallory.device(), other_key, "Ada").await.unwrap();
    timeout(PATIENCE, room.wait_for(|room| room.distrust(stream).is_none()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(room.borrow().newest("camera", None).unwrap().stream, stream);
}

#[tokio::test]
async fn of_two_who_offer_under_one_new_name_the_second_is_skipped_and_no_error() {
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let (ada, mallory) = (client(&invite, "Ada").await, client(&invite, "Ada").await);
    let bob = client(&invite, "Bob").await;
    // He admits Ada to a stream of his own after both have offered theirs.
    let hers = ada.publish(camera(Admission::Invite)).await.unwrap();
    sleep(Duration::from_millis(20)).await;
    let forged = mallory.publish(camera(Admission::Invite)).await.unwrap();
    let mut room = bob.room();
    let stream = forged.stream();
    timeout(PATIENCE, room.wait_for(|room| room.is_offered(stream))).await.unwrap().unwrap();
    let screen = Publish::new("screen").track(Codec::Opus).with_invite();
    let screen = bob.publish(screen).await.unwrap();
    let watched = timeout(PATIENCE, ada.subscribe("screen")).await.unwrap().unwrap();
    let held = timeout(PATIENCE, bob.subscribe("camera")).await.unwrap().unwrap();
    assert_eq!(held.stream(), hers.stream());
    let taken = Some(Distrust::NameTaken(ada.device()));
    assert_eq!(room.borrow_and_update().distrust(stream), taken);
    drop((screen, watched));
}

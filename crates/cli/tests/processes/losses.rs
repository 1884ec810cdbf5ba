//! Any of the processes dies, and comes back.

use std::{thread, time::Duration};

use crate::{
    fixture::{Place, number_before},
    recordings::assert_genuine,
};

/// How soon a publisher that started again is seen again.
const PUBLISHER_AGAIN: Duration = Duration::from_secs(5);
/// How long a device may be away before it is taken for gone.
const AWAY: Duration = Duration::from_secs(5);
/// By when those who are left have a new key, in ms.
const CUT_OVER: u64 = 2000;

#[test]
fn the_key_service_dies_and_comes_back() {
    let mut place = Place::new();
    let mut publisher = place.publisher(&[]);
    let mut ada = place.subscriber("Ada");
    let device = ada.says_behind("this device is ");
    publisher.says("«Ada» (");
    let killed = place.service.kill();
    for process in [&publisher, &ada] {
        let said = process.says("the connection to the key service was lost; reconnecting");
        println!("the loss of the service was told after {:?}", said.at - killed);
        process.says("cannot reach the key service");
    }
    // Media goes on without it.
    place.grows("Ada", "camera.ivf");
    place.grows("Ada", "camera.ogg");
    place.restart_service();
    for process in [&publisher, &ada] {
        process.says("connected to the key service");
    }
    // The service has forgotten everything, and others can join all the same.
    let bob = place.subscriber("Bob");
    assert!(!bob.has_said("no media"));
    // Longer than anybody may be away: who came back was not removed.
    thread::sleep(AWAY + Duration::from_secs(1));
    publisher.listen_anew();
    publisher.hears("holders");
    publisher.says(&device);
    publisher.says("  «Bob»  seen before  reads from");
    place.grows("Ada", "camera.ivf");
    ada.hears("leave");
    ada.ends_well();
    assert_genuine(&place.path("Ada"), "camera");
}

#[test]
fn the_relay_dies_and_comes_back() {
    let mut place = Place::new();
    let mut publisher = place.publisher(&[]);
    let mut ada = place.subscriber("Ada");
    place.grows("Ada", "camera.ivf");
    for process in [&mut publisher, &mut ada] {
        process.listen_anew();
    }
    let killed = place.relay.kill();
    let told = publisher.says("the relay is gone; connecting to it again");
    println!("the publisher told of the relay's loss after {:?}", told.at - killed);
    publisher.says("cannot be reached");
    let told = ada.says("the relay is gone, or the publisher; connecting again");
    println!("the subscriber told of the relay's loss after {:?}", told.at - killed);
    ada.says("no media: the relay at http://127.0.0.1:");
    place.restart_relay();
    let back = std::time::Instant::now();
    let flows = ada.says("media flows");
    println!("frames were opened again {:?} after the relay was back", flows.at - back);
    publisher.says("media flows to the relay");
    place.grows("Ada", "camera.ivf");
    place.grows("Ada", "camera.ogg");
    assert!(!publisher.has_said(" left: "), "nobody left:\n{publisher}");
    ada.hears("leave");
    ada.ends_well();
    // One recording, across the gap.
    assert_genuine(&place.path("Ada"), "camera");
}

#[test]
fn a_publisher_that_is_started_again_is_seen_again_within_five_seconds() {
    let place = Place::new();
    let mut publisher = place.publisher(&[]);
    let mut subscribers = ["Ada", "Bob"].map(|name| place.subscriber(name));
    for (attempt, killed) in [(2, true), (3, false)] {
        for (subscriber, name) in subscribers.iter_mut().zip(["Ada", "Bob"]) {
            let number = attempt - 1;
            place.grows(
                name,
                &if number == 1 { "camera.ivf".to_owned() } else { format!("camera-{number}.ivf") },
            );
            subscriber.listen_anew();
        }
        if killed {
            publisher.kill();
        } else {
            publisher.terminate();
            publisher.ends_well();
        }
        let started = std::time::Instant::now();
        publisher = place.start_publisher(&[]);
        for subscriber in &subscribers {
            let said = if killed {
                "the publisher is not at the key service any more"
            } else {
                "the publisher ended the stream"
            };
            subscriber.says(said);
            let seen = subscriber.says("media flows").at - started;
            println!("a publisher that was started again was seen again after {seen:?}");
            assert!(seen <= PUBLISHER_AGAIN, "seen again only after {seen:?}:\n{subscriber}");
        }
        for name in ["Ada", "Bob"] {
            place.grows(name, &format!("camera-{attempt}.ivf"));
        }
    }
    thread::sleep(Duration::from_secs(2));
    for (subscriber, name) in subscribers.iter_mut().zip(["Ada", "Bob"]) {
        subscriber.hears("leave");
        subscriber.ends_well();
        assert_genuine(&place.path(name), "camera-3");
    }
}

#[test]
fn a_subscriber_that_dies_is_removed_and_the_key_changes() {
    let place = Place::new();
    let publisher = place.publisher(&[]);
    let mut ada = place.subscriber("Ada");
    let mut bob = place.subscriber("Bob");
    publisher.says("«Bob» (");
    let killed = bob.kill();
    let left = publisher.says(") left: vanished");
    assert!(left.text.starts_with("«Bob» ("), "{}", left.text);
    let after = left.at - killed;
    // The publisher's clock counts whole milliseconds.
    assert!(after + Duration::from_millis(5) >= AWAY, "removed after {after:?} already");
    let key = publisher.says("new key from 1.0 on");
    let ms = number_before(&key, " ms after somebody left");
    println!("a dead subscriber was removed after {after:?}, a new key followed in {ms} ms");
    assert!(ms <= CUT_OVER, "{}", key.text);
    // The other one goes on with the new key.
    place.grows("Ada", "camera.ivf");
    assert!(ada.is_running());
    ada.hears("leave");
    ada.ends_well();
    assert_genuine(&place.path("Ada"), "camera");
}

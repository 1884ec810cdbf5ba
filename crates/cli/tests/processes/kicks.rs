//! Leaving, and being made to.

use crate::fixture::{Place, number_before};

/// By when a kicked device is locked out, in ms.
const KICK: u64 = 1000;
/// The same for one that left.
const LEAVE: u64 = 2000;

#[test]
fn a_kicked_subscriber_is_out_and_the_room_is_closed() {
    let place = Place::new();
    let mut publisher = place.publisher(&[]);
    let mut ada = place.subscriber("Ada");
    let mut bob = place.subscriber("Bob");
    publisher.says("«Bob» (");
    publisher.hears("kick Carol");
    publisher.says("nobody who watches is called «Carol»");
    place.grows("Bob", "camera.ivf");
    publisher.hears("kick Bob");
    bob.fails_saying("no key any more: the publisher removed this device");
    let left = publisher.says(") left: kicked");
    assert!(left.text.starts_with("«Bob» ("), "{}", left.text);
    let key = publisher.says("new key from 1.0 on");
    let ms = number_before(&key, " ms after the kick");
    println!("the key changed {ms} ms after the kick");
    assert!(ms <= KICK, "{}", key.text);
    // What it recorded until then is complete.
    bob.prints("camera.ivf: ");

    let mut carol = place.start_subscriber("Carol", &[]);
    carol.fails_saying("the publisher closed the room after a removal; ask for a new invite");
    publisher.says("was refused: the room is closed");
    assert!(!place.path("Carol").join("camera.ivf").exists());

    place.grows("Ada", "camera.ivf");
    assert!(ada.is_running());
    ada.hears("leave");
    ada.ends_well();
    crate::recordings::assert_genuine(&place.path("Ada"), "camera");
}

#[test]
fn who_leaves_is_told_goodbye_by_a_new_key() {
    let place = Place::new();
    let mut publisher = place.publisher(&[]);
    let ada = place.subscriber("Ada");
    let mut bob = place.subscriber("Bob");
    publisher.says("«Bob» (");
    bob.hears("stay");
    bob.says("there is no command stay; there is: state");
    bob.hears("leave");
    bob.ends_well();
    let left = publisher.says(") left: unsubscribed");
    assert!(left.text.starts_with("«Bob» ("), "{}", left.text);
    let key = publisher.says("new key from 1.0 on");
    let ms = number_before(&key, " ms after somebody left");
    println!("the key changed {ms} ms after somebody left");
    assert!(ms <= LEAVE, "{}", key.text);
    place.grows("Ada", "camera.ivf");
    // Leaving is no removal: the door stays open.
    place.subscriber("Carol");
    assert!(!ada.has_said("no key"));
    publisher.hears("end");
    publisher.ends_well();
    ada.says("the publisher ended the stream");
}

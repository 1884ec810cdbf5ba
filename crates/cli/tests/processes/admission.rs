//! Who is admitted: the publisher decides.

use crate::fixture::Place;

#[test]
fn a_publisher_that_is_asked_admits_and_refuses() {
    let place = Place::new();
    let mut publisher = place.publisher(&["--admit", "ask"]);
    let ada = place.start_subscriber("Ada", &[]);
    let device = ada.says_behind("this device is ");
    publisher.says(&format!("wants to watch: admit {device}, or refuse {device}"));
    publisher.hears("admit Eve");
    publisher.says("nobody who asks is called Eve");
    assert!(!ada.has_said("media flows"));
    publisher.hears(&format!("admit {device}"));
    ada.says("media flows");
    publisher.says("Ada (");

    // By its name is enough.
    let mut bob = place.start_subscriber("Bob", &[]);
    let asked = publisher.says(&bob.says_behind("this device is "));
    assert!(asked.text.starts_with("Bob ("), "{}", asked.text);
    publisher.hears("refuse Bob");
    bob.fails_saying("no key for this stream: the publisher did not admit this device");
    publisher.says("was refused: it was not admitted");
    place.grows("Ada", "camera.ivf");
    publisher.hears("end");
    publisher.ends_well();
}

#[test]
fn an_allow_list_admits_those_who_are_on_it() {
    let place = Place::new();
    let ada = place.start_subscriber("Ada", &[]);
    let mut bob = place.start_subscriber("Bob", &[]);
    for subscriber in [&ada, &bob] {
        subscriber.says("waiting for «camera»");
    }
    let list = place.path("allowed.txt");
    std::fs::write(&list, format!("\n{}\n", ada.says_behind("this device is "))).unwrap();
    let publisher = place.publisher(&["--admit", list.to_str().unwrap()]);
    ada.says("media flows");
    bob.fails_saying("no key for this stream: the publisher did not admit this device");
    publisher.says("was refused: it was not admitted");
    place.grows("Ada", "camera.ivf");
}

#[test]
fn a_name_cannot_steer_the_publishers_terminal() {
    let place = Place::new();
    let publisher = place.publisher(&["--admit", "ask"]);
    let _eve = place.start_subscriber("Eve\x1b[2J\rAda", &[]);
    let asked = publisher.says(" wants to watch").text;
    assert!(asked.starts_with("Eve\u{FFFD}[2J\u{FFFD}Ada ("), "{asked:?}");
}

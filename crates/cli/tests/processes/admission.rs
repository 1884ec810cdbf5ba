//! Who is admitted: the publisher decides.

use crate::fixture::{Place, TO_READ};

/// The device's id, in groups of four.
fn fingerprint(device: &str) -> String {
    let groups = device.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap());
    groups.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_publisher_that_is_asked_admits_and_refuses() {
    let place = Place::new();
    let mut publisher = place.publisher(&["--admit", "ask"]);
    let ada = place.start_subscriber("Ada", &[]);
    let device = ada.says_behind("this device is ");
    publisher.says(&format!("«Ada» ({}) wants to watch", &device[..8]));
    publisher.says("it is        unknown");
    publisher.says(&format!("fingerprint  {}", fingerprint(&device)));
    publisher.says("admit? [y/n]");
    ada.says("no key yet: the publisher's user is asked");
    publisher.hears("admit Eve");
    publisher.says("nobody who asks is called «Eve»");
    assert!(!ada.has_said("media flows"));
    publisher.hears(&format!("admit {device}"));
    ada.says("media flows");
    publisher.says("«Ada» (");

    // By its name is enough.
    let mut bob = place.start_subscriber("Bob", &[]);
    publisher.says("«Bob» (");
    publisher.hears("refuse Bob");
    bob.fails_saying("no key for this stream: the publisher did not admit this device");
    publisher.says("was refused: it was not admitted");
    place.grows("Ada", "camera.ivf");
    publisher.hears("end");
    publisher.ends_well();
}

#[test]
fn a_yes_lets_the_one_in_who_is_asked_about_and_a_no_does_not() {
    let place = Place::new();
    let mut publisher = place.publisher(&["--admit", "ask"]);
    publisher.hears("y");
    publisher.says("nothing is asked");
    let mut ada = place.start_subscriber("Ada", &[]);
    publisher.says("«Ada» (");
    publisher.says("admit? [y/n]");
    // Who comes next is asked about next.
    let mut bob = place.start_subscriber("Bob", &[]);
    bob.says("no key yet: the publisher's user is asked");
    assert!(!publisher.has_said("«Bob» ("), "{publisher}");
    publisher.answers("n");
    ada.fails_saying("no key for this stream: the publisher did not admit this device");
    publisher.says("«Bob» (");
    publisher.listen_anew();
    assert!(!bob.has_said("media flows"));
    publisher.answers("yes");
    bob.says("media flows");
    publisher.hears("holders");
    let holder = publisher.says("  reads from").text;
    assert!(holder.contains("  «Bob»  seen before"), "{holder}");
    assert!(bob.is_running());
}

#[test]
fn a_second_yes_lets_nobody_in_whom_nobody_has_read_of() {
    let place = Place::new();
    let mut publisher = place.publisher(&["--admit", "ask"]);
    let ada = place.start_subscriber("Ada", &[]);
    publisher.says("«Ada» (");
    let mallory = place.start_subscriber("Mallory", &[]);
    mallory.says("no key yet: the publisher's user is asked");
    // As many as are read ahead, and more.
    publisher.answers(&["y"; 40].join("\n"));
    ada.says("media flows");
    publisher.says("«Mallory» (");
    publisher.says("that was typed before the question could be read");
    std::thread::sleep(2 * TO_READ);
    publisher.listen_anew();
    publisher.hears("holders");
    publisher.says("  «Ada»  seen before");
    assert!(!publisher.has_said("«Mallory»"), "{publisher}");
    assert!(!mallory.has_said("media flows"), "{mallory}");
    publisher.hears("y");
    mallory.says("media flows");
}

#[test]
fn who_is_called_like_another_is_named_by_the_whole_id() {
    let place = Place::new();
    let mut publisher = place.publisher(&[]);
    let ada = place.subscriber("Ada");
    let device = ada.says_behind("this device is ");
    let mut mallory = place.subscriber(&device[..8]);
    let other = mallory.says_behind("this device is ");
    publisher.says(&format!("«{}» (", &device[..8]));
    publisher.hears(&format!("kick {}", &device[..8]));
    publisher.says("may mean several; give the whole id of one:");
    publisher.says(&format!("  {device}  «Ada»"));
    publisher.says(&format!("  {other}  «{}»", &device[..8]));
    publisher.hears(&format!("kick {other}"));
    mallory.fails_saying("no key any more: the publisher removed this device");
    place.grows("Ada", "camera.ivf");
}

#[test]
fn somebody_who_leaves_is_not_asked_about_any_more() {
    let place = Place::new();
    let mut publisher = place.publisher(&["--admit", "ask"]);
    let mut ada = place.start_subscriber("Ada", &[]);
    publisher.says("«Ada» (");
    let mut bob = place.start_subscriber("Bob", &[]);
    bob.says("no key yet: the publisher's user is asked");
    ada.hears("leave");
    ada.ends_well();
    publisher.says("«Bob» (");
    // It may have been meant for Ada.
    publisher.hears("y");
    publisher.says("that was typed before the question could be read");
    assert!(!bob.has_said("media flows"), "{bob}");
    publisher.answers("y");
    bob.says("media flows");
    assert!(bob.is_running());
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
    assert!(asked.starts_with("«Eve[2JAda» ("), "{asked:?}");
}

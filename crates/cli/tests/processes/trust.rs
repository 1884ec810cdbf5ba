//! Whom a device knows decides who watches, and what is watched.

use crate::fixture::{Place, Process, new_room};

#[test]
fn without_a_vault_it_is_said_that_the_device_is_forgotten() {
    let place = Place::new();
    for process in [place.start_publisher(&[]), place.start_subscriber("Ada", &[])] {
        process.says(
            "it is new and is forgotten at the end; --vault keeps it, whom it verified or blocked, and \
             that a room is closed",
        );
    }
    let ada = place.device("Ada");
    let subscriber = place.start_subscriber_as(&ada, &[]);
    assert_eq!(subscriber.says_behind("this device is "), ada.id);
    assert!(!subscriber.has_said("is forgotten"), "{subscriber}");
}

#[test]
fn only_who_was_verified_is_admitted_if_the_publisher_wants_it_so() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    ada.runs(&["verify", &bob.code]);
    let mut publisher = place.publisher_as(&ada, &["--admit", "verified"]);
    let mut watching = place.start_subscriber_as(&bob, &[]);
    watching.says("media flows");
    let mut eve = place.start_subscriber("Eve", &[]);
    eve.fails_saying("the publisher admits verified devices only; verify each other");
    publisher.says("was refused: it is not verified");
    publisher.hears("holders");
    let holder = publisher.says("  reads from").text;
    assert!(holder.contains(&format!("{}  «Bob»  verified", bob.id)), "{holder}");
    assert!(!place.path("Eve").join("camera.ivf").exists());
    // All see the same code.
    publisher.hears("code");
    let said = publisher.says("stream code ").text;
    let code = said.split_once("stream code ").unwrap().1.split_once(':').unwrap().0.to_owned();
    watching.says(&format!("stream code {code}"));

    // Who is blocked is out at once.
    publisher.hears(&format!("block {}", bob.short()));
    watching.fails_saying("no key any more: the publisher ");
    publisher.says("new key from 1.0 on");
}

#[test]
fn somebody_who_bears_the_name_of_another_is_put_to_the_user() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    ada.runs(&["verify", &bob.code]);
    let mut publisher = place.publisher_as(&ada, &[]);
    // The link alone admits everybody else.
    place.start_subscriber("Carol", &[]).says("media flows");
    let mut eve = place.start_subscriber("BoB", &[]);
    // Whose name it bears, it is not told.
    eve.says("no key yet: the publisher's user is asked");
    publisher.says("«BoB» (");
    let warning = publisher.says("beware  ").text;
    assert!(warning.contains(&format!("«Bob» ({}) (verified)", bob.short())), "{warning}");
    publisher.answers("n");
    eve.fails_saying("the publisher did not admit this device");
    assert!(!place.path("BoB").join("camera.ivf").exists());
    place.start_subscriber_as(&bob, &[]).says("media flows");
}

#[test]
fn a_room_that_was_closed_stays_closed_when_the_publisher_starts_again() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    let mut publisher = place.publisher_as(&ada, &[]);
    let bobs = place.start_subscriber_as(&bob, &[]);
    bobs.says("media flows");
    let mut carol = place.start_subscriber("Carol", &[]);
    carol.says("media flows");
    publisher.says("«Carol» (");
    publisher.hears("kick Carol");
    publisher
        .says("kicked and blocked; from now on only devices that were admitted before can join");
    carol.fails_saying("no key any more: the publisher removed this device");
    // Without a word, as when the machine fails.
    publisher.kill();
    let listed = ada.runs(&["devices"]);
    assert!(listed.contains("closed since somebody was removed"), "{listed}");
    assert!(listed.contains("olmcast room new"), "{listed}");
    assert!(listed.contains("olmcast devices reopen ROOM"), "{listed}");

    let publisher = place.publisher_as(&ada, &[]);
    // The link and a new device do not help.
    let mut again = place.start_subscriber("Dave", &[]);
    again.fails_saying("the publisher closed the room after a removal; ask for a new invite");
    publisher.says("was refused: the room is closed");
    assert!(!place.path("Dave").join("camera.ivf").exists());
    // Who was there before is let in.
    bobs.says("changing to it");
    place.grows("Bob", "camera-2.ivf");
    drop(publisher);

    // And in a new room everybody is.
    let link = new_room(place.service_at());
    let mut publishing = place.publishing(&[]);
    let room = publishing.iter_mut().find(|argument| **argument == place.link).unwrap();
    room.clone_from(&link);
    let publishing: Vec<_> = publishing.iter().map(String::as_str).collect();
    let publisher = ada.start(&publishing);
    publisher.says("media flows to the relay");
    let eve = Process::start("Eve", &["subscribe", "--room", &link]);
    eve.says("media flows");
}

#[test]
fn a_closed_room_is_opened_again_if_its_publisher_says_so_twice() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    let mut publisher = place.publisher_as(&ada, &[]);
    publisher.hears("reopen");
    publisher.says("open the room again? [y/n]");
    publisher.answers("y");
    publisher.says("the room was open");
    let bobs = place.start_subscriber_as(&bob, &[]);
    bobs.says("media flows");
    publisher.says("«Bob» (");
    publisher.hears("kick Bob");
    publisher.says("kicked and blocked");
    assert!(!publisher.has_said("until this ends"), "{publisher}");
    let closed = "the publisher closed the room after a removal; ask for a new invite";
    place.start_subscriber("Carol", &[]).fails_saying(closed);
    publisher.hears("reopen");
    publisher.says("also who was kicked, with a new device");
    publisher.answers("n");
    publisher.says("the room stays as it is");
    place.start_subscriber("Carol", &[]).fails_saying(closed);
    publisher.hears("reopen");
    publisher.answers("y");
    publisher.says("the room is open again");
    place.start_subscriber("Dave", &[]).says("media flows");
    // Who was kicked is blocked still.
    place.start_subscriber_as(&bob, &[]).fails_saying("blocked");
    publisher.says("«Dave» (");
    publisher.hears("kick Dave");
    publisher.listen_anew();
    publisher.says("kicked and blocked");
    publisher.hears("end");
    publisher.ends_well();

    // The same without a stream.
    let listed = ada.runs(&["devices"]);
    let room = listed.lines().find_map(|line| line.strip_prefix("  room ")).unwrap();
    let opened = ada.runs(&["devices", "reopen", room]);
    assert!(opened.contains("also who was kicked"), "{opened}");
    assert!(!ada.runs(&["devices"]).contains("closed"));
    ada.start(&["devices", "reopen", room]).fails_saying("is not closed");
    let _publisher = place.publisher_as(&ada, &[]);
    place.start_subscriber("Eve", &[]).says("media flows");
}

#[test]
fn a_block_says_of_the_room_what_is_so_and_for_how_long() {
    let place = Place::new();
    let mut publisher = place.publisher(&[]);
    let bob = place.subscriber("Bob");
    let device = bob.says_behind("this device is ");
    publisher.says("«Bob» (");
    let stranger = place.device("Stranger");
    publisher.hears(&format!("block {}", stranger.id));
    let said = publisher.says("blocked; ").text;
    assert!(said.contains("a room that it was not in stays open"), "{said}");
    assert!(!said.contains("only devices that were admitted before"), "{said}");
    assert!(said.contains("until this ends: with --vault it is kept"), "{said}");
    place.start_subscriber("Carol", &[]).says("media flows");
    publisher.listen_anew();
    publisher.hears(&format!("block {device}"));
    let said = publisher.says("blocked; ").text;
    assert!(said.contains("only devices that were admitted before can join"), "{said}");
    place
        .start_subscriber("Dave", &[])
        .fails_saying("the publisher closed the room after a removal");
}

#[test]
fn who_admits_verified_devices_and_knows_none_is_told_that_nobody_can_watch() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    let told = "nobody can watch until you have verified somebody in this run";
    place.start_publisher(&["--admit", "verified"]).says(told);
    place.start_publisher_as(&ada, &["--admit", "verified"]).says(told);
    ada.runs(&["verify", &bob.code]);
    let publisher = place.publisher_as(&ada, &["--admit", "verified"]);
    assert!(!publisher.has_said(told), "{publisher}");
}

#[test]
fn a_subscriber_that_wants_a_verified_publisher_takes_no_other() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    bob.runs(&["verify", &ada.code]);
    let mut bobs = place.start_subscriber_as(&bob, &["--verified"]);
    bobs.says("waiting for «camera»");
    let mut eve = place.publisher(&["--name", "Eve"]);
    bobs.says("offers it, who is not verified; verify each other with: verify ");
    assert!(!bobs.has_said("asking"), "{bobs}");
    let _ada = place.publisher_as(&ada, &[]);
    bobs.says(&format!("asking «Ada» ({}), who is verified, for the key", ada.short()));
    bobs.says("media flows");
    bobs.hears("state");
    bobs.says(&format!("«camera» by «Ada» ({}), who is verified", ada.short()));
    bobs.says("  live, for ");
    eve.hears("holders");
    eve.says("the stream is at 0.");
    assert!(!eve.has_said("reads from"), "{eve}");
}

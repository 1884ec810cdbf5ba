//! Two people verify each other, each in a terminal of their own.

use crate::{
    fixture::{Device, Place},
    terminal::{Terminal, verify},
};

/// What is to be compared: seven emojis with names, and three numbers.
fn compared(terminal: &mut Terminal) -> Vec<String> {
    terminal.shows("Compare this with what ");
    let shown = terminal.shows("do they match? [y/n]");
    let lines = shown.lines().map(str::trim);
    let is_one = |line: &&str| {
        line.starts_with(|first: char| first.is_ascii_digit()) || line.starts_with("or, which")
    };
    let compared: Vec<_> = lines.filter(is_one).map(str::to_owned).collect();
    assert_eq!(compared.len(), 8, "{shown}");
    assert!(compared[..7].iter().all(|line| line.split_whitespace().count() >= 3), "{shown}");
    let (_, numbers) = compared[7].split_once(':').unwrap();
    let numbers: Vec<u16> = numbers.split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert!(numbers.len() == 3 && numbers.iter().all(|n| (1000..=9191).contains(n)), "{shown}");
    compared
}

fn known(device: &Device, other: &Device, state: &str) -> bool {
    let listed = device.runs(&["devices"]);
    listed.lines().any(|line| line.starts_with(state) && line.contains(other.short()))
}

#[test]
fn two_people_who_see_the_same_verify_each_other() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    let mut adas = verify(&place, &ada, &bob);
    adas.shows(&format!("olmcast verify {}", ada.id));
    let mut bobs = verify(&place, &bob, &ada);
    let (of_ada, of_bob) = (compared(&mut adas), compared(&mut bobs));
    assert_eq!(of_ada, of_bob);
    adas.types("perhaps");
    adas.shows("answer y or n; Ctrl-C cancels");
    adas.answers("y");
    adas.shows("waiting for ");
    bobs.answers("y");
    for (terminal, other) in [(&mut adas, &bob), (&mut bobs, &ada)] {
        terminal.shows(&format!(" ({})", other.short()));
        terminal.shows("is verified");
        assert_eq!(terminal.ends().0, 0);
    }
    assert!(known(&ada, &bob, "verified") && known(&bob, &ada, "verified"));
}

#[test]
fn people_who_see_something_else_verify_nobody() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    let (mut adas, mut bobs) = (verify(&place, &ada, &bob), verify(&place, &bob, &ada));
    compared(&mut adas);
    compared(&mut bobs);
    bobs.answers("y");
    adas.answers("n");
    for terminal in [&mut adas, &mut bobs] {
        terminal.shows("is not verified: the emojis or numbers differ");
        assert_eq!(terminal.ends().0, 1);
    }
    for (device, other) in [(&ada, &bob), (&bob, &ada)] {
        assert!(!known(device, other, "verified"));
    }
}

#[test]
fn who_cancels_tells_the_other() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    let (mut adas, mut bobs) = (verify(&place, &ada, &bob), verify(&place, &bob, &ada));
    compared(&mut adas);
    compared(&mut bobs);
    bobs.answers("y");
    adas.interrupts();
    adas.shows("cancelled: the device is not verified");
    bobs.shows("is not verified: it was cancelled");
    assert_eq!((adas.ends().0, bobs.ends().0), (1, 1));
    assert!(!known(&bob, &ada, "verified"));
}

#[test]
fn who_publishes_and_who_watches_verify_each_other_meanwhile() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    let mut publisher = place.publisher_as(&ada, &[]);
    let mut bobs = place.start_subscriber_as(&bob, &[]);
    bobs.says("media flows");
    publisher.says("«Bob» (");
    bobs.hears("verify Ada");
    publisher.says(&format!("wants to verify each other; take part with: verify {}", bob.id));
    publisher.says("  it is   seen before");
    publisher.hears("verify Bob");
    let [of_ada, of_bob] = [&publisher, &bobs].map(|process| {
        process.says("do they match? [y/n]");
        process.says("or, which says the same:").text
    });
    assert_eq!(of_ada, of_bob);
    publisher.answers("yes");
    bobs.answers("yes");
    publisher.says("is verified");
    bobs.says("is verified");
    bobs.says("the publisher is verified now");
    place.grows("Bob", "camera.ivf");
}

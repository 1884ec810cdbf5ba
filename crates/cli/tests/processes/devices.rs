//! A device in its vault: `olmcast id` and `olmcast devices`.

use std::fs;

use crate::fixture::{Device, PASSPHRASE, Place, Process, olmcast};

#[test]
fn a_device_is_the_same_as_often_as_it_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let ada = Device::make(folder.path(), "Ada");
    let shown = ada.runs(&["id"]);
    for text in [&ada.id, &ada.code, "fingerprint", "curve25519", "name           «Ada»"] {
        assert!(shown.contains(text), "{shown}");
    }
    assert!(ada.runs(&["id", "--name", "Ada L."]).contains("name           «Ada L.»"));
    let again = ada.runs(&["id"]);
    assert!(again.contains(&ada.id) && again.contains("name           «Ada L.»"), "{again}");
    assert!(!again.contains(&ada.code), "the name is part of the code: {again}");

    let mut wrong = Process::run(
        "id",
        olmcast()
            .args(["id", "--vault", ada.vault.to_str().unwrap()])
            .env("OLMCAST_PASSPHRASE", "x"),
    );
    wrong.fails_saying("the passphrase is wrong");
    assert!(wrong.stdout().is_empty(), "{wrong}");
}

#[test]
fn a_vault_is_opened_by_its_key_file_where_nobody_types() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (vault, key, other) = (path("vault"), path("key"), path("other"));
    let id = |more: &[&str]| {
        let arguments = [&["id", "--vault", &vault], more].concat();
        Process::start("id", &arguments)
    };
    let mut nothing = id(&[]);
    nothing.fails_saying(
        "there is no terminal to ask for it; set OLMCAST_PASSPHRASE, or take --key-file",
    );
    assert!(!fs::exists(&vault).unwrap());

    let mut made = id(&["--key-file", &key]);
    made.ends_well();
    let mut again = id(&["--key-file", &key]);
    again.ends_well();
    assert_eq!(made.stdout(), again.stdout());
    id(&["--key-file", &other]).fails_saying("the key file");
    let mut empty =
        Process::run("id", olmcast().args(["id", "--vault", &other]).env("OLMCAST_PASSPHRASE", ""));
    empty.fails_saying("the passphrase is empty");
    assert!(!fs::exists(&other).unwrap());
}

#[test]
fn two_processes_cannot_be_one_device() {
    let place = Place::new();
    let ada = place.device("Ada");
    let first = place.start_subscriber_as(&ada, &[]);
    first.says("waiting for «camera»");
    let mut second = ada.start(&["id"]);
    second.fails_saying(&format!("process {}", first.pid()));
    assert!(second.has_said("is in use by"), "{second}");
    // Nor is anybody asked for a passphrase first.
    let mut command = ada.olmcast();
    let mut third = Process::run("third", command.env_remove("OLMCAST_PASSPHRASE").arg("id"));
    third.fails_saying(&format!("process {}", first.pid()));
}

#[test]
fn a_picture_of_the_code_can_be_printed_and_overwrites_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ada = Device::make(folder.path(), "Ada");
    let picture = folder.path().join("ada.svg");
    ada.runs(&["id", "--svg", picture.to_str().unwrap()]);
    let svg = fs::read_to_string(&picture).unwrap();
    assert!(svg.starts_with("<?xml") && svg.contains("<path"), "{svg}");
    let mut again = ada.start(&["id", "--svg", picture.to_str().unwrap()]);
    again.fails_saying("cannot write");
    assert_eq!(fs::read_to_string(&picture).unwrap(), svg);
}

#[test]
fn a_device_is_pinned_verified_blocked_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let [ada, bob, eve] = ["Ada", "Bob", "Eve"].map(|name| Device::make(folder.path(), name));
    let listed = || ada.runs(&["devices"]);
    assert_eq!(listed(), "no device is known yet");
    ada.runs(&["devices", "pin", &bob.code]);
    let row = |state: &str| format!("{state:<11}  «Bob»  {}", bob.short());
    assert!(listed().contains(&row("seen before")), "{}", listed());

    let verified = ada.runs(&["verify", &bob.code]);
    assert!(verified.contains("«Bob» (") && verified.contains("is verified"), "{verified}");
    assert!(listed().contains(&row("verified")), "{}", listed());

    ada.runs(&["devices", "block", "Bob"]);
    assert!(listed().contains(&row("blocked")), "{}", listed());
    ada.start(&["verify", &bob.code]).fails_saying("is blocked");
    ada.runs(&["devices", "forget", bob.short()]);
    assert_eq!(ada.runs(&["devices", "list"]), "no device is known yet");
    ada.start(&["devices", "forget", "Bob"]).fails_saying("nobody who is known is called «Bob»");
    ada.start(&["devices", "forget", &eve.id]).fails_saying("is not known");

    // Another device of that name is not what is meant by it.
    ada.runs(&["devices", "pin", &bob.code]);
    ada.runs(&["devices", "pin", &eve.code, "--as", "Bob"]);
    ada.start(&["devices", "block", "Bob"]).fails_saying("«Bob» may mean several");
    ada.runs(&["devices", "block", &eve.id]);
    assert!(listed().contains(&row("seen before")), "{}", listed());
}

#[test]
fn a_damaged_code_and_a_device_itself_are_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let [ada, bob] = ["Ada", "Bob"].map(|name| Device::make(folder.path(), name));
    let mut damaged = bob.code.clone().into_bytes();
    damaged[30] = if damaged[30] == b'A' { b'B' } else { b'A' };
    let damaged = String::from_utf8(damaged).unwrap();
    for command in [&["verify"][..], &["devices", "pin"]] {
        let run = |code: &str| ada.start(&[command, &[code]].concat());
        run(&damaged).fails_saying("the code has a typing error");
        run(&ada.code).fails_saying("that is this device itself");
    }
    assert_eq!(ada.runs(&["devices"]), "no device is known yet");
}

#[test]
fn what_needs_a_vault_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none").to_str().unwrap().to_owned();
    for command in [&["id"][..], &["devices"], &["verify", "Ada"]] {
        Process::start("olmcast", command).fails_saying("`olmcast id --vault FILE` makes one");
    }
    for command in [&["devices"][..], &["verify", "Ada"]] {
        let mut process = Process::run(
            "olmcast",
            olmcast()
                .args(command)
                .args(["--vault", &missing])
                .env("OLMCAST_PASSPHRASE", PASSPHRASE),
        );
        process.fails_saying("make it with: olmcast id --vault");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_device_that_is_not_known_is_pinned_with_the_keys_that_the_directory_has() {
    let place = Place::new();
    let (ada, bob) = (place.device("Ada"), place.device("Bob"));
    let pin = || ada.start(&["devices", "pin", &bob.id, "--room", &place.link, "--as", "Bob"]);
    pin().fails_saying("its keys are looked up in the directory");
    let _bob = place.start_subscriber_as(&bob, &[]);
    // It publishes its keys when it is connected, which may take a moment.
    let pinned = (0..50).find_map(|_| {
        let mut pin = pin();
        pin.ends().success().then(|| pin.stdout())
    });
    let pinned = pinned.expect("the device's keys are never there");
    let curve25519 = ada.runs(&["verify", &bob.code]);
    let curve25519 = curve25519.lines().find(|line| line.contains("curve25519")).unwrap();
    assert!(pinned.contains(curve25519), "{pinned}");
}

//! `olmcast keys`.

use crate::fixture::{Process, new_room, nobody_listens};

#[test]
fn a_device_that_is_online_is_found_and_others_are_not() {
    let service = Process::start(
        "the key service",
        &["serve", "--listen", "127.0.0.1:0", "--store", "memory"],
    );
    let server = service.prints("--server ").text;
    let server = server.split_once("--server ").unwrap().1.split(';').next().unwrap().to_owned();
    let link = new_room(&server);
    let subscriber = Process::start("subscribe", &["subscribe", "--room", &link]);
    let line = subscriber.says("this device is ").text;
    let device = line.split_once("this device is ").unwrap().1.to_owned();

    // It publishes its keys when it is connected, which may take a moment.
    let found = (0..50).find_map(|_| {
        let mut keys = Process::start("keys", &["keys", "--server", &server, &device]);
        keys.ends().success().then_some(keys)
    });
    let found = found.expect("the device's keys are never there");
    let fingerprint: Vec<_> =
        device.as_bytes().chunks(4).map(|part| std::str::from_utf8(part).unwrap()).collect();
    for text in [&*device, &fingerprint.join(" "), "curve25519 ", "verified", "one-time keys  "] {
        found.prints(text);
    }
    let mut keys = Process::start("keys", &["keys", "--room", &link, &device]);
    keys.ends_well();

    let stranger = "A".repeat(43);
    let keys = |arguments: &[&str]| Process::start("keys", &[&["keys"], arguments].concat());
    keys(&["--server", &server, &stranger]).fails_saying("nothing of this device");
    keys(&["--server", &nobody_listens(), &device]).fails_saying("check that the service runs");
}

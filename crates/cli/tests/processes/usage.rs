//! Wrong usage: a message that says what to do, and a failure.

use std::fs;

use crate::fixture::{Place, Process, media, nobody_listens};

const FLAGS: [(&[&str], &[&str]); 12] = [
    (&["demo"], &["--json"]),
    (
        &["serve"],
        &[
            "--listen",
            "--name",
            "127.0.0.1:7600",
            "--config",
            "--store",
            "--data",
            "--tls-certificates",
            "--tls-key",
            "--tls-self-signed",
            "--metrics",
            "--log-format",
            "--check-config",
            "--print-config",
            "OLMCAST_LIMITS__MAIL_TTL",
            "olmcast+plain://",
            "olmcast+tls://",
        ],
    ),
    (&["relay"], &["--listen", "--media", "127.0.0.1:7601"]),
    (&["room"], &["new"]),
    (&["keys"], &["--server", "127.0.0.1:7600", "--room", "OLMCAST_ROOM", "--ca", "fingerprint"]),
    (&["id"], &["--vault", "--key-file", "--name", "--svg", "OLMCAST_PASSPHRASE", "verify CODE"]),
    (&["verify"], &["--room", "--vault", "--key-file", "--name", "DEVICE|CODE", "emojis"]),
    (
        &["devices"],
        &["--vault", "OLMCAST_VAULT", "OLMCAST_KEY_FILE", "pin", "block", "forget", "reopen"],
    ),
    (&["devices", "pin"], &["CODE|DEVICE", "--as", "--room", "--server", "--vault"]),
    (&["room", "new"], &["--server", "127.0.0.1:7600", "--plain", "olmcast+tls://"]),
    (
        &["publish"],
        &[
            "--room",
            "--video",
            "--audio",
            "--fps",
            "--stream",
            "--relay",
            "--admit",
            "OLMCAST_ROOM",
            "--ca",
            "OLMCAST_CA",
            "--vault",
            "--name",
            "invite|ask|verified|FILE",
            "holders",
            "kick",
            "block",
            "verify DEVICE",
            "reopen",
            "libx264",
            "libsvtav1",
        ],
    ),
    (
        &["subscribe"],
        &[
            "--room",
            "--stream",
            "--publisher",
            "--verified",
            "--out",
            "--vault",
            "--name",
            "--duration",
            "--ca",
            "verify DEVICE",
            "leave",
        ],
    ),
];

#[test]
fn every_subcommand_has_help_that_mentions_its_flags() {
    let mut top = Process::start("olmcast", &["--help"]);
    top.ends_well();
    for (command, flags) in FLAGS {
        assert!(top.stdout().contains(command[0]), "{top}");
        let mut help = Process::start("help", &[command, &["--help"]].concat());
        help.ends_well();
        for flag in flags {
            assert!(help.stdout().contains(flag), "{command:?} does not mention {flag}:\n{help}");
        }
    }
}

#[test]
fn a_command_line_that_is_wrong_says_what_is_missing() {
    for (arguments, message) in [
        (&["publish", "--room", "x"][..], "--video <FILE>"),
        (&["subscribe"], "--room <LINK>"),
        (&["subscribe", "--room", "x", "--duration", "soon"], "--duration"),
        (&["publish", "--room", "x", "--video", "x", "--fps", "0"], "a number of frames a second"),
        (&["subscribe", "--room", "x", "--publisher", "Ada"], "not a valid DeviceId"),
        (&["serve", "--listen", "7600"], "ADDRESS:PORT"),
        (&["keys"], "<DEVICE>"),
        (&["keys", "Ada"], "not a valid DeviceId"),
        (&["id", "--name", &"x".repeat(129)], "a name has at most 128 bytes"),
        (&["verify"], "<DEVICE|CODE>"),
        (&["devices", "trust"], "unrecognized subcommand"),
        (&["watch"], "unrecognized subcommand"),
    ] {
        let mut process = Process::start("olmcast", arguments);
        assert_eq!(process.ends().code(), Some(2), "{process}");
        assert!(process.has_said(message), "{arguments:?} does not say {message}:\n{process}");
    }
}

#[test]
fn a_damaged_link_says_what_is_damaged() {
    let place = Place::new();
    let link = &place.link;
    let (room, secret) = link.split_once('#').unwrap();
    for (damaged, message) in [
        (
            room.to_owned(),
            "the invite's secret (behind the #) is missing or damaged; paste the link",
        ),
        (link[..link.len() - 3].to_owned(), "the invite's secret (behind the #) is missing"),
        (format!("{}#{secret}", &room[..room.len() - 3]), "the invite's room is damaged; paste"),
        (
            link.replace("olmcast", "https"),
            "an invite begins with olmcast://; paste the whole link",
        ),
        (link.replace("127.0.0.1", "my host"), "the invite names no valid host; it looks like"),
    ] {
        Process::start("subscribe", &["subscribe", "--room", &damaged]).fails_saying(message);
    }
    let server = ["room", "new", "--server", "http://127.0.0.1:7600"];
    let mut process = Process::start("room new", &server);
    assert_eq!(process.ends().code(), Some(2), "{process}");
    assert!(process.has_said("no valid host"), "{process}");
}

#[test]
fn what_is_not_there_is_named_with_what_to_do() {
    let place = Place::new();
    let video = media("video.ivf").to_str().unwrap().to_owned();
    let publish = |more: &[&str]| {
        let arguments = [&["publish", "--room", &place.link], more].concat();
        Process::start("publish", &arguments)
    };

    // No service, or something else
    let relay_at = place.relay_at();
    let nobody = nobody_listens();
    for (at, message) in [
        (nobody.as_str(), "cannot reach the key service (Connection refused"),
        (relay_at, "no key service there: it answered HTTP 404; check the address"),
    ] {
        let link = place.link.replace(place.service_at(), at);
        for command in [&["subscribe"][..], &["publish", "--video", &video]] {
            let mut process = Process::start(command[0], &[command, &["--room", &link]].concat());
            process.fails_saying(message);
        }
    }

    // No relay, or something else
    for (relay, message) in [
        (format!("http://{nobody}"), "Connection refused"),
        (format!("http://{nobody}"), "no media connection; is `olmcast relay` running?"),
        (format!("http://{}", place.service_at()), "the relay refused (HTTP 404)"),
        (nobody.clone(), "is not a WHIP or WHEP URL; it looks like http://host:port/whip/stream"),
    ] {
        publish(&["--relay", &relay, "--video", &video]).fails_saying(message);
    }

    // No file, or something else
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    fs::write(path("short.ivf"), &fs::read(&video).unwrap()[..1000]).unwrap();
    fs::write(path("nobody.txt"), "\n\n").unwrap();
    fs::write(path("names.txt"), "Ada\n").unwrap();
    let audio = media("audio.ogg").to_str().unwrap().to_owned();
    for (arguments, message) in [
        (["--video", &path("none.ivf")], "cannot read "),
        (["--video", &path("none.ivf")], "No such file or directory"),
        (["--video", &audio], "this is OGG, which is played with --audio"),
        (["--video", &path("short.ivf")], "it is cut short: its last frame is not complete"),
        (["--audio", &video], "this is IVF, which is played with --video"),
    ] {
        publish(&arguments).fails_saying(message);
    }
    for (file, message) in [
        ("none.txt", "--admit takes invite, ask, verified or a file; no file"),
        ("nobody.txt", "names no device: nobody could watch"),
        ("names.txt", "has a line that is no device id"),
    ] {
        publish(&["--video", &video, "--admit", &path(file)]).fails_saying(message);
    }
    fs::write(path("taken"), "").unwrap();
    let out = ["subscribe", "--room", &place.link, "--out", &path("taken")];
    Process::start("subscribe", &out).fails_saying("cannot make ");
}

#[test]
fn a_port_that_is_in_use_is_named() {
    let place = Place::new();
    for (command, at) in [("serve", place.service_at()), ("relay", place.relay_at())] {
        let mut process = Process::start(command, &[command, "--listen", at]);
        process.fails_saying(&format!("cannot listen on {at}: Address already in use"));
        assert!(process.has_said("choose another address or port"), "{process}");
    }
}

#[test]
fn a_service_that_is_told_to_terminate_ends_well() {
    let mut place = Place::new();
    for process in [&mut place.service, &mut place.relay] {
        process.terminate();
        process.ends_well();
    }
}

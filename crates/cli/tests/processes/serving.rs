//! `olmcast serve` as those have it who run it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::fixture::{Place, Process, new_room};

fn serve(more: &[&str]) -> Process {
    let arguments = [&["serve", "--listen", "127.0.0.1:0"], more].concat();
    Process::start("the key service", &arguments)
}

/// What it says behind this, up to the end of the line or a semicolon.
fn told(process: &Process, word: &str) -> String {
    let line = process.prints(word).text;
    line.split_once(word).unwrap().1.split(';').next().unwrap().to_owned()
}

fn get(at: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_self_signed_service_is_reached_with_its_certificate_and_not_without() {
    let folder = tempfile::tempdir().unwrap();
    let data = path(folder.path(), "made/data");
    let service = serve(&["--data", &data, "--tls-self-signed", "--store", "memory"]);
    let ca = told(&service, "--ca ");
    assert_eq!(told(&service, "SHA-256 ").len(), 95);
    let server = told(&service, "--server ");
    assert!(server.starts_with("olmcast+tls://127.0.0.1:"), "{server}");
    let link = new_room(&server);
    let subscribe = |link: &str, more: &[&str]| {
        let arguments = [&["subscribe", "--room", link], more].concat();
        Process::start("subscribe", &arguments)
    };
    subscribe(&link, &["--ca", &ca]).says("this device is ");
    subscribe(&link, &[]).fails_saying("if it is self-signed, give its PEM file (--ca FILE)");
    let plain = link.replace("olmcast+tls", "olmcast+plain");
    subscribe(&plain, &["--ca", &ca]).fails_saying("the link begins with olmcast+tls://");
    subscribe(&link, &["--ca", &path(folder.path(), "none.pem")]).fails_saying("none.pem");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&data), mode(&path(Path::new(&data), "tls-key.pem"))), (0o700, 0o600));
    }

    // The files are read again, and the service is none the worse for it.
    service.signal("HUP");
    service.says("the certificate's files again: done");
    subscribe(&link, &["--ca", &ca]).says("this device is ");
    fs::write(path(Path::new(&data), "tls-key.pem"), "").unwrap();
    service.signal("HUP");
    service.says("what was read before stays in use");
    subscribe(&link, &["--ca", &ca]).says("this device is ");
}

#[test]
fn a_device_that_expects_tls_says_so_to_a_service_in_the_clear() {
    let place = Place::new();
    let link = place.link.replace("olmcast://", "olmcast+tls://");
    Process::start("subscribe", &["subscribe", "--room", &link]).fails_saying(
        "if it is meant to speak in the clear, the link begins with olmcast+plain://",
    );
}

#[test]
fn a_link_says_how_its_service_is_spoken_to() {
    for (arguments, scheme) in [
        (&["--server", "keys.example:443"][..], "olmcast://keys.example:443/"),
        (&["--server", "keys.example:80", "--plain"], "olmcast+plain://keys.example:80/"),
        (&["--server", "localhost:7600"], "olmcast://localhost:7600/"),
        (&["--server", "olmcast+tls://localhost:7600"], "olmcast+tls://localhost:7600/"),
    ] {
        let mut room = Process::start("room new", &[&["room", "new"], arguments].concat());
        room.ends_well();
        assert!(room.stdout().starts_with(scheme), "{room}");
    }
}

#[test]
fn the_settings_that_would_hold_are_shown_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(folder.path(), "olmcast.toml");
    let check = |text: &str, more: &[&str]| {
        fs::write(&file, text).unwrap();
        let arguments = [&["serve", "--check-config", "--config", &file], more].concat();
        Process::start("check", &arguments)
    };
    let data = path(folder.path(), "data");
    let mut process =
        check("[limits]\nconnections = 5\nmail_ttl = '90s'", &["--data", &data, "--name", "k:1"]);
    process.ends_well();
    let shown = process.stdout();
    for line in ["connections = 5", "mail_ttl = \"1m 30s\"", "names = [\"k:1\"]", &data] {
        assert!(shown.contains(line), "{process}");
    }
    assert!(!Path::new(&data).exists(), "nothing is made");
    // What is shown can be used.
    check(&shown, &[]).ends_well();

    check("[limits]\nconection = 5", &[]).fails_saying("unknown field `conection`");
    check("[limits]\nconection = 5", &[]).fails_saying(&file);
    let tls = "[tls]\ncertificates = '/nowhere.pem'\nkey = '/nowhere.key'";
    check(tls, &[]).fails_saying("cannot use /nowhere.pem for TLS");

    let mut printed = Process::start("print", &["serve", "--print-config"]);
    printed.ends_well();
    check(&printed.stdout(), &[]).ends_well();
}

#[test]
fn a_service_that_is_told_to_end_says_that_it_is_not_ready_and_then_ends_well() {
    for signal in ["TERM", "INT"] {
        let folder = tempfile::tempdir().unwrap();
        let file = path(folder.path(), "olmcast.toml");
        fs::write(&file, "drain_delay = '1s'\nmetrics = '127.0.0.1:0'\nstore = 'memory'").unwrap();
        let mut service = serve(&["--config", &file, "--log-format", "json"]);
        let at = told(&service, "key service on ");
        let metrics = told(&service, "metrics at http://").replace("/metrics", "");
        assert!(get(&at, "/readyz").contains("200 OK"));
        assert!(get(&at, "/metrics").contains("404 Not Found"));
        assert!(get(&metrics, "/metrics").contains("olmcast_connections 0"));
        service.signal(signal);
        let end = Instant::now() + Duration::from_secs(1);
        while !get(&at, "/readyz").contains("503") {
            assert!(Instant::now() < end, "still ready:\n{service}");
            thread::sleep(Duration::from_millis(20));
        }
        assert!(get(&at, "/healthz").contains("200 OK"));
        service.ends_well();
        assert!(TcpStream::connect(at).is_err());
    }
}

#[test]
fn logs_can_be_read_by_programs() {
    let folder = tempfile::tempdir().unwrap();
    let file = path(folder.path(), "olmcast.toml");
    fs::write(&file, "store = 'memory'\n[log]\nformat = 'json'\nlevel = 'info'").unwrap();
    let service = serve(&["--config", &file]);
    let line = service.says("key service up").text;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"key service up".into()));
}

use std::fs;

use super::*;
use crate::serve::settings::Store;

fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn read(file: &str, list: &[(&str, &str)], line: &[(&str, &str)]) -> anyhow::Result<Settings> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("olmcast.toml");
    fs::write(&path, file).unwrap();
    settings(Some(&path), variables(list), |mut all| {
        for (key, value) in line {
            all = all.set_override(*key, *value)?;
        }
        Ok(all)
    })
}

fn message(result: anyhow::Result<Settings>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[test]
fn the_command_line_wins_over_the_environment_that_over_the_file_that_over_the_defaults() {
    let file = "listen = '10.0.0.1:1'\ndata = '/file'\n[limits]\nconnections = 1\nmail_ttl = '1s'";
    let defaults = settings(None, variables(&[]), Ok).unwrap();
    assert_eq!(defaults, Settings::default());

    let settings = read(file, &[], &[]).unwrap();
    assert_eq!(settings.listen.to_string(), "10.0.0.1:1");
    assert_eq!((settings.limits.connections, settings.limits.mail_ttl.as_secs()), (1, 1));
    assert_eq!(settings.limits.room_members, defaults.limits.room_members);

    let environment = [
        ("OLMCAST_LISTEN", "10.0.0.2:2"),
        ("OLMCAST_LIMITS__CONNECTIONS", "2"),
        ("OLMCAST_NAMES", "a:1,b:2"),
        ("OLMCAST_STORE", "memory"),
        ("OLMCAST_TLS__SELF_SIGNED", "true"),
        ("OLMCAST_DRAIN_DELAY", "5s"),
        ("OLMCAST_NATS__URLS", "nats://a,nats://b"),
        ("OLMCAST_LOG__FORMAT", "json"),
    ];
    let settings = read(file, &environment, &[]).unwrap();
    assert_eq!(settings.listen.to_string(), "10.0.0.2:2");
    assert_eq!((settings.limits.connections, settings.limits.mail_ttl.as_secs()), (2, 1));
    assert_eq!(settings.names, ["a:1", "b:2"]);
    assert_eq!((settings.store, settings.tls.self_signed), (Store::Memory, true));
    assert_eq!(settings.drain_delay.as_secs(), 5);
    assert_eq!(settings.nats.urls, ["nats://a", "nats://b"]);
    assert_eq!(settings.log.format, crate::logs::Format::Json);

    let settings = read(file, &environment, &[("listen", "10.0.0.3:3")]).unwrap();
    assert_eq!(settings.listen.to_string(), "10.0.0.3:3");
    assert_eq!(settings.data.unwrap().to_str(), Some("/file"));
}

#[test]
fn one_name_alone_is_a_list_too() {
    let settings = read("", &[("OLMCAST_NAMES", "keys.example:443")], &[]).unwrap();
    assert_eq!(settings.names, ["keys.example:443"]);
}

#[test]
fn an_unknown_key_is_named_with_its_file() {
    for (file, key) in [
        ("listem = '10.0.0.1:1'", "listem"),
        ("[limits]\nconection = 1", "conection"),
        ("[tls]\ncert = 'x'", "cert"),
        ("[logs]\nlevel = 'info'", "logs"),
    ] {
        let message = message(read(file, &[], &[]));
        assert!(message.contains(key) && message.contains("olmcast.toml"), "{message}");
    }
    for variable in ["OLMCAST_LIMITS__CONECTION", "OLMCAST_LIMIT__CONNECTIONS"] {
        let message = message(read("", &[(variable, "1")], &[])).to_lowercase();
        let key = variable.rsplit("__").next().unwrap().to_lowercase();
        assert!(message.contains(&key) && message.contains("olmcast_"), "{message}");
    }
}

#[test]
fn a_wrong_value_is_named_with_its_file() {
    for (file, said) in [
        ("listen = 'here'", "listen"),
        ("store = 'disk'", "disk"),
        ("[limits]\nconnections = -1", "connections"),
        ("[limits]\nmail_ttl = 'soon'", "soon"),
        ("[limits]\nmail_ttl = 60", "60"),
        ("listen = ", "TOML"),
    ] {
        let message = message(read(file, &[], &[]));
        assert!(message.contains(said) && message.contains("olmcast.toml"), "{message}");
    }
    let message = message(read("", &[("OLMCAST_LIMITS__RATE", "fast")], &[]));
    assert!(message.contains("OLMCAST_") && message.contains("rate"), "{message}");
}

#[test]
fn variables_of_others_are_left_alone() {
    let others = [
        ("OLMCAST_ROOM", "olmcast://x"),
        ("OLMCAST_CA", "/ca.pem"),
        ("OLMCAST_TEST_JANUS", "0"),
        ("OLMCAST_PORT", "tcp://10.0.0.1:443"),
        ("OLMCAST_PORT_443_TCP", "tcp://10.0.0.1:443"),
        ("PATH", "/bin"),
    ];
    assert_eq!(read("", &others, &[]).unwrap(), Settings::default());
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (file, said) in [
        ("[tls]\ncertificates = 'a.pem'", "both files"),
        ("[tls]\nkey = 'a.pem'", "both files"),
        ("[tls]\nkey = 'a.pem'\ncertificates = 'b.pem'\nself_signed = true", "of its own"),
        ("store = 'nats'", "nats.urls"),
    ] {
        let message = message(read(file, &[], &[]));
        assert!(message.contains(said), "{message}");
    }
    let none = settings(Some(Path::new("/nowhere.toml")), variables(&[]), Ok);
    assert!(message(none).contains("/nowhere.toml"));
}

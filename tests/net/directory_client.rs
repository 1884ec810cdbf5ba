//! The client's side of the directory.

use std::time::Duration;

use olmcast::{
    client::{
        Client, Trust,
        directory::{Directory, DirectoryError},
    },
    device::{Identity, SealingKey},
    primitives::{DeviceId, Invite, ServiceAddress, Signature, Timestamp},
    protocol::{
        KeysUpload,
        directory::{
            Authorization, ClaimedKey, DirectoryErrorCode as Code, KeysClaimed, KeysFound,
            KeysUploaded,
        },
    },
    server::{Limits, Server},
};
use serde::Serialize;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::{
    directory::{Publisher, left, now},
    fixture::*,
};

/// One-time keys that a client keeps in the directory.
const FULL: u64 = 50;

fn ask(address: std::net::SocketAddr) -> Directory {
    let service: ServiceAddress = address.to_string().parse().unwrap();
    Directory::new(&service, &Trust::platform(), Identity::generate().signer())
}

async fn client(server: &Server) -> Client {
    Client::connect(&invite(server), Identity::generate()).await.unwrap()
}

/// Waits until a client has published everything.
async fn until_published(server: &Server, device: DeviceId) {
    let directory = ask(server.local_addr());
    let published = async {
        while !directory.query(&device).await.is_ok_and(|found| found.one_time_keys == FULL) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, published).await.expect("the client does not publish its keys");
}

#[tokio::test]
async fn a_client_publishes_its_keys_and_others_claim_them() {
    let server = serve(Limits::default()).await;
    let (alice, bob) = (client(&server).await, client(&server).await);
    until_published(&server, alice.device()).await;
    let found = bob.directory().query(&alice.device()).await.unwrap();
    assert!(found.fallback_key);
    let claimed = bob.directory().claim(&alice.device()).await.unwrap();
    assert!(matches!(claimed.key, ClaimedKey::OneTimeKey(_)));
    assert_eq!(claimed.device_keys, found.device_keys);
    assert_eq!(left(&server, alice.device()).await, FULL - 1);

    let stranger = Identity::generate().device();
    let refused = |answer| match answer {
        Err(DirectoryError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    let directory = bob.directory();
    assert_eq!(refused(directory.query(&stranger).await.map(|_| ())), Code::UnknownDevice);
    assert_eq!(refused(directory.claim(&stranger).await.map(|_| ())), Code::NoKey);
}

#[tokio::test]
async fn after_a_restart_of_the_service_all_keys_are_published_again() {
    let limits = limits(|l| l.claim_target_burst = 100);
    let server = serve(limits.clone()).await;
    let (address, alice) = (server.local_addr(), client(&server).await);
    until_published(&server, alice.device()).await;
    let bob = ask(address);
    let mut numbers = Vec::new();
    let mut claim = async || match bob.claim(&alice.device()).await.unwrap().key {
        ClaimedKey::OneTimeKey(key) => numbers.push(key.number),
        ClaimedKey::FallbackKey(_) => panic!("there are one-time keys"),
    };
    for _ in 0..5 {
        claim().await;
    }
    drop(server);
    sleep(A_WHILE).await;
    let server = serve_at(address, limits).await;
    until_published(&server, alice.device()).await;
    for _ in 0..5 {
        claim().await;
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), 10, "no key goes out twice");
}

/// Whoever encrypted to one of the keys from before would not be understood.
#[tokio::test]
async fn a_device_that_is_started_again_takes_back_the_keys_that_it_forgot() {
    let server = serve(limits(|l| (l.claim_burst, l.claim_target_burst) = (1000, 1000))).await;
    let (invite, bob) = (invite(&server), ask(server.local_addr()));
    let key = SealingKey::generate().unwrap();
    let mut identity = Identity::generate();
    identity.seal_with(&key).unwrap();
    let (device, sealed) = (identity.device(), identity.sealed().unwrap());
    let alice = Client::connect(&invite, identity).await.unwrap();
    until_published(&server, device).await;
    assert!(matches!(bob.claim(&device).await.unwrap().key, ClaimedKey::OneTimeKey(_)));
    let fallback = async || loop {
        if let ClaimedKey::FallbackKey(key) = bob.claim(&device).await.unwrap().key {
            return key;
        }
    };
    drop(alice);
    sleep(A_WHILE).await;

    let started = now().unix_millis();
    let alice = Client::connect(&invite, Identity::open(&sealed, &key).unwrap()).await.unwrap();
    until_published(&server, device).await;
    for _ in 0..FULL {
        match bob.claim(&device).await.unwrap().key {
            ClaimedKey::OneTimeKey(key) => assert!(key.number >= started, "a forgotten one"),
            ClaimedKey::FallbackKey(_) => panic!("there are one-time keys"),
        }
    }
    let (second, identity) = (fallback().await, Identity::open(&sealed, &key).unwrap());
    drop(alice);
    sleep(A_WHILE).await;
    let _alice = Client::connect(&invite, identity).await.unwrap();
    until_published(&server, device).await;
    assert_ne!(fallback().await.key, second.key, "nor is the fallback key one from before");
}

#[tokio::test]
async fn a_client_that_is_gone_publishes_no_more() {
    let server = serve(Limits::default()).await;
    let (address, alice) = (server.local_addr(), client(&server).await);
    let device = alice.device();
    until_published(&server, device).await;
    drop(alice);
    sleep(A_WHILE).await;
    drop(server);
    sleep(A_WHILE).await;
    let server = serve_at(address, Limits::default()).await;
    sleep(Duration::from_secs(1)).await;
    assert!(ask(server.local_addr()).query(&device).await.is_err());
}

/// A service that answers as it is told, and shows what it was asked.
struct Fake(TcpListener);

impl Fake {
    async fn new() -> (Self, Directory) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let directory = ask(listener.local_addr().unwrap());
        (Self(listener), directory)
    }

    /// Takes one request, answers it, or hangs up, and returns its signature's header.
    async fn answer(&self, answer: Option<(u16, String)>) -> Option<Authorization> {
        let (stream, _) = timeout(PATIENCE, self.0.accept()).await.unwrap().unwrap();
        let mut stream = BufReader::new(stream);
        let (mut authorization, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let Some((name, value)) = line.trim().split_once(": ") else {
                if line.trim().is_empty() {
                    break;
                } else {
                    continue;
                };
            };
            match name.to_lowercase().as_str() {
                "authorization" => authorization = Some(value.parse().unwrap()),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        if let Some((status, body)) = answer {
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
        authorization
    }
}

fn json(body: &impl Serialize) -> Option<(u16, String)> {
    Some((200, serde_json::to_string(body).unwrap()))
}

#[tokio::test]
async fn a_request_whose_connection_is_lost_is_tried_again_with_another_nonce() {
    let (fake, directory) = Fake::new().await;
    let asked = tokio::spawn(async move { directory.upload(&KeysUpload::default()).await });
    let first = fake.answer(None).await.unwrap();
    let second = fake.answer(Some((503, "in between".to_owned()))).await.unwrap();
    let third = fake.answer(json(&KeysUploaded { one_time_keys: 7 })).await.unwrap();
    assert_eq!(asked.await.unwrap(), Ok(7));
    assert!(first.nonce != second.nonce && second.nonce != third.nonce);
}

#[tokio::test]
async fn tries_come_to_an_end() {
    let (fake, directory) = Fake::new().await;
    let asked = tokio::spawn(async move { directory.upload(&KeysUpload::default()).await });
    for _ in 0..4 {
        fake.answer(None).await;
    }
    assert!(matches!(asked.await.unwrap(), Err(DirectoryError::Unreachable(_))));
    let nobody = ask(([127, 0, 0, 1], 1).into());
    let error = nobody.query(&Publisher::new().id()).await.unwrap_err();
    assert!(matches!(error, DirectoryError::Unreachable(_)), "{error:?}");
}

#[tokio::test]
async fn a_clock_that_is_wrong_is_corrected_once() {
    let (fake, directory) = Fake::new().await;
    let hour = Duration::from_secs(3600);
    let skewed = |time: Timestamp| {
        let time = time.unix_millis();
        Some((401, format!(r#"{{"error":"clock_skew","message":"m","server_time":{time}}}"#)))
    };
    let near = |time: Timestamp, to: Timestamp| {
        time.since(to).max(to.since(time)) < Duration::from_secs(30)
    };
    let asking = directory.clone();
    let asked = tokio::spawn(async move { asking.upload(&KeysUpload::default()).await });
    let first = fake.answer(skewed(now() + hour)).await.unwrap();
    assert!(near(first.time, now()));
    let second = fake.answer(json(&KeysUploaded { one_time_keys: 7 })).await.unwrap();
    assert!(near(second.time, now() + hour));
    assert_eq!(asked.await.unwrap(), Ok(7));

    // It is remembered, and a service that always complains is not followed for ever.
    let asked = tokio::spawn(async move { directory.upload(&KeysUpload::default()).await });
    let third = fake.answer(skewed(now() - hour)).await.unwrap();
    assert!(near(third.time, now() + hour));
    let fourth = fake.answer(skewed(now())).await.unwrap();
    assert!(near(fourth.time, now() - hour));
    let error = asked.await.unwrap();
    assert!(matches!(error, Err(DirectoryError::Refused { code: Code::ClockSkew, .. })));
}

#[tokio::test]
async fn forged_keys_are_not_believed() {
    let (fake, directory) = Fake::new().await;
    let (mut alice, mut mallory) = (Publisher::new(), Publisher::new());
    let (device, keys, others) = (alice.id(), alice.keys(1), mallory.keys(1));
    let device_keys = keys.device_keys.unwrap();
    let good = KeysClaimed {
        device_keys: device_keys.clone(),
        key: ClaimedKey::OneTimeKey(keys.one_time_keys[0]),
    };
    let with_key = |key| KeysClaimed { key, ..good.clone() };
    let mut forged_keys = device_keys.clone();
    forged_keys.curve25519 = keys.one_time_keys[0].key;
    let mut one_time = keys.one_time_keys[0];
    one_time.signature = Signature::from_bytes([1; 64]);
    for (claimed, is_forged) in [
        (good.clone(), false),
        (with_key(ClaimedKey::FallbackKey(keys.fallback_key.unwrap())), false),
        (with_key(ClaimedKey::OneTimeKey(one_time)), true),
        (with_key(ClaimedKey::OneTimeKey(others.one_time_keys[0])), true),
        (with_key(ClaimedKey::FallbackKey(others.fallback_key.unwrap())), true),
        (KeysClaimed { device_keys: forged_keys.clone(), ..good.clone() }, true),
        // Honest, but another's.
        (
            KeysClaimed {
                device_keys: others.device_keys.clone().unwrap(),
                key: ClaimedKey::OneTimeKey(others.one_time_keys[0]),
            },
            true,
        ),
    ] {
        let asking = directory.clone();
        let asked = tokio::spawn(async move { asking.claim(&device).await });
        fake.answer(json(&claimed)).await;
        let expected = if is_forged { Err(DirectoryError::Forged(device)) } else { Ok(claimed) };
        assert_eq!(asked.await.unwrap(), expected);
    }
    for (device_keys, is_forged) in
        [(device_keys, false), (forged_keys, true), (others.device_keys.unwrap(), true)]
    {
        let found = KeysFound { device_keys, fallback_key: true, one_time_keys: 1 };
        let asking = directory.clone();
        let asked = tokio::spawn(async move { asking.query(&device).await });
        assert_eq!(fake.answer(json(&found)).await, None, "a look-up tells nobody who asks");
        let expected = if is_forged { Err(DirectoryError::Forged(device)) } else { Ok(found) };
        assert_eq!(asked.await.unwrap(), expected);
    }
}

#[tokio::test]
async fn answers_that_make_no_sense_are_told_apart() {
    let (fake, directory) = Fake::new().await;
    let device = Publisher::new().id();
    for (answer, expected) in [
        ((200, "{}".to_owned()), DirectoryError::Unreadable),
        ((200, " ".repeat(1 << 20)), DirectoryError::Unreadable),
        ((404, String::new()), DirectoryError::NoDirectory(404)),
        ((302, String::new()), DirectoryError::NoDirectory(302)),
        (
            (418, r#"{"error":"of_a_later_version","message":"m"}"#.to_owned()),
            DirectoryError::Refused { code: Code::Unknown, message: "m".to_owned() },
        ),
    ] {
        let asking = directory.clone();
        let asked = tokio::spawn(async move { asking.query(&device).await });
        fake.answer(Some(answer)).await;
        assert_eq!(asked.await.unwrap(), Err(expected));
    }
}

#[tokio::test]
async fn a_link_to_a_service_with_tls_is_never_asked_in_the_clear() {
    let server = serve(Limits::default()).await;
    let link = format!("olmcast+tls://{}", server.local_addr());
    let invite = Invite::generate(&link).unwrap();
    let directory =
        Directory::new(invite.service(), &Trust::platform(), Identity::generate().signer());
    let error = directory.query(&Publisher::new().id()).await.unwrap_err();
    assert!(
        matches!(error, DirectoryError::Unreachable(_) | DirectoryError::Trust(_)),
        "{error:?}"
    );
}

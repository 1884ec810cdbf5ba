//! A key service with a certificate, and devices that trust it or do not.

use std::{fs, path::Path};

use olmcast::{
    client::{
        Client, ClientError, Trust,
        connection::{Connection, ConnectionEvent, DownReason},
    },
    device::Identity,
    endpoint::Publish,
    primitives::{Codec, Invite},
    server::{Limits, Server, ServerConfig, ServerError, Tls, TlsError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::fixture::*;

fn self_signed(folder: &Path) -> Tls {
    Tls::self_signed(folder, &["localhost".to_owned(), "127.0.0.1:7600".to_owned()]).unwrap()
}

async fn serve_with(tls: &Tls, limits: Limits) -> Server {
    let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
    config.tls = Some(tls.clone());
    config.limits = limits;
    Server::bind(config).await.unwrap()
}

fn invite_by(scheme: &str, at: impl std::fmt::Display) -> Invite {
    Invite::generate(format!("{scheme}://{at}")).unwrap()
}

/// Why a device that dials this has no connection.
async fn down(invite: &Invite, trust: &Trust) -> (DownReason, Connection) {
    let signer = Identity::generate().signer();
    let mut connection = Connection::open_with(invite.service(), trust, signer, Vec::new());
    match timeout(PATIENCE, connection.next()).await.expect("nothing is said") {
        Some(ConnectionEvent::Down { reason }) => (reason, connection),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_stream_goes_over_a_service_with_tls_and_the_name_that_is_dialled_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let tls = self_signed(folder.path());
    let server = serve_with(&tls, Limits::default()).await;
    let trust = Trust::file(&tls.certificates).unwrap();
    let port = server.local_addr().port();
    for host in ["127.0.0.1", "localhost"] {
        let invite = invite_by("olmcast+tls", format!("{host}:{port}"));
        let a = Client::connect_with(&invite, Identity::generate(), &trust).await.unwrap();
        let b = Client::connect_with(&invite, Identity::generate(), &trust).await.unwrap();
        let camera = Publish::new("camera").track(Codec::Opus).with_invite();
        let _publication = a.publish(camera).await.unwrap();
        timeout(PATIENCE, b.subscribe("camera")).await.unwrap().unwrap();
    }
    // The certificate does not name this address, though it is the same service.
    let invite = invite_by("olmcast+tls", format!("127.0.0.2:{port}"));
    let mut config = ServerConfig::new(([127, 0, 0, 2], port).into());
    config.tls = Some(tls);
    let _other = Server::bind(config).await.unwrap();
    let (reason, _) = down(&invite, &trust).await;
    assert!(matches!(&reason, DownReason::Untrusted(why) if why.contains("127.0.0.2")), "{reason}");
}

#[tokio::test]
async fn a_certificate_that_nobody_trusted_has_signed_is_refused_with_what_to_do() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = serve_with(&self_signed(folder.path()), Limits::default()).await;
    let invite = invite_by("olmcast+tls", server.local_addr());
    let wrong = Trust::file(self_signed(other.path()).certificates).unwrap();
    for trust in [Trust::platform(), wrong] {
        let (reason, mut connection) = down(&invite, &trust).await;
        assert!(matches!(reason, DownReason::Untrusted(_)), "{reason:?}");
        assert!(reason.to_string().contains("--ca FILE"), "{reason}");
        silence(&mut connection).await;
    }
    let connected = Client::connect(&invite, Identity::generate()).await;
    let Err(ClientError::Service(DownReason::Untrusted(_))) = connected else { panic!() };
}

#[tokio::test]
async fn a_device_that_expects_tls_never_says_a_word_in_the_clear() {
    // What is really there is a key service, only in the clear.
    let server = serve(Limits::default()).await;
    let invite = invite_by("olmcast+tls", server.local_addr());
    let (reason, mut connection) = down(&invite, &Trust::platform()).await;
    assert!(matches!(reason, DownReason::NoTls(_)), "{reason:?}");
    assert!(reason.to_string().contains("olmcast+plain://"), "{reason}");
    tokio::time::sleep(3 * A_WHILE).await;
    silence(&mut connection).await;

    // The bytes themselves: every attempt begins a TLS handshake, also after some that failed.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let invite = invite_by("olmcast+tls", listener.local_addr().unwrap());
    let _connection = Device::new().open(&invite);
    for _ in 0..3 {
        let (mut stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let mut first = [0; 3];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(first, [22, 3, 1], "a TLS handshake record");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    }
}

#[tokio::test]
async fn a_device_that_speaks_in_the_clear_does_not_reach_a_service_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = self_signed(folder.path());
    let server = serve_with(&tls, Limits::default()).await;
    let trust = Trust::file(&tls.certificates).unwrap();
    for scheme in ["olmcast", "olmcast+plain"] {
        let (reason, mut connection) = down(&invite_by(scheme, server.local_addr()), &trust).await;
        assert!(matches!(reason, DownReason::NotPlain(_)), "{reason:?}");
        assert!(reason.to_string().contains("olmcast+tls://"), "{reason}");
        silence(&mut connection).await;
    }
}

#[tokio::test]
async fn a_handshake_that_does_not_go_on_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let limits = limits(|limits| limits.head_timeout = A_WHILE);
    let server = serve_with(&self_signed(folder.path()), limits).await;
    for said in [&b""[..], &[22, 3, 1, 2, 0]] {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("still open");
    }
}

#[tokio::test]
async fn new_files_hold_for_new_connections_and_damaged_ones_for_none() {
    let (folder, next) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let tls = self_signed(folder.path());
    let server = serve_with(&tls, Limits::default()).await;
    let invite = invite_by("olmcast+tls", server.local_addr());
    let old = Trust::file(&tls.certificates).unwrap();
    let renewed = self_signed(next.path());
    let new = Trust::file(&renewed.certificates).unwrap();

    let old_key = fs::read(&tls.key).unwrap();
    fs::write(&tls.key, "no key").unwrap();
    assert!(matches!(server.reload_tls().unwrap_err(), TlsError::NoKey(_)));
    Client::connect_with(&invite, Identity::generate(), &old).await.unwrap();
    // Half of the files: the certificate is the new one, the key is not.
    fs::copy(&renewed.certificates, &tls.certificates).unwrap();
    fs::write(&tls.key, old_key).unwrap();
    assert!(server.reload_tls().is_err());
    Client::connect_with(&invite, Identity::generate(), &old).await.unwrap();

    fs::copy(&renewed.key, &tls.key).unwrap();
    server.reload_tls().unwrap();
    Client::connect_with(&invite, Identity::generate(), &new).await.unwrap();
    let (reason, _) = down(&invite, &old).await;
    assert!(matches!(reason, DownReason::Untrusted(_)), "{reason:?}");
}

#[tokio::test]
async fn a_self_signed_certificate_stays_until_the_names_change_and_only_its_owner_reads_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    let made = |list: &[&str]| {
        let tls = Tls::self_signed(folder.path(), &names(list)).unwrap();
        tls.check().unwrap();
        tls.fingerprint().unwrap()
    };
    let first = made(&["localhost", "[::1]:7600"]);
    assert_eq!(first.len(), 32 * 3 - 1);
    assert_eq!(made(&["localhost"]), first);
    let second = made(&["localhost", "keys.example:443"]);
    assert_ne!(second, first);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let key = fs::metadata(folder.path().join("tls-key.pem")).unwrap();
        assert_eq!(key.permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_and_no_service_starts() {
    let folder = tempfile::tempdir().unwrap();
    let good = self_signed(folder.path());
    let empty = folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    for (certificates, key, said) in [
        (Path::new("/nowhere.pem"), good.key.as_path(), "/nowhere.pem"),
        (&good.certificates, Path::new("/nowhere.pem"), "/nowhere.pem"),
        (&empty, &good.key, "has no certificate"),
        (&good.certificates, &empty, "has no key"),
        (&good.certificates, &good.certificates, "has no key"),
    ] {
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        config.tls = Some(Tls::new(certificates, key));
        let Err(error @ ServerError::Tls(_)) = Server::bind(config).await else { panic!() };
        assert!(error.to_string().contains(said), "{error}");
    }
    assert!(Trust::file(&empty).is_err() && Trust::file(&good.key).is_err());
}

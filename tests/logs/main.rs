//! What client and service log at the finest level, and what the libraries below them log: no
//! secret, and nothing of a frame.
//!
//! A binary of its own, since whoever listens to the logs listens to the whole process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

#[path = "../../benches/crowd/mod.rs"]
#[allow(dead_code, reason = "the benches use more of it")]
mod crowd;
#[path = "../net/fixture.rs"]
#[allow(dead_code, reason = "the tests of the network use more of it")]
mod fixture;
#[path = "../vault/opener.rs"]
mod opener;
#[path = "../printed/mod.rs"]
#[allow(dead_code, reason = "the tests of the core use more of it")]
mod printed;

use crowd::Member;
use fixture::{PATIENCE, Raw, invite, serve};
use futures_util::StreamExt;
use olmcast::{
    client::{Client, ClientError, Publication, Subscription, Unlock, Vault},
    device::Identity,
    endpoint::{Event, Publish},
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{Codec, Invite, Signature},
    protocol::{
        OlmMessage, StreamKey,
        service::{Authentication, ClientFrame, ServerFrame},
    },
    server::{Limits, Server},
};
use opener::{With, secrets_of_vault};
use printed::{Transcript, assert_hidden, secrets_of, secrets_of_key};
use tokio::time::timeout;

/// A member that reads its mail with tools of its own, and so knows what must not be logged.
struct Witness {
    member: Member,
    raw: Raw,
    publisher: olmcast::primitives::DeviceId,
}

impl Witness {
    async fn join(server: &Server, invite: &Invite, subscription: &Subscription) -> Self {
        let stream = subscription.stream();
        let curve25519 = subscription.offer().content.curve25519;
        let member = Member::new(invite.room_keys(), stream, curve25519);
        let (mut raw, nonce) = Raw::dial(server).await;
        let (device, room) = (member.device, invite.room());
        let name = server.local_addr().to_string();
        let signature = Authentication { server: &name, nonce: &nonce }.sign_with(|form| {
            Signature::from_bytes(member.account.sign(form.to_bytes()).to_bytes())
        });
        raw.send(&ClientFrame::Authenticate { device, server: name, signature }).await;
        assert!(matches!(raw.receive().await, ServerFrame::Welcome { .. }));
        let door = invite.door_key().unwrap();
        let signature = door.sign(&nonce, &device);
        raw.send(&ClientFrame::Enter { room, door: door.public(), signature }).await;
        assert!(matches!(raw.receive().await, ServerFrame::Entered { .. }));
        let mut witness = Self { member, raw, publisher: stream.publisher };
        witness.send(witness.member.subscribe()).await;
        witness
    }

    async fn send(&mut self, bytes: Vec<u8>) {
        let bytes = bytes.as_slice().into();
        self.raw.send(&ClientFrame::Send { request: 1, to: self.publisher, bytes }).await;
    }

    /// The next key.
    async fn key(&mut self) -> StreamKey {
        loop {
            if let ServerFrame::Mail { bytes, .. } = self.raw.receive().await
                && let Some(key) = self.member.read(&bytes)
            {
                return key;
            }
        }
    }
}

/// Decrypts the frame as soon as the key for it is there.
async fn carry(encryptor: &mut FrameEncryptor, decryptor: &mut FrameDecryptor, frame: &[u8]) {
    let opened = async {
        loop {
            let wire = encryptor.encrypt(frame).unwrap();
            match decryptor.decrypt(&wire, Client::now()) {
                Ok(opened) => return assert_eq!(opened, frame),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, opened).await.expect("no key came");
}

async fn until(publication: &mut Publication, mut is_it: impl FnMut(&Event) -> bool) {
    let waiting = async { while !is_it(&publication.event().await.unwrap()) {} };
    timeout(PATIENCE, waiting).await.expect("waited in vain");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_of_a_whole_run_show_no_secret() -> Result<(), ClientError> {
    let transcript = Transcript::default();
    tracing::subscriber::set_global_default(transcript.clone()).unwrap();
    let server = serve(Limits::default()).await;
    let invite = invite(&server);
    let mut secrets = secrets_of(&invite);
    let frame: Vec<u8> = (0..160_u8).map(|byte| byte.wrapping_mul(7)).collect();
    secrets.push(("a frame", frame.clone()));

    let folder = tempfile::tempdir().unwrap();
    let (vault, other) = (folder.path().join("vault"), folder.path().join("other"));
    let (words, key) = ("seven words that nobody said before me", folder.path().join("key"));
    let (by_words, by_key) = (Unlock::passphrase(words), Unlock::key_file(&key));
    let publishing = Vault::load_or_create(&vault, &by_words)?;
    let watching = Vault::load_or_create(&other, &by_key)?;
    for (unlock, of) in [(&by_words, &other), (&by_key, &vault)] {
        transcript.note_error(&Vault::open(of, unlock).unwrap_err());
    }
    drop(watching);
    transcript.note_error(&Vault::open(&other, &by_words).unwrap_err());
    std::fs::write(folder.path().join("short"), "short").unwrap();
    transcript.note_error(&Vault::open(folder.path().join("short"), &by_key).unwrap_err());
    transcript.note(&(&publishing, &by_words, &by_key));
    secrets.extend(secrets_of_vault(&vault, With::Passphrase(words)));
    secrets.extend(secrets_of_vault(&other, With::KeyFile(&key)));

    let publishing = Client::connect(&invite, publishing).await?;
    let camera = Publish::new("camera").track(Codec::Opus).with_invite();
    let mut publication = publishing.publish(camera).await?;
    let mut encryptor = publication.encryptors().next().unwrap();
    let watching = Client::connect(&invite, Vault::open(&other, &by_key)?).await?;
    let subscription = watching.subscribe("camera").await?;
    let mut decryptor = subscription.decryptors().await?.remove(0);
    carry(&mut encryptor, &mut decryptor, &frame).await;

    // A join, a leave, a kick: three generations' keys.
    let mut witness = Witness::join(&server, &invite, &subscription).await;
    secrets.extend(secrets_of_key(&OlmMessage::StreamKey(witness.key().await)));
    let leaving = Client::connect(&invite, Identity::generate()).await?;
    let other = leaving.subscribe("camera").await?;
    let is_in = |event: &Event, client: &Client| matches!(event, Event::KeyConfirmed { device, .. } if *device == client.device());
    until(&mut publication, |event| is_in(event, &leaving)).await;
    other.leave().await?;
    secrets.extend(secrets_of_key(&OlmMessage::StreamKey(witness.key().await)));
    let _again = leaving.subscribe("camera").await?;
    until(&mut publication, |event| is_in(event, &leaving)).await;
    // The disk refuses, for a moment.
    std::fs::create_dir_all(folder.path().join(".vault.olmcast-tmp/full")).unwrap();
    let not_kept = publication.kick(leaving.device()).await.unwrap_err();
    transcript.note_error(&not_kept);
    std::fs::remove_dir_all(folder.path().join(".vault.olmcast-tmp")).unwrap();
    secrets.extend(secrets_of_key(&OlmMessage::StreamKey(witness.key().await)));
    carry(&mut encryptor, &mut decryptor, &frame).await;

    // What is damaged, forged, or for nobody.
    witness.send(b"not an envelope".to_vec()).await;
    let mut altered = witness.member.subscribe();
    *altered.last_mut().unwrap() ^= 1;
    witness.send(altered).await;
    witness.raw.send_bytes(vec![1, 200]).await;
    let hung_up = async { while let Some(Ok(_)) = witness.raw.0.next().await {} };
    timeout(PATIENCE, hung_up).await.expect("still open");
    publication.end().await?;
    subscription.leave().await?;
    server.shutdown().await;
    drop((publishing, watching, leaving));

    let printed = transcript.text();
    for said in [
        "key service up",
        "connected",
        "mail",
        "a message was not taken",
        "the vault cannot be written",
    ] {
        assert!(printed.contains(said), "the transcript lacks: {said}");
    }
    assert_eq!(secrets.len(), 3 + 1 + 5 + 4 + 3 * 2);
    assert_hidden(&printed, &secrets);
    Ok(())
}

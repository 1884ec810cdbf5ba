//! A disk that is full.

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use olmcast::{
    client::connection::{Connection, ConnectionEvent},
    device::Identity,
    primitives::Invite,
};
use tokio::time::timeout;

use crate::fixture::Process;

/// The service, in a process whose files cannot grow beyond so many KiB. What a full disk answers
/// with ENOSPC is EFBIG here.
fn serve(listen: &str, data: &Path, kib: &str) -> (Process, String) {
    let mut command = Command::new("bash");
    command.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", kib]);
    command.args([env!("CARGO_BIN_EXE_olmcast"), "serve", "--listen", listen, "--data"]);
    // After the restart the sender may be back before the recipient.
    command.arg(data).env("OLMCAST_LIMITS__STRANGER_LANE", "1000");
    let service = Process::run("the key service", &mut command);
    let line = service.prints("key service on ").text;
    let at = line.split_whitespace().nth(3).unwrap().trim_end_matches(';').to_owned();
    (service, at)
}

fn open(invite: &Invite, identity: &Identity) -> Connection {
    let rooms = vec![(invite.room(), invite.door_key().unwrap())];
    Connection::open(invite.service(), identity.signer(), rooms)
}

async fn next(connection: &mut Connection) -> ConnectionEvent {
    let next = timeout(Duration::from_secs(30), connection.next()).await;
    next.expect("waited in vain").expect("the connection has ended")
}

async fn entered(connection: &mut Connection) {
    while !matches!(next(connection).await, ConnectionEvent::Entered { .. }) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_ends_the_service_with_a_message_and_loses_no_mail() {
    const MESSAGES: u8 = 100;
    let data = tempfile::tempdir().unwrap();
    let (mut service, at) = serve("127.0.0.1:0", data.path(), "4000");
    let invite = Invite::generate(&at).unwrap();
    let (from, to) = (Identity::generate(), Identity::generate());
    let mut sender = open(&invite, &from);
    entered(&mut sender).await;
    let mut recipient = open(&invite, &to);
    entered(&mut recipient).await;
    recipient.close().await;

    // Six megabytes for somebody who is away, into a file of four.
    for number in 0..MESSAGES {
        sender.handle().send(to.device(), vec![number; 60_000]).unwrap();
    }
    let ended = tokio::task::spawn_blocking(move || {
        service.fails_saying("the store has failed");
        assert!(service.has_said("mend that and start the service again"), "{service}");
    });
    ended.await.unwrap();

    // With room again: what was confirmed is there, and the sender sends the rest once more.
    let (_service, _) = serve(&at, data.path(), "unlimited");
    let mut recipient = open(&invite, &to);
    let mut arrived = BTreeSet::new();
    while arrived.len() < usize::from(MESSAGES) {
        if let ConnectionEvent::Mail { bytes, .. } = next(&mut recipient).await {
            assert_eq!((bytes.len(), bytes.iter().min()), (60_000, bytes.iter().max()));
            arrived.insert(bytes[0]);
        }
    }
    sender.close().await;
}

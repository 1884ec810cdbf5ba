//! Every example runs, as its user would run it: as a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::{
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use olmcast::{
    primitives::Invite,
    server::{Server, ServerConfig},
};
use olmcast_relay::{Relay, RelayConfig};
use tokio::time::timeout;

/// Cargo builds the examples of a package before it runs its tests, next to them.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let folder: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples");
    let path = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{name} was not built; `cargo test` without --test builds examples");
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Ends a process with its handle.
struct Running(Option<Child>);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(Some(command.spawn().unwrap()))
    }

    async fn finish(mut self) -> Output {
        let child = self.0.take().unwrap();
        let finished = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap());
        timeout(Duration::from_secs(60), finished).await.expect("it does not end").unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn frames_only_runs() {
    let said = succeeded(&example("frames_only").output().unwrap());
    assert!(said.contains("a second time refused"), "{said}");
}

#[test]
fn own_signalling_runs() {
    let said = succeeded(&example("own_signalling").output().unwrap());
    assert!(said.contains("after the kick he opens nothing"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publisher_and_subscriber_run_together() {
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(ServerConfig::new(any)).await.unwrap();
    let relay = Relay::bind(RelayConfig { listen: any, ..Default::default() }).await.unwrap();
    let link = Invite::generate(server.local_addr().to_string()).unwrap().to_link();

    let mut publisher = example("publisher");
    let video = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/cli/media/video.ivf");
    publisher.args([&link, video, &format!("http://{}", relay.local_addr())]);
    let _publisher = Running::start(publisher);
    let mut subscriber = example("subscriber");
    subscriber.args([&link, "30"]);
    let said = succeeded(&Running::start(subscriber).finish().await);
    assert!(said.contains("30 frames; 0 could not be opened"), "{said}");
    assert!(said.contains("key frame of"), "{said}");
}

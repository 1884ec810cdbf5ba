//! The attacker: a process of its own, which the others do not make way for.

mod bodies;
mod keys;
mod mailbox;
mod slow;
mod tally;

use std::{
    collections::BTreeMap,
    io::BufReader,
    net::{Ipv4Addr, SocketAddr},
    process::{ChildStdout, Command, ExitCode},
};

use anyhow::Context;
use olmcast::primitives::DeviceId;
use tokio::io::AsyncReadExt;

use self::tally::Tally;
use crate::harness::process::Process;

/// Where all attacks come from.
const SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// What an attacker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Nothing but using the processor
    #[value(hide = true)]
    Count,
    /// Claims all keys of one device
    Keys,
    /// Fills one device's mailbox
    Mailbox,
    /// Holds many connections that say little or nothing
    Slow,
    /// Sends what is too large or too deep
    Bodies,
}

impl Kind {
    pub(super) const ATTACKS: [Self; 4] = [Self::Keys, Self::Mailbox, Self::Slow, Self::Bodies];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Count => "busy",
            Self::Keys => "keys",
            Self::Mailbox => "mailbox",
            Self::Slow => "slow",
            Self::Bodies => "bodies",
        }
    }
}

/// An attacker at work.
pub(super) struct Attacker {
    process: Process,
    said: BufReader<ChildStdout>,
}

impl Attacker {
    pub(super) fn start(kind: Kind, service: SocketAddr, victim: DeviceId) -> anyhow::Result<Self> {
        let testbed = Process::testbed()?;
        let mut command = Command::new("nice");
        command.args(["-n", "19"]).arg(testbed.get_program()).args(["attack", kind.name()]);
        command.arg(service.to_string()).arg(format!("--victim={victim}"));
        let (process, _, said) = Process::start_and_read_line(&mut command)?;
        Ok(Self { process, said })
    }

    /// Ends it and returns what it has done.
    pub(super) fn stop(self) -> anyhow::Result<BTreeMap<String, u64>> {
        let said = self.process.finish(self.said)?;
        serde_json::from_str(said.trim()).context("the attacker did not say what it did")
    }
}

/// Attacks a key service until standard input ends, and prints what it did and was told.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(value_parser = ["busy", "keys", "mailbox", "slow", "bodies"])]
    kind: String,
    service: SocketAddr,
    #[arg(long)]
    victim: DeviceId,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (tally, service) = (Tally::default(), arguments.service);
    println!("attacking");
    crate::live::block_on(async {
        let attack = async {
            match arguments.kind.as_str() {
                "keys" => keys::attack(service, arguments.victim, &tally).await,
                "mailbox" => mailbox::attack(service, arguments.victim, &tally).await,
                "slow" => slow::attack(service, &tally).await,
                "bodies" => bodies::attack(service, &tally).await,
                _ => count().await,
            }
        };
        let mut stdin = tokio::io::stdin();
        let mut nothing = [0];
        tokio::select! {
            () = attack => {}
            _ = stdin.read(&mut nothing) => {}
        }
        Ok(())
    })?;
    println!("{}", serde_json::to_string(&tally.counts())?);
    Ok(ExitCode::SUCCESS)
}

/// Uses all processors.
async fn count() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..threads {
        std::thread::spawn(|| {
            let mut number = 0_u64;
            loop {
                number = std::hint::black_box(number.wrapping_add(1));
            }
        });
    }
    std::future::pending().await
}

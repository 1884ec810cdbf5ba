//! A key service under attack, and the devices that rely on it.

pub(crate) mod attack;
mod honest;
mod report;

use std::{process::ExitCode, time::Duration};

use anyhow::ensure;
use tokio::{task::block_in_place, time::sleep};

use self::{
    attack::{Attacker, Kind},
    honest::Honest,
    report::{Phase, Report},
};
use crate::harness::{
    self, check_open_files,
    service::{Grants, Service},
    store::{Ground, StoreKind},
};

/// How long an attack goes on before it is measured what it does.
const SETTLE: Duration = Duration::from_secs(2);

/// Attacks a key service, and measures what its devices notice.
///
/// The service has its default limits. Devices on 127.0.1.1 send each other mail, five messages a
/// second each, and others connect, 20 a second; the attacker is on 127.0.0.2 and has as many
/// identities as it likes. It claims all keys of one device (keys); fills one device's mailbox as
/// strangers to it (mailbox); holds 5,000 connections that say half a request, or nothing once
/// they are connected (slow); and sends bodies and frames that are too large or too deep (bodies).
///
/// The attacker's own work is not the service's: it runs in a process of its own with `nice 19`.
/// So that what it still takes of the processor's caches and turns is not held against the
/// service, times are compared with those while a process that only counts runs in its place
/// (busy); without anything beside (idle) they are printed, too.
///
/// Fails if mail is lost or an honest device is refused or cut off, if a p99 is more than twice
/// the busy one, or if the service grows by more than --memory.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Where the service remembers
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,
    /// Honest devices
    #[arg(long, default_value_t = 100)]
    devices: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Only these attacks
    #[arg(long, value_enum, value_delimiter = ',')]
    attack: Vec<Kind>,
    /// Megabytes by which an attack may make the service grow: what strangers may have waiting at
    /// the service, and what sockets and requests cost
    #[arg(long, default_value_t = 128.0)]
    memory: f64,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let report = harness::block_on(perform(arguments))?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    let broken = report.broken(arguments.memory);
    for broken in &broken {
        eprintln!("not kept: {broken}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn perform(arguments: &Arguments) -> anyhow::Result<Report> {
    ensure!(arguments.devices >= 2, "--devices must be at least 2");
    check_open_files(6000)?;
    let duration = Duration::try_from_secs_f64(arguments.seconds)?;
    eprintln!("load of the machine before: {}", harness::machine_load()?);
    let ground = Ground::prepare(arguments.store, 1)?;
    let service = Service::start(&ground, Grants::Default)?;
    let mut honest = Honest::gather(arguments.devices, service.address).await?;

    honest.upload_keys().await?;

    let idle = Phase::measure("idle", &mut honest, &service, duration).await?;
    let mut under = async |kind: Kind| {
        eprintln!("{}", kind.name());
        let attacker = Attacker::start(kind, service.address, honest.victim())?;
        let before = service.process.resident()?;
        honest.exchange(SETTLE).await?;
        let mut phase = Phase::measure(kind.name(), &mut honest, &service, duration).await?;
        phase.rss_before_mb = before as f64 / 1e6;
        phase.did = block_in_place(|| attacker.stop())?;
        if kind == Kind::Keys {
            phase.did.insert("one-time keys left".to_owned(), honest.keys_left().await?);
        }
        // What the attacker leaves behind is not the next one's: connections end, tasks go.
        sleep(Duration::from_millis(500)).await;
        Ok::<_, anyhow::Error>(phase)
    };
    let busy = under(Kind::Count).await?;
    let mut attacks = Vec::new();
    for kind in Kind::ATTACKS {
        if arguments.attack.is_empty() || arguments.attack.contains(&kind) {
            attacks.push(under(kind).await?);
        }
    }
    eprintln!("load of the machine after: {}", harness::machine_load()?);
    Ok(Report::new(arguments.store, idle, busy, attacks))
}

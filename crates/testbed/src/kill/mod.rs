//! A key service that is killed, again and again, while devices rely on it.

mod correspondent;
mod inbox;
mod key_ledger;
mod keys;
mod ledger;
mod sleeper;
mod victims;

use std::{fmt, net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use anyhow::{Context, bail, ensure};
use olmcast::protocol::service::{ClientFrame, ServerFrame};
use rand::RngExt;
use serde::Serialize;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use self::{
    correspondent::Correspondent, key_ledger::KeyLedger, keys::Asker, ledger::Ledger,
    sleeper::Sleeper, victims::Victims,
};
use crate::harness::{
    self,
    device::Device,
    persistently,
    store::{Ground, StoreKind},
    times::Times,
};

/// Devices that are connected and write to each other, and to those that are not.
const AWAKE: usize = 12;
/// Devices that connect now and then, and so depend on what the service has kept.
const ASLEEP: usize = 4;
/// Devices that upload one-time keys, and others that claim them.
const OWNERS: usize = 4;
const CLAIMERS: usize = OWNERS;
/// The latest moment of a kill, from when the service was up again.
const LATEST: u64 = 300;
/// How long a service may take to come back.
const RECOVERY: Duration = Duration::from_secs(60);
/// How long everybody may take to end what they are at, and then to collect what is there.
const ENDING: Duration = Duration::from_secs(30);

/// Kills a key service at random moments, under load, and counts what it forgot.
///
/// Devices write to each other and to devices that are mostly away; others upload one-time keys
/// and claim them. Up to 300 ms after the service has come up it gets a `kill -9`, and is
/// started again on the same data and address. In the end everything is collected: what was
/// accepted and comes to nobody, and what was uploaded and never goes out, is lost.
///
/// A recipient passes over mail with a sequence number that it has seen, as clients do; so a
/// service that counts from the start again loses mail, too. recovered_ms is from the kill to the
/// first message that is accepted again.
///
/// With --store nats there are two services and three NATS servers with three replicas, and the
/// kills go alternately to one of the servers and to one of the services. --store memory shows
/// that all this can fail. `kill -9` ends a process, not the machine: what the system has, but not
/// the disk, survives it.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// How often something is killed
    #[arg(long, default_value_t = 200)]
    rounds: u64,
    /// Where the service remembers
    #[arg(long, value_enum, default_value_t = StoreKind::Redb)]
    store: StoreKind,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// What kills did.
#[derive(Debug, Serialize)]
struct Report {
    rounds: u64,
    /// Messages that were accepted, and keys whose upload was, and never seen again.
    acked_lost: u64,
    otk_issued_twice: u64,
    recovered_ms_p99: f64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let must_be_0 = |count: u64| if count == 0 { "" } else { "   MUST BE 0" };
        writeln!(f, "{} kills", self.rounds)?;
        let (lost, twice) = (self.acked_lost, self.otk_issued_twice);
        writeln!(f, "  {:<36} {lost:>10}{}", "accepted and lost", must_be_0(lost))?;
        writeln!(f, "  {:<36} {twice:>10}{}", "one-time keys handed out twice", must_be_0(twice))?;
        writeln!(f, "  {:<36} {:>10}", "back after, ms, p99", self.recovered_ms_p99)
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let report = harness::block_on(perform(arguments))?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    let kept = report.acked_lost == 0 && report.otk_issued_twice == 0;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn perform(arguments: &Arguments) -> anyhow::Result<Report> {
    let ground = Ground::prepare(arguments.store, 3)?;
    let mut victims = Victims::start(ground)?;
    let (services, ledger) = (victims.addresses(), Arc::new(Ledger::default()));
    let (going, goes) = watch::channel(true);

    let mut awake = Correspondent::some(AWAKE, &services, &ledger);
    let sleepers = Sleeper::some(ASLEEP, &services, &ledger);
    let asleep: Vec<_> = sleepers.iter().map(Sleeper::address).collect();
    for correspondent in &mut awake {
        correspondent.writes_to(&asleep);
    }
    let (mut writing, mut sleeping) = (JoinSet::new(), JoinSet::new());
    for correspondent in awake {
        writing.spawn(correspondent.run(goes.clone()));
    }
    for sleeper in sleepers {
        sleeping.spawn(sleeper.run(goes.clone()));
    }

    let keys = Arc::new(KeyLedger::default());
    let (mut uploading, mut claiming) = (JoinSet::new(), JoinSet::new());
    let owners: Vec<_> = (0..OWNERS).map(|_| Asker::new(&services, &keys)).collect();
    let owned: Vec<_> = owners.iter().map(Asker::id).collect();
    for owner in owners {
        uploading.spawn(owner.uploads(goes.clone()));
    }
    for _ in 0..CLAIMERS {
        claiming.spawn(Asker::new(&services, &keys).claims(owned.clone(), goes.clone()));
    }

    let (probe, mut recovered, mut told) =
        (Device::from([127, 0, 0, 1]), Times::default(), Instant::now());
    for round in 0..arguments.rounds {
        let moment = rand::rng().random_range(0..=LATEST);
        sleep(Duration::from_millis(moment)).await;
        ledger.begin_round(round);
        let killed = Instant::now();
        let to_ask = victims.strike(round)?;
        let pause = Duration::from_millis(2);
        let answer = persistently(RECOVERY, pause, || hand_in(&probe, to_ask)).await;
        answer.with_context(|| format!("after kill {round} nothing was accepted any more"))?;
        recovered.add(killed.elapsed());
        victims.heal()?;
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            eprintln!("{} kills, {}, {}", round + 1, ledger.counts(), keys.counts());
        }
    }
    sleep(Duration::from_millis(LATEST)).await;

    going.send_replace(false);
    let (mut everybody, mut claimers) = (Vec::new(), Vec::new());
    let ending = async {
        while let Some(ended) = writing.join_next().await {
            everybody.push(ended?);
        }
        while let Some(ended) = sleeping.join_next().await {
            everybody.push(ended?);
        }
        while let Some(ended) = uploading.join_next().await {
            ended?.context("somebody could not upload keys")?;
        }
        while let Some(ended) = claiming.join_next().await {
            claimers.push(ended?.context("somebody could not claim keys")?);
        }
        Ok::<_, anyhow::Error>(())
    };
    timeout(ENDING, ending).await.context("not everybody got answers at the end")??;
    eprintln!("{}, {}; now everything is collected", ledger.counts(), keys.counts());
    let service = *services.first().context("no service")?;
    let mut collecting = JoinSet::new();
    for mut inbox in everybody {
        collecting.spawn(async move { inbox.collect_all(service, ENDING).await });
    }
    for (claimer, owner) in claimers.into_iter().zip(owned) {
        collecting.spawn(claimer.claim_all(owner));
    }
    while let Some(collected) = collecting.join_next().await {
        collected??;
    }
    eprintln!("{}, {}", ledger.counts(), keys.counts());
    ensure!(keys.answered() > arguments.rounds, "hardly a key was claimed; nothing is shown");
    ensure!(ledger.accepted() > arguments.rounds, "hardly anything was accepted; nothing is shown");
    for lost in ledger.lost().iter().take(10) {
        eprintln!("lost: {lost}");
    }
    Ok(Report {
        rounds: arguments.rounds,
        acked_lost: ledger.lost().len() as u64 + keys.lost(),
        otk_issued_twice: keys.issued_twice(),
        recovered_ms_p99: recovered.percentile(99),
    })
}

/// Whether the service takes a message: one to the sender itself.
async fn hand_in(device: &Device, service: SocketAddr) -> anyhow::Result<()> {
    let mut socket = device.connect(service).await?;
    let (to, bytes) = (device.id(), [0; 16].as_slice().into());
    socket.send(&ClientFrame::Send { request: 0, to, bytes }).await?;
    let answer = async {
        loop {
            match socket.next().await? {
                ServerFrame::Accepted { .. } => return Ok(()),
                ServerFrame::Refused { code, .. } => bail!("refused: {code}"),
                ServerFrame::Mail { sequence, .. } => {
                    socket.send(&ClientFrame::Ack { sequence }).await?;
                }
                _ => {}
            }
        }
    };
    timeout(Duration::from_secs(5), answer).await.context("no answer")?
}

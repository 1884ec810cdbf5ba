//! What a key service of its own process carries over real sockets.

mod claims;
pub(crate) mod crowd;
mod idle;
pub(crate) mod mail;
mod raw;
mod report;

use std::{process::ExitCode, time::Duration};

use anyhow::ensure;

use self::{crowd::Crowd, report::Report};
use crate::harness::{
    self, check_open_files,
    service::{Grants, Service},
    store::{Ground, StoreKind},
};

/// Measures a key service under load, over real sockets.
///
/// The service is a process of its own, with limits that let everything through. All devices
/// connect and enter rooms of 50 at the same moment (join storm). Then each sends its neighbour
/// one message a second, which is measured from sending to receipt (p50, p99). Then --senders
/// devices keep --window unaccepted messages in flight each, and mail is counted as it is
/// received, acknowledged and so removed. Last, as many claimers as there were messages in
/// flight claim one-time keys over kept connections.
///
/// The raw store does the same work with as many operations in flight, in this process and with
/// nothing around it: redb with one writer thread that commits durably all that is waiting, where
/// an operation is a record of a message's size put in and, in a later commit, taken out; NATS
/// JetStream publishing with acknowledgements; a map behind a mutex. It has the machine for
/// itself, the service shares it with its devices.
///
/// Fails if mail is lost or a one-time key is handed out twice; times and rates only inform.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Where the service remembers
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,
    /// Devices that are connected
    #[arg(long, default_value_t = 1000)]
    devices: usize,
    /// Of these, how many send as fast as they can
    #[arg(long, default_value_t = 8)]
    senders: usize,
    /// Messages that a sender has in flight
    #[arg(long, default_value_t = 8)]
    window: usize,
    /// Bytes of a message
    #[arg(long, default_value_t = 512)]
    bytes: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// NATS servers, and replicas of what they store
    #[arg(long, default_value_t = 1)]
    nats: usize,
    /// Only connect so many devices that say nothing, and print the service's memory
    #[arg(long, value_name = "DEVICES")]
    idle: Option<usize>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(devices) = arguments.idle {
        return harness::block_on(idle::perform(arguments, devices));
    }
    let report = harness::block_on(perform(arguments))?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    let kept = report.mail_lost == 0 && report.claims_duplicated == 0;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn perform(arguments: &Arguments) -> anyhow::Result<Report> {
    ensure!(arguments.devices >= 2, "--devices must be at least 2");
    ensure!(arguments.bytes >= mail::LEAST, "--bytes must be at least {}", mail::LEAST);
    check_open_files(arguments.devices + 256)?;
    let duration = Duration::try_from_secs_f64(arguments.seconds)?;
    let senders = arguments.senders.min(arguments.devices);
    eprintln!("load of the machine before: {}", harness::machine_load()?);

    let ground = Ground::prepare(arguments.store, arguments.nats)?;
    let service = Service::start(&ground, Grants::Anything)?;
    eprintln!("key service on {}", service.address);

    let mut crowd = Crowd::gather(arguments.devices);
    let mut storm = crowd.come(service.address, arguments.devices).await?;
    let rss_mb = service.process.resident()? as f64 / 1e6;
    eprintln!("{} devices have entered; the service has {rss_mb:.0} MB", storm.len());

    let slow = mail::Pace::Every(Duration::from_secs(1));
    let everybody = crowd.len();
    let mut modest = mail::exchange(&mut crowd, everybody, slow, arguments.bytes, duration).await?;
    eprintln!("{} messages at a modest rate, {} lost", modest.received, modest.lost());
    let fast = mail::Pace::Window(arguments.window);
    let mass = mail::exchange(&mut crowd, senders, fast, arguments.bytes, duration).await?;
    eprintln!("{} messages as fast as possible, {} lost", mass.received, mass.lost());
    crowd.leave();

    let in_flight = senders * arguments.window;
    let claims = claims::perform(service.address, in_flight, duration).await?;
    drop(service);
    eprintln!("now the store alone, with {in_flight} operations in flight");
    let raw = raw::measure(&ground, in_flight, arguments.bytes, duration).await?;
    eprintln!("load of the machine after: {}", harness::machine_load()?);

    Ok(Report {
        store: arguments.store,
        claims_per_s: claims.per_second.round(),
        claims_duplicated: claims.duplicated,
        mail_per_s: mass.per_second.round(),
        mail_lost: modest.lost() + mass.lost(),
        mail_p50_ms: modest.times.percentile(50),
        mail_p99_ms: modest.times.percentile(99),
        join_storm_p99_ms: storm.percentile(99),
        rss_mb: rss_mb.round(),
        raw_store_ops_per_s: raw.round(),
    })
}

mod evidence;
mod stage;
mod tally;

use std::{process::ExitCode, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::time::{Instant, interval};

use crate::{
    harness::{block_on, store::StoreKind},
    report::{Cutovers, Percentiles, Report},
};
use stage::Stage;

/// Between two comings and goings.
const PACE: Duration = Duration::from_millis(200);
/// First joins that are measured.
const MEASURED: usize = 20;

/// Lets subscribers come and go over a real key service, in real time.
///
/// First all join; then, every 200 ms, somebody joins or leaves: by unsubscribing, by being
/// kicked, or by being cut off without a word. The publisher sends 50 frames a second, and all of
/// them are kept. In the end everybody who was there tries to open, with every key that it was
/// ever sent, what it must not: frames from before it asked, and from after it left. So the times
/// until a leaver is shut out are measured on frames, from the call that removes it; no event of
/// the library is believed. Whoever was cut off must open nothing 2 s after the publisher took it
/// for gone, but is not among the times: what was sent meanwhile could not reach it.
///
/// A kick closes the room to devices that were not admitted before, so all of them join once and
/// leave again before anything is measured.
///
/// Messages are those that clients gave to their connections, in both directions; one to the
/// whole room counts once. A join's are measured before the churn, on up to 20 joins at its pace;
/// a leave's are all others under churn, without those that renew leases every 20 s (their bytes
/// count). Takes 30 s more than --seconds; fails if a count is not 0 that must be.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Subscribers, on the average
    #[arg(long, default_value_t = 50)]
    subscribers: usize,
    /// How long they come and go
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Who comes and goes follows from this number, the moments do not
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the service remembers
    #[arg(long, value_enum, default_value_t)]
    store: StoreKind,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (report, notes) = block_on(perform(arguments))?;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    for note in notes {
        eprintln!("{note}");
    }
    let zero = zeros(&report).iter().all(|(_, count)| *count == 0);
    Ok(if zero { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What must be 0.
fn zeros(report: &Report) -> [(&'static str, u64); 5] {
    [
        ("permanent stalls", report.permanent_stalls),
        ("frames opened by leavers", report.leaver_opened),
        ("past frames opened by joiners", report.joiner_opened_past),
        ("duplicate nonces", report.duplicate_nonces),
        ("frames lost after their key", report.frames_lost_after_key),
    ]
}

fn print(report: &Report) {
    for (what, count) in zeros(report) {
        println!("{count:>8}  {what}{}", if count == 0 { "" } else { "   MUST BE 0" });
    }
    println!("\n{:<8} {:>8} {:>8} {:>8}", "cut-over", "p50 ms", "p99 ms", "max ms");
    for (cause, Percentiles { p50, p99, max }) in
        [("leave", &report.cutover_ms.leave), ("kick", &report.cutover_ms.kick)]
    {
        println!("{cause:<8} {p50:>8} {p99:>8} {max:>8}");
    }
    println!("\nmessages per join   {:>10.1}", report.messages_per_join);
    println!("messages per leave  {:>10.1}", report.messages_per_leave);
    println!("bytes per leave     {:>10.0}", report.bytes_per_leave);
}

/// Somebody comes, or goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Join,
    Leave,
}

/// Who comes and goes: at random, but the crowd keeps its size to within a fifth.
fn plan(arguments: &Arguments, rng: &mut StdRng) -> Vec<Step> {
    let (wanted, mut there) = (arguments.subscribers, arguments.subscribers);
    let slack = wanted / 5 + 1;
    let steps = Duration::from_secs(arguments.seconds).as_millis() / PACE.as_millis();
    let steps = (0..steps).map(|_| {
        let joins = there + slack <= wanted || (there < wanted + slack && rng.random_bool(0.5));
        if joins {
            there += 1;
            Step::Join
        } else {
            there = there.saturating_sub(1);
            Step::Leave
        }
    });
    steps.collect()
}

async fn perform(arguments: &Arguments) -> anyhow::Result<(Report, Vec<String>)> {
    let mut rng = StdRng::seed_from_u64(arguments.seed);
    let (subscribers, plan) = (arguments.subscribers, plan(arguments, &mut rng));
    let joins = plan.iter().filter(|step| **step == Step::Join).count();
    let leaves = plan.len() - joins;
    let mut stage = Stage::set(subscribers + joins, arguments.store, rng).await?;
    let measured = subscribers.min(MEASURED);
    let for_joins = stage.join_and_measure(measured, PACE).await?;
    stage.join_and_measure(subscribers - measured, Duration::ZERO).await?;
    eprintln!("{subscribers} subscribers are there; now they come and go");

    let (before, start, mut told) = (stage.sent(), Instant::now(), 0);
    let mut pace = interval(PACE);
    for step in plan {
        pace.tick().await;
        match step {
            Step::Join => stage.join()?,
            Step::Leave => stage.leave().await?,
        }
        if start.elapsed().as_secs() >= told + 5 {
            told += 5;
            eprintln!("{told} s: {}", stage.status());
        }
    }
    let (tally, frames) = stage.finish().await?;
    eprintln!("everybody tries to open what it must not");
    let mut found = evidence::gather(&tally.was, &frames)?;

    let share = 1.0 / measured as f64;
    let (per_join, bytes_per_join) = (for_joins.messages * share, for_joins.bytes * share);
    let under_churn = tally.sent_in_all - before;
    let messages = under_churn.messages - tally.renewals - per_join * joins as f64;
    let bytes = under_churn.bytes - bytes_per_join * joins as f64;
    let share = if leaves == 0 { 0.0 } else { 1.0 / leaves as f64 };
    let report = Report {
        seeds: 1,
        permanent_stalls: tally.stalls,
        leaver_opened: found.leaver_opened,
        joiner_opened_past: found.joiner_opened_past,
        duplicate_nonces: evidence::duplicate_nonces(&frames),
        frames_lost_after_key: tally.lost,
        cutover_ms: Cutovers {
            leave: Percentiles::of(&mut found.leaves),
            kick: Percentiles::of(&mut found.kicks),
        },
        messages_per_join: per_join,
        messages_per_leave: messages * share,
        bytes_per_leave: bytes * share,
        joins: joins as u64,
        leaves: leaves as u64,
        simulated: None,
    };
    let mut notes = tally.notes;
    notes.push(format!(
        "{joins} joins, {leaves} leaves, {} of them kicks; {} frames sent, {} opened by those who \
         may, {} given up for want of a key; {} tried by those who may not",
        found.kicks.len(),
        frames.len(),
        tally.opened,
        tally.given_up,
        found.tried,
    ));
    Ok((report, notes))
}

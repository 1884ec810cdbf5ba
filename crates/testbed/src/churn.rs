use std::{
    io::IsTerminal,
    ops::ControlFlow,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    report::{Cutovers, Percentiles, Report, Simulated},
    simulator::{self, Outcome, Scenario, checker::Defect},
};

/// Simulates streams whose subscribers come and go over a bad network.
///
/// Each seed is one run: everybody joins at once, then somebody joins or leaves every
/// --churn-ms, then it goes on for a while without, so that stalls show. Endpoints, keys and
/// frames are real; clock and network are not, and follow from the seed: the same seed and
/// options give the same run. Each publisher, subscriber and frame is watched for what must
/// never happen; whoever leaves keeps all keys and tries to read on.
///
/// It ends with code 1 if any of permanent_stalls, leaver_opened, joiner_opened_past,
/// duplicate_nonces, frames_lost_after_key and generations_fallen is not 0, and says which seeds
/// to look at.
///
/// Examples:
///   churn --subscribers 200 --seeds 1000 --json          the figures
///   churn --subscribers 20 --seeds 200 --loss 0.3        a very bad network
///   churn --subscribers 20 --seed 4711 --seeds 1         one run again
///   churn --subscribers 20 --seeds 100 --publisher-crashes 1 --service-crashes 1 --partitions 2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Arguments {
    /// Subscribers that join at once; churn keeps their number about the same
    #[arg(long, default_value_t = 200)]
    subscribers: usize,
    /// How many runs
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first run's seed; the others follow it
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The share of messages that are lost, 0 to 1
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    loss: f64,
    /// The share of messages that arrive twice, 0 to 1
    #[arg(long, default_value_t = 0.05, value_parser = share)]
    duplicates: f64,
    /// The share of messages that others overtake, 0 to 1
    #[arg(long, default_value_t = 0.1, value_parser = share)]
    reorder: f64,
    /// The longest that a message takes, if it is not overtaken, in milliseconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    delay_ms: u64,
    /// How wrong clocks are at most, in milliseconds
    #[arg(long, default_value_t = 30_000)]
    skew_ms: u64,
    /// A join or a leave this often, in milliseconds; 0 for none
    #[arg(long, default_value_t = 200)]
    churn_ms: u64,
    /// How long there is churn, in simulated seconds
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// No kicks; otherwise some leaves in the last two fifths of the churn are kicks
    #[arg(long)]
    no_kicks: bool,
    /// How often up to a third of all are cut off for 1 to 9 s, per run
    #[arg(long, default_value_t = 0)]
    partitions: u32,
    /// How often the publisher dies and starts anew, per run
    #[arg(long, default_value_t = 0)]
    publisher_crashes: u32,
    /// How often the service dies and starts anew, per run
    #[arg(long, default_value_t = 0)]
    service_crashes: u32,
    /// How often some endpoint is not called for 0.5 to 5 s, per run
    #[arg(long, default_value_t = 0)]
    starvations: u32,
    /// Tell on stderr what happens to this node (0 is the first publisher), with one seed
    #[arg(long)]
    node: Option<usize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a number from 0 to 1".to_owned()),
    }
}

impl Arguments {
    fn scenario(&self) -> Scenario {
        Scenario {
            loss: self.loss,
            duplicates: self.duplicates,
            reorder: self.reorder,
            delay: (self.delay_ms.min(10), self.delay_ms),
            skew: self.skew_ms,
            churn_every: self.churn_ms,
            churn: self.seconds * 1_000,
            kicks: !self.no_kicks,
            partitions: self.partitions,
            publisher_crashes: self.publisher_crashes,
            service_crashes: self.service_crashes,
            starvations: self.starvations,
            starve_publisher: true,
            watched: self.node,
            ..Scenario::churn(self.subscribers)
        }
    }

    /// The command that runs one of the seeds again.
    fn replay(&self, seed: u64) -> String {
        let mut command = format!(
            "cargo run --release -p olmcast-testbed -- churn --seeds 1 --seed {seed} \
             --subscribers {} --loss {} --duplicates {} --reorder {} --delay-ms {} --skew-ms {} \
             --churn-ms {} --seconds {} --partitions {} --publisher-crashes {} \
             --service-crashes {} --starvations {}",
            self.subscribers,
            self.loss,
            self.duplicates,
            self.reorder,
            self.delay_ms,
            self.skew_ms,
            self.churn_ms,
            self.seconds,
            self.partitions,
            self.publisher_crashes,
            self.service_crashes,
            self.starvations,
        );
        if self.no_kicks {
            command.push_str(" --no-kicks");
        }
        command
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let outcomes = run_all(arguments);
    let report = summarize(&outcomes);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    for line in outcomes.iter().flat_map(|outcome| &outcome.lines) {
        eprintln!("{line}");
    }
    let bad: Vec<_> = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).collect();
    for outcome in bad.iter().take(5) {
        eprint!("\n{}", outcome.describe());
        eprintln!("again: {}", arguments.replay(outcome.seed));
    }
    if bad.len() > 5 {
        let seeds: Vec<_> = bad.iter().map(|outcome| outcome.seed.to_string()).collect();
        eprintln!("\n{} bad seeds: {}", bad.len(), seeds.join(" "));
    }
    Ok(if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs all seeds, on all cores, and shows how far it is.
fn run_all(arguments: &Arguments) -> Vec<Outcome> {
    let scenario = arguments.scenario();
    let next = AtomicU64::new(0);
    let outcomes = Mutex::new(Vec::new());
    let work = || -> ControlFlow<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= arguments.seeds {
                return ControlFlow::Break(());
            }
            let outcome = simulator::run(arguments.seed + index, &scenario);
            outcomes.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
        }
    };
    let begun = Instant::now();
    let every = Duration::from_secs(if std::io::stderr().is_terminal() { 2 } else { 10 });
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut shown = Instant::now();
        while !workers.iter().all(thread::ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(50));
            if shown.elapsed() >= every {
                shown = Instant::now();
                show(&outcomes, arguments.seeds, begun);
            }
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_unstable_by_key(|outcome| outcome.seed);
    outcomes
}

fn show(outcomes: &Mutex<Vec<Outcome>>, seeds: u64, begun: Instant) {
    let outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
    let bad = outcomes.iter().filter(|outcome| !outcome.violations.is_empty()).count();
    let seconds = begun.elapsed().as_secs();
    eprintln!("{} of {seeds} seeds in {seconds} s, {bad} with violations", outcomes.len());
}

fn summarize(outcomes: &[Outcome]) -> Report {
    let count = |defect| outcomes.iter().map(|outcome| outcome.count(defect)).sum();
    let sum = |what: fn(&Outcome) -> u64| outcomes.iter().map(what).sum::<u64>() as f64;
    let cutovers = |kick| {
        let all = outcomes.iter().flat_map(|outcome| &outcome.cutovers);
        let chosen = all.filter(|cutover| cutover.kick == kick);
        Percentiles::of(
            &mut chosen.map(|cutover| Duration::from_millis(cutover.after)).collect::<Vec<_>>(),
        )
    };
    let (joins, leaves) = (sum(|o| o.joins), sum(|o| o.leaves));
    Report {
        seeds: outcomes.len() as u64,
        permanent_stalls: count(Defect::Stalled),
        leaver_opened: count(Defect::LeaverOpened),
        joiner_opened_past: count(Defect::JoinerOpenedPast),
        duplicate_nonces: count(Defect::NonceRepeated),
        frames_lost_after_key: count(Defect::FrameLost),
        cutover_ms: Cutovers { leave: cutovers(false), kick: cutovers(true) },
        messages_per_join: ratio(sum(|o| o.traffic.join_messages), joins),
        messages_per_leave: ratio(sum(|o| o.traffic.leave_messages), leaves),
        bytes_per_leave: ratio(sum(|o| o.traffic.leave_bytes), leaves),
        joins: joins as u64,
        leaves: leaves as u64,
        simulated: Some(Simulated {
            generations_fallen: count(Defect::PositionFell),
            longest_wait_ms: outcomes.iter().map(|o| o.longest_wait).max().unwrap_or_default(),
            paused_ms: sum(|o| o.paused * o.frame_every) as u64,
        }),
    }
}

fn ratio(sum: f64, count: f64) -> f64 {
    if count == 0.0 { 0.0 } else { (sum / count * 10.0).round() / 10.0 }
}

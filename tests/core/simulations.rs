//! Runs of the simulator, each with a few seeds. More of them, and larger ones:
//! `cargo run --release -p olmcast-testbed -- churn --help`.

use crate::simulator::{self, Cutover, Outcome, Scenario, What};

/// Few subscribers, so that each run takes a moment only.
fn churn() -> Scenario {
    Scenario::churn(10)
}

/// Runs some seeds; nothing may happen that must not.
fn holds(name: &str, scenario: &Scenario, seeds: std::ops::Range<u64>) -> Vec<Outcome> {
    let outcomes: Vec<_> = seeds.map(|seed| simulator::run(seed, scenario)).collect();
    for outcome in &outcomes {
        assert!(
            outcome.violations.is_empty(),
            "{name}: {}this runs it again: simulator::run({}, &{scenario:?})",
            outcome.describe(),
            outcome.seed,
        );
    }
    // What did not happen cannot have gone wrong.
    let sum = |what: fn(&Outcome) -> u64| outcomes.iter().map(what).sum::<u64>();
    assert!(sum(|o| o.joins) > 20 && sum(|o| o.leaves) > 5 && sum(|o| o.opened) > 1_000);
    assert!(sum(|o| o.cutovers.len() as u64) > 5);
    outcomes
}

#[test]
fn under_churn_leavers_are_shut_out_in_time_and_all_others_read() {
    let outcomes = holds("churn", &churn(), 0..6);
    let cutovers = outcomes.iter().flat_map(|outcome| &outcome.cutovers);
    let (kicks, leaves): (Vec<&Cutover>, Vec<&Cutover>) =
        cutovers.partition(|cutover| cutover.kick);
    assert!(kicks.iter().all(|cutover| cutover.after <= 1_000) && !kicks.is_empty());
    assert!(leaves.iter().all(|cutover| cutover.after <= 2_000) && !leaves.is_empty());
}

#[test]
fn the_same_when_three_messages_in_ten_are_lost() {
    holds("loss", &Scenario { loss: 0.3, ..churn() }, 10..16);
}

#[test]
fn the_same_when_most_messages_overtake_others() {
    let scenario = Scenario { reorder: 0.7, reorder_by: 900, duplicates: 0.3, ..churn() };
    holds("order", &scenario, 20..26);
}

#[test]
fn the_same_when_some_are_cut_off_for_a_while() {
    holds("partitions", &Scenario { partitions: 3, ..churn() }, 30..36);
}

#[test]
fn the_same_when_clocks_are_hours_apart() {
    holds("skew", &Scenario { skew: 3 * 3_600_000, ..churn() }, 40..44);
}

#[test]
fn the_same_when_the_publisher_dies_and_starts_anew() {
    holds("publisher", &Scenario { publisher_crashes: 1, ..churn() }, 50..56);
}

#[test]
fn the_same_when_the_service_dies_and_forgets_everything() {
    holds("service", &Scenario { service_crashes: 1, ..churn() }, 60..66);
}

#[test]
fn the_same_when_some_endpoints_are_not_called_for_seconds() {
    holds("starvation", &Scenario { starvations: 5, ..churn() }, 70..76);
}

#[test]
fn the_same_when_the_publishers_endpoint_is_not_called_for_seconds() {
    let scenario = Scenario { starvations: 5, starve_publisher: true, ..churn() };
    holds("starved publisher", &scenario, 80..86);
}

#[test]
fn a_seed_replays_its_run() {
    let scenario = Scenario {
        partitions: 1,
        publisher_crashes: 1,
        service_crashes: 1,
        starvations: 2,
        starve_publisher: true,
        ..churn()
    };
    let runs = [1, 1, 2].map(|seed| simulator::run(seed, &scenario));
    assert_eq!(runs[0].trace, runs[1].trace);
    assert_eq!(runs[0].violations, runs[1].violations);
    assert_ne!(runs[0].trace, runs[2].trace);
}

#[test]
fn a_network_that_loses_everything_is_noticed() {
    let scenario = Scenario { loss: 1.0, churn_every: 0, ..churn() };
    let outcome = simulator::run(0, &scenario);
    let stalled = |what: &What| *what == What::Stalled;
    assert_eq!(outcome.violations.iter().filter(|v| stalled(&v.what)).count(), 10);
}

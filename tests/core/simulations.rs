//! Runs of the simulator, each with a few seeds. More of them, and larger ones:
//! `cargo run --release -p olmcast-testbed -- churn --help`.

use crate::simulator::{self, Scenario};

fn holds(name: &str, scenario: &Scenario, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let outcome = simulator::run(seed, scenario);
        assert!(outcome.violations.is_empty(), "{name}, {}", outcome.describe());
    }
}

#[test]
fn churn() {
    holds("churn", &Scenario::churn(10), 0..4);
}

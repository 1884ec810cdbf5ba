//! Short runs of the experiments with a key service of its own process. Only counts are asserted:
//! how long something takes depends on what else the machine does.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs an experiment, and returns what it prints and whether it says that all was kept.
fn run(arguments: &[&str]) -> (Value, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_olmcast-testbed"));
    let output = command.args(arguments).arg("--json").stderr(Stdio::inherit()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let report = serde_json::from_str(printed.trim());
    (report.unwrap_or_else(|_| panic!("no report: {printed:?}")), output.status.success())
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn under_load_no_mail_is_lost_and_no_key_goes_out_twice() {
    let load =
        ["load", "--store", "redb", "--devices", "50", "--senders", "50", "--seconds", "0.5"];
    let (report, kept) = run(&load);
    assert_eq!(count(&report, "mail_lost"), 0, "{report}");
    assert_eq!(count(&report, "claims_duplicated"), 0, "{report}");
    for rate in ["claims_per_s", "mail_per_s", "raw_store_ops_per_s"] {
        assert!(report[rate].as_f64().unwrap() > 0.0, "{rate}: {report}");
    }
    assert!(kept, "{report}");
}

#[test]
fn a_service_that_is_killed_loses_nothing_that_it_accepted() {
    let (report, kept) = run(&["kill", "--store", "redb", "--rounds", "20"]);
    assert_eq!(count(&report, "rounds"), 20, "{report}");
    assert_eq!(count(&report, "acked_lost"), 0, "{report}");
    assert_eq!(count(&report, "otk_issued_twice"), 0, "{report}");
    assert!(kept, "{report}");
}

/// The experiment can fail.
#[test]
fn a_service_that_keeps_nothing_on_disk_is_found_out() {
    let (report, kept) = run(&["kill", "--store", "memory", "--rounds", "3"]);
    assert!(count(&report, "acked_lost") > 0, "{report}");
    assert!(!kept, "{report}");
}

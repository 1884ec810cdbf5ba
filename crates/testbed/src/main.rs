//! Experiments with olmcast that are too large for a test: they run for minutes and print figures.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

mod churn;
mod flood;
mod harness;
mod janus;
mod kill;
mod live;
mod load;
mod report;
#[path = "../../../tests/core/simulator/mod.rs"]
mod simulator;
mod str0m;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Experiments with olmcast, simulated and live.
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

// Their help stands with their arguments: here it would replace it.
#[derive(Subcommand)]
enum Command {
    /// An attacker, for `flood`.
    #[command(hide = true)]
    Attack(flood::attack::Arguments),
    Churn(churn::Arguments),
    Flood(flood::Arguments),
    Janus(janus::Arguments),
    Kill(kill::Arguments),
    LiveChurn(live::churn::Arguments),
    LiveJoins(live::joins::Arguments),
    LiveRestart(live::restart::Arguments),
    Load(load::Arguments),
    /// A key service for the commands that kill it.
    #[command(hide = true)]
    Service(harness::service::Arguments),
    Str0m(str0m::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // webrtc-rs warns of TLS extensions that it does not know, of its start before there is a
    // candidate, and of each packet that comes twice, as resent ones do.
    let usual = "warn,rtc_dtls=error,rtc_ice=error,rtc::peer_connection::handler=error";
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match arguments.command {
        Command::Attack(arguments) => flood::attack::run(&arguments),
        Command::Churn(arguments) => churn::run(&arguments),
        Command::Flood(arguments) => flood::run(&arguments),
        Command::Janus(arguments) => janus::run(&arguments),
        Command::Kill(arguments) => kill::run(&arguments),
        Command::LiveChurn(arguments) => live::churn::run(&arguments),
        Command::LiveJoins(arguments) => live::joins::run(&arguments),
        Command::LiveRestart(arguments) => live::restart::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::Service(arguments) => harness::service::run(arguments),
        Command::Str0m(arguments) => str0m::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

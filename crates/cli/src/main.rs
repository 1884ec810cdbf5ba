//! The `olmcast` command: a key service, a relay, a publisher and a subscriber, and a demo that
//! runs them all in one process.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks to its user")]

mod address;
mod console;
mod demo;
mod devices;
mod directory;
mod id;
mod keys;
mod logs;
mod media;
mod naming;
mod publish;
mod qr;
mod questions;
mod receive;
mod relay;
mod room;
mod serve;
mod store;
mod subscribe;
mod trust;
mod vault;
mod verify;
mod verifying;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use console::unless_interrupted;

/// End-to-end encrypted live streams: one key per stream, led by its publisher.
///
/// The key service and the relay carry a stream, and can neither watch it nor decide who may.
/// See it work:
///
///   olmcast demo
///
/// The same with a process for each part, in five terminals:
///
///   olmcast serve
///   olmcast relay
///   olmcast room new                      (prints an invite link; quote it, it has a #)
///   olmcast publish --room 'LINK' --video video.ivf --audio audio.ogg
///   olmcast subscribe --room 'LINK' --stream camera --out recordings
#[derive(Parser)]
#[command(version, verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

// Their help stands with their arguments: here it would replace it.
#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Serve(serve::Arguments),
    Relay(relay::Arguments),
    Room(room::Arguments),
    Id(id::Arguments),
    Verify(verify::Arguments),
    Devices(devices::Arguments),
    Keys(keys::Arguments),
    Publish(publish::Arguments),
    Subscribe(subscribe::Arguments),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = run(arguments.command).await;
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", console::explain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    // A service says in its configuration what it tells on the way.
    if !matches!(command, Command::Serve(_)) {
        logs::init(logs::Format::Text, logs::LEVEL)?;
    }
    match command {
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Relay(arguments) => relay::run(arguments).await,
        Command::Room(arguments) => room::run(&arguments),
        Command::Id(arguments) => unless_interrupted(async { id::run(&arguments) }).await,
        Command::Verify(arguments) => return verify::run(arguments).await,
        Command::Devices(arguments) => unless_interrupted(devices::run(arguments)).await,
        Command::Keys(arguments) => keys::run(arguments).await,
        Command::Publish(arguments) => publish::run(arguments).await,
        Command::Subscribe(arguments) => subscribe::run(arguments).await,
    }?;
    Ok(ExitCode::SUCCESS)
}

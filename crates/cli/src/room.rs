//! `olmcast room`.

use clap::Subcommand;
use olmcast::primitives::Invite;

/// Make rooms.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a room and print its invite link
    ///
    /// Whoever has the link can enter the room, and is admitted to streams that are published
    /// there by invite. Share it through an end-to-end encrypted chat only. The key service is
    /// not told of the room until somebody enters it, and never learns the secret behind the #.
    New {
        /// The key service, as all members will dial it
        #[arg(long, default_value = crate::address::SERVICE, value_name = "HOST:PORT")]
        server: String,
    },
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Command::New { server } = &arguments.command;
    println!("{}", Invite::generate(server.as_str())?.to_link());
    Ok(())
}

//! `olmcast room`.

use clap::Subcommand;
use olmcast::primitives::{Invite, ServiceAddress, Transport};

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
    ///
    /// Members speak TLS to the service, unless it is on their own machine (localhost, 127.0.0.1).
    /// Otherwise the link says so: olmcast+plain:// is in the clear, olmcast+tls:// is TLS on the own
    /// machine, too. Nobody tries the other if one fails.
    New {
        /// The key service, as all members will dial it; with olmcast+tls:// before it for TLS on
        /// this machine
        #[arg(long, default_value = crate::address::SERVICE, value_name = "HOST:PORT")]
        server: ServiceAddress,
        /// The service speaks in the clear: whoever listens on the way learns what it does
        #[arg(long)]
        plain: bool,
    },
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Command::New { server, plain } = &arguments.command;
    let server = match plain {
        true => server.clone().with_transport(Transport::Plain),
        false => server.clone(),
    };
    println!("{}", Invite::generate(server.to_string())?.to_link());
    Ok(())
}

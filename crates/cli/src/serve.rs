//! `olmcast serve`.

use std::net::SocketAddr;

use olmcast::server::{Server, ServerConfig};

/// Run a key service, which carries the messages between devices.
///
/// It can neither read nor forge them, and decides nothing: publishers do.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to listen; all devices must be able to reach it
    #[arg(long, default_value = crate::address::SERVICE, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// A name by which devices dial this service, as it stands in invite links; repeat for more
    #[arg(long = "name", value_name = "NAME:PORT")]
    names: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut config = ServerConfig::new(arguments.listen);
    let names = arguments.names;
    config.names.clone_from(&names);
    let server = Server::bind(config).await?;
    let address = server.local_addr();
    let dialled = match (names.first(), address.ip().is_unspecified()) {
        (Some(name), _) => name.clone(),
        (None, false) => address.to_string(),
        // A link must hold what devices dial, and a wildcard is nothing that they could.
        (None, true) => format!("NAME:{}", address.port()),
    };
    println!("key service on {address}; make a room with: olmcast room new --server {dialled}");
    if dialled.starts_with("NAME:") {
        println!("start it with --name {dialled} as well, with the name that devices dial");
    }
    println!(
        "mail is kept in memory; connections are not TLS yet: who listens on the way learns what \
         the service does (SECURITY.md)"
    );
    crate::console::interrupted().await?;
    server.shutdown().await;
    Ok(())
}

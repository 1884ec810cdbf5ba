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
    config.names = arguments.names;
    let server = Server::bind(config).await?;
    println!(
        "key service on {}; make a room with: olmcast room new --server {0}",
        server.local_addr()
    );
    println!("mail is kept in memory; connections are not encrypted, put TLS in front of it");
    crate::console::interrupted().await?;
    server.shutdown().await;
    Ok(())
}

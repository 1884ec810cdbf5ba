//! `olmcast serve`.

use std::net::SocketAddr;

use olmcast::server::{Server, ServerConfig};

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
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}

//! `olmcast relay`.

use std::net::{IpAddr, SocketAddr};

use olmcast_relay::{Relay, RelayConfig};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to listen for WHIP and WHEP
    #[arg(long, default_value = crate::address::RELAY, value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The address that media is sent to and from, if it is not that of --listen
    #[arg(long, value_name = "ADDRESS")]
    media: Option<IpAddr>,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config =
        RelayConfig { listen: arguments.listen, media: arguments.media, ..Default::default() };
    let relay = Relay::bind(config).await?;
    println!(
        "relay on http://{}; publish with: olmcast publish --relay http://{0} …",
        relay.local_addr()
    );
    tokio::signal::ctrl_c().await?;
    relay.shutdown().await;
    Ok(())
}

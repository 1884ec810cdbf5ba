//! `olmcast relay`.

use std::net::{IpAddr, SocketAddr};

use olmcast_relay::{Relay, RelayConfig};

/// Run a relay, which forwards encrypted media (WHIP and WHEP).
///
/// It has no keys. It is small: for demos, tests and small audiences.
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
    crate::console::interrupted().await?;
    relay.shutdown().await;
    Ok(())
}

//! `olmcast keys`.

use anyhow::Context;
use olmcast::{
    client::directory::Directory,
    device::Identity,
    primitives::{DeviceId, Invite, ServiceAddress},
};

/// Look up a device's public keys in a key service's directory.
///
/// Only keys that the device itself has signed are shown. Whether it is the device you think it
/// is, the service cannot tell you: compare the fingerprint with its owner, by voice for instance.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The device's id, 43 characters, as publish and subscribe print it
    // Some begin with a hyphen.
    #[arg(allow_hyphen_values = true)]
    device: DeviceId,
    /// The key service; with olmcast+tls:// or olmcast+plain:// before it as in invite links
    /// [default: 127.0.0.1:7600]
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<ServiceAddress>,
    /// The key service of this invite link instead, in quotes, since it has a #
    #[arg(long, env = "OLMCAST_ROOM", hide_env_values = true, value_name = "LINK")]
    room: Option<String>,
    #[command(flatten)]
    trust: crate::trust::Arguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let service = match (arguments.server, arguments.room) {
        (Some(server), _) => server,
        (None, Some(link)) => link.parse::<Invite>().context("--room")?.service().clone(),
        (None, None) => crate::address::SERVICE.parse()?,
    };
    let trust = arguments.trust.read()?;
    // Looking up is for anybody, so nobody in particular asks.
    let directory = Directory::new(&service, &trust, Identity::generate().signer());
    let found = directory.query(&arguments.device).await?;
    let keys = found.device_keys;
    println!("device         {}", keys.device);
    println!("fingerprint    {}", fingerprint(&keys.device));
    println!("curve25519     {}", keys.curve25519.0.to_base64());
    println!("signature      verified: the device itself has signed these keys");
    println!("one-time keys  {}", found.one_time_keys);
    println!("fallback key   {}", if found.fallback_key { "yes" } else { "no" });
    Ok(())
}

/// The Ed25519 key, which is the device's id, so that it can be read out.
fn fingerprint(device: &DeviceId) -> String {
    let text = device.to_string();
    let groups = text.as_bytes().chunks(4).map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(" ")
}

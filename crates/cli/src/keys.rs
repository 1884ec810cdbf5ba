//! `olmcast keys`.

use olmcast::primitives::DeviceId;

use crate::{directory, naming::fingerprint};

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
    #[command(flatten)]
    directory: directory::Arguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let found = arguments.directory.query(&arguments.device).await?;
    let keys = found.device_keys;
    println!("device         {}", keys.device);
    println!("fingerprint    {}", fingerprint(&keys.device));
    println!("curve25519     {}", keys.curve25519.0.to_base64());
    println!("signature      verified: the device itself has signed these keys");
    println!("one-time keys  {}", found.one_time_keys);
    println!("fallback key   {}", if found.fallback_key { "yes" } else { "no" });
    Ok(())
}

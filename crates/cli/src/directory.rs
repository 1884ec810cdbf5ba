//! The directory of a key service, for the commands that look devices up.

use anyhow::Context;
use olmcast::{
    client::directory::Directory,
    device::Identity,
    primitives::{DeviceId, Invite, ServiceAddress},
    protocol::directory::KeysFound,
};

/// Which service's directory is asked.
#[derive(clap::Args)]
#[group(skip)]
pub(crate) struct Arguments {
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

impl Arguments {
    /// Looks a device up. What is found, it has signed itself.
    pub(crate) async fn query(&self, device: &DeviceId) -> anyhow::Result<KeysFound> {
        let service = match (&self.server, &self.room) {
            (Some(server), _) => server.clone(),
            (None, Some(link)) => link.parse::<Invite>().context("--room")?.service().clone(),
            (None, None) => crate::address::SERVICE.parse()?,
        };
        let trust = self.trust.read()?;
        // Looking up is for anybody, so nobody in particular asks.
        let directory = Directory::new(&service, &trust, Identity::generate().signer());
        Ok(directory.query(device).await?)
    }
}

//! Whose certificates a device believes.

use std::path::PathBuf;

use anyhow::Context;
use olmcast::client::Trust;

/// For every command that connects to a key service.
#[derive(clap::Args)]
// Without a name of its own, which would be that of the arguments around it.
#[group(skip)]
pub(crate) struct Arguments {
    /// A PEM file with the certificate of the key service's authority, or of the service itself if
    /// it is self-signed; without it, those count that this machine trusts
    #[arg(long, env = "OLMCAST_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Arguments {
    pub(crate) fn read(&self) -> anyhow::Result<Trust> {
        match &self.ca {
            Some(path) => Trust::file(path).context("--ca"),
            None => Ok(Trust::platform()),
        }
    }
}

use std::ffi::OsString;

use olmcast::server::{NatsConfig, StoreConfig};
use serde::Serialize;

use super::{folder::Folder, nats::Cluster};

/// Where a key service of an experiment remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// In memory
    #[default]
    Memory,
    /// In a file of a temporary folder (TMPDIR)
    Redb,
    /// In NATS servers that are started for it
    Nats,
}

impl StoreKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redb => "redb",
            Self::Nats => "nats",
        }
    }
}

/// What is there for as long as a store: it outlives the services that use it.
pub(crate) enum Ground {
    Memory,
    Redb(Folder),
    Nats(Cluster),
}

impl Ground {
    /// With so many NATS servers, if it is NATS.
    pub(crate) fn prepare(kind: StoreKind, nats: usize) -> anyhow::Result<Self> {
        Ok(match kind {
            StoreKind::Memory => Self::Memory,
            StoreKind::Redb => Self::Redb(Folder::temporary()?),
            StoreKind::Nats => Self::Nats(Cluster::start(nats)?),
        })
    }

    /// As the hidden command `service` takes it.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        match self {
            Self::Memory => Vec::new(),
            Self::Redb(folder) => vec!["--redb".into(), folder.path().into()],
            Self::Nats(cluster) => {
                let mut arguments = vec!["--replicas".into(), cluster.size().to_string().into()];
                for url in cluster.urls() {
                    arguments.extend(["--nats".into(), url.into()]);
                }
                arguments
            }
        }
    }

    /// As a service in this process takes it.
    pub(crate) fn config(&self) -> StoreConfig {
        match self {
            Self::Memory => StoreConfig::Memory,
            Self::Redb(folder) => StoreConfig::Redb(folder.path().to_owned()),
            Self::Nats(cluster) => StoreConfig::Nats(nats_config(cluster.urls(), cluster.size())),
        }
    }
}

/// How a service finds its NATS servers.
pub(crate) fn nats_config(urls: Vec<String>, replicas: usize) -> NatsConfig {
    let mut config = NatsConfig::new(urls);
    config.replicas = replicas;
    config
}

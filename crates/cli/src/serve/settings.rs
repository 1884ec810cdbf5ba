//! What `olmcast serve` can be told: in a file, in the environment and on the command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use olmcast::server::Limits;
use serde::{Deserialize, Serialize};

/// Everything; `default.toml` explains it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    pub(super) listen: SocketAddr,
    pub(super) names: Vec<String>,
    pub(super) store: Store,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metrics: Option<SocketAddr>,
    #[serde(with = "time")]
    pub(super) drain_delay: Duration,
    pub(super) tls: Tls,
    pub(super) log: Log,
    pub(super) nats: Nats,
    pub(super) limits: Limits,
}

/// Their names, by which variables of the environment are told from those of others.
pub(super) const KEYS: [&str; 10] =
    ["listen", "names", "store", "data", "metrics", "drain_delay", "tls", "log", "nats", "limits"];

/// Where the service remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Store {
    /// Nowhere: everything is gone with the process
    Memory,
    /// In the data folder
    #[default]
    Redb,
    /// In the NATS servers of the configuration
    Nats,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) certificates: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<PathBuf>,
    pub(super) self_signed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub(super) format: crate::logs::Format,
    pub(super) level: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Nats {
    pub(super) urls: Vec<String>,
    pub(super) replicas: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) credentials: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) authorities: Option<PathBuf>,
    pub(super) prefix: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 7600).into(),
            names: Vec::new(),
            store: Store::default(),
            data: None,
            metrics: None,
            drain_delay: Duration::ZERO,
            tls: Tls::default(),
            log: Log::default(),
            nats: Nats::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: crate::logs::Format::default(), level: crate::logs::LEVEL.to_owned() }
    }
}

impl Default for Nats {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            replicas: 1,
            credentials: None,
            authorities: None,
            prefix: "olmcast".to_owned(),
        }
    }
}

impl Settings {
    /// The folder for what is kept.
    pub(super) fn data(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| {
            let absolute = |name: &str| {
                std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
            };
            let home = || absolute("HOME").map(|home| home.join(".local/share"));
            match absolute("XDG_DATA_HOME").or_else(home) {
                Some(folder) => folder.join("olmcast"),
                None => PathBuf::from("olmcast-data"),
            }
        })
    }

    /// The whole as a file, without secrets.
    pub(super) fn shown(&self) -> anyhow::Result<String> {
        let mut shown = Self { data: Some(self.data()), ..self.clone() };
        for url in &mut shown.nats.urls {
            *url = without_password(url);
        }
        Ok(toml::to_string(&shown)?)
    }
}

/// What stands before the @ of a URL is a password, or a token.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    match rest.rsplit_once('@') {
        Some((_, host)) if scheme.is_empty() => format!("[hidden]@{host}"),
        Some((_, host)) => format!("{scheme}://[hidden]@{host}"),
        None => url.to_owned(),
    }
}

/// Times as people write them.
mod time {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!("{text:?} is no time ({error}); write 500ms or 60s"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        let urls = ["nats://u:hunter2@a:4222", "nats://hunter2@b", "u:hunter2@c", "nats://d:1"];
        let nats = Nats { urls: urls.map(str::to_owned).into(), ..Nats::default() };
        let shown = Settings { nats, ..Settings::default() }.shown().unwrap();
        assert!(!shown.contains("hunter2"), "{shown}");
        for host in ["nats://[hidden]@a:4222", "[hidden]@c", "nats://d:1"] {
            assert!(shown.contains(host), "{shown}");
        }
    }
}

use std::{fmt, path::PathBuf};

/// How a key service reaches its NATS servers, and what it keeps there.
///
/// With the servers' default settings, JetStream tells a client that a message is stored before it
/// is on the disk, and writes it there within two minutes. Set `sync_interval: always` in the
/// `jetstream` block of every server, so that what the key service calls durable is.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NatsConfig {
    /// The servers' addresses: `nats://host:4222` or `tls://host:4222`. One is enough to find the
    /// others of a cluster, unless it is down when the service starts.
    pub urls: Vec<String>,
    /// How many servers keep each message: 1 or 3. With 3, any one of them may fail.
    pub replicas: usize,
    /// A credentials file, as `nsc` makes it.
    pub credentials: Option<PathBuf>,
    /// Certificates of the authorities that the servers' certificates are checked against, as PEM,
    /// besides the system's.
    pub authorities: Option<PathBuf>,
    /// What the names of all streams and subjects begin with: two key services with the same
    /// prefix are nodes of one service. Letters, digits, `-` and `_`.
    pub prefix: String,
}

impl NatsConfig {
    /// Servers without credentials, one replica of everything, and the prefix `olmcast`.
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            urls: urls.into_iter().map(Into::into).collect(),
            replicas: 1,
            credentials: None,
            authorities: None,
            prefix: "olmcast".into(),
        }
    }

    /// Its addresses without names and passwords, for people to read.
    pub(super) fn servers(&self) -> String {
        let servers = self.urls.iter().map(|url| {
            let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
            format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
        });
        servers.collect::<Vec<_>>().join(", ")
    }

    pub(super) fn check(&self) -> Result<(), NatsError> {
        let of_prefix = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.urls.is_empty() {
            return Err(NatsError::Config("name at least one NATS server"));
        }
        if self.replicas != 1 && self.replicas != 3 {
            return Err(NatsError::Config("NATS keeps 1 or 3 replicas; choose one of the two"));
        }
        if self.prefix.is_empty() || !self.prefix.chars().all(of_prefix) {
            return Err(NatsError::Config("a NATS prefix has letters, digits, - and _ only"));
        }
        Ok(())
    }
}

/// An address may hold a password.
impl fmt::Debug for NatsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsConfig")
            .field("urls", &self.servers())
            .field("replicas", &self.replicas)
            .field("credentials", &self.credentials)
            .field("authorities", &self.authorities)
            .field("prefix", &self.prefix)
            .finish()
    }
}

/// Why a key service did not start on NATS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The configuration is no such thing.
    #[error("{0}")]
    Config(&'static str),
    /// The credentials file cannot be used.
    #[error("cannot use the NATS credentials in {path}: {source}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// No server let us in.
    #[error("cannot connect to NATS at {servers}: {reason}; check address, TLS and credentials")]
    Connect {
        /// Their addresses.
        servers: String,
        /// What came instead.
        reason: String,
    },
    /// A server that lacks what the store is made of.
    #[error("the NATS server at {servers} has version {version}; update it to 2.11 or later")]
    TooOld {
        /// Their addresses.
        servers: String,
        /// Its version.
        version: String,
    },
    /// JetStream is not enabled.
    #[error(
        "NATS at {servers} does not offer JetStream: {reason}; start it with a `jetstream` block, \
         and let the account use it"
    )]
    NoJetStream {
        /// Their addresses.
        servers: String,
        /// What came instead.
        reason: String,
    },
    /// A stream could not be made, or not be changed to what the limits ask for.
    #[error(
        "NATS cannot keep the stream {stream}: {reason}; check its storage limits and that it has \
         as many servers as replicas"
    )]
    Stream {
        /// Its name.
        stream: String,
        /// What the server said.
        reason: String,
    },
    /// Another version of olmcast has used this prefix in another way.
    #[error(
        "another version of olmcast keeps its data under the prefix {prefix}; use that version, or \
         another prefix"
    )]
    Layout {
        /// The prefix.
        prefix: String,
    },
    /// Connected, but something that is asked at the start was not answered.
    #[error("NATS does not answer: {0}")]
    Unavailable(String),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

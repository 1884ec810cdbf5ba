//! What a relay is told at start, and why a start can fail.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Settings of a [`Relay`](crate::Relay).
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// Where HTTP (WHIP and WHEP) is served. Port 0 picks a free port.
    /// Default: `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// The address that publishers and subscribers send media to, offered as ICE host candidate.
    /// It must be an address of this machine, not a wildcard. Default: the address of `listen`.
    pub media: Option<IpAddr>,
    /// Keep the packets received from publishers, for [`Relay::recording`](crate::Relay::recording).
    pub record: bool,
    /// Bytes of RTP payload kept by all recordings together. Default: 64 MiB.
    pub record_limit: usize,
    /// Streams live at the same time. Default: 64.
    pub max_streams: usize,
    /// Subscribers of all streams together. Default: 512.
    pub max_subscribers: usize,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            media: None,
            record: false,
            record_limit: 64 << 20,
            max_streams: 64,
            max_subscribers: 512,
        }
    }
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// HTTP cannot be served at the address asked for.
    #[error("cannot listen on {address}: {source}; choose another address or port")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system answered.
        source: std::io::Error,
    },
    /// A wildcard is no address that a peer could send media to.
    #[error("media address {0} is a wildcard; name the address that peers can reach")]
    WildcardMedia(IpAddr),
    /// The media address is not one of this machine's.
    #[error("cannot receive media on {address}: {source}; name an address of this machine")]
    Media {
        /// The address asked for.
        address: IpAddr,
        /// What the operating system answered.
        source: std::io::Error,
    },
}

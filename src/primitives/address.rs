use core::net::IpAddr;
use std::{fmt, str::FromStr};

use super::InviteError;

/// How a key service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// TLS, with a certificate that the device trusts.
    Tls,
    /// In the clear: whoever listens on the way learns what the service does.
    Plain,
}

/// Where a key service is, and how it is spoken to.
///
/// | written | spoken |
/// |---|---|
/// | `olmcast://HOST:PORT`, or just `HOST:PORT` | TLS; in the clear if the host is this machine: `localhost`, `127.0.0.0/8`, `::1` |
/// | `olmcast+tls://HOST:PORT` | TLS, on this machine, too |
/// | `olmcast+plain://HOST:PORT` | in the clear, wherever it is |
///
/// A device never tries the other when one fails: whoever stands on the way could make it.
/// Without a port it is 443 with TLS and 80 without.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ServiceAddress {
    host: String,
    transport: Transport,
}

const SCHEMES: [(&str, Option<Transport>); 3] = [
    ("olmcast://", None),
    ("olmcast+tls://", Some(Transport::Tls)),
    ("olmcast+plain://", Some(Transport::Plain)),
];

impl ServiceAddress {
    /// As `host` (`name:port`, without a scheme) is dialled if nothing else is said.
    ///
    /// # Errors
    /// [`InviteError::Host`].
    pub fn new(host: impl Into<String>) -> Result<Self, InviteError> {
        let host = host.into();
        let allowed =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if host.is_empty() || host.len() > 255 || !host.chars().all(allowed) {
            return Err(InviteError::Host);
        }
        let transport = usual(&host);
        Ok(Self { host, transport })
    }

    /// The same service, spoken to like this.
    #[must_use]
    pub fn with_transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The service as `name:port`. This is what a device signs when it authenticates, with
    /// either transport.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// How it is spoken to.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// What follows a scheme up to the first slash, and what comes after that.
    pub(super) fn split_link(link: &str) -> Result<(Self, Option<&str>), InviteError> {
        for (scheme, transport) in SCHEMES {
            if let Some(rest) = link.strip_prefix(scheme) {
                let (host, path) = match rest.split_once('/') {
                    Some((host, path)) => (host, Some(path)),
                    None => (rest, None),
                };
                let service = Self::new(host)?;
                let transport = transport.unwrap_or(service.transport);
                return Ok((service.with_transport(transport), path));
            }
        }
        Err(InviteError::Scheme)
    }
}

/// How a host is spoken to if nothing else is said.
fn usual(host: &str) -> Transport {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((address, port)) if port.is_empty() || port.starts_with(':') => address,
            _ => "",
        },
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let here = match name.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    };
    if here { Transport::Plain } else { Transport::Tls }
}

/// The shortest way to write it.
impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = (self.transport != usual(&self.host)).then_some(self.transport);
        let scheme = SCHEMES.iter().find(|(_, transport)| *transport == said);
        write!(f, "{}{}", scheme.map_or("", |(scheme, _)| scheme), self.host)
    }
}

impl fmt::Debug for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for ServiceAddress {
    type Err = InviteError;

    fn from_str(text: &str) -> Result<Self, InviteError> {
        if !text.contains("://") {
            return Self::new(text);
        }
        match Self::split_link(text).map_err(|_| InviteError::Host)? {
            (service, None | Some("")) => Ok(service),
            (_, Some(_)) => Err(InviteError::Host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_spoken_to_in_the_clear_unless_it_is_said() {
        for (text, transport, shortest) in [
            ("keys.example:443", Transport::Tls, "olmcast://keys.example:443"),
            ("olmcast://keys.example", Transport::Tls, "olmcast://keys.example"),
            ("olmcast://10.0.0.1:7600", Transport::Tls, "olmcast://10.0.0.1:7600"),
            ("localhost:7600", Transport::Plain, "olmcast://localhost:7600"),
            ("LocalHost", Transport::Plain, "olmcast://LocalHost"),
            ("127.0.0.1:7600", Transport::Plain, "olmcast://127.0.0.1:7600"),
            ("127.9.9.9:7600", Transport::Plain, "olmcast://127.9.9.9:7600"),
            ("[::1]:7600", Transport::Plain, "olmcast://[::1]:7600"),
            ("[::2]:7600", Transport::Tls, "olmcast://[::2]:7600"),
            // Names that only begin like this machine's.
            ("127.0.0.1.example:7600", Transport::Tls, "olmcast://127.0.0.1.example:7600"),
            ("localhost.example:7600", Transport::Tls, "olmcast://localhost.example:7600"),
            ("localhost:1:evil.example", Transport::Tls, "olmcast://localhost:1:evil.example"),
            ("[::1].example:7600", Transport::Tls, "olmcast://[::1].example:7600"),
            (
                "olmcast+plain://keys.example:80",
                Transport::Plain,
                "olmcast+plain://keys.example:80",
            ),
            ("olmcast+plain://localhost:80", Transport::Plain, "olmcast://localhost:80"),
            ("olmcast+tls://localhost:443", Transport::Tls, "olmcast+tls://localhost:443"),
            ("olmcast+tls://keys.example:443", Transport::Tls, "olmcast://keys.example:443"),
        ] {
            let service: ServiceAddress = text.parse().unwrap();
            assert_eq!((service.transport(), service.to_string().as_str()), (transport, shortest));
            assert_eq!(service.to_string().parse::<ServiceAddress>().unwrap(), service);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "http://h:1", "olmcast://", "a b", "olmcast://h:1/room", "u@h:1"] {
            assert_eq!(bad.parse::<ServiceAddress>().unwrap_err(), InviteError::Host, "{bad}");
        }
    }
}

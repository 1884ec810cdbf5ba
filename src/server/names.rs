use std::net::SocketAddr;

/// The names a key service goes by.
///
/// A device signs the name that it dialled, and a service accepts only its own names: otherwise
/// a hostile server could pass this service's challenge on and be taken for the device. The HTTP
/// `Host` header is not asked, because that hostile server would write it.
#[derive(Clone, Debug)]
pub(super) struct Names(Vec<String>);

impl Names {
    pub(super) fn new(configured: Vec<String>) -> Self {
        Self(configured)
    }

    /// Whether a device that reached this service at the address `local` may call it `dialled`.
    ///
    /// With configured names, by those alone: behind a proxy on its machine a service is reached
    /// at `localhost`, which is what other devices call something on theirs. Without any, by the
    /// address itself, and on the loopback interface by `localhost`.
    pub(super) fn accept(&self, dialled: &str, local: SocketAddr) -> bool {
        if !self.0.is_empty() {
            return self.0.iter().any(|name| name.eq_ignore_ascii_case(dialled));
        }
        let local = SocketAddr::new(local.ip().to_canonical(), local.port());
        dialled == local.to_string()
            || (local.ip().is_loopback()
                && dialled.eq_ignore_ascii_case(&format!("localhost:{}", local.port())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_service_with_names_goes_by_no_other() {
        let names = Names::new(["keys.example.org:443", "k:1"].map(str::to_owned).into());
        for (dialled, local, accepted) in [
            ("keys.example.org:443", "10.0.0.1:7600", true),
            ("Keys.Example.ORG:443", "127.0.0.1:7600", true),
            ("k:1", "10.0.0.1:7600", true),
            ("keys.example.org", "10.0.0.1:7600", false),
            ("10.0.0.1:7600", "10.0.0.1:7600", false),
            ("127.0.0.1:7600", "127.0.0.1:7600", false),
            ("localhost:7600", "127.0.0.1:7600", false),
            ("", "127.0.0.1:7600", false),
        ] {
            assert_eq!(names.accept(dialled, at(local)), accepted, "{dialled} at {local}");
        }
    }

    #[test]
    fn a_service_without_names_goes_by_the_address_it_was_reached_at() {
        let names = Names::new(Vec::new());
        for (dialled, local, accepted) in [
            ("10.0.0.1:7600", "10.0.0.1:7600", true),
            ("10.0.0.1:7600", "[::ffff:10.0.0.1]:7600", true),
            ("10.0.0.2:7600", "10.0.0.1:7600", false),
            ("127.0.0.1:7600", "127.0.0.1:7600", true),
            ("localhost:7600", "127.0.0.1:7600", true),
            ("localhost:7600", "[::1]:7600", true),
            ("localhost:7601", "127.0.0.1:7600", false),
            ("localhost:7600", "10.0.0.1:7600", false),
            ("", "127.0.0.1:7600", false),
        ] {
            assert_eq!(names.accept(dialled, at(local)), accepted, "{dialled} at {local}");
        }
    }
}

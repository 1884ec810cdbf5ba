//! Where things are if nobody says otherwise.

use std::fmt::Write;

/// Where `olmcast serve` listens.
pub(crate) const SERVICE: &str = "127.0.0.1:7600";
/// Where `olmcast relay` listens.
pub(crate) const RELAY: &str = "127.0.0.1:7601";
/// Where `olmcast publish` finds the relay.
pub(crate) const RELAY_URL: &str = "http://127.0.0.1:7601";

/// The two addresses of one stream at a relay, under a name that cannot be guessed: to publish
/// to, and to receive from.
pub(crate) fn at_relay(relay: &str) -> anyhow::Result<(String, String)> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)?;
    let name = random.iter().fold(String::new(), |mut name, byte| {
        // Writing to a String cannot fail.
        let _ = write!(name, "{byte:02x}");
        name
    });
    let relay = relay.trim_end_matches('/');
    Ok((format!("{relay}/whip/{name}"), format!("{relay}/whep/{name}")))
}

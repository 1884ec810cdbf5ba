use std::str::FromStr;

/// What `--store` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    Memory,
    Redb,
    /// With these addresses, or with those of the configuration if there are none.
    Nats(Vec<String>),
}

impl Choice {
    /// What the setting `store` calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redb => "redb",
            Self::Nats(_) => "nats",
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_address = |url: &str| url.starts_with("nats://") || url.starts_with("tls://");
        match text {
            "memory" => Ok(Self::Memory),
            "redb" => Ok(Self::Redb),
            "nats" => Ok(Self::Nats(Vec::new())),
            urls if urls.split(',').all(is_address) => {
                Ok(Self::Nats(urls.split(',').map(str::to_owned).collect()))
            }
            _ => Err("there are memory, redb, and nats://HOST:PORT (or tls://), with commas \
                      between several"
                .to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_or_is_where_nats_servers_are() {
        let nats = |urls: &[&str]| Choice::Nats(urls.iter().map(|&url| url.to_owned()).collect());
        for (text, choice) in [
            ("memory", Choice::Memory),
            ("redb", Choice::Redb),
            ("nats", nats(&[])),
            ("nats://a:4222", nats(&["nats://a:4222"])),
            ("nats://a:1,tls://b:2", nats(&["nats://a:1", "tls://b:2"])),
        ] {
            assert_eq!(text.parse(), Ok(choice), "{text}");
        }
        for text in ["", "disk", "Redb", "nats:/a", "nats://a, nats://b", "redb,memory"] {
            assert!(text.parse::<Choice>().unwrap_err().contains("nats://HOST:PORT"), "{text}");
        }
    }
}

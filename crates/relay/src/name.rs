//! Names in URLs: the stream's, chosen by its publisher, and the session's, drawn by the relay.

use std::fmt;

/// The `{stream}` of a URL: opaque, chosen by the publisher so that nobody can guess it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct StreamName(String);

impl StreamName {
    /// Longest name taken, in bytes.
    pub(crate) const MAX_LEN: usize = 128;

    /// `None` unless the name has 1 to 128 characters of `A–Z a–z 0–9 - _`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let fits = (1..=Self::MAX_LEN).contains(&text.len());
        (fits && text.bytes().all(allowed)).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The `{session}` of a URL: who knows it may end the session, so it is 128 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SessionId([u8; 16]);

impl SessionId {
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
        if text.len() != 32 || !text.as_bytes().iter().all(hex) {
            return None;
        }
        u128::from_str_radix(text, 16).ok().map(|n| Self(n.to_be_bytes()))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_name_is_short_and_plain() {
        assert!(StreamName::parse("Abc_09-z").is_some());
        assert!(StreamName::parse(&"x".repeat(128)).is_some());
        for bad in ["", "a b", "a/b", "ü", "a.b", &"x".repeat(129)] {
            assert!(StreamName::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn a_session_id_survives_its_url() -> Result<(), getrandom::Error> {
        let id = SessionId::random()?;
        assert!(SessionId::parse(&id.to_string()) == Some(id));
        assert!(SessionId::parse("+0000000000000000000000000000000").is_none());
        Ok(())
    }
}

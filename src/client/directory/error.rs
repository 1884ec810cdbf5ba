use crate::{primitives::DeviceId, protocol::directory::DirectoryErrorCode};

/// Why the directory gave no answer that can be used. The text says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// No answer came, though it was tried several times.
    #[error(
        "cannot reach the directory ({0}); check that the service runs and that the address is right"
    )]
    Unreachable(String),
    /// The certificates by which to trust the service cannot be used.
    #[error("{0}")]
    Trust(String),
    /// Something answers there, but it has no directory.
    #[error(
        "no directory there: it answered HTTP {0}; check the address and the service's version"
    )]
    NoDirectory(u16),
    /// The directory refused, and said why.
    #[error("the directory refused: {message}")]
    Refused {
        /// For programs.
        code: DirectoryErrorCode,
        /// In the service's words.
        message: String,
    },
    /// The answer has keys in this device's name that it did not sign.
    #[error(
        "the service shows forged keys of {0}; do not trust it, and verify the device by other means"
    )]
    Forged(DeviceId),
    /// The answer is not in the directory's language, or far too long.
    #[error("the directory's answer cannot be read; update the older of the two sides")]
    Unreadable,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    Randomness,
}

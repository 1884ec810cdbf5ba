/// Why a received frame gave no media. Nothing changed because of it, and none of its
/// plaintext is in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecryptError {
    /// Not an encrypted frame: cut short, in the clear, or a header that no sender writes.
    #[error("not an SFrame ciphertext")]
    Syntax,
    /// The key is not here yet. It may come: hold the frame for a moment.
    #[error("no key for KID {0} yet")]
    UnknownKey(super::KeyId),
    /// This frame was opened before, or is older than the replay window.
    #[error("the frame was seen before or is too old")]
    Replayed,
    /// The tag does not match: the frame was altered, or made by somebody without the key.
    #[error("the frame is not authentic")]
    Authentication,
    /// The key is no longer in use, or this device's subscription has ended.
    #[error("the frame's key is no longer in use")]
    Expired,
    /// A counter or a rate beyond what any honest sender uses.
    #[error("the frame lies beyond the limits of its key")]
    Limit,
}

/// Why a frame was not encrypted. None of it is in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncryptError {
    /// No key is installed yet.
    #[error("the stream has no key yet")]
    NotReady,
    /// The stream is paused or has ended.
    #[error("the stream is paused")]
    Paused,
    /// The key is used up; the next one must be installed first.
    #[error("the key has reached its limit of frames or blocks")]
    Limit,
    /// Larger than [`MAX_FRAME_SIZE`](super::MAX_FRAME_SIZE).
    #[error("the frame is larger than 4 MiB")]
    TooLarge,
    /// There is nothing to encrypt. An empty frame is not media and is not sent.
    #[error("the frame is empty")]
    Empty,
    /// The frame is not of the codec that the track was set up for.
    #[error("the frame is none of its codec, or not whole")]
    Syntax,
}

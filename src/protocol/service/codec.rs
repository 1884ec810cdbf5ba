use serde::{Serialize, de::DeserializeOwned};

use super::{ClientFrame, MAX_FRAME, MAX_PAYLOAD, Payload, ServerFrame, VERSION};

/// Bytes that are no frame of this language, or a frame too large to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The first byte names a version this build does not speak.
    #[error("key service frame of version {0}; this build speaks version 1, update the older side")]
    UnsupportedVersion(u8),
    /// Larger than [`MAX_FRAME`], or with a payload larger than [`MAX_PAYLOAD`].
    #[error("key service frame too large: a payload has at most 65536 bytes")]
    TooLarge,
    /// Empty, cut, of an unknown kind, or with bytes behind its end.
    #[error("malformed key service frame; check that the other side is an olmcast key service")]
    Malformed,
}

impl ClientFrame {
    /// The frame as it travels.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] if its payload is.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        encode(self, self.payload())
    }

    /// Reads exactly one frame.
    ///
    /// # Errors
    /// Every [`FrameError`]; which one is decided in the order version, size, form.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame: Self = decode(bytes)?;
        check(frame.payload())?;
        Ok(frame)
    }

    fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Authenticate { .. }
            | Self::Enter { .. }
            | Self::Leave { .. }
            | Self::Ack { .. } => None,
            Self::Send { bytes, .. }
            | Self::Broadcast { bytes, .. }
            | Self::SetState { bytes, .. }
            | Self::ClearState { bytes, .. } => Some(bytes),
        }
    }
}

impl ServerFrame {
    /// The frame as it travels.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] if its payload or the whole frame is.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        encode(self, self.payload())
    }

    /// Reads exactly one frame.
    ///
    /// # Errors
    /// Every [`FrameError`]; which one is decided in the order version, size, form.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let frame: Self = decode(bytes)?;
        check(frame.payload())?;
        Ok(frame)
    }

    fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Mail { bytes, .. }
            | Self::Broadcast { bytes, .. }
            | Self::State { bytes, .. } => Some(bytes),
            Self::StateCleared { bytes, .. } => bytes.as_ref(),
            _ => None,
        }
    }
}

fn check(payload: Option<&Payload>) -> Result<(), FrameError> {
    match payload {
        Some(payload) if payload.len() > MAX_PAYLOAD => Err(FrameError::TooLarge),
        _ => Ok(()),
    }
}

fn encode(frame: &impl Serialize, payload: Option<&Payload>) -> Result<Vec<u8>, FrameError> {
    check(payload)?;
    let mut head = Vec::with_capacity(128 + payload.map_or(0, |payload| payload.len()));
    head.push(VERSION);
    let bytes = postcard::to_extend(frame, head).map_err(|_| FrameError::Malformed)?;
    if bytes.len() > MAX_FRAME { Err(FrameError::TooLarge) } else { Ok(bytes) }
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, FrameError> {
    let (version, body) = bytes.split_first().ok_or(FrameError::Malformed)?;
    if *version != VERSION {
        return Err(FrameError::UnsupportedVersion(*version));
    }
    if bytes.len() > MAX_FRAME {
        return Err(FrameError::TooLarge);
    }
    match postcard::take_from_bytes(body) {
        Ok((frame, [])) => Ok(frame),
        _ => Err(FrameError::Malformed),
    }
}

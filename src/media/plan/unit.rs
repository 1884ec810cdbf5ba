//! Encrypted frames that are the payload of one unit of their codec's bitstream, where no prefix of
//! a frame would do: packetizers take units apart, and change what is between them.

use std::ops::Range;

use zeroize::Zeroize;

use super::{av1, h264};
use crate::{
    primitives::Codec,
    sframe::{Ciphertext, DecryptError, EncryptError, Header, OpenKey, SealKey},
};

/// The codecs of which this is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    H264,
    Av1,
}

/// Metadata has at most so many bytes: a NAL unit's header, and 25 bits of a slice header.
const METADATA: usize = 5;

/// What stands before a ciphertext.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    pub(super) length: usize,
    metadata: [u8; METADATA],
    metadata_length: usize,
}

impl Head {
    pub(super) fn push(&mut self, byte: u8) {
        self.metadata[self.metadata_length] = byte;
        self.metadata_length += 1;
    }

    /// Its last bytes, which are authenticated.
    pub(super) fn metadata(&self) -> &[u8] {
        &self.metadata[..self.metadata_length]
    }
}

/// Where in an encrypted frame its parts are: the ciphertext behind its metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) metadata: Range<usize>,
    pub(super) sframe: Range<usize>,
    /// Whether there may be escapes in the ciphertext.
    pub(super) is_escaped: bool,
}

impl Unit {
    #[inline]
    pub(crate) fn of(codec: Codec) -> Option<Self> {
        match codec {
            Codec::H264 => Some(Self::H264),
            Codec::Av1 => Some(Self::Av1),
            Codec::Vp8 | Codec::Vp9 | Codec::Opus => None,
        }
    }

    fn head(self, frame: &[u8]) -> Result<Head, EncryptError> {
        match self {
            _ if frame.is_empty() => Err(EncryptError::Empty),
            Self::H264 => h264::head(frame),
            Self::Av1 => av1::head(frame),
        }
    }

    fn write_head(self, frame: &[u8], head: &Head, out: &mut [u8]) {
        match self {
            Self::H264 => h264::write_head(frame, head, out),
            Self::Av1 => av1::write_head(frame, out),
        }
    }

    fn close(self, out: &mut Vec<u8>, head: &Head) {
        match self {
            Self::H264 => h264::close(out, head.length),
            Self::Av1 => av1::close(out, head.length),
        }
    }

    fn body(self, wire: &[u8]) -> Option<Body> {
        match self {
            Self::H264 => h264::body(wire),
            Self::Av1 => av1::body(wire),
        }
    }

    /// Replaces what `out` holds by the encrypted form of `frame`.
    pub(crate) fn seal_into(
        self,
        key: &SealKey,
        frame: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EncryptError> {
        let head = self.head(frame)?;
        // Not cleared before: growing a vector again would zero it again.
        out.resize(out.len().max(head.length), 0);
        self.write_head(frame, &head, &mut out[..head.length]);
        key.seal_into(head.metadata(), frame, out, head.length)?;
        self.close(out, &head);
        Ok(())
    }

    /// Encrypts a frame where it stands.
    pub(crate) fn seal_in_place(
        self,
        key: &SealKey,
        frame: &mut Vec<u8>,
    ) -> Result<(), EncryptError> {
        let head = self.head(frame)?;
        let length = frame.len();
        frame.resize(head.length + length, 0);
        frame.copy_within(..length, head.length);
        let (front, plain) = frame.split_at_mut(head.length);
        self.write_head(plain, &head, front);
        let metadata = head.length - head.metadata().len()..head.length;
        if let Err(error) = key.seal_in_place(frame, metadata) {
            // As it was, unless the library refused.
            frame.drain(..head.length.min(frame.len()));
            return Err(error);
        }
        self.close(frame, &head);
        Ok(())
    }

    /// Takes an encrypted frame apart. Nothing of it is authentic yet.
    pub(crate) fn parse(self, wire: &[u8]) -> Result<Sealed, DecryptError> {
        let body = self.body(wire).ok_or(DecryptError::Syntax)?;
        let sframe = &wire[body.sframe.clone()];
        let mut first = [0; Header::MAX_LENGTH + Header::MAX_LENGTH / 2];
        let length = sframe.len().min(first.len());
        first[..length].copy_from_slice(&sframe[..length]);
        let length = if body.is_escaped { self.unescape(&mut first[..length], 0) } else { length };
        let (header, _) = Header::parse(&first[..length])?;
        Ok(Sealed { unit: self, header, body })
    }

    /// Takes the escapes out of what begins at `at`; returns where it ends.
    pub(super) fn unescape(self, bytes: &mut [u8], at: usize) -> usize {
        match self {
            Self::H264 => h264::unescape(bytes, at),
            Self::Av1 => bytes.len(),
        }
    }
}

/// An encrypted frame, taken apart.
pub(crate) struct Sealed {
    unit: Unit,
    header: Header,
    body: Body,
}

impl Sealed {
    pub(crate) fn header(&self) -> Header {
        self.header
    }

    /// Replaces what `out` holds by the plain frame.
    pub(crate) fn open_into(
        &self,
        key: &OpenKey,
        wire: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), DecryptError> {
        let Body { metadata, sframe, is_escaped } = &self.body;
        if !is_escaped {
            let ciphertext = Ciphertext::parse(&wire[sframe.clone()])?;
            return key.open_into(&wire[metadata.clone()], &ciphertext, out, 0);
        }
        out.clear();
        out.extend_from_slice(&wire[..sframe.end]);
        self.open_in_place(key, out)
    }

    /// Decrypts the frame where it stands. Where it was tried and did not open, it is wiped.
    pub(crate) fn open_in_place(
        &self,
        key: &OpenKey,
        frame: &mut Vec<u8>,
    ) -> Result<(), DecryptError> {
        let text = self.open_where_it_stands(key, frame).inspect_err(|_| frame.clear())?;
        let length = text.len();
        frame.copy_within(text, 0);
        // What the move left behind the end is plaintext too, but what is there anyway.
        frame[length..].zeroize();
        frame.truncate(length);
        Ok(())
    }

    /// The same, and the plain frame stays where it is, which is returned.
    pub(crate) fn open_where_it_stands(
        &self,
        key: &OpenKey,
        frame: &mut [u8],
    ) -> Result<Range<usize>, DecryptError> {
        let Body { metadata, sframe, is_escaped } = self.body.clone();
        let bytes = &mut frame[..sframe.end];
        let end = if is_escaped { self.unit.unescape(bytes, sframe.start) } else { bytes.len() };
        let opened = key.open_where_it_stands(&mut bytes[..end], metadata);
        opened.inspect_err(|_| frame.zeroize())
    }
}

#[cfg(test)]
mod tests;

use std::{collections::VecDeque, fmt, time::Duration};

use super::FrameDecryptor;
use crate::{primitives::Timestamp, sframe::DecryptError};

/// Encrypted frames whose key is not here yet.
///
/// Media and keys travel on different ways, so after a change of keys frames may be first. Hold
/// what [`FrameDecryptor::decrypt_into`] refuses with [`DecryptError::UnknownKey`], and take it
/// out again in order when the key has come:
///
/// ```no_run
/// # use olmcast::{media::{FrameDecryptor, HoldQueue}, primitives::Timestamp, sframe::DecryptError};
/// # fn received(
/// #     decryptor: &mut FrameDecryptor, queue: &mut HoldQueue<u32>,
/// #     wire: &[u8], rtp_timestamp: u32, now: Timestamp,
/// # ) {
/// # let render = |_: &[u8], _: u32| ();
/// # let ask_for_a_key_frame = || ();
/// let mut frame = Vec::new();
/// while let Some((rtp_timestamp, opened)) = queue.open_next(decryptor, now, &mut frame) {
///     match opened {
///         Ok(()) => render(&frame, rtp_timestamp),
///         Err(_) => ask_for_a_key_frame(),
///     }
/// }
/// match decryptor.decrypt_into(wire, now, &mut frame) {
///     Ok(()) => render(&frame, rtp_timestamp),
///     Err(DecryptError::UnknownKey(_)) => queue.hold(wire, rtp_timestamp, now),
///     Err(_) => ask_for_a_key_frame(),
/// }
/// queue.handle_timeout(now); // And at `queue.poll_timeout()`.
/// if queue.take_given_up() > 0 {
///     ask_for_a_key_frame();
/// }
/// # }
/// ```
///
/// It holds at most 64 frames and 2 MiB, each for at most 1 s, and gives up the oldest first: an
/// SFU can invent KIDs, and a live stream has no use for frames of long ago.
pub struct HoldQueue<T> {
    frames: VecDeque<Held<T>>,
    bytes: usize,
    given_up: usize,
}

struct Held<T> {
    wire: Vec<u8>,
    since: Timestamp,
    what: T,
}

impl<T> HoldQueue<T> {
    /// The most frames it holds.
    pub const MAX_FRAMES: usize = 64;
    /// The most bytes it holds: 2 MiB.
    pub const MAX_BYTES: usize = 2 << 20;
    /// The longest that it holds a frame.
    pub const MAX_TIME: Duration = Duration::from_secs(1);

    /// An empty queue.
    pub const fn new() -> Self {
        Self { frames: VecDeque::new(), bytes: 0, given_up: 0 }
    }

    /// Holds a copy of a frame. `what` comes back with it: an RTP timestamp, say. A frame that is
    /// larger than the whole queue is given up at once.
    pub fn hold(&mut self, wire: &[u8], what: T, now: Timestamp) {
        if wire.len() > Self::MAX_BYTES {
            self.given_up += 1;
            return;
        }
        self.bytes += wire.len();
        self.frames.push_back(Held { wire: wire.to_vec(), since: now, what });
        while self.frames.len() > Self::MAX_FRAMES || self.bytes > Self::MAX_BYTES {
            self.give_up(1);
        }
    }

    /// Takes out the oldest frame whose key is here now, decrypted to `out`, or which is refused
    /// for another reason; `None` if there is none. Those whose keys are not here stay: that one
    /// KID was invented says nothing about the next.
    pub fn open_next(
        &mut self,
        decryptor: &mut FrameDecryptor,
        now: Timestamp,
        out: &mut Vec<u8>,
    ) -> Option<(T, Result<(), DecryptError>)> {
        let tried = self.frames.iter().enumerate().find_map(|(index, held)| {
            match decryptor.decrypt_into(&held.wire, now, out) {
                Err(DecryptError::UnknownKey(_)) => None,
                result => Some((index, result)),
            }
        });
        let (index, result) = tried?;
        let held = self.frames.remove(index)?;
        self.bytes -= held.wire.len();
        Some((held.what, result))
    }

    /// Gives up frames that were held for too long.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let is_old = |held: &&Held<T>| now.since(held.since) >= Self::MAX_TIME;
        self.give_up(self.frames.iter().take_while(is_old).count());
    }

    /// When the oldest frame is to be given up.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.frames.front().map(|held| held.since + Self::MAX_TIME)
    }

    /// Gives up all frames. For receivers that take frames in their order: one that opens has then
    /// overtaken whatever is held.
    pub fn clear(&mut self) {
        self.give_up(self.frames.len());
    }

    /// How many frames were given up since this was last asked.
    pub fn take_given_up(&mut self) -> usize {
        std::mem::take(&mut self.given_up)
    }

    /// How many frames it holds.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn give_up(&mut self, count: usize) {
        for held in self.frames.drain(..count) {
            self.bytes -= held.wire.len();
        }
        self.given_up += count;
    }
}

impl<T> Default for HoldQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for HoldQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HoldQueue")
            .field("frames", &self.frames.len())
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

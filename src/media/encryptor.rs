use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;

use super::{own_secret, plan};
use crate::{
    primitives::{Codec, Position, Secret},
    sframe::{BaseKey, CipherSuite, EncryptError, SealKey},
};

/// Encrypts the frames of one track.
///
/// Cheap to clone; all clones share one key and one counter, so simulcast layers may encrypt
/// from several threads. The endpoint that handed it out installs and changes its keys.
#[derive(Clone)]
pub struct FrameEncryptor {
    codec: Codec,
    slot: Arc<EncryptorSlot>,
}

impl FrameEncryptor {
    pub(crate) fn new(codec: Codec, slot: Arc<EncryptorSlot>) -> Self {
        Self { codec, slot }
    }

    /// An encryptor for a secret that both sides already share, without any key service.
    ///
    /// It draws a random KID of at least 2^56. RFC 9605 mixes the KID into key and salt, so the
    /// same secret after a restart, or in a second encryptor, repeats no nonce.
    ///
    /// # Errors
    /// [`EncryptError::NotReady`] if the operating system gives no random bytes.
    pub fn from_secret(
        codec: Codec,
        suite: CipherSuite,
        secret: &Secret<32>,
    ) -> Result<Self, EncryptError> {
        let key_id = own_secret::random_key_id()?;
        let slot = EncryptorSlot::default();
        slot.key.store(Some(Arc::new(SealKey::new(&own_secret::base_key(suite, secret), key_id))));
        Ok(Self::new(codec, Arc::new(slot)))
    }

    /// The codec whose frames it takes.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// Whether `frame` is a key frame. Always true for audio.
    pub fn is_key_frame(&self, frame: &[u8]) -> bool {
        plan::is_key_frame(self.codec, frame)
    }

    /// Replaces what `out` holds by the encrypted form of `frame`, an encoded frame as it left
    /// the encoder. Allocates nothing once `out` has grown, and holds no lock.
    ///
    /// # Errors
    /// [`EncryptError::NotReady`] before the first key, [`EncryptError::Paused`] while the
    /// stream may not send, [`EncryptError::Limit`] when the key is used up,
    /// [`EncryptError::TooLarge`], [`EncryptError::Empty`] or [`EncryptError::Syntax`] for
    /// frames that are none. `out` is then empty.
    pub fn encrypt_into(&self, frame: &[u8], out: &mut Vec<u8>) -> Result<(), EncryptError> {
        out.clear();
        if frame.is_empty() {
            return Err(EncryptError::Empty);
        }
        let clear = plan::clear_length(self.codec, frame).ok_or(EncryptError::Syntax)?;
        if self.slot.paused.load(Ordering::Acquire) {
            return Err(EncryptError::Paused);
        }
        let key = self.slot.key.load();
        let key = key.as_ref().ok_or(EncryptError::NotReady)?;
        let (clear, plain) = frame.split_at(clear);
        out.extend_from_slice(clear);
        key.seal_into(clear, plain, out).inspect_err(|_| out.clear())
    }
}

impl fmt::Debug for FrameEncryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameEncryptor").field("codec", &self.codec).finish_non_exhaustive()
    }
}

/// A key at this or a later position was installed before: a second send key for it would start
/// its counter at 0 again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a send key at this or a later position was already installed")]
pub(crate) struct InstallRefused;

/// Where an endpoint puts a track's current key and its encryptors find it.
#[derive(Default)]
pub(crate) struct EncryptorSlot {
    key: ArcSwapOption<SealKey>,
    last: Mutex<Option<Position>>,
    paused: AtomicBool,
}

impl EncryptorSlot {
    /// Makes the one send key of this position and puts it to use at once.
    pub(crate) fn install(
        &self,
        position: Position,
        base_key: &BaseKey,
    ) -> Result<(), InstallRefused> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| position <= last) {
            return Err(InstallRefused);
        }
        *last = Some(position);
        let key = SealKey::new(base_key, super::key_id(position));
        self.key.store(Some(Arc::new(key)));
        Ok(())
    }

    /// Stops or resumes encrypting; a paused encryptor lets nothing out.
    pub(crate) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::{Generation, Step};

    fn at(generation: u32, step: u32) -> Position {
        Position { generation: Generation(generation), step: Step::new(step).unwrap() }
    }

    #[test]
    fn a_position_is_installed_once_and_only_forwards() {
        let slot = EncryptorSlot::default();
        let base_key = BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(1));
        assert_eq!(slot.install(at(0, 0), &base_key), Ok(()));
        assert_eq!(slot.install(at(0, 0), &base_key), Err(InstallRefused));
        assert_eq!(slot.install(at(0, 2), &base_key), Ok(()));
        assert_eq!(slot.install(at(0, 1), &base_key), Err(InstallRefused));
        assert_eq!(slot.install(at(1, 0), &base_key), Ok(()));
        assert_eq!(slot.install(at(0, 3), &base_key), Err(InstallRefused));
    }

    #[test]
    fn nothing_leaves_before_a_key_while_paused_or_for_what_is_no_frame() {
        let slot = Arc::new(EncryptorSlot::default());
        let encryptor = FrameEncryptor::new(Codec::Vp8, Arc::clone(&slot));
        let mut out = b"old".to_vec();
        assert_eq!(encryptor.encrypt_into(&[1; 9], &mut out), Err(EncryptError::NotReady));
        let base_key = BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(1));
        slot.install(at(0, 0), &base_key).unwrap();
        slot.pause(true);
        assert_eq!(encryptor.encrypt_into(&[1; 9], &mut out), Err(EncryptError::Paused));
        slot.pause(false);
        assert_eq!(encryptor.encrypt_into(&[], &mut out), Err(EncryptError::Empty));
        assert_eq!(encryptor.encrypt_into(&[1; 3], &mut out), Err(EncryptError::Syntax));
        assert_eq!(encryptor.encrypt_into(&[0; 10], &mut out), Err(EncryptError::Syntax));
        assert!(out.is_empty());
        encryptor.encrypt_into(&[1; 9], &mut out).unwrap();
        assert_eq!(out[..3], [1, 1, 1]);
    }

    #[test]
    fn two_encryptors_of_one_secret_use_different_kids() {
        let secret = Secret::fill(|bytes| bytes.fill(5));
        let header = || {
            let encryptor =
                FrameEncryptor::from_secret(Codec::Opus, CipherSuite::default(), &secret).unwrap();
            let mut out = Vec::new();
            encryptor.encrypt_into(b"frame", &mut out).unwrap();
            crate::sframe::Header::parse(&out).unwrap().0
        };
        let (a, b) = (header(), header());
        assert_ne!(a.key_id, b.key_id);
        assert!(a.key_id.0 >= 1 << 56 && b.key_id.0 >= 1 << 56);
    }
}

//! Frames under base keys and KIDs of your own choice, for those who have a key management of
//! their own, or who talk to another implementation of RFC 9605.
//!
//! Nothing here can check what makes it safe: **one base key and KID must get one encryptor, for
//! ever.** A second one, in this process, another or after a restart, begins to count at 0 again
//! and so repeats nonces; with two frames under one nonce, AES-GCM gives away both frames and
//! lets anybody forge more. If you cannot be sure, use [`FrameEncryptor::from_secret`], which draws
//! its KID at random, or an [`Endpoint`](crate::endpoint::Endpoint), which makes fresh keys.

use super::{
    FrameDecryptor, FrameEncryptor,
    own_secret::{self, OwnSecret},
};
use crate::{
    primitives::Codec,
    sframe::{BaseKey, KeyId},
};

/// The one encryptor for this base key and KID: see [the module](self) for what you promise.
pub fn with_kid(codec: Codec, base_key: BaseKey, key_id: KeyId) -> FrameEncryptor {
    own_secret::encryptor(codec, base_key, key_id)
}

/// A decryptor for the frames of one KID. It remembers by itself what it has opened: a second one,
/// or one after a restart, would open the same frames again.
pub fn decryptor(codec: Codec, base_key: BaseKey, key_id: KeyId) -> FrameDecryptor {
    FrameDecryptor::with_own_secret(codec, OwnSecret::fixed(base_key, key_id))
}

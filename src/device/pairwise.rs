use std::fmt;

use vodozemac::olm::{OlmMessage as Ciphertext, Session, SessionConfig};
use zeroize::Zeroizing;

use super::Identity;
use crate::{
    primitives::{DeviceId, RoomId, StreamRef},
    protocol::{Carrier, Envelope, MAX_ENVELOPE, OlmCarrier, OlmMessage, OlmPlaintext, PublicKey},
};

/// Why a 1:1 message could not be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PairwiseError {
    /// A public key of the other side is of low order, or the message is for no session here.
    #[error("no Olm session could be made with these keys")]
    Session,
    /// The ciphertext is damaged, repeated, or from somebody else.
    #[error("the Olm message cannot be decrypted")]
    Decryption,
    /// The plaintext is no message of olmcast.
    #[error("the decrypted message is damaged")]
    Syntax,
    /// It was written by, for, or in another device or room than the envelope says.
    #[error("the decrypted message was meant for somewhere else")]
    Misdirected,
}

/// An Olm session with one device, for one subscription.
pub(crate) struct Pairwise {
    session: Session,
    peer: DeviceId,
}

impl Pairwise {
    /// A session with the owner of a one-time key.
    pub(crate) fn outbound(
        identity: &Identity,
        peer: DeviceId,
        curve25519: PublicKey,
        one_time_key: PublicKey,
    ) -> Result<Self, PairwiseError> {
        let session = identity
            .account()
            .create_outbound_session(SessionConfig::default(), curve25519.0, one_time_key.0)
            .map_err(|_| PairwiseError::Session)?;
        Ok(Self { session, peer })
    }

    /// A session from its first message, which must come from `curve25519` and be made with
    /// `one_time_key`, the answer to one question and to no other. Also returns that message's
    /// content. The one-time key is used up only if all of it is right.
    pub(crate) fn inbound(
        identity: &Identity,
        peer: DeviceId,
        curve25519: PublicKey,
        one_time_key: PublicKey,
        room: RoomId,
        carrier: &OlmCarrier,
    ) -> Result<(Self, OlmMessage), PairwiseError> {
        let Ciphertext::PreKey(message) = parse(carrier)? else {
            return Err(PairwiseError::Decryption);
        };
        if message.one_time_key() != one_time_key.0 {
            return Err(PairwiseError::Session);
        }
        // On a copy of the account, which would use up the key before the content is checked. Our
        // public keys are no secret: another member may have the same peer encrypt something for
        // *it* with them and pass that on to us.
        let created = identity
            .copy_of_account()
            .create_inbound_session(SessionConfig::default(), curve25519.0, &message)
            .map_err(|_| PairwiseError::Session)?;
        let plaintext = Zeroizing::new(created.plaintext);
        let content = check(&plaintext, identity.device(), peer, room)?;
        identity.forget_one_time_key(one_time_key);
        Ok((Self { session: created.session, peer }, content))
    }

    /// The other side.
    pub(crate) fn peer(&self) -> DeviceId {
        self.peer
    }

    /// Encrypts a message into an envelope.
    pub(crate) fn seal(
        &mut self,
        identity: &Identity,
        room: RoomId,
        stream: StreamRef,
        message: OlmMessage,
    ) -> Result<Envelope, PairwiseError> {
        let (sender, recipient) = (identity.device(), self.peer);
        let plaintext = OlmPlaintext { room, sender, recipient, message };
        // As large as a message may be, so that it does not grow: the memory it outgrew would be
        // given back with the key in it.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_ENVELOPE));
        serde_json::to_writer(&mut *bytes, &plaintext).map_err(|_| PairwiseError::Syntax)?;
        let encrypted = self.session.encrypt(&*bytes).map_err(|_| PairwiseError::Session)?;
        let (message_type, ciphertext) = encrypted.to_parts();
        let message_type = u8::try_from(message_type).map_err(|_| PairwiseError::Syntax)?;
        let carrier = OlmCarrier { recipient, stream, message_type, ciphertext };
        Ok(Envelope { sender, room, carrier: Carrier::Olm(carrier) })
    }

    /// Decrypts a message of this session.
    pub(crate) fn open(
        &mut self,
        identity: &Identity,
        room: RoomId,
        carrier: &OlmCarrier,
    ) -> Result<OlmMessage, PairwiseError> {
        let message = parse(carrier)?;
        if let Ciphertext::PreKey(message) = &message
            && message.session_id() != self.session.session_id()
        {
            return Err(PairwiseError::Session);
        }
        let plaintext = self.session.decrypt(&message).map_err(|_| PairwiseError::Decryption)?;
        check(&Zeroizing::new(plaintext), identity.device(), self.peer, room)
    }
}

fn parse(carrier: &OlmCarrier) -> Result<Ciphertext, PairwiseError> {
    Ciphertext::from_parts(usize::from(carrier.message_type), &carrier.ciphertext)
        .map_err(|_| PairwiseError::Syntax)
}

fn check(
    plaintext: &[u8],
    recipient: DeviceId,
    sender: DeviceId,
    room: RoomId,
) -> Result<OlmMessage, PairwiseError> {
    // serde_json's message could quote the plaintext, so it is dropped.
    let plaintext: OlmPlaintext =
        serde_json::from_slice(plaintext).map_err(|_| PairwiseError::Syntax)?;
    if (plaintext.recipient, plaintext.sender, plaintext.room) != (recipient, sender, room) {
        return Err(PairwiseError::Misdirected);
    }
    Ok(plaintext.message)
}

impl fmt::Debug for Pairwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairwise").field("peer", &self.peer).finish_non_exhaustive()
    }
}

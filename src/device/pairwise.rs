use std::fmt;

use vodozemac::olm::{OlmMessage as Ciphertext, Session, SessionConfig};
use zeroize::Zeroizing;

use super::Identity;
use crate::{
    primitives::{DeviceId, RoomId, StreamId, StreamRef, overwrite_drawn},
    protocol::{Carrier, Envelope, OlmCarrier, OlmMessage, OlmPlaintext, Place, PublicKey},
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

/// Messages of one side that the other does not answer: far more than a lease has time for. The
/// library would go on to 2,000 before it looks at the MAC, and anybody can forge that.
const MAX_CHAIN: u64 = 512;

/// Whom an Olm session is with, and about what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Between {
    pub(crate) room: RoomId,
    pub(crate) stream: StreamRef,
    pub(crate) us: DeviceId,
    pub(crate) peer: DeviceId,
}

/// An Olm session with one device, for one subscription.
pub(crate) struct Pairwise {
    session: Session,
    us: DeviceId,
    peer: DeviceId,
    stream: StreamId,
    is_publisher: bool,
    /// What our messages say, and what those of the other side must say.
    ours: Place,
    theirs: Place,
}

impl Pairwise {
    fn new(session: Session, between: Between) -> Self {
        let Between { room, stream, us, peer } = between;
        // Of where it is, no more is kept than what is said again: a publisher has thousands.
        Self {
            session,
            us,
            peer,
            stream: stream.stream,
            is_publisher: stream.publisher == us,
            ours: Place::new(room, stream, us, peer),
            theirs: Place::new(room, stream, peer, us),
        }
    }

    /// A session with the owner of a one-time key.
    pub(crate) fn outbound(
        identity: &Identity,
        between: Between,
        curve25519: PublicKey,
        one_time_key: PublicKey,
    ) -> Result<Self, PairwiseError> {
        let session = identity
            .account()
            .create_outbound_session(SessionConfig::default(), curve25519.0, one_time_key.0)
            .map_err(|_| PairwiseError::Session)?;
        overwrite_drawn();
        Ok(Self::new(session, between))
    }

    /// A session from its first message, which must come from `curve25519` and be made with
    /// `one_time_key`, the answer to one question and to no other. Also returns that message's
    /// content. The one-time key is used up only if all of it is right.
    pub(crate) fn inbound(
        identity: &Identity,
        between: Between,
        curve25519: PublicKey,
        one_time_key: PublicKey,
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
        let pairwise = Self::new(created.session, between);
        let content = pairwise.read(&Zeroizing::new(created.plaintext))?;
        identity.forget_one_time_key(one_time_key);
        Ok((pairwise, content))
    }

    /// The other side.
    pub(crate) fn peer(&self) -> DeviceId {
        self.peer
    }

    /// Encrypts a message into an envelope.
    pub(crate) fn seal(&mut self, message: OlmMessage) -> Result<Envelope, PairwiseError> {
        let plaintext = OlmPlaintext { place: self.ours, message }.encode();
        let encrypted = self.session.encrypt(&*plaintext).map_err(|_| PairwiseError::Session)?;
        // It may have begun a new chain, and drawn a key for that.
        overwrite_drawn();
        let (message_type, ciphertext) = encrypted.to_parts();
        let message_type = u8::try_from(message_type).map_err(|_| PairwiseError::Syntax)?;
        let carrier = OlmCarrier {
            recipient: self.peer,
            stream: self.stream,
            from_publisher: self.is_publisher,
            message_type,
            ciphertext,
        };
        Ok(Envelope { sender: self.us, carrier: Carrier::Olm(carrier) })
    }

    /// Decrypts a message of this session.
    pub(crate) fn open(&mut self, carrier: &OlmCarrier) -> Result<OlmMessage, PairwiseError> {
        let message = parse(carrier)?;
        if let Ciphertext::PreKey(message) = &message
            && message.session_id() != self.session.session_id()
        {
            return Err(PairwiseError::Session);
        }
        let plaintext = self.session.decrypt(&message).map_err(|_| PairwiseError::Decryption)?;
        self.read(&Zeroizing::new(plaintext))
    }

    fn read(&self, plaintext: &[u8]) -> Result<OlmMessage, PairwiseError> {
        let plaintext = OlmPlaintext::decode(plaintext).ok_or(PairwiseError::Syntax)?;
        if plaintext.place == self.theirs {
            Ok(plaintext.message)
        } else {
            Err(PairwiseError::Misdirected)
        }
    }
}

/// A message has one form. The library takes others for the same: with fields that it does not
/// know, and with the top bit of a public key set. Whoever carries a first message could so give
/// its session another id, by which the publisher's next ones would not be known.
///
/// Nor does it look at a first message's ratchet key, before that is needed for an answer.
fn parse(carrier: &OlmCarrier) -> Result<Ciphertext, PairwiseError> {
    let message = Ciphertext::from_parts(usize::from(carrier.message_type), &carrier.ciphertext)
        .map_err(|_| PairwiseError::Syntax)?;
    let (bytes, inner, has_plain_keys) = match &message {
        Ciphertext::PreKey(message) => {
            let keys = [message.identity_key(), message.base_key(), message.one_time_key()];
            let are_plain = keys.iter().all(|key| key.as_bytes()[31] & 0x80 == 0);
            (message.to_bytes(), message.message(), are_plain)
        }
        Ciphertext::Normal(message) => (message.to_bytes(), message, true),
    };
    if !has_plain_keys || bytes != carrier.ciphertext {
        return Err(PairwiseError::Syntax);
    }
    if PublicKey(inner.ratchet_key()).is_of_low_order() {
        return Err(PairwiseError::Session);
    }
    if inner.chain_index() > MAX_CHAIN {
        return Err(PairwiseError::Decryption);
    }
    Ok(message)
}

impl fmt::Debug for Pairwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pairwise").field("peer", &self.peer()).finish_non_exhaustive()
    }
}

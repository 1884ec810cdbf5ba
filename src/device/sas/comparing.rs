use std::fmt;

use vodozemac::sas::{EstablishedSas, Mac, Sas};

use super::{
    Party, ShortAuthString,
    terms::{Terms, text},
};
use crate::{
    primitives::{DeviceId, length_prefixed},
    protocol::{CancelReason, PublicKey, VerificationDone, VerificationMac},
};

/// The short string is there for the users to compare.
pub(crate) struct Comparing {
    channel: Channel,
    /// Whether the other side has proved its keys already: its user was quicker.
    is_proved: bool,
}

impl Comparing {
    pub(super) fn new(
        terms: Terms,
        sas: Sas,
        theirs: PublicKey,
        is_initiator: bool,
    ) -> Result<Self, CancelReason> {
        let ours = PublicKey(sas.public_key());
        let secret = sas.diffie_hellman(theirs.0).map_err(|_| CancelReason::Tampered)?;
        let keys = if is_initiator { [ours, theirs] } else { [theirs, ours] };
        Ok(Self { channel: Channel { terms, secret, keys, is_initiator }, is_proved: false })
    }

    /// What our user sees.
    pub(crate) fn short(&self) -> ShortAuthString {
        self.channel.short()
    }

    /// The other side's proof.
    ///
    /// # Errors
    /// [`CancelReason::KeysDiffer`].
    pub(crate) fn check(self, mac: &VerificationMac) -> Result<Self, CancelReason> {
        self.channel.check(Purpose::Mac, &mac.mac)?;
        Ok(Self { is_proved: true, ..self })
    }

    /// Our user says that the other's string is the same: we prove our keys.
    pub(crate) fn confirm(self) -> Result<(Confirmed, VerificationMac), CancelReason> {
        let mac = self.channel.mac(Purpose::Mac)?;
        let mac = VerificationMac { id: self.channel.terms.id, mac };
        Ok((Confirmed { channel: self.channel, is_proved: self.is_proved }, mac))
    }
}

/// Our user has confirmed.
pub(crate) struct Confirmed {
    channel: Channel,
    is_proved: bool,
}

impl Confirmed {
    /// The other side's proof.
    ///
    /// # Errors
    /// [`CancelReason::KeysDiffer`].
    pub(crate) fn check(self, mac: &VerificationMac) -> Result<Self, CancelReason> {
        self.channel.check(Purpose::Mac, &mac.mac)?;
        Ok(Self { is_proved: true, ..self })
    }

    /// If the other side has proved its keys, nothing is missing here any more, and it is told.
    pub(crate) fn agree(self) -> Result<Result<(Agreed, VerificationDone), Self>, CancelReason> {
        if !self.is_proved {
            return Ok(Err(self));
        }
        let mac = self.channel.mac(Purpose::Done)?;
        let done = VerificationDone { id: self.channel.terms.id, mac };
        Ok(Ok((Agreed { channel: self.channel }, done)))
    }
}

/// Our user has confirmed and the other's proof was right. Whether the other side thinks so, too, is
/// not known yet.
pub(crate) struct Agreed {
    channel: Channel,
}

impl Agreed {
    /// The other side has come as far as we have.
    ///
    /// # Errors
    /// [`CancelReason::KeysDiffer`] if it was not the other side who said so.
    pub(crate) fn done(self, done: &VerificationDone) -> Result<VerifiedPeer, CancelReason> {
        self.channel.check(Purpose::Done, &done.mac)?;
        let Party { device, curve25519, name } = self.channel.into_peer();
        Ok(VerifiedPeer { device, curve25519, name })
    }
}

/// A device whose keys and name were compared.
#[derive(Debug)]
pub(crate) struct VerifiedPeer {
    pub(crate) device: DeviceId,
    pub(crate) curve25519: PublicKey,
    pub(crate) name: String,
}

/// What a MAC is for: one must not stand for another.
#[derive(Clone, Copy)]
enum Purpose {
    Mac,
    Done,
}

/// The agreed secret, and all that belongs to it.
struct Channel {
    terms: Terms,
    secret: EstablishedSas,
    /// The initiator's ephemeral key, and the accepter's.
    keys: [PublicKey; 2],
    is_initiator: bool,
}

impl Channel {
    fn short(&self) -> ShortAuthString {
        let mut info = Vec::with_capacity(1024);
        length_prefixed(&mut info, b"olmcast/1 sas short string");
        self.write(&mut info);
        ShortAuthString::new(self.secret.bytes(&text(&info)))
    }

    /// Ours.
    fn mac(&self, purpose: Purpose) -> Result<[u8; 32], CancelReason> {
        let (us, peer) = self.parties();
        let mac = self.secret.calculate_mac(&self.form(), &self.info(purpose, us, peer));
        // HMAC-SHA-256 has 32 bytes.
        mac.as_bytes().try_into().map_err(|_| CancelReason::Unexpected)
    }

    /// The other side's; in constant time.
    fn check(&self, purpose: Purpose, mac: &[u8; 32]) -> Result<(), CancelReason> {
        let (us, peer) = self.parties();
        let info = self.info(purpose, peer, us);
        let checked = self.secret.verify_mac(&self.form(), &info, &Mac::from_slice(mac));
        checked.map_err(|_| CancelReason::KeysDiffer)
    }

    /// What MACs are over.
    fn form(&self) -> String {
        let mut form = Vec::with_capacity(1024);
        self.write(&mut form);
        text(&form)
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.terms.write(out);
        for key in self.keys {
            length_prefixed(out, key.0.as_bytes());
        }
        length_prefixed(out, &self.terms.start);
        length_prefixed(out, &self.terms.accept);
    }

    /// What keeps one MAC of this verification from standing for another.
    fn info(&self, purpose: Purpose, from: &Party, to: &Party) -> String {
        let mut info = Vec::with_capacity(256);
        length_prefixed(
            &mut info,
            match purpose {
                Purpose::Mac => b"olmcast/1 sas mac",
                Purpose::Done => b"olmcast/1 sas done",
            },
        );
        length_prefixed(&mut info, from.device.as_bytes());
        length_prefixed(&mut info, to.device.as_bytes());
        length_prefixed(&mut info, self.terms.id.as_bytes());
        text(&info)
    }

    /// Us and the other side.
    fn parties(&self) -> (&Party, &Party) {
        let Terms { initiator, accepter, .. } = &self.terms;
        if self.is_initiator { (initiator, accepter) } else { (accepter, initiator) }
    }

    fn into_peer(self) -> Party {
        if self.is_initiator { self.terms.accepter } else { self.terms.initiator }
    }
}

impl fmt::Debug for Comparing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Comparing").finish_non_exhaustive()
    }
}

impl fmt::Debug for Confirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Confirmed").finish_non_exhaustive()
    }
}

impl fmt::Debug for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Agreed").finish_non_exhaustive()
    }
}

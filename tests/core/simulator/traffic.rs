use olmcast::protocol::{Carrier, Envelope, Kind};

/// What a message was sent for. Messages under Olm cannot be read from outside, so this goes by
/// who sends them when, and how long they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Join,
    Leave,
    /// Offers and leases, which run with or without churn.
    Upkeep,
}

/// Messages as their senders sent them; what the network repeats does not count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) join_messages: u64,
    pub(crate) leave_messages: u64,
    pub(crate) leave_bytes: u64,
}

impl Traffic {
    pub(super) fn count(&mut self, cause: Cause, bytes: usize) {
        match cause {
            Cause::Join => self.join_messages += 1,
            Cause::Leave => {
                self.leave_messages += 1;
                self.leave_bytes += bytes as u64;
            }
            Cause::Upkeep => {}
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.join_messages += other.join_messages;
        self.leave_messages += other.leave_messages;
        self.leave_bytes += other.leave_bytes;
    }
}

/// What can be seen of a message from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Signed(Kind),
    /// A `StreamKey`, the longest message under Olm.
    StreamKey,
    /// A `StreamKeyRequest`.
    Request,
    /// An ack, a `Renew` or a `Renewed`.
    Short,
    Beacon,
    Nothing,
}

impl Seen {
    /// What a trace says of it.
    pub(super) const fn sent(self) -> &'static str {
        match self {
            Self::Signed(Kind::Subscribe) => "sends Subscribe",
            Self::Signed(Kind::Unsubscribe) => "sends Unsubscribe",
            Self::Signed(Kind::StreamKeyWithheld) => "sends StreamKeyWithheld",
            Self::Signed(_) => "sends an offer",
            Self::StreamKey => "sends StreamKey",
            Self::Request => "sends StreamKeyRequest",
            Self::Short => "sends an ack or a lease",
            Self::Beacon => "sends Beacon",
            Self::Nothing => "sends something",
        }
    }

    /// A second `Renew` is as long as a `StreamKeyRequest`, but comes after 40 s only, when most
    /// runs are over.
    pub(super) fn of(bytes: &[u8], from_publisher: bool) -> Self {
        match Envelope::decode(bytes).map(|envelope| envelope.carrier) {
            Ok(Carrier::Signed(signed)) => Self::Signed(signed.kind),
            Ok(Carrier::Megolm { .. }) => Self::Beacon,
            Ok(Carrier::Olm(_)) => match bytes.len() {
                300.. => Self::StreamKey,
                190.. if !from_publisher => Self::Request,
                _ => Self::Short,
            },
            Err(_) => Self::Nothing,
        }
    }
}

use std::fmt;

use super::ShortAuthString;
use crate::protocol::CancelReason;

/// How far the verification of a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerificationState {
    /// The other side asks for it: verify it as well, or cancel.
    Requested,
    /// The other side must answer.
    Waiting,
    /// Both users compare this, and each says whether it is the same.
    Comparing(ShortAuthString),
    /// Our user has confirmed, the other's has not yet, or we do not know of it yet.
    Confirmed,
    /// Both users have confirmed and both devices have proved their keys. It can still be taken
    /// back, for 10 minutes from its beginning, if the other side says that it failed there.
    Verified,
    /// It failed, and nothing is trusted more than before.
    Cancelled(CancelReason),
}

impl VerificationState {
    /// Whether nothing is to be done any more.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Verified | Self::Cancelled(_))
    }
}

impl fmt::Display for VerificationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("the other side asks to verify each other"),
            Self::Waiting => f.write_str("waiting for the other side"),
            Self::Comparing(_) => f.write_str("compare what both sides show"),
            Self::Confirmed => f.write_str("confirmed here, waiting for the other side"),
            Self::Verified => f.write_str("verified"),
            Self::Cancelled(reason) => write!(f, "not verified: {reason}"),
        }
    }
}

use std::collections::BTreeSet;

use super::Refusal;
use crate::primitives::DeviceId;

/// Who may hold a stream's key. The publisher alone decides, and a key service has no say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// The application answers each request. In a room with an invite, only whoever has it is
    /// put to the application: strangers cannot crowd the door. The default.
    #[default]
    Ask,
    /// Whoever proves to have the room's invite.
    Invite,
    /// These devices only.
    AllowList(BTreeSet<DeviceId>),
    /// Anybody who asks. For tests: it keeps nobody out.
    InsecureOpen,
}

/// What a policy says of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admit,
    Ask,
    Refuse(Refusal),
}

impl Admission {
    /// `has_invite`: the request carried a valid admission proof, or the room has no invite.
    pub(super) fn judge(&self, device: DeviceId, has_invite: bool) -> Verdict {
        match self {
            Self::Ask | Self::Invite if !has_invite => Verdict::Refuse(Refusal::NoInvite),
            Self::Ask => Verdict::Ask,
            Self::Invite => Verdict::Admit,
            Self::AllowList(devices) if devices.contains(&device) => Verdict::Admit,
            Self::AllowList(_) => Verdict::Refuse(Refusal::NotAdmitted),
            Self::InsecureOpen => Verdict::Admit,
        }
    }
}

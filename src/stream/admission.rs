use std::collections::BTreeSet;

use super::Refusal;
use crate::{
    device::{Distrust, TrustState},
    primitives::DeviceId,
};

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
    /// Devices that are verified, and nobody else.
    Verified,
    /// Anybody who asks. For tests: it keeps nobody out.
    InsecureOpen,
}

/// What a policy says of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Admit,
    /// The user decides; perhaps because it is not to be trusted that it is who it says.
    Ask(Option<Distrust>),
    Refuse(Refusal),
}

impl Admission {
    /// `has_invite`: the request carried a valid admission proof, or the room has no invite.
    /// `trust`: what is known of the device, and of what it says of itself.
    pub(super) fn judge(
        &self,
        device: DeviceId,
        has_invite: bool,
        trust: Result<TrustState, Distrust>,
    ) -> Verdict {
        match (self, trust) {
            (Self::Ask | Self::Invite, _) if !has_invite => Verdict::Refuse(Refusal::NoInvite),
            (Self::Ask, _) => Verdict::Ask(trust.err()),
            (Self::Invite, Err(distrust)) => Verdict::Ask(Some(distrust)),
            (Self::AllowList(devices), _) if !devices.contains(&device) => {
                Verdict::Refuse(Refusal::NotAdmitted)
            }
            // That another device has its name, the user knew when it was put on the list.
            (Self::AllowList(_), Err(Distrust::KeyChanged)) => {
                Verdict::Ask(Some(Distrust::KeyChanged))
            }
            (Self::Verified, Ok(TrustState::Verified)) => Verdict::Admit,
            (Self::Verified, _) => Verdict::Refuse(Refusal::NotVerified),
            (Self::Invite | Self::AllowList(_) | Self::InsecureOpen, _) => Verdict::Admit,
        }
    }

    /// Whether a device that was admitted may stay.
    pub(super) fn keeps(&self, device: DeviceId, trust: Result<TrustState, Distrust>) -> bool {
        // Whether it has the invite, was checked when it came.
        !matches!(self.judge(device, true, trust), Verdict::Refuse(_))
    }
}

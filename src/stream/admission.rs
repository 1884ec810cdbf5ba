use std::collections::BTreeSet;

use super::Refusal;
use crate::{
    device::{Distrust, TrustState, TrustStore},
    primitives::DeviceId,
    protocol::{PublicKey, Subscribe},
};

/// Who may hold a stream's key. The publisher alone decides, and a key service has no say.
///
/// It is applied to every question, and to all holders whenever it or what is known of devices
/// changes: whoever may not stay is removed. Whoever is blocked gets in nowhere, and whoever is not
/// to be trusted ([`Distrust`]) only if the user says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Admission {
    /// The application answers each request. In a room with an invite, only whoever has it is
    /// put to the application: strangers cannot crowd the door. The default.
    #[default]
    Ask,
    /// Whoever proves to have the room's invite.
    Invite,
    /// These devices only, whatever they call themselves.
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

/// Somebody who wants to hold the key, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applicant {
    pub(super) device: DeviceId,
    /// The request carried a valid admission proof, or the room has no invite.
    pub(super) has_invite: bool,
    /// What is known of its keys.
    pub(super) keys: Result<TrustState, Distrust>,
    /// The same with regard to its name.
    pub(super) trust: Result<TrustState, Distrust>,
}

impl Applicant {
    pub(super) fn new(
        trust: &TrustStore,
        device: DeviceId,
        subscribe: &Subscribe,
        has_invite: bool,
    ) -> Self {
        let Subscribe { curve25519, name, .. } = subscribe;
        let keys = trust.check_keys(&device, curve25519);
        Self { device, has_invite, keys, trust: trust.check(&device, curve25519, name) }
    }
}

impl Admission {
    pub(super) fn judge(&self, applicant: &Applicant) -> Verdict {
        let Applicant { device, has_invite, keys, trust } = *applicant;
        match (self, trust) {
            (_, Err(Distrust::Blocked)) => Verdict::Refuse(Refusal::Blocked),
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
            (Self::Verified, _) if keys != Ok(TrustState::Verified) => {
                Verdict::Refuse(Refusal::NotVerified)
            }
            (Self::Verified, Err(distrust)) => Verdict::Ask(Some(distrust)),
            (Self::Invite | Self::AllowList(_) | Self::Verified | Self::InsecureOpen, _) => {
                Verdict::Admit
            }
        }
    }

    /// Whether it is the invite that lets devices in, or less. So a room that was closed since somebody
    /// left with it is closed to them. Whom the user has named or verified comes in nevertheless.
    pub(super) fn heeds_door(&self) -> bool {
        match self {
            Self::Ask | Self::Invite | Self::InsecureOpen => true,
            Self::AllowList(_) | Self::Verified => false,
        }
    }

    /// Whether a holder, which was admitted once, may stay. Whether it has the invite was checked
    /// when it came; what it calls itself does not matter, since it is known by its keys.
    pub(super) fn keeps(&self, trust: &TrustStore, device: DeviceId, key: &PublicKey) -> bool {
        trust.check_keys(&device, key).is_ok_and(|state| self.allows(device, state))
    }

    /// Whether a device of which so much is known may hold the key.
    pub(super) fn allows(&self, device: DeviceId, state: TrustState) -> bool {
        match self {
            _ if state == TrustState::Blocked => false,
            Self::AllowList(devices) => devices.contains(&device),
            Self::Verified => state == TrustState::Verified,
            Self::Ask | Self::Invite | Self::InsecureOpen => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Identity;

    #[test]
    fn each_policy_says_this_of_each_device() {
        use Refusal::{Blocked, NoInvite, NotAdmitted, NotVerified};
        use Verdict::{Admit, Ask, Refuse};

        let device = Identity::generate().device();
        let another = Identity::generate().device();
        let policies = [
            Admission::Ask,
            Admission::Invite,
            Admission::AllowList(BTreeSet::from([device])),
            Admission::AllowList(BTreeSet::from([another])),
            Admission::Verified,
            Admission::InsecureOpen,
        ];
        let (unknown, pinned, verified) =
            (Ok(TrustState::Unknown), Ok(TrustState::Pinned), Ok(TrustState::Verified));
        let taken = Distrust::NameTaken(another);
        let changed = Distrust::KeyChanged;
        let blocked = Err(Distrust::Blocked);
        // Ask, Invite, on the list, not on it, Verified, InsecureOpen.
        let table = [
            (
                (unknown, unknown),
                [Ask(None), Admit, Admit, Refuse(NotAdmitted), Refuse(NotVerified), Admit],
            ),
            (
                (pinned, pinned),
                [Ask(None), Admit, Admit, Refuse(NotAdmitted), Refuse(NotVerified), Admit],
            ),
            ((verified, verified), [Ask(None), Admit, Admit, Refuse(NotAdmitted), Admit, Admit]),
            (
                (unknown, Err(taken)),
                [
                    Ask(Some(taken)),
                    Ask(Some(taken)),
                    Admit,
                    Refuse(NotAdmitted),
                    Refuse(NotVerified),
                    Admit,
                ],
            ),
            (
                (verified, Err(taken)),
                [
                    Ask(Some(taken)),
                    Ask(Some(taken)),
                    Admit,
                    Refuse(NotAdmitted),
                    Ask(Some(taken)),
                    Admit,
                ],
            ),
            (
                (Err(changed), Err(changed)),
                [
                    Ask(Some(changed)),
                    Ask(Some(changed)),
                    Ask(Some(changed)),
                    Refuse(NotAdmitted),
                    Refuse(NotVerified),
                    Admit,
                ],
            ),
            ((blocked, blocked), [Refuse(Blocked); 6]),
        ];
        for ((keys, trust), verdicts) in table {
            for (policy, verdict) in policies.iter().zip(verdicts) {
                let applicant = Applicant { device, has_invite: true, keys, trust };
                assert_eq!(policy.judge(&applicant), verdict, "{policy:?} {keys:?} {trust:?}");
                let stranger = Applicant { has_invite: false, ..applicant };
                let needs_invite = matches!(policy, Admission::Ask | Admission::Invite);
                let verdict = match needs_invite && trust != blocked {
                    true => Refuse(NoInvite),
                    false => verdict,
                };
                assert_eq!(policy.judge(&stranger), verdict, "{policy:?} {trust:?}");
            }
        }
    }

    #[test]
    fn a_holder_stays_as_long_as_its_keys_are_trusted_as_much_as_the_policy_asks_for() {
        let (holder, other) = (Identity::generate(), Identity::generate());
        let (device, key) = (holder.device(), holder.curve25519());
        let policies = [
            Admission::Ask,
            Admission::Invite,
            Admission::AllowList(BTreeSet::from([device])),
            Admission::AllowList(BTreeSet::new()),
            Admission::Verified,
            Admission::InsecureOpen,
        ];
        let keeps = |trust: &TrustStore| {
            let keeps: Vec<_> = policies.iter().map(|p| p.keeps(trust, device, &key)).collect();
            <[bool; 6]>::try_from(keeps).unwrap()
        };
        let mut trust = TrustStore::default();
        assert_eq!(keeps(&trust), [true, true, true, false, false, true]);
        trust.pin(device, key, "Alice");
        assert_eq!(keeps(&trust), [true, true, true, false, false, true]);
        trust.verify(device, key, "Alice");
        assert_eq!(keeps(&trust), [true, true, true, false, true, true]);
        trust.verify(other.device(), other.curve25519(), "Bob");
        assert_eq!(keeps(&trust), [true, true, true, false, true, true]);
        trust.verify(device, other.curve25519(), "Alice");
        assert_eq!(keeps(&trust), [false; 6]);
        trust.block(device);
        assert_eq!(keeps(&trust), [false; 6]);
    }
}

//! How devices are shown, and how users name them.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::bail;
use olmcast::{
    device::{Distrust, KnownDevice, TrustState, TrustStore},
    primitives::DeviceId,
};

use crate::console::{is_shown_as, quoted};

/// So many characters of an id are enough to mean it; whoever looks for a device whose id begins as
/// somebody is called, seldom finds one that long.
const ENOUGH: usize = 8;

/// A device's Ed25519 key, which is its id, so that it can be read out.
pub(crate) fn fingerprint(device: &DeviceId) -> String {
    let text = device.to_string();
    let groups = text.as_bytes().chunks(4).map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(" ")
}

/// What a device calls itself, and the beginning of its id.
pub(crate) fn called(name: &str, device: &DeviceId) -> String {
    match quoted(name) {
        name if name.is_empty() => device.short(),
        name => format!("{name} ({})", device.short()),
    }
}

/// What is known of a device, beside what it calls itself now.
pub(crate) fn trust(known: Option<&KnownDevice>, name: &str) -> String {
    match known {
        None => TrustState::Unknown.to_string(),
        Some(known) if known.name == name => known.state.to_string(),
        Some(known) if known.name.is_empty() => format!("{}, without a name", known.state),
        Some(known) => format!("{} as {}", known.state, quoted(&known.name)),
    }
}

/// Who else is known by a name, or by one that looks like it.
pub(crate) fn namesake<'a>(
    known: &'a [KnownDevice],
    device: &DeviceId,
    name: &str,
) -> Option<&'a KnownDevice> {
    let mut others = TrustStore::default();
    // A blocked device does not keep its name from others.
    let named = known.iter().filter(|other| other.device != *device);
    let named = named.filter(|other| other.state != TrustState::Blocked);
    let mut any_key = None;
    for other in named {
        let Some(curve25519) = other.curve25519 else { continue };
        any_key = Some(curve25519);
        others.pin(other.device, curve25519, &other.name);
    }
    let Err(Distrust::NameTaken(other)) = others.check(device, &any_key?, name) else {
        return None;
    };
    known.iter().find(|known| known.device == other)
}

/// The one of these that is meant: by its id, written as an id or a fingerprint, by at least 8
/// characters that its id begins with, or by its name. A whole id always is that device, whatever
/// others call themselves; otherwise what could mean two means neither.
pub(crate) fn find<'a>(
    among: impl Iterator<Item = (DeviceId, &'a str)>,
    who: &str,
    does: &str,
) -> anyhow::Result<DeviceId> {
    let beginning: String = who.split_whitespace().collect();
    let whole: Option<DeviceId> = beginning.parse().ok();
    let mut found = BTreeMap::new();
    for (device, name) in among {
        let is_meant = match whole {
            Some(whole) => whole == device,
            None => {
                let has_begun = beginning.chars().count() >= ENOUGH;
                has_begun && device.to_string().starts_with(&beginning) || is_shown_as(name, who)
            }
        };
        if is_meant {
            found.entry(device).or_insert(name);
        }
    }
    let who = quoted(who);
    if found.len() > 1 {
        let mut text = format!("{who} may mean several; give the whole id of one:");
        for (device, name) in found {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  {device}  {}", quoted(name));
        }
        bail!("{text}");
    }
    match found.into_keys().next() {
        Some(device) => Ok(device),
        None => bail!(
            "nobody who {does} is called {who}, or has an id that begins so (with {ENOUGH} \
             characters or more)"
        ),
    }
}

#[cfg(test)]
mod tests {
    use olmcast::device::Identity;

    use super::*;

    #[test]
    fn a_device_is_found_by_its_name_or_by_how_its_id_or_fingerprint_begins() {
        let (a, b, c) = ([1; 32], [2; 32], [1; 32].map(|byte| byte ^ 1));
        let devices = [a, b, c].map(DeviceId::from_bytes);
        let names = ["Ada", "Bob", "Bob"];
        let find = |who: &str| find(devices.into_iter().zip(names), who, "is here");
        assert_eq!(find("Ada").unwrap(), devices[0]);
        assert_eq!(find("«Ada»").unwrap(), devices[0]);
        assert_eq!(find(&devices[1].to_string()).unwrap(), devices[1]);
        assert_eq!(find(&devices[1].short()).unwrap(), devices[1]);
        assert_eq!(find(&fingerprint(&devices[2])).unwrap(), devices[2]);
        let [_, bob, other] = devices;
        let mut listed = [bob.to_string(), other.to_string()];
        listed.sort();
        let error = find("Bob").unwrap_err().to_string();
        let lines: Vec<_> = error.lines().collect();
        assert_eq!(lines[0], "«Bob» may mean several; give the whole id of one:");
        assert!(lines.len() == 3, "{error}");
        for id in &listed {
            assert!(error.contains(&format!("{id}  «Bob»")), "{error}");
            find(id).unwrap();
        }
        for nobody in ["", " ", "Eve", "ada", "Ad"] {
            let error = find(nobody).unwrap_err().to_string();
            assert!(error.starts_with("nobody who is here is called "), "{error}");
        }
    }

    #[test]
    fn a_name_that_is_the_beginning_of_anothers_id_is_not_taken_for_it() {
        let devices = [[1; 32], [2; 32]].map(DeviceId::from_bytes);
        let short = devices[0].short();
        let names = ["Ada", short.as_str()];
        let error = find(devices.into_iter().zip(names), &short, "is here").unwrap_err();
        for device in devices {
            assert!(error.to_string().contains(&device.to_string()), "{error}");
        }
        // Of one device both may be true.
        let one = [(devices[0], short.as_str()), (devices[0], "Ada")];
        assert_eq!(find(one.into_iter(), &short, "is here").unwrap(), devices[0]);
    }

    #[test]
    fn a_whole_id_is_that_device_whatever_others_call_themselves() {
        let devices = [[1; 32], [2; 32]].map(DeviceId::from_bytes);
        let [ada, mallory] = devices;
        for name in [ada.to_string(), fingerprint(&ada)] {
            let both = || [(ada, "Ada"), (mallory, name.as_str())].into_iter();
            assert_eq!(find(both(), &name, "is here").unwrap(), ada);
            assert_eq!(find(both(), &mallory.to_string(), "is here").unwrap(), mallory);
            // Nor once Ada has left.
            find([(mallory, name.as_str())].into_iter(), &name, "is here").unwrap_err();
        }
    }

    #[test]
    fn who_found_a_key_whose_id_begins_as_another_is_called_is_not_in_the_way() {
        let (ada, ground) = (DeviceId::from_bytes([9; 32]), DeviceId::from_bytes([1; 32]));
        let name = &ground.to_string()[..7];
        let both = [(ada, name), (ground, "Mallory")];
        assert_eq!(find(both.into_iter(), name, "is here").unwrap(), ada);
        find([(ground, "Mallory")].into_iter(), name, "is here").unwrap_err();
    }

    #[test]
    fn who_else_is_known_by_a_name_is_found_whatever_of_it_looks_the_same() {
        let [ada, eve] = [(); 2].map(|()| Identity::generate());
        let known = |of: &Identity, name: &str, state| KnownDevice {
            device: of.device(),
            curve25519: Some(of.curve25519()),
            name: name.to_owned(),
            state,
            decided: true,
        };
        let both =
            [known(&ada, "Ada", TrustState::Verified), known(&eve, "Mallory", TrustState::Pinned)];
        for name in ["Ada", "ada", "Аdа"] {
            let other = namesake(&both, &eve.device(), name).unwrap();
            assert_eq!(other.device, ada.device(), "{name}");
        }
        assert!(namesake(&both, &ada.device(), "Ada").is_none());
        assert!(namesake(&both, &eve.device(), "Mallory").is_none());
        assert!(namesake(&both, &eve.device(), "").is_none());
        let blocked = [known(&ada, "Ada", TrustState::Blocked)];
        assert!(namesake(&blocked, &eve.device(), "Ada").is_none());
        assert_eq!(trust(Some(&both[1]), "Ada"), "seen before as «Mallory»");
        assert_eq!(trust(Some(&both[1]), "Mallory"), "seen before");
        assert_eq!(trust(None, "Ada"), "unknown");
    }
}

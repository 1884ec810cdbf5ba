//! How devices are shown, and how users name them.

use anyhow::bail;
use olmcast::primitives::DeviceId;

use crate::console::shown;

/// A device's Ed25519 key, which is its id, so that it can be read out.
pub(crate) fn fingerprint(device: &DeviceId) -> String {
    let text = device.to_string();
    let groups = text.as_bytes().chunks(4).map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(" ")
}

/// What a device calls itself, and the beginning of its id.
pub(crate) fn called(name: &str, device: &DeviceId) -> String {
    match shown(name) {
        name if name.is_empty() => device.short(),
        name => format!("{name} ({})", device.short()),
    }
}

/// The one of these that has this name, or an id that begins so. A fingerprint will do for an id.
pub(crate) fn find<'a>(
    among: impl Iterator<Item = (DeviceId, &'a str)>,
    who: &str,
    does: &str,
) -> anyhow::Result<DeviceId> {
    let beginning = who.replace(' ', "");
    let mut found: Vec<_> = among
        .filter(|(device, name)| {
            let is_named = !who.is_empty() && shown(name) == who;
            is_named || !beginning.is_empty() && device.to_string().starts_with(&beginning)
        })
        .map(|(device, _)| device)
        .collect();
    found.sort_unstable();
    found.dedup();
    match *found {
        [device] => Ok(device),
        [] => bail!("nobody who {does} is called {who}"),
        _ => bail!("several are called {who}; give the first characters of the id"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_found_by_its_name_or_by_how_its_id_or_fingerprint_begins() {
        let (a, b, c) = ([1; 32], [2; 32], [1; 32].map(|byte| byte ^ 1));
        let devices = [a, b, c].map(DeviceId::from_bytes);
        let names = ["Ada", "Bob", "Bob"];
        let find = |who: &str| find(devices.into_iter().zip(names), who, "is here");
        assert_eq!(find("Ada").unwrap(), devices[0]);
        assert_eq!(find(&devices[1].to_string()).unwrap(), devices[1]);
        assert_eq!(find(&devices[1].short()).unwrap(), devices[1]);
        assert_eq!(find(&fingerprint(&devices[2])).unwrap(), devices[2]);
        assert_eq!(
            find("Bob").unwrap_err().to_string(),
            "several are called Bob; give the first characters of the id"
        );
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
        find(devices.into_iter().zip(names), &short, "is here").unwrap_err();
        // Of one device both may be true.
        let one = [(devices[0], short.as_str()), (devices[0], "Ada")];
        assert_eq!(find(one.into_iter(), &short, "is here").unwrap(), devices[0]);
    }
}

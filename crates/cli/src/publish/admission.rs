//! Who is admitted, as `--admit` says.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use olmcast::{endpoint::Admission, primitives::DeviceId};

pub(super) fn read(choice: &str) -> anyhow::Result<Admission> {
    Ok(match choice {
        "invite" => Admission::Invite,
        "ask" => Admission::Ask,
        "verified" => Admission::Verified,
        file => {
            let text = std::fs::read_to_string(file).with_context(|| {
                format!("--admit takes invite, ask, verified or a file; no file {file}")
            })?;
            let devices =
                list(&text).with_context(|| format!("{file} has a line that is no device id"))?;
            ensure!(!devices.is_empty(), "{file} names no device: nobody could watch");
            Admission::AllowList(devices)
        }
    })
}

/// A device on each line, by its id or its fingerprint.
fn list(text: &str) -> anyhow::Result<BTreeSet<DeviceId>> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<String>());
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(|line| Ok(line.parse()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naming::fingerprint;

    #[test]
    fn a_list_has_ids_and_fingerprints() {
        let devices = [[1; 32], [2; 32], [3; 32]].map(DeviceId::from_bytes);
        let [a, b, c] = devices;
        let text = format!("\n{a}\r\n  {}  \n\n{c}", fingerprint(&b));
        assert_eq!(list(&text).unwrap(), devices.into_iter().collect());
        assert!(list("Ada\n").is_err());
        assert!(list("\n \n").unwrap().is_empty());
    }
}

//! Which device is meant.

use anyhow::Context;
use olmcast::{
    device::{DeviceCard, Memory},
    primitives::DeviceId,
};

use crate::naming::{called, find};

/// A device that the user named.
pub(crate) enum Target {
    /// By its code.
    Card(DeviceCard),
    /// By its id, known or not, or in a way that fits one known device.
    Device(DeviceId),
}

impl Target {
    pub(crate) fn read(memory: &Memory, text: &str) -> anyhow::Result<Self> {
        let text = text.trim();
        // Nobody's name has a colon there by chance: a damaged code is to say that it is one.
        if text.starts_with("olmcast-device:") {
            return Ok(Self::Card(text.parse()?));
        }
        // A whole id is that device, whatever others call themselves.
        if let Ok(device) = text.replace(' ', "").parse() {
            return Ok(Self::Device(device));
        }
        let known = memory.trust().iter().map(|known| (known.device, known.name.as_str()));
        let found = find(known, text, "is known");
        Ok(Self::Device(found.context("give a whole id, or see `olmcast devices`")?))
    }

    pub(crate) fn device(&self) -> DeviceId {
        match self {
            Self::Card(card) => card.device,
            Self::Device(device) => *device,
        }
    }

    /// How it is called here.
    pub(crate) fn called(&self, memory: &Memory) -> String {
        let device = self.device();
        let name = match (memory.trust().get(&device), self) {
            (Some(known), _) => &known.name,
            (None, Self::Card(card)) => &card.name,
            (None, Self::Device(_)) => "",
        };
        called(name, &device)
    }
}

#[cfg(test)]
mod tests {
    use olmcast::device::Identity;

    use super::*;
    use crate::naming::fingerprint;

    #[test]
    fn a_device_is_meant_by_its_code_its_id_its_fingerprint_its_name_or_a_beginning() {
        let (mut ours, ada) = (Identity::generate(), Identity::generate().with_name("Ada"));
        let (device, curve25519) = (ada.device(), ada.curve25519());
        let stranger = Identity::generate();
        ours.memory_mut().decide(|trust| trust.pin(device, curve25519, "Ada"));
        let memory = ours.memory();
        let read = |text: &str| Target::read(memory, text).map(|target| target.device());
        for text in [
            &ada.card().to_string(),
            &format!(" {}\n", ada.card()),
            &device.to_string(),
            &fingerprint(&device),
            &device.short(),
            "Ada",
        ] {
            assert_eq!(read(text).unwrap(), device, "{text}");
        }
        // Whoever is not known is meant by what names nobody else.
        assert_eq!(read(&stranger.device().to_string()).unwrap(), stranger.device());
        assert_eq!(read(&stranger.card().to_string()).unwrap(), stranger.device());
        assert!(read(&stranger.device().short()).is_err());
        let damaged = ada.card().to_string().replace(":1:", ":1:A");
        assert!(read(&damaged).unwrap_err().to_string().contains("typing error"));
    }

    #[test]
    fn a_name_that_is_anothers_id_does_not_stand_for_it() {
        let (mut ours, ada, eve) =
            (Identity::generate(), Identity::generate(), Identity::generate());
        let name = ada.device().to_string();
        let (device, curve25519) = (eve.device(), eve.curve25519());
        ours.memory_mut().decide(|trust| trust.pin(device, curve25519, &name));
        assert_eq!(Target::read(ours.memory(), &name).unwrap().device(), ada.device());
    }
}

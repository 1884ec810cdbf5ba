//! Those who ask for a stream, and those who hold it.

use std::collections::{BTreeSet, HashMap};

use anyhow::bail;
use olmcast::{
    client::ClientEvent,
    endpoint::{Event, RotationCause},
    primitives::DeviceId,
};

use crate::console::shown;

/// The one of these that has this name, or an id that begins so.
pub(super) fn find<'a>(
    among: impl Iterator<Item = (DeviceId, &'a str)>,
    who: &str,
    does: &str,
) -> anyhow::Result<DeviceId> {
    let mut found = among
        .filter(|(device, claim)| shown(claim) == who || device.to_string().starts_with(who))
        .map(|(device, _)| device);
    match (found.next(), found.next()) {
        (Some(device), None) => Ok(device),
        (None, _) => bail!("nobody who {does} is called {who}"),
        _ => bail!("several are called {who}; give the first characters of the id"),
    }
}

/// Those who asked for the stream, by what they call themselves.
#[derive(Default)]
pub(super) struct Guests {
    claims: HashMap<DeviceId, String>,
    asking: BTreeSet<DeviceId>,
}

impl Guests {
    pub(super) fn find_asking(&self, who: &str) -> anyhow::Result<DeviceId> {
        let claim = |device| self.claims.get(device).map_or("", String::as_str);
        find(self.asking.iter().map(|device| (*device, claim(device))), who, "asks")
    }

    /// How a device is called here.
    fn name(&self, device: &DeviceId) -> String {
        match self.claims.get(device).map(|claim| shown(claim)) {
            Some(claim) if !claim.is_empty() => format!("{claim} ({})", device.short()),
            _ => device.short(),
        }
    }

    pub(super) fn show(&mut self, event: &ClientEvent) {
        match event {
            ClientEvent::ServiceUp => eprintln!("connected to the key service"),
            ClientEvent::ServiceDown(reason) => {
                eprintln!("{reason}; those who watch go on, nobody new can join until it is back");
            }
            ClientEvent::ServiceRefused(code) => eprintln!("the key service refused: {code}"),
            ClientEvent::Stream(event) => self.show_of_stream(event),
            _ => {}
        }
    }

    fn show_of_stream(&mut self, event: &Event) {
        match event {
            Event::JoinRequest { device, claim, .. } => {
                self.claims.insert(*device, claim.clone());
                self.asking.insert(*device);
                eprintln!(
                    "{} wants to watch: admit {device}, or refuse {device}",
                    self.name(device)
                );
            }
            Event::Refused { device, reason, .. } => {
                self.asking.remove(device);
                eprintln!("{} was refused: {reason}", self.name(device));
                self.claims.remove(device);
            }
            Event::HolderJoined { device, claim, position, .. } => {
                self.asking.remove(device);
                self.claims.insert(*device, claim.clone());
                eprintln!("{} joined and reads from {position} on", self.name(device));
            }
            Event::HolderLeft { device, reason, .. } => {
                eprintln!("{} left: {reason}", self.name(device));
                self.claims.remove(device);
            }
            Event::Rotated { position, since, switched, cause, .. } => {
                let after = switched.since(*since).as_millis();
                let why = match cause {
                    RotationCause::Leave => format!(", {after} ms after somebody left"),
                    RotationCause::Kick => format!(", {after} ms after the kick"),
                    _ => String::new(),
                };
                eprintln!("new key from {position} on{why}");
            }
            _ => {}
        }
    }
}

//! Those who ask for a stream, and those who hold it.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    time::Instant,
};

use olmcast::{
    client::{Client, ClientEvent, Publication},
    device::Distrust,
    endpoint::{AskingState, Event, Refusal, RotationCause},
    primitives::DeviceId,
};

use super::seldom::Seldom;
use crate::{
    naming::{called, fingerprint, trust},
    questions::{Question, Questions},
    verifying::Verifying,
};

/// Where the publisher's user sits: who comes and goes, and what is asked.
pub(super) struct Desk<'a> {
    pub(super) client: &'a Client,
    pub(super) publication: &'a Publication,
    pub(super) questions: Questions,
    pub(super) verifying: Verifying<'a>,
    /// What they call themselves.
    names: HashMap<DeviceId, String>,
    /// Those who are asked about, and by which question.
    asked: HashMap<DeviceId, u64>,
    /// Those who were let in since this began.
    let_in: HashSet<DeviceId>,
    /// Whoever is refused may ask again and again.
    refused: Seldom<(DeviceId, Refusal)>,
    /// Whether what is decided is kept for longer than this runs.
    pub(super) is_kept: bool,
}

impl<'a> Desk<'a> {
    pub(super) fn new(client: &'a Client, publication: &'a Publication, is_kept: bool) -> Self {
        Self {
            client,
            publication,
            questions: Questions::default(),
            verifying: Verifying::new(client),
            names: HashMap::new(),
            asked: HashMap::new(),
            let_in: HashSet::new(),
            refused: Seldom::default(),
            is_kept,
        }
    }

    /// Whether a device was let into this room, as far as this run knows.
    pub(super) async fn has_been_let_in(&self, device: DeviceId) -> anyhow::Result<bool> {
        let holders = self.publication.holders().await?;
        Ok(self.let_in.contains(&device) || holders.iter().any(|holder| holder.device == device))
    }

    /// Events were lost: looks how it all stands.
    pub(super) async fn catch_up(&mut self) -> anyhow::Result<()> {
        eprintln!("more happened than could be shown; `holders` shows who watches");
        for holder in self.publication.holders().await? {
            self.let_in.insert(holder.device);
            self.names.insert(holder.device, holder.name);
        }
        self.verifying.catch_up(&mut self.questions).await?;
        self.look().await
    }

    /// Puts the next question on the screen, if it is not there yet.
    pub(super) fn show_question(&mut self) {
        if let Some(question) = self.questions.unshown(Instant::now()) {
            eprintln!("{question}");
        }
    }

    /// Tells those with whom a verification is under way.
    pub(super) async fn leave(&mut self) {
        self.verifying.cancel_all().await;
    }

    /// Lets a device in that asks, or not.
    pub(super) async fn decide(&mut self, device: DeviceId, admit: bool) -> anyhow::Result<()> {
        self.questions.withdraw(Question::Admit(device));
        let decided = if admit {
            // As what it was when it was put on the screen.
            let request = self.asked.get(&device).copied().unwrap_or_default();
            self.publication.admit(device, request).await
        } else {
            self.publication.refuse(device).await
        };
        Ok(decided?)
    }

    /// Looks who waits for an answer: whoever has left meanwhile need not be asked about.
    pub(super) async fn look(&mut self) -> anyhow::Result<()> {
        let asking = self.publication.asking().await?;
        for (device, _) in std::mem::take(&mut self.asked) {
            if !asking.iter().any(|asking| asking.device == device) {
                self.questions.withdraw(Question::Admit(device));
            }
        }
        for asking in asking {
            let text = self.question(&asking).await?;
            self.names.insert(asking.device, asking.name);
            self.asked.insert(asking.device, asking.request);
            self.questions.ask(Question::Admit(asking.device), text);
        }
        Ok(())
    }

    async fn question(&self, asking: &AskingState) -> anyhow::Result<String> {
        let who = called(&asking.name, &asking.device);
        let mut text = format!("\n{who} wants to watch\n");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  it is        {}", trust(asking.known.as_ref(), &asking.name));
        let _ = writeln!(text, "  fingerprint  {}", fingerprint(&asking.device));
        if let Some(distrust) = asking.distrust {
            let _ = writeln!(text, "  beware       {}", self.warning(distrust).await?);
        }
        text.push_str("admit? [y/n]");
        Ok(text)
    }

    /// What speaks against a device.
    async fn warning(&self, distrust: Distrust) -> anyhow::Result<String> {
        let Distrust::NameTaken(other) = distrust else { return Ok(distrust.to_string()) };
        let known = self.client.known_devices().await?;
        let other_is = match known.iter().find(|known| known.device == other) {
            Some(known) => format!("{} ({})", called(&known.name, &other), known.state),
            None => other.short(),
        };
        Ok(format!("another device is known by this name, or one that looks like it: {other_is}"))
    }

    /// How a device is called here.
    fn name(&self, device: &DeviceId) -> String {
        called(self.names.get(device).map_or("", String::as_str), device)
    }

    pub(super) async fn hear(&mut self, event: &ClientEvent) -> anyhow::Result<()> {
        match event {
            ClientEvent::ServiceUp => eprintln!("connected to the key service"),
            ClientEvent::ServiceDown(reason) => {
                eprintln!("{reason}; those who watch go on, nobody new can join until it is back");
            }
            ClientEvent::ServiceRefused(code) => eprintln!("the key service refused: {code}"),
            ClientEvent::VaultFailed(error) => {
                eprintln!("what is decided now is not kept: {error}; trying again");
            }
            ClientEvent::Stream(event) => {
                self.hear_of_stream(event).await?;
                // Whoever asks is shown at once, and who need not be asked about any more is not.
                if let Event::JoinRequest { .. }
                | Event::Refused { .. }
                | Event::HolderJoined { .. }
                | Event::HolderLeft { .. } = event
                {
                    self.look().await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    async fn hear_of_stream(&mut self, event: &Event) -> anyhow::Result<()> {
        match event {
            Event::JoinRequest { device, name, .. } => {
                self.names.insert(*device, name.clone());
            }
            Event::Refused { device, reason, .. } => {
                if self.refused.is_news((*device, *reason), Instant::now()) {
                    eprintln!("{} was refused: {reason}", self.name(device));
                }
                self.names.remove(device);
            }
            Event::HolderJoined { device, name, position, .. } => {
                self.let_in.insert(*device);
                self.names.insert(*device, name.clone());
                eprintln!("{} joined and reads from {position} on", self.name(device));
            }
            Event::HolderLeft { device, reason, .. } => {
                eprintln!("{} left: {reason}", self.name(device));
                self.names.remove(device);
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
            Event::Verification { device, name, state, .. } => {
                self.verifying.hear(*device, name, state, &mut self.questions).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

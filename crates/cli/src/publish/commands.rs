//! What is typed while a stream is published.

use std::time::Instant;

use anyhow::{Context, bail};
use olmcast::{
    device::{KnownDevice, TrustState},
    primitives::DeviceId,
};

use super::guests::Desk;
use crate::{
    console::shown,
    naming::find,
    questions::{Answer, Question, yes_or_no},
};

pub(super) const COMMANDS: &str = "holders · kick DEVICE · block DEVICE · admit DEVICE · refuse \
                                   DEVICE · verify DEVICE · y · n · code · end (DEVICE: how its \
                                   id begins, or its name)";

impl Desk<'_> {
    /// Carries out a command line. False if the stream is to end.
    pub(super) async fn obey(&mut self, line: &str) -> anyhow::Result<bool> {
        if let Some(yes) = yes_or_no(line) {
            self.answer(yes).await?;
            return Ok(true);
        }
        let mut words = line.splitn(2, char::is_whitespace);
        let command = words.next().unwrap_or_default();
        let who = words.next().map(str::trim).filter(|who| !who.is_empty());
        let who = || who.with_context(|| format!("{command} whom? Commands: {COMMANDS}"));
        match command {
            "" => {}
            "end" => return Ok(false),
            "holders" => self.show_holders().await?,
            "kick" => {
                let device = self.find_holder(who()?).await?;
                self.publication.kick(device).await?;
                eprintln!("kicked and blocked; {CLOSED}");
            }
            "block" => {
                let device = self.find_anybody(who()?).await?;
                self.client.block(device).await?;
                eprintln!("blocked; {CLOSED}");
            }
            "admit" => {
                let device = self.find_asking(who()?).await?;
                self.decide(device, true).await?;
            }
            "refuse" => {
                let device = self.find_asking(who()?).await?;
                self.decide(device, false).await?;
            }
            "verify" => {
                let device = self.find_anybody(who()?).await?;
                self.verifying.begin(device).await?;
            }
            "code" => match self.publication.code().await? {
                Some(code) => eprintln!(
                    "stream code {code}: who watches sees the same, if all have the same key and \
                     were told of the same holders"
                ),
                None => eprintln!("there is no stream code yet: nobody watches"),
            },
            _ => bail!("there is no command {command}; commands: {COMMANDS}"),
        }
        Ok(true)
    }

    /// An answer to the question that is shown.
    async fn answer(&mut self, yes: bool) -> anyhow::Result<()> {
        match self.questions.answer(yes, Instant::now()) {
            Answer::Yes(Question::Admit(device)) => self.decide(device, true).await?,
            Answer::No(Question::Admit(device)) => self.decide(device, false).await?,
            Answer::Yes(Question::Match(device)) => self.verifying.answer(device, true).await?,
            Answer::No(Question::Match(device)) => self.verifying.answer(device, false).await?,
            Answer::Unasked => bail!("nothing is asked"),
            Answer::TooSoon => bail!("that is another question now; answer again"),
        }
        Ok(())
    }

    async fn show_holders(&self) -> anyhow::Result<()> {
        let position = self.publication.position().await?;
        let position = position.map_or_else(String::new, |position| position.to_string());
        eprintln!("the stream is at {position} (generation.step)");
        for holder in self.publication.holders().await? {
            let confirmed = match holder.confirmed {
                Some(position) => format!("reads from {position} on"),
                None => "was sent the key".to_owned(),
            };
            let trust = trust(holder.known.as_ref(), &holder.name);
            eprintln!("  {}  {}  {trust}  {confirmed}", holder.device, shown(&holder.name));
        }
        Ok(())
    }

    async fn find_holder(&self, who: &str) -> anyhow::Result<DeviceId> {
        let holders = self.publication.holders().await?;
        find(holders.iter().map(|holder| (holder.device, holder.name.as_str())), who, "watches")
    }

    async fn find_asking(&self, who: &str) -> anyhow::Result<DeviceId> {
        let asking = self.publication.asking().await?;
        find(asking.iter().map(|asking| (asking.device, asking.name.as_str())), who, "asks")
    }

    /// Somebody who is here, who wants to verify, or who is known; or anybody by the whole id.
    async fn find_anybody(&self, who: &str) -> anyhow::Result<DeviceId> {
        if let Ok(device) = who.replace(' ', "").parse() {
            return Ok(device);
        }
        let holders = self.publication.holders().await?;
        let asking = self.publication.asking().await?;
        let known = self.client.known_devices().await?;
        let named = holders.iter().map(|holder| (holder.device, holder.name.as_str()));
        let named = named.chain(asking.iter().map(|asking| (asking.device, asking.name.as_str())));
        let named = named.chain(known.iter().map(|known| (known.device, known.name.as_str())));
        find(named.chain(self.verifying.asking()), who, "watches, asks or is known")
    }
}

/// What a kick or a block does beyond the one device.
const CLOSED: &str = "from now on only devices that were admitted before can join; `olmcast room \
                      new` makes a room for others";

/// What is known of a device, beside what it calls itself now.
pub(super) fn trust(known: Option<&KnownDevice>, name: &str) -> String {
    let Some(known) = known else { return TrustState::Unknown.to_string() };
    if known.name == name {
        return known.state.to_string();
    }
    let known_as = shown(&known.name);
    format!("{} as «{known_as}»", known.state)
}

//! What is typed while a stream is published.

use anyhow::{Context, bail};
use olmcast::primitives::DeviceId;

use super::guests::Desk;
use crate::{
    console::{Line, in_column},
    naming::{find, trust},
    questions::{Answer, Question, TOO_SOON, yes_or_no},
};

pub(super) const COMMANDS: &str = "holders · kick DEVICE · block DEVICE · admit DEVICE · refuse \
                                   DEVICE · verify DEVICE · decline DEVICE · y · n · code · \
                                   reopen · end (DEVICE: its id, how that begins, or its name)";

impl Desk<'_> {
    /// Carries out a command line. False if the stream is to end.
    pub(super) async fn obey(&mut self, line: &Line) -> anyhow::Result<bool> {
        if let Some(yes) = yes_or_no(&line.text) {
            let answer = self.questions.answer(yes, line.typed);
            self.take(answer).await?;
            return Ok(true);
        }
        let mut words = line.text.splitn(2, char::is_whitespace);
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
                eprintln!("kicked and blocked; {CLOSED}{}", self.kept());
            }
            "block" => {
                let device = self.find_anybody(who()?).await?;
                let is_in = self.has_been_let_in(device).await?;
                self.client.block(device).await?;
                eprintln!("blocked; {}{}", if is_in { CLOSED } else { MAY_BE_OPEN }, self.kept());
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
            "decline" => {
                let device = find(self.verifying.asking(), who()?, "wants to verify")?;
                self.verifying.decline(device).await?;
            }
            "reopen" => self.questions.ask(Question::Reopen, REOPEN.to_owned()),
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

    /// Carries out an answer to the question that was shown.
    async fn take(&mut self, answer: Answer) -> anyhow::Result<()> {
        match answer {
            Answer::Yes(Question::Admit(device)) => self.decide(device, true).await?,
            Answer::No(Question::Admit(device)) => self.decide(device, false).await?,
            Answer::Yes(Question::Match(device)) => self.verifying.answer(device, true).await?,
            Answer::No(Question::Match(device)) => self.verifying.answer(device, false).await?,
            Answer::Yes(Question::Reopen) => match self.client.reopen_room().await? {
                true => eprintln!("the room is open again{}", self.kept()),
                false => eprintln!("the room was open"),
            },
            Answer::No(Question::Reopen) => eprintln!("the room stays as it is"),
            Answer::Unasked => bail!("nothing is asked"),
            Answer::TooSoon => bail!(TOO_SOON),
        }
        Ok(())
    }

    /// How long what is decided is remembered, if not for ever.
    fn kept(&self) -> &'static str {
        match self.is_kept {
            true => "",
            false => "; that is until this ends: with --vault it is kept",
        }
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
            let name = in_column(&holder.name);
            eprintln!("  {}  {name}  {trust}  {confirmed}", holder.device);
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

/// What a kick does beyond the one device, and a block of somebody who was let in.
const CLOSED: &str = "from now on only devices that were admitted before can join; `olmcast room \
                      new` makes a room for others, and `reopen` opens this one again";

/// What a block does beyond the one device, if it is not known whether it was ever let in.
const MAY_BE_OPEN: &str = "if it was ever let into a room, that is closed behind it (`olmcast \
                           devices` lists those); a room that it was not in stays open, and it can \
                           come back there as a new device if it has the link";

const REOPEN: &str = "\nwhoever has the link can come in again, also who was kicked, with a new \
                      device (`olmcast room new` makes a room with a new link)\n\
                      open the room again? [y/n]";

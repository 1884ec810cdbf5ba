//! The subscriber's user: what is typed, and what is told beside the stream itself.

use std::time::Instant;

use anyhow::{Context, bail};
use olmcast::{
    client::{Client, ClientEvent},
    endpoint::Event,
    primitives::DeviceId,
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant as Time, sleep_until},
};

use super::{Arguments, screen::Screen};
use crate::{
    console::{Console, Line, interrupted},
    naming::{called, find},
    questions::{Answer, Question, Questions, TOO_SOON, yes_or_no},
    verifying::Verifying,
};

const COMMANDS: &str = "state · code · verify DEVICE · decline DEVICE · y · n · leave (DEVICE: its id, \
                        how that begins, or its name)";

/// Why it ended, if not for an error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    AtWill,
    TimeOver,
}

pub(super) struct Seat<'a> {
    arguments: &'a Arguments,
    client: &'a Client,
    screen: &'a Screen,
    questions: Questions,
    verifying: Verifying<'a>,
}

impl<'a> Seat<'a> {
    pub(super) fn new(arguments: &'a Arguments, client: &'a Client, screen: &'a Screen) -> Self {
        let verifying = Verifying::new(client);
        Self { arguments, client, screen, questions: Questions::default(), verifying }
    }

    /// Resolves when the user wants to leave.
    pub(super) async fn sit(&mut self) -> anyhow::Result<Left> {
        let end = self.arguments.duration.map(|duration| Time::now() + duration);
        let over = async {
            match end {
                Some(end) => sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let (mut console, mut events) = (Console::open(), self.client.events());
        let (left, screen) = (interrupted(), self.screen);
        let watching = screen.watch();
        tokio::pin!(over, left, watching);
        let left = loop {
            if let Some(question) = self.questions.unshown(Instant::now()) {
                eprintln!("{question}");
            }
            tokio::select! {
                interrupted = &mut left => {
                    interrupted?;
                    break Left::AtWill;
                }
                () = &mut over => break Left::TimeOver,
                () = &mut watching => {}
                event = events.recv() => match event {
                    Ok(event) => self.hear(&event).await?,
                    Err(RecvError::Lagged(_)) => {
                        self.verifying.catch_up(&mut self.questions).await?;
                    }
                    Err(RecvError::Closed) => bail!("this device connected from elsewhere"),
                },
                line = console.line() => match self.obey(&line).await {
                    Ok(true) => {}
                    Ok(false) => break Left::AtWill,
                    Err(error) => eprintln!("{error:#}"),
                },
            }
        };
        self.verifying.cancel_all().await;
        Ok(left)
    }

    async fn hear(&mut self, event: &ClientEvent) -> anyhow::Result<()> {
        match event {
            ClientEvent::ServiceUp => eprintln!("connected to the key service"),
            ClientEvent::ServiceDown(reason) => {
                eprintln!("{reason}; the stream goes on as long as its key is not changed");
            }
            ClientEvent::ServiceRefused(code) => bail!("the key service refused: {code}"),
            ClientEvent::VaultFailed(error) => {
                eprintln!("what is decided now is not kept: {error}; trying again");
            }
            ClientEvent::Stream(Event::Verification { device, name, state, .. }) => {
                self.verifying.hear(*device, name, state, &mut self.questions).await?;
            }
            ClientEvent::Stream(Event::Distrusted { stream, name, distrust }) => eprintln!(
                "a stream of {} is not taken: {distrust}",
                called(name, &stream.publisher)
            ),
            _ => {}
        }
        Ok(())
    }

    /// Carries out a command line. False if the user leaves.
    async fn obey(&mut self, line: &Line) -> anyhow::Result<bool> {
        let Line { text: line, typed } = line;
        if let Some(yes) = yes_or_no(line) {
            match self.questions.answer(yes, *typed) {
                Answer::Yes(Question::Match(device)) => self.verifying.answer(device, true).await?,
                Answer::No(Question::Match(device)) => self.verifying.answer(device, false).await?,
                Answer::TooSoon => bail!(TOO_SOON),
                _ => bail!("nothing is asked"),
            }
            return Ok(true);
        }
        match line.split_once(char::is_whitespace).unwrap_or((line, "")) {
            ("", _) => {}
            ("leave", _) => return Ok(false),
            ("state", _) => self.screen.show_state(&self.arguments.stream).await?,
            ("code", _) => self.screen.show_code().await?,
            ("verify", "") => bail!("verify whom? Commands: {COMMANDS}"),
            ("verify", who) => {
                let device = self.find(who.trim()).await?;
                self.verifying.begin(device).await?;
            }
            ("decline", who) => {
                let device = find(self.verifying.asking(), who, "wants to verify")?;
                self.verifying.decline(device).await?;
            }
            (other, _) => bail!("there is no command {other}; there is: {COMMANDS}"),
        }
        Ok(true)
    }

    /// Somebody who offers a stream, who wants to verify, or who is known; or anybody by the whole id.
    async fn find(&self, who: &str) -> anyhow::Result<DeviceId> {
        if let Ok(device) = who.replace(' ', "").parse() {
            return Ok(device);
        }
        let known = self.client.known_devices().await?;
        let room = self.client.room();
        let room = room.borrow();
        let named = known.iter().map(|known| (known.device, known.name.as_str()));
        let offers = room.offers();
        let named =
            named.chain(offers.map(|offer| (offer.stream.publisher, offer.content.name.as_str())));
        find(named.chain(self.verifying.asking()), who, "offers a stream or is known")
            .context("give a whole id")
    }
}

//! Verifying other devices while a client runs: what is shown, and what is answered.

use std::{collections::HashMap, fmt::Write, time::Instant};

use anyhow::Context;
use olmcast::{
    client::{Client, Verification},
    device::{ShortAuthString, VerificationState},
    primitives::DeviceId,
};

use crate::{
    naming::called,
    questions::{Question, Questions},
};

/// The verifications of one client.
pub(crate) struct Verifying<'a> {
    client: &'a Client,
    /// Those that this user takes part in.
    running: HashMap<DeviceId, Verification>,
    /// What others call themselves who ask for one.
    asking: HashMap<DeviceId, String>,
}

impl<'a> Verifying<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, running: HashMap::new(), asking: HashMap::new() }
    }

    /// Those who want to verify each other with us.
    pub(crate) fn asking(&self) -> impl Iterator<Item = (DeviceId, &str)> {
        self.asking.iter().map(|(device, name)| (*device, name.as_str()))
    }

    /// Begins a verification, or takes part in the one that the other began.
    pub(crate) async fn begin(&mut self, device: DeviceId) -> anyhow::Result<()> {
        let verification = self.client.verify(device).await?;
        self.running.insert(device, verification);
        Ok(())
    }

    /// Carries out what the user says of what is compared.
    pub(crate) async fn answer(&mut self, device: DeviceId, same: bool) -> anyhow::Result<()> {
        let running = self.running.get(&device).context("that verification is over")?;
        if same {
            running.confirm().await?
        } else {
            running.reject().await?
        }
        Ok(())
    }

    /// Ends all that are not over, and tells the others.
    pub(crate) async fn cancel_all(&mut self) {
        for (_, verification) in self.running.drain() {
            // One that is over need not be cancelled.
            let _ = verification.cancel().await;
        }
    }

    /// Says how far a verification has come; what is to be compared becomes a question.
    pub(crate) fn hear(
        &mut self,
        device: DeviceId,
        name: &str,
        state: &VerificationState,
        questions: &mut Questions,
    ) {
        let (who, now) = (called(name, &device), Instant::now());
        if !matches!(state, VerificationState::Comparing(_)) {
            questions.withdraw(Question::Match(device), now);
        }
        if *state == VerificationState::Requested {
            self.asking.insert(device, name.to_owned());
        } else {
            self.asking.remove(&device);
        }
        if state.is_over() {
            self.running.remove(&device);
        }
        match state {
            VerificationState::Requested => eprintln!(
                "{who} wants to verify each other; take part with: verify {}",
                device.short()
            ),
            VerificationState::Waiting => eprintln!(
                "waiting for {who}, who takes part with: olmcast verify {} (or verify {}, typed \
                 where a stream is published or watched)",
                self.client.device(),
                self.client.device().short(),
            ),
            VerificationState::Comparing(short) => {
                questions.ask(Question::Match(device), comparison(&who, short), now);
            }
            VerificationState::Confirmed => {
                eprintln!("confirmed here; waiting for {who} to confirm it there");
            }
            VerificationState::Verified => eprintln!("{who} is verified"),
            VerificationState::Cancelled(reason) => eprintln!("{who} is not verified: {reason}"),
            _ => {}
        }
    }
}

/// What both users compare.
fn comparison(who: &str, short: &ShortAuthString) -> String {
    let mut text = format!(
        "\nCompare this with what {who} has on the screen, in person or by voice. All of it must be \
         the same:\n\n"
    );
    for (number, emoji) in short.emojis().iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {}  {}  {}", number + 1, emoji.symbol, emoji.name);
    }
    let [a, b, c] = short.numbers();
    let _ =
        write!(text, "\nor, which says the same:  {a:04} {b:04} {c:04}\n\ndo they match? [y/n]");
    text
}

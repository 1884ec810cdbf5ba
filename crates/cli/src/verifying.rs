//! Verifying other devices while a client runs: what is shown, and what is answered.

use std::{collections::HashMap, fmt::Write, time::Duration};

use anyhow::Context;
use olmcast::{
    client::{Client, ClientError, Verification},
    device::{KnownDevice, ShortAuthString, VerificationState},
    primitives::DeviceId,
};
use tokio::time::timeout;

use crate::{
    console::quoted,
    naming::{called, namesake, trust},
    questions::{Question, Questions},
};

/// How long it takes at most to hear from this client itself how a verification stands.
const AT_ONCE: Duration = Duration::from_millis(500);

/// The verifications of one client.
pub(crate) struct Verifying<'a> {
    client: &'a Client,
    /// Those that this user takes part in.
    running: HashMap<DeviceId, Running>,
    /// What others call themselves who ask for one.
    asking: HashMap<DeviceId, String>,
}

struct Running {
    verification: Verification,
    /// What the other calls itself, and how far it was when that was last said.
    name: String,
    said: Option<VerificationState>,
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
        let name = self.asking.get(&device).cloned().unwrap_or_default();
        self.running.insert(device, Running { verification, name, said: None });
        Ok(())
    }

    /// Carries out what the user says of what is compared.
    pub(crate) async fn answer(&mut self, device: DeviceId, same: bool) -> anyhow::Result<()> {
        let running = self.running.get(&device).context("that verification is over")?;
        if same {
            running.verification.confirm().await?
        } else {
            running.verification.reject().await?
        }
        Ok(())
    }

    /// Does not take part in what another asked for.
    pub(crate) async fn decline(&self, device: DeviceId) -> anyhow::Result<()> {
        Ok(self.client.decline_verification(device).await?)
    }

    /// Ends all that are not over, and tells the others.
    pub(crate) async fn cancel_all(&mut self) {
        // One that is over need not be ended.
        for (_, running) in self.running.drain() {
            let _ = running.verification.cancel().await;
        }
        for (device, _) in self.asking.drain() {
            let _ = self.client.decline_verification(device).await;
        }
    }

    /// Events were lost: asks how those stand that are running, and says so. Those are returned that
    /// have changed; without a state if it is over, and how, cannot be asked any more.
    pub(crate) async fn catch_up(
        &mut self,
        questions: &mut Questions,
    ) -> Result<Vec<(DeviceId, Option<VerificationState>)>, ClientError> {
        let (mut news, mut told) = (Vec::new(), Vec::new());
        for (device, running) in &mut self.running {
            // Without a change since it was asked last, this waits for one.
            match timeout(AT_ONCE, running.verification.changed()).await {
                Ok(Ok(state)) if running.said.as_ref() != Some(&state) => {
                    news.push((*device, running.name.clone(), state));
                }
                Ok(Ok(_)) | Err(_) => {}
                Ok(Err(ClientError::Ended)) => return Err(ClientError::Ended),
                // Another has taken its place.
                Ok(Err(_)) => told.push((*device, None)),
            }
        }
        for (device, _) in &told {
            questions.withdraw(Question::Match(*device));
            if let Some(running) = self.running.remove(device) {
                let who = called(&running.name, device);
                eprintln!("the verification of {who} is over, and how is not known; begin again");
            }
        }
        for (device, name, state) in news {
            self.hear(device, &name, &state, questions).await?;
            told.push((device, Some(state)));
        }
        Ok(told)
    }

    /// Says how far a verification has come; what is to be compared becomes a question.
    pub(crate) async fn hear(
        &mut self,
        device: DeviceId,
        name: &str,
        state: &VerificationState,
        questions: &mut Questions,
    ) -> Result<(), ClientError> {
        let who = called(name, &device);
        if !matches!(state, VerificationState::Comparing(_)) {
            questions.withdraw(Question::Match(device));
        }
        if *state == VerificationState::Requested {
            self.asking.insert(device, name.to_owned());
        } else {
            self.asking.remove(&device);
        }
        if let Some(running) = self.running.get_mut(&device) {
            (running.name, running.said) = (name.to_owned(), Some(state.clone()));
        }
        if state.is_over() {
            self.running.remove(&device);
        }
        match state {
            VerificationState::Requested => {
                let known = known(&self.client.known_devices().await?, device, name);
                eprintln!("{who} wants to verify each other; take part with: verify {device}");
                eprint!("{known}");
            }
            VerificationState::Waiting => eprintln!(
                "waiting for {who}, who takes part with: olmcast verify {} (or verify {}, typed \
                 where a stream is published or watched)",
                self.client.device(),
                self.client.device().short(),
            ),
            VerificationState::Comparing(short) => {
                let known = known(&self.client.known_devices().await?, device, name);
                questions.ask(Question::Match(device), comparison(&who, &known, short));
            }
            VerificationState::Confirmed => {
                eprintln!("confirmed here; waiting for {who} to confirm it there");
            }
            VerificationState::Verified => eprintln!("{who} is verified"),
            VerificationState::Cancelled(reason) => eprintln!("{who} is not verified: {reason}"),
            _ => {}
        }
        Ok(())
    }
}

/// What is known of a device and of its name, a line each: what is compared does not say whose
/// device it is.
fn known(devices: &[KnownDevice], device: DeviceId, name: &str) -> String {
    let known = devices.iter().find(|known| known.device == device);
    let mut text = format!("  it is   {}", trust(known, name));
    if known.is_some_and(|known| known.name != name) {
        match quoted(name) {
            name if name.is_empty() => text.push_str(", and now says no name"),
            // Writing to a String cannot fail.
            name => drop(write!(text, ", and now calls itself {name}")),
        }
    }
    text.push('\n');
    if let Some(other) = namesake(devices, &device, name) {
        let other = format!("{} ({})", called(&other.name, &other.device), other.state);
        let _ = writeln!(
            text,
            "  beware  another device is known by this name, or one like it: {other}"
        );
    }
    text
}

/// What both users compare.
fn comparison(who: &str, known: &str, short: &ShortAuthString) -> String {
    let mut text = format!(
        "\n{who} is ready\n{known}Compare this with what is on the other's screen, in person or by \
         voice: not in this room nor by its stream. All of it must be the same:\n\n"
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

#[cfg(test)]
mod tests {
    use olmcast::{
        client::ClientEvent,
        device::{Identity, TrustState},
        endpoint::Event,
        primitives::Invite,
        server::{Server, ServerConfig, StoreConfig},
    };
    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::questions::Answer;

    #[test]
    fn before_the_emojis_it_is_said_what_is_known_of_the_device_and_of_its_name() {
        let [bob, mallory] = [(); 2].map(|()| Identity::generate());
        let know = |of: &Identity, name: &str, state| KnownDevice {
            device: of.device(),
            curve25519: Some(of.curve25519()),
            name: name.to_owned(),
            state,
            decided: true,
        };
        let devices = [
            know(&bob, "Bob", TrustState::Verified),
            know(&mallory, "Mallory", TrustState::Pinned),
        ];
        assert_eq!(known(&devices, bob.device(), "Bob"), "  it is   verified\n");
        assert_eq!(known(&devices[1..], bob.device(), "Bob"), "  it is   unknown\n");
        let text = known(&devices, mallory.device(), "BoB");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "  it is   seen before as «Mallory», and now calls itself «BoB»");
        let other = format!("«Bob» ({}) (verified)", bob.device().short());
        assert!(lines[1].starts_with("  beware  another device") && lines[1].ends_with(&other));
    }

    #[tokio::test]
    async fn who_lost_all_events_learns_how_a_verification_stands() {
        let mut config = ServerConfig::new(([127, 0, 0, 1], 0).into());
        config.store = StoreConfig::Memory;
        let server = Server::bind(config).await.unwrap();
        let invite = Invite::generate(server.local_addr().to_string()).unwrap();
        let connect = || Client::connect(&invite, Identity::generate());
        let (a, b) = (connect().await.unwrap(), connect().await.unwrap());
        let (mut ours, mut theirs) = (Verifying::new(&a), Verifying::new(&b));
        let (mut shown_a, mut shown_b) = (Questions::default(), Questions::default());
        ours.begin(b.device()).await.unwrap();
        let mut events = b.events();
        // That somebody asks is not to be had but by its event.
        let asked = async {
            loop {
                if let ClientEvent::Stream(Event::Verification { .. }) =
                    events.recv().await.unwrap()
                {
                    break;
                }
            }
        };
        timeout(Duration::from_secs(20), asked).await.unwrap();
        theirs.begin(a.device()).await.unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        let mut verified = [false; 2];
        while verified != [true; 2] {
            assert!(Instant::now() < end, "{verified:?}");
            sleep(Duration::from_millis(50)).await;
            for (at, (side, shown)) in
                [(&mut ours, &mut shown_a), (&mut theirs, &mut shown_b)].into_iter().enumerate()
            {
                for (_, state) in side.catch_up(shown).await.unwrap() {
                    verified[at] |= state == Some(VerificationState::Verified);
                }
                let now = std::time::Instant::now();
                if shown.unshown(now).is_some()
                    && let Answer::Yes(Question::Match(device)) =
                        shown.answer(true, now + Duration::from_secs(5))
                {
                    side.answer(device, true).await.unwrap();
                }
            }
        }
        drop((ours, theirs));
        drop((a, b));
        server.shutdown().await;
    }
}

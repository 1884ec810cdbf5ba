//! `olmcast verify`.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use olmcast::{
    client::{Client, ClientEvent, Vault},
    device::{DeviceCard, TrustState, VerificationState},
    endpoint::Event,
    primitives::{DeviceId, Invite},
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep_until},
};

use crate::{
    console::{Console, interruption, quoted, unless_interrupted},
    devices::{Target, not_ourselves},
    naming::{called, fingerprint},
    questions::{Answer, Question, Questions, TOO_SOON, yes_or_no},
    vault,
    verifying::Verifying,
};

/// How long what was said last is on its way, and may be asked for again.
const FAREWELL: Duration = Duration::from_secs(1);

/// Make sure that a device is whose you think it is.
///
/// With a DEVICE, two people verify each other, wherever they are: each runs this with the other's
/// id, in either order, and they compare seven emojis or three numbers by another way: in person, or
/// by a voice that they know; never by what this room, its stream or its service carries, which may
/// be what is in between. Nobody in between can make them the same. Answer y if all are the same and n
/// if not: then nobody is verified, and both are told why. Ctrl-C only stops.
///
/// What is compared says that there is nobody in between, and not whose device it is: it is whose
/// owner you compare with. Before it, is said what is known of the device and of its name.
///
/// With a CODE, which `olmcast id` printed for the other and which you take from their own hand or
/// screen, that is all: no service is needed. It holds for this side; the other takes your code.
///
/// It ends well only if the device is verified then. What is verified, the vault keeps.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The other device: its id, how that begins if it is known, or its name; or its code
    // Some begin with a hyphen.
    #[arg(value_name = "DEVICE|CODE", allow_hyphen_values = true)]
    target: String,
    /// An invite link of a room that both are in, in quotes, since it has a #; not for a CODE
    #[arg(long, env = "OLMCAST_ROOM", hide_env_values = true, value_name = "LINK")]
    room: Option<String>,
    #[command(flatten)]
    device: vault::Named,
    #[command(flatten)]
    trust: crate::trust::Arguments,
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let opened = async {
        let vault = arguments.device.open()?;
        let target = Target::read(vault.identity().memory(), &arguments.target)?;
        not_ourselves(&vault, target.device())?;
        Ok((vault, target))
    };
    let (vault, target) = unless_interrupted(opened).await?;
    match target {
        Target::Card(card) => by_card(vault, &card),
        Target::Device(device) => together(&arguments, vault, device).await,
    }
}

/// Takes a device for verified whose code comes from its owner's hand.
fn by_card(mut vault: Vault, card: &DeviceCard) -> anyhow::Result<ExitCode> {
    let who = called(&card.name, &card.device);
    let trust = vault.identity().memory().trust();
    let known = trust.get(&card.device);
    if known.is_some_and(|known| known.state == TrustState::Blocked) {
        bail!("{who} is blocked; `olmcast devices forget {}` first", card.device.short());
    }
    let other_key = known
        .and_then(|known| known.curve25519)
        .is_some_and(|curve25519| curve25519 != card.curve25519);
    let namesake = trust.check(&card.device, &card.curve25519, &card.name).err();
    vault.update(|identity| {
        let verify = |trust: &mut olmcast::device::TrustStore| {
            trust.verify(card.device, card.curve25519, &card.name);
        };
        identity.memory_mut().decide(verify);
    })?;
    println!("{who} is verified; the code says, and that is known of it now:");
    println!("  fingerprint  {}", fingerprint(&card.device));
    println!("  curve25519   {}", card.curve25519.0.to_base64());
    println!("  name         {}", quoted(&card.name));
    if other_key {
        println!("before this it was known with another Curve25519 key");
    } else if let Some(distrust) = namesake {
        println!("note that {distrust}; both may be called so now");
    }
    Ok(ExitCode::SUCCESS)
}

/// Two people compare what their devices show.
async fn together(
    arguments: &Arguments,
    vault: Vault,
    device: DeviceId,
) -> anyhow::Result<ExitCode> {
    let link = arguments.room.as_deref().context(
        "two devices verify each other in a room that both are in: --room LINK; with the other's \
         code in place of its id, no room is needed",
    )?;
    let invite: Invite = link.parse().context("--room")?;
    let trust = arguments.trust.read()?;
    let interrupted = interruption()?;
    tokio::pin!(interrupted);
    let client =
        unless_interrupted(async { Ok(Client::connect_with(&invite, vault, &trust).await?) })
            .await?;
    let mut events = client.events();
    let mut console = Console::open();
    let mut questions = Questions::default();
    let mut verifying = Verifying::new(&client);
    eprintln!("this device is {}", client.device());
    eprintln!("the other is   {}", fingerprint(&device));
    verifying.begin(device).await?;
    let mut is_verified = false;
    // Once it is over, what was said last is on its way, and may be taken back.
    let mut farewell: Option<Instant> = None;
    loop {
        if let Some(question) = questions.unshown(Instant::now().into_std()) {
            eprintln!("{question}");
        }
        tokio::select! {
            interrupted = &mut interrupted, if farewell.is_none() => {
                interrupted?;
                verifying.cancel_all().await;
                eprintln!("cancelled: the device is not verified");
                farewell = Some(Instant::now() + FAREWELL);
            }
            () = until(farewell) => break,
            event = events.recv() => match event {
                Ok(ClientEvent::Stream(Event::Verification { device: whose, name, state, .. })) => {
                    // That we cancelled it, was said.
                    if farewell.is_none() || is_verified {
                        verifying.hear(whose, &name, &state, &mut questions).await?;
                    }
                    if whose == device && state.is_over() {
                        is_verified = state == VerificationState::Verified;
                        farewell.get_or_insert(Instant::now() + FAREWELL);
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    for (whose, state) in verifying.catch_up(&mut questions).await? {
                        if whose == device && state.as_ref().is_none_or(VerificationState::is_over) {
                            is_verified = state == Some(VerificationState::Verified);
                            farewell.get_or_insert(Instant::now() + FAREWELL);
                        }
                    }
                }
                Ok(ClientEvent::ServiceUp) => eprintln!("connected to the key service"),
                Ok(ClientEvent::ServiceDown(reason)) => eprintln!("{reason}"),
                Ok(ClientEvent::ServiceRefused(code)) => bail!("the key service refused: {code}"),
                Ok(ClientEvent::VaultFailed(error)) => bail!("the vault cannot be written: {error}"),
                Ok(_) => {}
                Err(RecvError::Closed) => bail!("this device connected from elsewhere"),
            },
            line = console.line() => match yes_or_no(&line.text) {
                Some(yes) => match questions.answer(yes, line.typed) {
                    Answer::Yes(Question::Match(whose)) => verifying.answer(whose, true).await?,
                    Answer::No(Question::Match(whose)) => verifying.answer(whose, false).await?,
                    Answer::TooSoon => eprintln!("{TOO_SOON}"),
                    _ => eprintln!("nothing is asked yet"),
                },
                None if line.text.is_empty() => {}
                None => eprintln!("answer y or n; Ctrl-C cancels"),
            },
        }
    }
    Ok(if is_verified { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn until(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

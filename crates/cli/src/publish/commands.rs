//! What is typed while a stream is published.

use anyhow::{Context, bail};
use olmcast::client::Publication;

use super::guests::{Guests, find};
use crate::console::shown;

pub(super) const COMMANDS: &str = "holders · kick DEVICE · admit DEVICE · refuse DEVICE · end \
                        (DEVICE: the first characters of its id, or its name)";

/// Carries out a command line. False if the stream is to end.
pub(super) async fn obey(
    publication: &Publication,
    guests: &Guests,
    line: &str,
) -> anyhow::Result<bool> {
    let mut words = line.splitn(2, char::is_whitespace);
    let command = words.next().unwrap_or_default();
    let who = words.next().map(str::trim).filter(|who| !who.is_empty());
    let who = || who.with_context(|| format!("{command} whom? Commands: {COMMANDS}"));
    match command {
        "" => {}
        "end" => return Ok(false),
        "holders" => {
            let position = publication.position().await?;
            let position = position.map_or_else(String::new, |position| position.to_string());
            eprintln!("the stream is at {position} (generation.step)");
            for holder in publication.holders().await? {
                let confirmed = match holder.confirmed {
                    Some(position) => format!("reads from {position} on"),
                    None => "was sent the key".to_owned(),
                };
                eprintln!("  {} {} {confirmed}", holder.device, shown(&holder.claim));
            }
        }
        "kick" => {
            let holders = publication.holders().await?;
            let holders = holders.iter().map(|holder| (holder.device, holder.claim.as_str()));
            publication.kick(find(holders, who()?, "watches")?).await?;
            eprintln!("kicked; from now on only devices that were admitted before can join");
        }
        "admit" => publication.admit(guests.find_asking(who()?)?).await?,
        "refuse" => publication.refuse(guests.find_asking(who()?)?).await?,
        _ => bail!("there is no command {command}; commands: {COMMANDS}"),
    }
    Ok(true)
}

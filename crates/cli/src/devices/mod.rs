//! `olmcast devices`.

mod table;
mod target;

use anyhow::{Context, ensure};
use clap::Subcommand;
use olmcast::{
    client::Vault,
    primitives::{DeviceId, RoomId},
};

use crate::{directory, naming::fingerprint, vault};
pub(crate) use target::Target;

/// Show and decide whom this device knows.
///
/// A device is pinned to its keys and its name when it is first let in, or first lets us in. After
/// that, somebody else of that name or that looks like it, and the same device with another key,
/// are put to you. What others call themselves is a claim until you verify it: olmcast verify.
///
/// No stream runs with this device meanwhile: while one does, publish and subscribe take the same
/// commands.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    vault: vault::Arguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Show the devices that are known, and the rooms that are closed; without a command, too
    List,
    /// Know a device by its keys and name, and no other by that name
    ///
    /// Whatever was known of it is replaced, a verification and a block as well.
    Pin {
        /// A code as `olmcast id` prints it; the id of a device whose keys are taken from the
        /// directory; or how a known one is called, or how its id begins
        #[arg(value_name = "CODE|DEVICE", allow_hyphen_values = true)]
        target: String,
        /// Know it by this name; otherwise by that in the code, or that it is known by
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
        #[command(flatten)]
        directory: directory::Arguments,
    },
    /// Give a device nothing, and take nothing from it
    ///
    /// Rooms that it was let into are closed behind it: it has their invites.
    Block {
        /// Its id, how that begins, or its name
        #[arg(value_name = "DEVICE", allow_hyphen_values = true)]
        target: String,
    },
    /// Know nothing of a device any more, as if it had never been seen
    ///
    /// It is not blocked any more then. Rooms that were closed behind it stay closed.
    Forget {
        /// Its id, how that begins, or its name
        #[arg(value_name = "DEVICE", allow_hyphen_values = true)]
        target: String,
    },
    /// Let in again whoever has the link of a room that is closed
    ///
    /// Also who was kicked, with a new device: they have the link. Those who are blocked stay so.
    Reopen {
        /// The room, as `olmcast devices` lists it
        #[arg(value_name = "ROOM", allow_hyphen_values = true)]
        room: RoomId,
    },
}

pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut vault = arguments.vault.open()?;
    match arguments.command {
        None | Some(Command::List) => table::print(vault.identity().memory()),
        Some(Command::Pin { target, name, directory }) => {
            pin(&mut vault, &target, name, &directory).await?;
        }
        Some(Command::Block { target }) => {
            let target = Target::read(vault.identity().memory(), &target)?;
            not_ourselves(&vault, target.device())?;
            vault.update(|identity| identity.memory_mut().block(target.device()))?;
            println!("blocked {}", target.called(vault.identity().memory()));
            table::print_closed(vault.identity().memory());
        }
        Some(Command::Forget { target }) => {
            let target = Target::read(vault.identity().memory(), &target)?;
            let called = target.called(vault.identity().memory());
            let forgotten = vault.update(|identity| {
                identity.memory_mut().decide(|trust| trust.forget(&target.device()))
            })?;
            ensure!(forgotten, "{called} is not known");
            println!("forgot {called}");
        }
        Some(Command::Reopen { room }) => {
            let was_closed = vault.update(|identity| identity.memory_mut().reopen(room))?;
            ensure!(was_closed, "the room {room} is not closed; see `olmcast devices`");
            println!(
                "opened the room {room} again: whoever has its link can come in, also who was \
                 kicked, with a new device"
            );
        }
    }
    Ok(())
}

async fn pin(
    vault: &mut Vault,
    target: &str,
    name: Option<String>,
    directory: &directory::Arguments,
) -> anyhow::Result<()> {
    let memory = vault.identity().memory();
    let target = Target::read(memory, target)?;
    let device = target.device();
    not_ourselves(vault, device)?;
    let known = memory.trust().get(&device);
    let (curve25519, known_as) = match &target {
        Target::Card(card) => (Some(card.curve25519), card.name.clone()),
        Target::Device(_) => (
            known.and_then(|known| known.curve25519),
            known.map_or_else(String::new, |known| known.name.clone()),
        ),
    };
    let curve25519 = match curve25519 {
        Some(curve25519) => curve25519,
        None => {
            let found = directory.query(&device).await;
            found.context("its keys are looked up in the directory")?.device_keys.curve25519
        }
    };
    let name = name.unwrap_or(known_as);
    vault.update(|identity| {
        identity.memory_mut().decide(|trust| trust.pin(device, curve25519, &name));
    })?;
    println!("pinned {}", target.called(vault.identity().memory()));
    println!("  fingerprint  {}", fingerprint(&device));
    println!("  curve25519   {}", curve25519.0.to_base64());
    Ok(())
}

pub(crate) fn not_ourselves(vault: &Vault, device: DeviceId) -> anyhow::Result<()> {
    ensure!(device != vault.identity().device(), "that is this device itself");
    Ok(())
}

//! `olmcast id`.

use std::{
    fs::File,
    io::{IsTerminal, Write, stdout},
    path::{Path, PathBuf},
};

use anyhow::Context;

use crate::{console::quoted, naming::fingerprint, qr::Picture, vault};

/// Show who this device is; make it, if it is not there yet.
///
/// The code has both keys of the device and its name. Somebody who takes it from your own hand or
/// screen has verified you with: olmcast verify CODE. The picture is the same code, for a camera.
/// Nothing of it is secret, but whoever hands over another code in its place is taken for you.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write the picture to this file, for printing
    #[arg(long, value_name = "FILE.svg")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    device: vault::Named,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let vault = arguments.device.open_or_create()?;
    let card = vault.identity().card();
    let code = card.to_string();
    let picture = Picture::of(&code)?;
    println!("device         {}", card.device);
    println!("fingerprint    {}", fingerprint(&card.device));
    println!("curve25519     {}", card.curve25519.0.to_base64());
    println!("name           {}", quoted(&card.name));
    println!("code           {code}");
    // In a file or a pipe nobody could tell what is dark.
    if stdout().is_terminal() {
        print!("\n{}", picture.in_terminal());
    }
    if let Some(path) = &arguments.svg {
        write_new(path, &picture.svg())
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("picture        {}", path.display());
    }
    Ok(())
}

/// Writes a file that was not there before.
fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

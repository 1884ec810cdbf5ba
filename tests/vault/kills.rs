//! A process that writes as fast as it can is killed at any moment, a thousand times.

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use olmcast::{
    client::{Unlock, Vault, VaultError},
    device::Identity,
};
use rand::RngExt;

use crate::{
    image::assert_hidden,
    opener::{With, secrets_of_vault},
    process::{Process, say, works_on},
};

const KILLS: usize = 1000;
/// Folders that are worked on at the same time.
const SIDES: usize = 2;
/// A new vault is made after so many kills, so that its making is hit as well.
const FRESH: usize = 20;

fn vault_of(folder: &Path) -> PathBuf {
    folder.join("vault/vault")
}

fn unlock(folder: &Path) -> Unlock {
    Unlock::key_file(folder.join("key/key"))
}

/// The number of a state, which it has as its name, and by which it is larger or smaller.
fn number(vault: &Vault) -> u64 {
    let identity = vault.identity();
    let number = identity.name().parse().unwrap_or(0);
    let known = identity.memory().trust().iter().count();
    assert_eq!(known, known_in(number), "state {number} is whole");
    number
}

fn known_in(number: u64) -> usize {
    if number % 2 == 1 { 40 } else { 0 }
}

fn write(vault: &mut Vault, number: u64) {
    let others = |identity: &mut Identity| {
        identity.set_name(number.to_string());
        let curve25519 = identity.curve25519();
        let known: Vec<_> = (0..40).map(|byte| [byte; 32]).collect();
        for device in known.into_iter().map(olmcast::primitives::DeviceId::from_bytes) {
            identity.memory_mut().decide(|trust| {
                if known_in(number) > 0 {
                    trust.pin(device, curve25519, "");
                } else {
                    trust.forget(&device);
                }
            });
        }
    };
    vault.update(others).unwrap();
}

#[test]
#[ignore = "the other test runs and kills it"]
fn the_writer() {
    let folder = works_on();
    say("up");
    let mut vault = Vault::load_or_create(vault_of(&folder), &unlock(&folder)).unwrap();
    let mut state = number(&vault);
    loop {
        state += 1;
        write(&mut vault, state);
        say(&state.to_string());
    }
}

#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    /// Kills before there was a vault.
    unmade: usize,
    /// Kills after which the state was one that had not been acknowledged.
    ahead: usize,
    /// Kills that left a temporary file.
    left: usize,
    written: u64,
}

/// Kills writers in a folder, and looks each time at what is there.
fn side(kills: usize) -> Tally {
    let mut tally = Tally::default();
    let mut folder = tempfile::tempdir().unwrap();
    let (mut last, mut exists) = (0, false);
    for round in 0..kills {
        if round % FRESH == 0 {
            folder = tempfile::tempdir().unwrap();
            (last, exists) = (0, false);
        }
        let (path, unlock) = (vault_of(folder.path()), unlock(folder.path()));
        let mut writer = Process::start("kills::the_writer", folder.path());
        assert_eq!(writer.heard().as_deref(), Some("up"));
        thread::sleep(Duration::from_micros(rand::rng().random_range(0..12_000)));
        let said = writer.kill();
        let said: Vec<u64> = said.iter().map(|number| number.parse().unwrap()).collect();
        assert!(said.is_sorted_by(|a, b| a + 1 == *b));
        exists |= !said.is_empty();
        let acknowledged = said.last().copied().unwrap_or(last);
        tally.left += usize::from(path.with_file_name(".vault.olmcast-tmp").exists());
        tally.kills += 1;
        let state = match Vault::open(&path, &unlock) {
            Ok(vault) => {
                exists = true;
                number(&vault)
            }
            Err(VaultError::NotFound(_)) if !exists => {
                tally.unmade += 1;
                continue;
            }
            Err(error) => panic!("after {acknowledged}: {error}"),
        };
        assert!(
            (acknowledged..=acknowledged + 1).contains(&state),
            "state {acknowledged} was acknowledged, and {state} is there"
        );
        tally.ahead += usize::from(state > acknowledged);
        tally.written += state - last;
        last = state;
        if round % FRESH == FRESH - 1 {
            let secrets = secrets_of_vault(&path, With::KeyFile(&folder.path().join("key/key")));
            assert_hidden(path.parent().unwrap(), &secrets);
        }
    }
    tally
}

#[test]
fn a_thousand_kills_leave_the_old_or_the_new_vault_whole() {
    let sides: Vec<_> = (0..SIDES).map(|_| thread::spawn(|| side(KILLS / SIDES))).collect();
    let tallies: Vec<_> = sides.into_iter().map(|side| side.join().unwrap()).collect();
    println!("{tallies:?}");
    let sum = |of: fn(&Tally) -> usize| tallies.iter().map(of).sum::<usize>();
    assert_eq!(sum(|tally| tally.kills), KILLS);
    // However slow the disk is.
    assert!(sum(|tally| tally.left) > 20, "the kills hit no write");
    assert!(tallies.iter().map(|tally| tally.written).sum::<u64>() > 100, "nothing was written");
}

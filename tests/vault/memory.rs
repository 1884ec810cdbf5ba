//! What of a vault is left in memory after it is closed: a process searches itself.

use std::io::{BufRead, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use olmcast::client::{Unlock, Vault};
use zeroize::Zeroize;

use crate::{
    opener::{With, secrets_of_vault},
    process::{Process, say, works_on},
    searched::{masked, search},
};

fn heard() -> Vec<u8> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    STANDARD.decode(line.trim()).unwrap()
}

#[test]
#[ignore = "the other test runs it, in a process of its own"]
fn the_searched_process() {
    let path = works_on();
    let words = heard();
    let unlock = || Unlock::passphrase(String::from_utf8(masked(&words)).unwrap());
    let mut vault = Vault::load_or_create(&path, &unlock()).unwrap();
    vault.update(|identity| identity.set_name("Ada")).unwrap();
    say("made");
    let needles: Vec<_> = (0..6).map(|_| heard()).collect();
    let count = || {
        // Deeper calls than those that had a secret on their stack.
        deep(64);
        search(&needles).iter().map(usize::to_string).collect::<Vec<_>>().join(" ")
    };
    say(&count());
    drop(vault);
    say(&count());
    let mut vault = Vault::open(&path, &unlock()).unwrap();
    vault.update(|identity| identity.set_name("Eve")).unwrap();
    say(&count());
    drop(vault);
    say(&count());
}

/// Writes over what the stack had below here.
#[inline(never)]
fn deep(left: usize) {
    let mut room = [left as u8; 2048];
    if left > 0 {
        deep(left - 1);
    }
    room.zeroize();
}

#[test]
fn a_vault_that_is_closed_leaves_no_key_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let words = "seven words that nobody said before me";
    let mut process = Process::start("memory::the_searched_process", &path);
    let mut input = process.child.stdin.take().unwrap();
    let mut tell = |bytes: &[u8]| writeln!(input, "{}", STANDARD.encode(masked(bytes))).unwrap();
    tell(words.as_bytes());
    assert_eq!(process.heard().as_deref(), Some("made"));
    let mut secrets = secrets_of_vault(&path, With::Passphrase(words));
    let ed25519 = secrets.iter().find(|(what, _)| *what == "the Ed25519 key").unwrap().1.clone();
    // As it stands in the account that is sealed.
    secrets.push(("the account", serde_json::to_vec(&ed25519).unwrap()[..48].to_vec()));
    assert_eq!(secrets.len(), 6);
    secrets.iter().for_each(|(_, secret)| tell(secret));
    let mut count = || -> Vec<usize> {
        let counts = process.heard().expect("it searches itself");
        counts.split(' ').map(|count| count.parse().unwrap()).collect()
    };
    for made_or_opened in ["made", "opened"] {
        let (open, closed) = (count(), count());
        let counts = format!("{made_or_opened}: {open:?}, closed: {closed:?}");
        println!("{counts}");
        // The passphrase is gone as soon as the key is made of it.
        assert_eq!(open[..2], [0, 0], "{counts}");
        assert!(open[2..].iter().all(|count| *count > 0), "the search finds it: {counts}");
        assert_eq!(closed, [0; 6], "{counts}");
    }
}

//! Searches all that is on disk.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use memchr::memmem;
use olmcast::{
    client::{Unlock, Vault},
    device::Identity,
};

use crate::opener::{Secrets, With, secrets_of_vault};

/// Whatever eight bytes in a row of a secret may be written as.
fn written(part: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
    let decimal = part.iter().map(u8::to_string).collect::<Vec<_>>();
    let mut written = vec![
        part.to_vec(),
        part.iter().rev().copied().collect(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        decimal.join(",").into_bytes(),
        decimal.join(", ").into_bytes(),
    ];
    for form in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        for before in 0..3 {
            // What stands before and behind shares a character with the secret.
            let text = form.encode([&vec![0; before], part].concat());
            let first = [0, 2, 3][before];
            let last = text.len() - usize::from(!(before + part.len()).is_multiple_of(3));
            written.push(text[first..last].into());
        }
    }
    written
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// What of the secrets is in some bytes.
pub(crate) fn found(bytes: &[u8], secrets: &Secrets) -> Vec<&'static str> {
    let is_in = |secret: &[u8]| {
        let whole = secret.chunks(8).filter(|part| part.len() == 8);
        whole.flat_map(written).any(|form| memmem::find(bytes, &form).is_some())
    };
    secrets.iter().filter(|(_, secret)| is_in(secret)).map(|(what, _)| *what).collect()
}

/// Neither a file's content nor its name has a secret in it.
pub(crate) fn assert_hidden(folder: &Path, secrets: &Secrets) {
    for path in files(folder) {
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend_from_slice(path.to_string_lossy().as_bytes());
        assert_eq!(found(&bytes, secrets), [""; 0], "in {}", path.display());
    }
}

#[test]
fn the_search_finds_what_it_searches_for() {
    let secret: Vec<u8> = (100..132).map(|byte: u8| byte.wrapping_mul(37)).collect();
    let secrets = vec![("it", secret.clone())];
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut shown = vec![
        secret.clone(),
        secret[8..16].to_vec(),
        hex.to_uppercase().into_bytes(),
        hex.into_bytes(),
        serde_json::to_vec(&secret).unwrap(),
        format!("{secret:?}").into_bytes(),
    ];
    for before in 0..3 {
        let behind = [&vec![0xff; before][..], &secret, &[0xff]].concat();
        shown.push(STANDARD_NO_PAD.encode(&behind).into());
        shown.push(URL_SAFE_NO_PAD.encode(&behind).into());
    }
    for shown in shown {
        let among = [b"something before ", &shown[..], b" and behind"].concat();
        assert_eq!(found(&among, &secrets), ["it"], "{}", String::from_utf8_lossy(&shown));
    }
    assert_eq!(found(b"nothing of it", &secrets), [""; 0]);
}

#[test]
fn no_secret_is_in_a_vault_or_beside_it() {
    let words = "seven words that nobody said before me";
    for by_words in [true, false] {
        let (folder, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (path, key_file) = (folder.path().join("deep/vault"), keys.path().join("key"));
        let unlock = if by_words { Unlock::passphrase(words) } else { Unlock::key_file(&key_file) };
        let with = || if by_words { With::Passphrase(words) } else { With::KeyFile(&key_file) };
        let mut vault = Vault::load_or_create(&path, &unlock).unwrap();
        let secrets = secrets_of_vault(&path, with());
        assert_eq!(secrets.len(), if by_words { 5 } else { 4 });
        assert_hidden(folder.path(), &secrets);
        for _ in 0..20 {
            let (device, curve25519) = {
                let other = Identity::generate();
                (other.device(), other.curve25519())
            };
            let pin = |identity: &mut Identity| {
                identity.memory_mut().decide(|trust| trust.pin(device, curve25519, "somebody"));
            };
            vault.update(pin).unwrap();
            assert_hidden(folder.path(), &secrets);
        }
        drop(vault);
        assert_hidden(folder.path(), &secrets);
        let vault = Vault::open(&path, &unlock).unwrap();
        // The keys are the vault's and no others.
        let again = secrets_of_vault(&path, with());
        assert_eq!(again, secrets);
        assert_eq!(vault.identity().memory().trust().iter().count(), 20);
        assert_hidden(folder.path(), &secrets);
    }
}

/// Whom somebody knows is nobody else's business either.
#[test]
fn neither_names_nor_ids_are_in_a_vault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vault");
    let unlock = Unlock::key_file(folder.path().join("key"));
    let mut vault = Vault::load_or_create(&path, &unlock).unwrap();
    let device = vault.identity().device();
    let other = Identity::generate();
    let pin = |identity: &mut Identity| {
        identity.set_name("Ada Lovelace, countess");
        let (device, curve25519) = (other.device(), other.curve25519());
        let name = "Charles Babbage, engineer";
        identity.memory_mut().decide(|trust| trust.pin(device, curve25519, name));
    };
    vault.update(pin).unwrap();
    let known = vec![
        ("our name", b"Ada Lovelace, countess".to_vec()),
        ("a name", b"Charles Babbage, engineer".to_vec()),
        ("our id", device.as_bytes().to_vec()),
        ("an id", other.device().as_bytes().to_vec()),
    ];
    assert_hidden(folder.path(), &known);
}

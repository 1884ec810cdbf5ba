//! Opens vaults without olmcast, from what its documentation says of the format: to know the secrets
//! that are searched for, and to show that the format is the one that is documented.

use std::{fs, path::Path};

use aes_gcm::{
    Aes256Gcm,
    aead::{Aead, KeyInit, Payload},
};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::{Engine, engine::general_purpose::STANDARD};
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

/// How to open.
pub(crate) enum With<'a> {
    Passphrase(&'a str),
    KeyFile(&'a Path),
}

pub(crate) type Secrets = Vec<(&'static str, Vec<u8>)>;

/// All that a vault hides.
pub(crate) fn secrets_of_vault(path: &Path, with: With<'_>) -> Secrets {
    let file = fs::read(path).unwrap();
    let (whole, checksum) = file.split_at(file.len() - 32);
    assert_eq!(Sha256::digest(whole)[..], *checksum);
    assert_eq!(whole[..10], *b"olmcast\0\0\x01");
    let length = u64::from_be_bytes(whole[10..18].try_into().unwrap());
    let body = &whole[18..];
    assert_eq!(body.len() as u64, length);
    let number = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
    let salt = &body[1..17];

    let mut secrets = Secrets::new();
    let stretched = match with {
        With::Passphrase(passphrase) => {
            assert_eq!(body[0], 1);
            let params = Params::new(number(17), number(21), number(25), Some(32)).unwrap();
            let mut memory = vec![Block::default(); params.block_count()];
            let mut stretched = vec![0; 32];
            Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                .hash_password_into_with_memory(
                    passphrase.as_bytes(),
                    salt,
                    &mut stretched,
                    memory.as_mut_slice(),
                )
                .unwrap();
            secrets.push(("the passphrase", passphrase.as_bytes().to_vec()));
            secrets.push(("what argon2id made of it", stretched.clone()));
            stretched
        }
        With::KeyFile(path) => {
            assert_eq!(body[0], 2);
            let text = fs::read_to_string(path).unwrap();
            let key = STANDARD.decode(text.strip_suffix('\n').unwrap()).unwrap();
            assert_eq!(key.len(), 32);
            secrets.push(("the key file", key.clone()));
            key
        }
    };
    let expand = |info: &[u8]| {
        let mut key = vec![0; 32];
        Hkdf::<Sha256>::new(Some(salt), &stretched).expand(info, &mut key).unwrap();
        key
    };
    assert_eq!(body[29..61], expand(b"olmcast/1 vault check"), "the key check");
    let key = expand(b"olmcast/1 vault key");
    let payload = Payload { msg: &body[73..], aad: &whole[..18 + 73] };
    let nonce: [u8; 12] = body[61..73].try_into().unwrap();
    let cipher = Aes256Gcm::new_from_slice(&key).unwrap();
    let text = cipher.decrypt(&nonce.into(), payload).expect("the tag is right");
    secrets.push(("the vault's key", key));

    assert_eq!(text.len() % 4096, 0);
    let length = u32::from_be_bytes(text[..4].try_into().unwrap()) as usize;
    let (account, rest) = text[4..].split_at(length);
    let rest: serde_json::Value = serde_json::from_slice(rest).unwrap();
    assert!(rest["name"].is_string() && rest["memory"].is_object());
    let account: serde_json::Value = serde_json::from_slice(account).unwrap();
    let one_time_keys = &account["one_time_keys"];
    assert_eq!(one_time_keys["private_keys"], serde_json::json!({}), "there are none");
    assert_eq!(account["fallback_keys"]["fallback_key"], serde_json::Value::Null);
    let bytes = |value: &serde_json::Value| -> Vec<u8> {
        let bytes = value.as_array().unwrap().iter();
        bytes.map(|byte| byte.as_u64().unwrap().try_into().unwrap()).collect()
    };
    let ed25519 = bytes(&account["signing_key"]["Normal"]);
    let curve25519 = bytes(&account["diffie_hellman_key"]);
    assert_eq!((ed25519.len(), curve25519.len()), (32, 32));
    secrets.push(("the Ed25519 key", ed25519));
    secrets.push(("the Curve25519 key", curve25519));
    secrets
}

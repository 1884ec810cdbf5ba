//! Face 1: frames only, with a key of your own and no network.
//!
//! `cargo run --example frames_only`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::SystemTime;

use olmcast::{
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{Codec, Secret},
    sframe::{CipherSuite, DecryptError},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // 32 secret bytes that both sides have, from wherever you manage keys: one secret for each
    // sender and track, and a fresh one for each session.
    let secret = Secret::from_slice(&[7; 32]).ok_or("not 32 bytes")?;
    let suite = CipherSuite::default();
    let mut encryptor = FrameEncryptor::from_secret(Codec::Vp8, suite, &secret)?;
    let mut decryptor = FrameDecryptor::from_secret(Codec::Vp8, suite, &secret);

    let frame = [&[0x31, 2, 3][..], b"the rest of an encoded VP8 delta frame"].concat();
    let (mut wire, mut opened) = (Vec::new(), Vec::new());
    encryptor.encrypt_into(&frame, &mut wire)?; // before the packetizer
    println!("{} bytes became {}; an SFU sees {:?}", frame.len(), wire.len(), &wire[..3]);

    decryptor.decrypt_into(&wire, SystemTime::now().into(), &mut opened)?; // after the assembler
    assert_eq!(opened, frame);
    let again = decryptor.decrypt_into(&wire, SystemTime::now().into(), &mut opened);
    assert_eq!(again, Err(DecryptError::Replayed));
    println!("opened once, and a second time refused");
    Ok(())
}

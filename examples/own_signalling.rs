//! Face 2: your own signalling. Two endpoints, joined by nothing but a queue of bytes, as a chat
//! or an SFU's data channel would join them.
//!
//! `cargo run --example own_signalling`
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{collections::VecDeque, time::Duration};

use olmcast::{
    device::Identity,
    endpoint::{Endpoint, Event, Output, Publish, Recipient},
    primitives::{Codec, DeviceId, RoomId, RoomKeys, Timestamp},
};

/// Carries bytes: to one device, or to all others. It may lose some; the endpoints repeat them.
#[derive(Default)]
struct Channel(VecDeque<(Option<DeviceId>, DeviceId, Vec<u8>)>);

impl Channel {
    /// Carries out what an endpoint wants done, and returns what it tells.
    fn flush(&mut self, endpoint: &mut Endpoint) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(output) = endpoint.poll_output() {
            match output {
                Output::Send { to: Recipient::Device(to), bytes } => {
                    self.0.push_back((Some(to), endpoint.device(), bytes));
                }
                Output::Send { bytes, .. } => self.0.push_back((None, endpoint.device(), bytes)),
                Output::Event(event) => events.push(event),
                _ => {}
            }
        }
        events
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let room = RoomKeys::without_invite(RoomId::from_name("!room:chat.example"));
    let (mut alice, mut bob) =
        (Endpoint::new(Identity::generate())?, Endpoint::new(Identity::generate())?);
    alice.enter(room.clone());
    bob.enter(room.clone());

    // Alice publishes. Without an invite, she is asked about everybody who wants to watch.
    let mut now = Timestamp::from(std::time::SystemTime::now());
    let stream = alice.publish(room.room(), Publish::new("camera").track(Codec::Opus), now)?;
    let track = alice.tracks(stream)[0].id;
    let mut encryptor = alice.encryptor(stream, track).ok_or("no such track")?;

    // Bob has the offer from the room's own metadata, and shows a token as his claim.
    let offer = alice.offer(stream).ok_or("no such stream")?;
    let watched = bob.subscribe(&offer, "token of bob", now)?;
    let mut decryptor = bob.decryptor(watched, track).ok_or("no such track")?;

    // The loop of every application: bytes in, time in, outputs out.
    let mut channel = Channel::default();
    let mut reading = false;
    while !reading {
        for event in channel.flush(&mut alice) {
            if let Event::JoinRequest { device, request, claim, .. } = event {
                println!("{} shows «{claim}»: admitted", device.short());
                alice.admit(stream, device, request, now)?;
            }
        }
        for event in channel.flush(&mut bob) {
            reading |= matches!(event, Event::KeyReceived { .. });
        }
        while let Some((to, from, bytes)) = channel.0.pop_front() {
            for endpoint in [&mut alice, &mut bob] {
                let device = endpoint.device();
                if from != device && to.is_none_or(|to| to == device) {
                    // What it cannot use it says; nothing has changed then.
                    if let Err(error) = endpoint.handle_message(&bytes, now) {
                        println!("not taken: {error}");
                    }
                }
            }
        }
        // A real application sleeps until the earlier poll_timeout, or until bytes arrive.
        now = now + Duration::from_millis(10);
        alice.handle_timeout(now);
        bob.handle_timeout(now);
    }

    let (mut wire, mut frame) = (Vec::new(), Vec::new());
    // Should `handle_timeout` not have been called in time, somebody who left could still read.
    assert!(!encryptor.is_overdue(now));
    encryptor.encrypt_into(b"an opus packet", &mut wire)?;
    decryptor.decrypt_into(&wire, now, &mut frame)?;
    assert_eq!(frame, b"an opus packet");
    println!("bob opened a frame of {} bytes", frame.len());

    // Out he goes: what is encrypted from now on, he cannot read.
    alice.kick(stream, bob.device(), now)?;
    encryptor.encrypt_into(b"not for bob", &mut wire)?;
    assert!(decryptor.decrypt_into(&wire, now, &mut frame).is_err());
    println!("after the kick he opens nothing");
    Ok(())
}

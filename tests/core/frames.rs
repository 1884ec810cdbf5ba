//! Frames between two endpoints: what a relay, a replay and parallel layers can and cannot do.

use std::collections::BTreeMap;

use olmcast::{
    device::Identity,
    endpoint::Endpoint,
    media::{FrameEncryptor, clear_length},
    primitives::Codec,
    protocol::{Carrier, Envelope},
    sframe::{DecryptError, EncryptError, Header, MAX_FRAMES_PER_KEY},
};

use crate::network::{Fate, Room, VIDEO};

/// Key id and counter, as they stand on the wire.
fn nonce(wire: &[u8]) -> (u64, u64) {
    let clear = clear_length(Codec::Vp8, wire).unwrap();
    let header = Header::parse(&wire[clear..]).unwrap().0;
    (header.key_id.0, header.counter.0)
}

/// Encrypts on so many threads at once, until the encryptor refuses or so many frames are made.
fn encrypt(encryptors: Vec<FrameEncryptor>, frames: u64) -> Vec<(u64, u64)> {
    let layer = |mut encryptor: FrameEncryptor| {
        move || {
            let mut wire = Vec::new();
            let frame = |_| match encryptor.encrypt_into(&[1; 4], &mut wire) {
                Ok(()) => Some(nonce(&wire)),
                Err(error) => {
                    assert_eq!((error, wire.len()), (EncryptError::Limit, 0));
                    None
                }
            };
            (0..frames).map_while(frame).collect::<Vec<_>>()
        }
    };
    std::thread::scope(|scope| {
        let layers = encryptors.into_iter().map(|encryptor| scope.spawn(layer(encryptor)));
        let layers: Vec<_> = layers.collect();
        layers.into_iter().flat_map(|layer| layer.join().unwrap()).collect()
    })
}

#[test]
fn layers_share_one_counter_however_their_encryptors_were_got_and_the_key_ends_at_its_limit() {
    let mut room = Room::with(1);
    let [mut first, second] = [(); 2].map(|()| room.net.encryptor(room.stream));
    let key_id = nonce(&first.encrypt(&[1; 4]).unwrap()).0;
    let layers = vec![first.clone(), second.clone(), room.net.encryptor(room.stream)];
    let mut used = encrypt(layers, MAX_FRAMES_PER_KEY);
    used.sort_unstable();
    let all = (1..MAX_FRAMES_PER_KEY).map(|counter| (key_id, counter));
    assert!(used.into_iter().eq(all), "each counter of the key once, and no other");

    // Used up: for old handles, new ones and clones, and again whenever it is tried.
    let third = room.net.encryptor(room.stream);
    for mut encryptor in [first.clone(), second.clone(), third] {
        let mut frame = vec![1; 4];
        assert_eq!(encryptor.encrypt(&frame), Err(EncryptError::Limit));
        assert_eq!(encryptor.encrypt_in_place(&mut frame), Err(EncryptError::Limit));
        assert_eq!(frame, [1; 4]);
    }
    // The next step's key begins at nothing, under a KID of its own.
    room.net.run(60_000);
    let next = encrypt(vec![first, second], 1);
    let next_key_id = next[0].0;
    assert!(next_key_id > key_id);
    assert_eq!(BTreeMap::from_iter(next.iter().map(|(id, counter)| (counter, id))).len(), 2);
    assert!(next.iter().all(|(id, counter)| (*id, *counter < 2) == (next_key_id, true)));
    let wire = room.net.frame(room.stream);
    assert_eq!(room.net.opens(room.subscribers[0], room.stream, &wire), Ok(()));
}

#[test]
fn steps_and_generations_under_parallel_layers_repeat_no_nonce() {
    let mut room = Room::with(3);
    let mut used = Vec::new();
    let encryptor = room.net.encryptor(room.stream);
    for round in 0..12 {
        // A join steps, a kick and a leave begin a generation, a minute steps.
        match round % 4 {
            0 => drop(room.join()),
            1 => room.net.kick(room.stream, room.subscribers[round / 4]),
            2 => room.net.unsubscribe(*room.subscribers.last().unwrap(), room.stream),
            _ => room.net.run(58_000),
        }
        for _ in 0..6 {
            room.net.run(400);
            let layers = vec![encryptor.clone(), room.net.encryptor(room.stream)];
            used.extend(encrypt(layers, 50));
        }
    }
    used.sort_unstable();
    let keys: Vec<_> = used.chunk_by(|one, other| one.0 == other.0).collect();
    assert!(keys.len() > 5, "{} keys are no test", keys.len());
    for key in keys {
        let expected = (0..).map(|counter| (key[0].0, counter)).take(key.len());
        assert!(key.iter().copied().eq(expected), "KID {}", key[0].0);
    }
}

#[test]
fn a_replay_is_refused_by_any_handle_across_a_step_and_a_generation() {
    let mut room = Room::with(2);
    let (a, stream) = (room.subscribers[0], room.stream);
    let refused = |room: &mut Room, wire: &Vec<u8>, error| {
        let (now, opened) = (room.net.time(), room.net.endpoint(a).subscription(stream).unwrap());
        let mut decryptor = room.net.decryptor(a, stream);
        let (mut out, mut in_place) = (b"old content".to_vec(), wire.clone());
        assert_eq!(decryptor.decrypt_into(wire, now, &mut out), Err(error));
        assert_eq!(decryptor.decrypt_in_place(&mut in_place, now), Err(error));
        assert_eq!(room.net.decryptor(a, stream).decrypt(wire, now), Err(error));
        assert!(out.is_empty() && in_place == *wire);
        let after = room.net.endpoint(a).subscription(stream).unwrap();
        assert_eq!((after.opened, after.position), (opened.opened, opened.position));
    };
    let [old, late] = [(); 2].map(|()| room.net.frame(stream));
    assert_eq!(room.net.opens(a, stream, &old), Ok(()));
    refused(&mut room, &old, DecryptError::Replayed);

    room.join();
    room.net.run(400);
    let stepped = room.net.frame(stream);
    assert!(nonce(&stepped).0 > nonce(&old).0);
    assert_eq!(room.net.opens(a, stream, &stepped), Ok(()));
    refused(&mut room, &old, DecryptError::Replayed);
    assert_eq!(room.net.opens(a, stream, &late), Ok(()), "it is only late");
    refused(&mut room, &late, DecryptError::Replayed);

    room.net.kick(stream, room.subscribers[1]);
    room.net.run(1100);
    let rotated = room.net.frame(stream);
    assert!(nonce(&rotated).0 >> 12 > nonce(&stepped).0 >> 12);
    assert_eq!(room.net.opens(a, stream, &rotated), Ok(()));
    refused(&mut room, &stepped, DecryptError::Replayed);
    room.net.run(5000);
    refused(&mut room, &stepped, DecryptError::Expired);
    refused(&mut room, &rotated, DecryptError::Replayed);
}

#[test]
fn a_frame_from_before_does_not_open_again_after_a_new_subscription() {
    let mut room = Room::with(2);
    let (a, stream) = (room.subscribers[0], room.stream);
    let [seen, unseen] = [(); 2].map(|()| room.net.frame(stream));
    assert_eq!(room.net.opens(a, stream, &seen), Ok(()));
    room.net.unsubscribe(a, stream);
    // At once, so that the generation of before is still in use.
    room.net.subscribe(a, stream);
    for _ in 0..100 {
        room.net.run(200);
        assert!(room.net.opens(a, stream, &seen).is_err());
        assert!(room.net.opens(a, stream, &unseen).is_err());
        if room.reads(a) {
            return;
        }
    }
    panic!("it was never let in again");
}

#[test]
fn a_relay_that_flips_any_bit_gets_nothing_opened_and_no_key_asked_for() {
    let mut room = Room::with(1);
    room.join();
    room.net.run(500);
    let (a, stream) = (room.subscribers[0], room.stream);
    let wires = [40, 5].map(|length| {
        let mut frame = vec![1; length];
        frame[0] = if length == 40 { 0x10 } else { 0x11 };
        (room.net.encryptor(stream).encrypt(&frame).unwrap(), frame)
    });
    let headers = wires.each_ref().map(|(wire, _)| {
        let clear = clear_length(Codec::Vp8, wire).unwrap();
        clear..clear + Header::parse(&wire[clear..]).unwrap().1
    });
    let flip = |room: &mut Room, wire: &[u8], bit: usize| {
        let mut altered = wire.to_vec();
        altered[bit / 8] ^= 1 << (bit % 8);
        let now = room.net.time();
        room.net.decryptor(a, stream).decrypt(&altered, now).unwrap_err()
    };

    // Everywhere but in the header, and in the bit that tells where it begins.
    let messages = room.net.log.len();
    for ((wire, _), header) in wires.iter().zip(&headers) {
        for bit in (1..wire.len() * 8).filter(|bit| !header.contains(&(bit / 8))) {
            assert_eq!(flip(&mut room, wire, bit), DecryptError::Authentication, "bit {bit}");
        }
    }
    room.net.run(1000);
    let from_a = |(from, ..): &&(_, _, Vec<u8>)| *from == a;
    assert_eq!(room.net.log[messages..].iter().filter(from_a).count(), 0, "nothing was asked for");

    // There it may name any key, and one of a newer generation is asked for.
    for ((wire, _), header) in wires.iter().zip(&headers) {
        for bit in (header.start * 8..header.end * 8).chain([0]) {
            let error = flip(&mut room, wire, bit);
            assert_ne!(error, DecryptError::Replayed, "bit {bit}: none was opened");
        }
    }
    room.net.run(1000);
    for (wire, frame) in &wires {
        let now = room.net.time();
        assert_eq!(room.net.decryptor(a, stream).decrypt(wire, now).as_ref(), Ok(frame));
        assert_eq!(room.net.opens(a, stream, wire), Err(DecryptError::Replayed));
    }
    assert_eq!(room.net.endpoint(a).subscription(stream).unwrap().opened, 2);
}

#[test]
fn a_frame_of_another_track_or_stream_does_not_open() {
    let mut room = Room::with(1);
    let (a, publisher) = (room.subscribers[0], room.stream.publisher);
    let publish = olmcast::endpoint::Publish::new("screen").track(Codec::Vp8).with_invite();
    let keys = room.invite.room_keys();
    let other = room.net.publish(publisher, &keys, publish);
    room.net.subscribe(a, other);
    room.net.run(500);
    // Both are at the same position, and this one has two tracks.
    let second = olmcast::primitives::TrackId(1);
    let of_second = room.net.endpoint(publisher).encryptor(other.stream, second);
    let wires = [room.net.frame(room.stream), room.net.frame(other)];
    let of_second = of_second.unwrap().encrypt(&[1; 40]).unwrap();
    assert_eq!(nonce(&wires[0]), nonce(&wires[1]));
    let wrong = Err(DecryptError::Authentication);
    assert_eq!(room.net.opens(a, other, &wires[0]), wrong);
    assert_eq!(room.net.opens(a, room.stream, &wires[1]), wrong);
    assert_eq!(room.net.opens(a, other, &of_second), wrong);
    assert_eq!(room.net.opens(a, room.stream, &wires[0]), Ok(()));
    assert_eq!(room.net.opens(a, other, &wires[1]), Ok(()));
    let now = room.net.time();
    let mut decryptor = room.net.endpoint(a).decryptor(other, second).unwrap();
    assert_eq!(decryptor.decrypt(&of_second, now), Ok(vec![1; 40]));
    assert_ne!(second, VIDEO);
}

#[test]
fn an_ended_stream_sends_nothing_and_an_unsubscribed_one_opens_nothing() {
    let mut room = Room::with(2);
    let [a, b] = room.subscribers[..] else { panic!() };
    let (stream, wire) = (room.stream, room.net.frame(room.stream));
    let mut decryptor = room.net.decryptor(a, stream);
    room.net.unsubscribe(a, stream);
    let now = room.net.time();
    assert_eq!(decryptor.decrypt(&wire, now), Err(DecryptError::Expired));
    assert_eq!(room.net.opens(b, stream, &wire), Ok(()));
    let mut encryptor = room.net.encryptor(stream);
    encryptor.encrypt(&[1; 4]).unwrap();
    room.net.endpoint(stream.publisher).end(stream.stream, now).unwrap();
    assert_eq!(encryptor.encrypt(&[1; 4]), Err(EncryptError::Paused));
}

#[test]
fn whoever_drops_the_beacons_does_not_keep_old_steps_readable() {
    let mut room = Room::with(1);
    let (a, stream) = (room.subscribers[0], room.stream);
    room.net.rule = Box::new(|_, _, bytes| match Envelope::decode(bytes).unwrap().carrier {
        Carrier::Megolm { .. } => Fate::Lose,
        _ => Fate::Deliver,
    });
    let old = room.net.frame(stream);
    // A step a minute, a renewal every 20 s, and 2 s in which the step before may still be read.
    room.net.run(65_000 + 20_000 + 2_500);
    let publisher = room.net.endpoint(stream.publisher).position(stream.stream);
    assert_eq!(room.net.endpoint(a).subscription(stream).unwrap().position, publisher);
    assert_eq!(room.net.opens(a, stream, &old), Err(DecryptError::Expired));
    assert!(room.reads(a));
}

#[test]
fn handles_do_nothing_once_their_endpoint_is_gone() {
    let mut room = Room::with(1);
    let (a, stream) = (room.subscribers[0], room.stream);
    let mut encryptor = room.net.encryptor(stream);
    let mut decryptor = room.net.decryptor(a, stream);
    let wire = encryptor.encrypt(&[1; 40]).unwrap();
    let now = room.net.time();
    for device in [stream.publisher, a] {
        // Nobody is left to step, or to learn of a removal.
        drop(std::mem::replace(
            room.net.endpoint(device),
            Endpoint::new(Identity::generate()).unwrap(),
        ));
    }
    assert_eq!(encryptor.encrypt(&[1; 40]), Err(EncryptError::Paused));
    assert_eq!(decryptor.decrypt(&wire, now), Err(DecryptError::Expired));
}

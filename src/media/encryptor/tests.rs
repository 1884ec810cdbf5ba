use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::primitives::{Generation, Step};

fn at(generation: u32, step: u32) -> Position {
    Position { generation: Generation(generation), step: Step::new(step).unwrap() }
}

#[test]
fn a_position_is_installed_once_and_only_forwards() {
    let slot = EncryptorSlot::default();
    let base_key = || BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(1));
    assert_eq!(slot.install(at(0, 0), base_key()), Ok(()));
    assert_eq!(slot.install(at(0, 0), base_key()), Err(InstallRefused));
    assert_eq!(slot.install(at(0, 2), base_key()), Ok(()));
    assert_eq!(slot.install(at(0, 1), base_key()), Err(InstallRefused));
    assert_eq!(slot.install(at(1, 0), base_key()), Ok(()));
    assert_eq!(slot.install(at(0, 3), base_key()), Err(InstallRefused));
}

#[test]
fn nothing_leaves_before_a_key_while_paused_or_for_what_is_no_frame() {
    let slot = Arc::new(EncryptorSlot::default());
    let mut encryptor = FrameEncryptor::new(Codec::Vp8, Arc::clone(&slot));
    let mut out = b"old".to_vec();
    assert_eq!(encryptor.encrypt_into(&[1; 9], &mut out), Err(EncryptError::NotReady));
    let base_key = || BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(1));
    slot.install(at(0, 0), base_key()).unwrap();
    slot.pause(true);
    assert_eq!(encryptor.encrypt_into(&[1; 9], &mut out), Err(EncryptError::Paused));
    slot.pause(false);
    assert_eq!(encryptor.encrypt_into(&[], &mut out), Err(EncryptError::Empty));
    assert_eq!(encryptor.encrypt_into(&[1; 3], &mut out), Err(EncryptError::Syntax));
    assert_eq!(encryptor.encrypt_into(&[0; 10], &mut out), Err(EncryptError::Syntax));
    assert!(out.is_empty());
    encryptor.encrypt_into(&[1; 9], &mut out).unwrap();
    assert_eq!(out[..3], [1, 1, 1]);
}

#[test]
fn two_encryptors_of_one_secret_use_different_kids() {
    let secret = Secret::fill(|bytes| bytes.fill(5));
    let header = || {
        let mut encryptor =
            FrameEncryptor::from_secret(Codec::Opus, CipherSuite::default(), &secret).unwrap();
        let mut out = Vec::new();
        encryptor.encrypt_into(b"frame", &mut out).unwrap();
        crate::sframe::Header::parse(&out).unwrap().0
    };
    let (a, b) = (header(), header());
    assert_ne!(a.key_id, b.key_id);
    assert!(a.key_id.0 >= 1 << 56 && b.key_id.0 >= 1 << 56);
}

#[test]
fn a_key_that_was_replaced_is_gone_once_no_encryptor_uses_it() {
    let base_key = || BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(1));
    let slot = Arc::new(EncryptorSlot::default());
    slot.install(at(0, 0), base_key()).unwrap();
    let mut encryptors = [0, 1].map(|_| FrameEncryptor::new(Codec::Opus, Arc::clone(&slot)));
    let mut keys = encryptors.iter_mut().map(|encryptor| {
        encryptor.encrypt(b"frame").unwrap();
        Arc::downgrade(encryptor.seen.key.as_ref().unwrap())
    });
    let (key, _) = (keys.next().unwrap(), keys.next());
    slot.install(at(0, 1), base_key()).unwrap();
    encryptors[0].encrypt(b"frame").unwrap();
    assert!(key.upgrade().is_some(), "one encryptor has not looked since");
    encryptors[1].release();
    assert!(key.upgrade().is_none());
    encryptors[1].encrypt(b"frame").unwrap();
}

/// Key id and counter, as they stand on the wire.
fn nonce(wire: &[u8]) -> (u64, u64) {
    let header = crate::sframe::Header::parse(wire).unwrap().0;
    (header.key_id.0, header.counter.0)
}

fn toy_key(position: Position) -> BaseKey {
    BaseKey::fill(CipherSuite::default(), |bytes| {
        bytes[..8].copy_from_slice(&key_id(position).0.to_be_bytes());
    })
}

#[test]
fn a_position_that_comes_again_does_not_begin_to_count_again() {
    let slot = Arc::new(EncryptorSlot::default());
    let mut encryptors = [(); 3].map(|()| FrameEncryptor::new(Codec::Opus, Arc::clone(&slot)));
    let (a, b) = (at(3, 7), at(4, 0));
    let mut seen = Vec::new();
    for (position, installed) in
        [(a, Ok(())), (b, Ok(())), (a, Err(InstallRefused)), (b, Err(InstallRefused))]
    {
        assert_eq!(slot.install(position, toy_key(position)), installed);
        for encryptor in &mut encryptors {
            seen.push(nonce(&encryptor.encrypt(b"x").unwrap()));
        }
        encryptors[1] = encryptors[0].clone();
    }
    let of_a = (0..3).map(|counter| (key_id(a).0, counter));
    let of_b = (0..9).map(|counter| (key_id(b).0, counter));
    assert_eq!(seen, of_a.chain(of_b).collect::<Vec<_>>(), "the second A changed nothing");
}

#[test]
fn a_million_frames_over_random_installs_use_each_counter_of_each_key_once() {
    const CLONES: usize = 4;
    const FRAMES: usize = 250_000;
    let seed = getrandom::u64().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let slot = Arc::new(EncryptorSlot::default());
    slot.install(at(0, 0), toy_key(at(0, 0))).unwrap();
    let encryptor = FrameEncryptor::new(Codec::Opus, Arc::clone(&slot));
    let mut used: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let layer = |_| {
            let mut encryptor = encryptor.clone();
            scope.spawn(move || {
                let mut wire = Vec::new();
                let frames = (0..FRAMES).map(|frame| {
                    if frame % 999 == 0 {
                        encryptor = encryptor.clone();
                    }
                    encryptor.encrypt_into(b"x", &mut wire).unwrap();
                    nonce(&wire)
                });
                frames.collect::<Vec<_>>()
            })
        };
        let layers: Vec<_> = (0..CLONES).map(layer).collect();
        // Positions go up and down, and the same one comes again and again.
        let mut last = at(0, 0);
        while !layers.iter().all(|layer| layer.is_finished()) {
            let generation = last.generation.0 + rng.random_range(0..3);
            let position = match rng.random_range(0..4) {
                0 => last,
                1 => at(generation.saturating_sub(2), rng.random_range(0..4096)),
                _ => at(generation, rng.random_range(0..4096)),
            };
            let installed = slot.install(position, toy_key(position));
            assert_eq!(installed.is_ok(), position > last, "seed {seed}");
            last = last.max(position);
            std::thread::sleep(std::time::Duration::from_micros(rng.random_range(0..500)));
        }
        let used = layers.into_iter().map(|layer| layer.join().unwrap());
        let used: Vec<Vec<_>> = used.collect();
        for layer in &used {
            assert!(layer.is_sorted(), "a layer went back to an earlier key, seed {seed}");
        }
        used.concat()
    });
    used.sort_unstable();
    let mut keys = 0;
    for key in used.chunk_by(|one, other| one.0 == other.0) {
        keys += 1;
        let expected = (0..).map(|counter| (key[0].0, counter));
        assert!(key.iter().copied().eq(expected.take(key.len())), "seed {seed}, KID {}", key[0].0);
    }
    assert_eq!(used.len(), CLONES * FRAMES);
    assert!(keys > 20, "{keys} keys are no test, seed {seed}");
}

#[test]
fn a_closed_slot_lets_go_of_its_key_and_never_encrypts_again() {
    let base_key = || BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(1));
    let slot = Arc::new(EncryptorSlot::default());
    slot.install(at(0, 0), base_key()).unwrap();
    let mut encryptor = FrameEncryptor::new(Codec::Opus, Arc::clone(&slot));
    encryptor.encrypt(b"frame").unwrap();
    let key = Arc::downgrade(encryptor.seen.key.as_ref().unwrap());
    slot.close();
    encryptor.release();
    assert!(key.upgrade().is_none());
    slot.pause(false);
    slot.install(at(1, 0), base_key()).unwrap_err();
    assert!(encryptor.encrypt(b"frame").is_err());
}

proptest! {
    /// Each (time, what): another key, a pause, a resumption, or a deadline so long from then.
    #[test]
    fn an_encryptor_is_overdue_after_its_deadline_whatever_else_happens_to_its_slot(
        events in prop::collection::vec((0_u64..2000, 0_u8..8, 0_u64..3000), 1..60),
    ) {
        let slot = Arc::new(EncryptorSlot::default());
        let encryptor = FrameEncryptor::new(Codec::Opus, Arc::clone(&slot));
        let (mut now, mut deadline, mut step) = (1_000_000, None, 0);
        for (wait, what, until) in events {
            now += wait;
            match what {
                0 => {
                    step += 1;
                    let base_key = BaseKey::fill(CipherSuite::default(), |bytes| bytes.fill(1));
                    slot.install(at(0, step), base_key).unwrap();
                }
                1 => slot.pause(true),
                2 => slot.pause(false),
                3 => deadline = None,
                4 => deadline = Some(now + until),
                _ => {}
            }
            slot.set_deadline(deadline.map(Timestamp::from_unix_millis));
            let times = [now, now + until];
            for time in times.into_iter().chain(deadline).chain(deadline.map(|at| at + 1)) {
                let is_overdue = deadline.is_some_and(|deadline| time > deadline);
                let at = Timestamp::from_unix_millis(time);
                prop_assert_eq!(encryptor.is_overdue(at), is_overdue);
                prop_assert_eq!(encryptor.clone().is_overdue(at), is_overdue);
            }
        }
    }
}

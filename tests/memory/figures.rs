//! Bytes per handle, and of ten thousand.
//!
//! What a C library allocates no counter of ours can see, so it is measured as memory of a whole
//! process, which has nothing else to do: this binary again, with one test that is ignored
//! otherwise.

use std::{env, fs, hint::black_box, process::Command};

use allocation_counter::measure;
use olmcast::{
    media::{FrameDecryptor, FrameEncryptor},
    primitives::{Codec, Secret, Timestamp},
    sframe::{Backend, CipherSuite},
};

use super::{SUITES, decryptor, encryptor, room::Room};

/// What a decryptor with one live key may take, in bytes.
const DECRYPTOR: usize = 4096;
/// What ten thousand encryptors and as many decryptors may take.
const PAIRS: usize = 100_000_000;
const MANY: usize = 10_000;
/// As many tracks as fit an offer.
const TRACKS: usize = 900;

const FRAME: [u8; 100] = [1; 100];
const HANDLE: usize = size_of::<FrameDecryptor>();

/// What this thread has more on the heap afterwards, in bytes.
pub(crate) fn kept<T>(make: impl FnOnce() -> T) -> (T, usize) {
    let mut made = None;
    let info = measure(|| made = Some(make()));
    (made.unwrap(), usize::try_from(info.bytes_current).unwrap())
}

/// Opens one frame into a buffer that has grown.
fn open(decryptor: &mut FrameDecryptor, wire: &[u8], frame: &mut Vec<u8>) {
    decryptor.decrypt_into(wire, Timestamp::default(), frame).unwrap();
    assert_eq!(frame[..], FRAME);
}

#[test]
fn a_decryptor_of_your_own_key_takes_at_most_4_kib() {
    let mut frame = FRAME.to_vec();
    for suite in SUITES {
        let backend = Backend::AesGcm;
        let wire = encryptor(Codec::Vp8, suite, backend, 5).encrypt(&FRAME).unwrap();
        let (_decryptor, heap) = kept(|| {
            let mut decryptor = decryptor(Codec::Vp8, suite, backend, 5);
            open(&mut decryptor, &wire, &mut frame);
            decryptor
        });
        eprintln!("own key, {suite:?}, {backend:?}: {heap} bytes of heap, {HANDLE} of handle");
        assert!(heap + HANDLE <= DECRYPTOR);
    }
}

#[test]
fn a_decryptor_of_a_secret_takes_at_most_4_kib_with_one_key() {
    let (secret, suite) = (Secret::fill(|bytes| bytes.fill(3)), CipherSuite::default());
    let mut frame = FRAME.to_vec();
    let wire =
        FrameEncryptor::from_secret(Codec::Vp8, suite, &secret).unwrap().encrypt(&FRAME).unwrap();
    let (_decryptor, heap) = kept(|| {
        let mut decryptor = FrameDecryptor::from_secret(Codec::Vp8, suite, &secret);
        open(&mut decryptor, &wire, &mut frame);
        decryptor
    });
    let backend = Backend::default();
    eprintln!("secret, {suite:?}, {backend:?}: {heap} bytes of Rust's heap, {HANDLE} of handle");
    assert!(heap + HANDLE <= DECRYPTOR);
}

#[test]
fn the_decryptor_of_another_track_of_a_stream_takes_at_most_4_kib() {
    let mut room = Room::new(&[Codec::Vp8; 3]);
    let (subscriber, subscription) = kept(|| room.join());
    let mut frame = FRAME.to_vec();
    let heaps = [0, 1, 2].map(|track| {
        let wire = room.encryptor(track).encrypt(&FRAME).unwrap();
        let (_decryptor, heap) = kept(|| {
            let mut decryptor = room.decryptor(subscriber, track);
            open(&mut decryptor, &wire, &mut frame);
            decryptor
        });
        heap
    });
    let backend = Backend::default();
    eprintln!("an endpoint with a subscription: {subscription} bytes of heap");
    eprintln!("stream, {backend:?}, tracks 1 to 3: {heaps:?} of Rust's heap, {HANDLE} of handle");
    assert!(heaps.into_iter().all(|heap| heap + HANDLE <= DECRYPTOR));
}

/// Set for the process that measures itself.
const QUIET: &str = "OLMCAST_TEST_MEASURES";

/// What is resident of this process, in bytes.
#[cfg(target_os = "linux")]
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: usize = line.trim().strip_suffix("kB").unwrap().trim().parse().unwrap();
    kib * 1024
}

/// What a process of its own grows by.
#[cfg(target_os = "linux")]
fn grown(what: &str) -> usize {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "figures::the_quiet_process", "--ignored", "--nocapture"])
        .env(QUIET, what)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let grown = text.lines().find_map(|line| line.strip_prefix("grown by "));
    grown.unwrap_or_else(|| panic!("{text}")).parse().unwrap()
}

/// Makes many of something, and prints what that took.
#[test]
#[ignore = "the other tests run it, in a process of its own"]
#[cfg(target_os = "linux")]
fn the_quiet_process() {
    let what = env::var(QUIET).expect("run by another test");
    let suite = CipherSuite::default();
    let secret = Secret::fill(|bytes| bytes.fill(3));
    let (mut wire, mut frame) = (Vec::with_capacity(200), Vec::with_capacity(200));
    let pair = || {
        (
            FrameEncryptor::from_secret(Codec::Vp8, suite, &secret).unwrap(),
            FrameDecryptor::from_secret(Codec::Vp8, suite, &secret),
        )
    };
    // What is made once, by the first frame, is not counted.
    let (mut first, mut last) = pair();
    first.encrypt_into(&FRAME, &mut wire).unwrap();
    open(&mut last, &wire, &mut frame);

    let before;
    match what.as_str() {
        "pairs" => {
            let mut pairs = Vec::with_capacity(MANY);
            before = resident();
            for _ in 0..MANY {
                let (mut encryptor, mut decryptor) = pair();
                encryptor.encrypt_into(&FRAME, &mut wire).unwrap();
                open(&mut decryptor, &wire, &mut frame);
                pairs.push((encryptor, decryptor));
            }
            black_box(&pairs);
            println!("\ngrown by {}", resident() - before);
        }
        "decryptors" => {
            let mut decryptors = Vec::with_capacity(MANY);
            before = resident();
            for _ in 0..MANY {
                let mut decryptor = FrameDecryptor::from_secret(Codec::Vp8, suite, &secret);
                open(&mut decryptor, &wire, &mut frame);
                decryptors.push(decryptor);
            }
            black_box(&decryptors);
            println!("\ngrown by {}", resident() - before);
        }
        "tracks" => {
            let mut room = Room::new(&[Codec::Vp8; TRACKS]);
            let subscriber = room.join();
            let wires = (0..TRACKS).map(|track| room.encryptor(track).encrypt(&FRAME).unwrap());
            let wires: Vec<_> = wires.collect();
            let mut decryptors = Vec::with_capacity(TRACKS);
            before = resident();
            for (track, wire) in wires.iter().enumerate() {
                let mut decryptor = room.decryptor(subscriber, track);
                open(&mut decryptor, wire, &mut frame);
                decryptors.push(decryptor);
            }
            black_box(&decryptors);
            println!("\ngrown by {}", resident() - before);
        }
        _ => panic!("{what}"),
    }
}

#[test]
#[cfg(target_os = "linux")]
fn ten_thousand_encryptors_and_decryptors_take_less_than_100_mb() {
    let grown = grown("pairs");
    let (backend, each) = (Backend::default(), grown / MANY);
    eprintln!("{MANY} pairs, {backend:?}: {grown} bytes of memory, {each} for each");
    assert!(grown < PAIRS);
    assert!(each > 2 * HANDLE, "nothing was measured");
}

#[test]
#[cfg(target_os = "linux")]
fn a_decryptor_takes_at_most_4_kib_with_what_the_library_allocates() {
    let (own, track) = (grown("decryptors") / MANY, grown("tracks") / TRACKS);
    let backend = Backend::default();
    eprintln!("secret, {backend:?}: {own} bytes of memory for a decryptor");
    eprintln!("stream, {backend:?}: {track} bytes of memory for a track's decryptor");
    assert!((HANDLE..=DECRYPTOR).contains(&own));
    assert!((HANDLE..=DECRYPTOR).contains(&track));
}

//! RFC 9605's own vectors, and the `sframe` crate as a second implementation.
//!
//! The vectors of suites 4 and 5 stand here, the header's 289 in `vectors/header.txt`. Those of the
//! other suites are for cut tags, which are not offered.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use sframe::{
    CipherSuite as TheirSuite,
    frame::{EncryptedFrameView, MediaFrameView, MonotonicCounter, SingleUseCounter},
    key::{DecryptionKey, EncryptionKey},
};

use super::{
    BaseKey, CipherSuite, Ciphertext, Counter, Header, KeyId, MAX_FRAMES_PER_KEY, OpenKey, SealKey,
    seal_key::seal_with_counter,
};

/// RFC 9605 Appendix C.3, suites 4 and 5: base key, KID, CTR, metadata and plaintext are common.
const METADATA: &str = "4945544620534672616d65205747";
const PLAINTEXT: &str = "64726166742d696574662d736672616d652d656e63";
const SUITES: [[&str; 4]; 2] = [
    [
        "4",
        "75234edefe07819026751816",
        "75234edefe07819026755d71",
        "9901234567b7412c2513a1b66dbb48841bbaf17f598751176ad847681a69c6d0b091c07018ce4adb34eb",
    ],
    [
        "5",
        "84991c167b8cd23c93708ec7",
        "84991c167b8cd23c9370cba0",
        "990123456794f509d36e9beacb0e261d99c7d1e972f1fed787d4049f17ca21353c1cc24d56ceabced279",
    ],
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn check_suite(
    suite: u16,
    base_key: &[u8],
    header: Header,
    [metadata, plain, salt, nonce, ct]: [&[u8]; 5],
) {
    let suite = CipherSuite::from_id(suite).unwrap();
    let base_key = || BaseKey::of_any_length(suite, base_key);
    let made = seal_with_counter(base_key(), header, metadata, plain);
    assert_eq!(made, (salt.to_vec(), nonce.try_into().unwrap(), ct.to_vec()));
    let mut opened = Vec::new();
    let ciphertext = Ciphertext::parse(ct).unwrap();
    OpenKey::new(base_key(), header.key_id)
        .open_into(metadata, &ciphertext, &mut opened, 0)
        .unwrap();
    assert_eq!(opened, plain);
}

#[test]
fn rfc9605_suites_4_and_5() {
    let base_key = hex("000102030405060708090a0b0c0d0e0f");
    let header = Header { key_id: KeyId(0x123), counter: Counter(0x4567) };
    for [suite, salt, nonce, ct] in SUITES {
        let parts = [METADATA, PLAINTEXT, salt, nonce, ct].map(hex);
        let parts = [0, 1, 2, 3, 4].map(|i| parts[i].as_slice());
        check_suite(suite.parse().unwrap(), &base_key, header, parts);
    }
}

#[test]
fn rfc9605_headers() {
    let vectors = include_str!("vectors/header.txt").lines().filter(|line| !line.starts_with('#'));
    let mut checked = 0;
    for vector in vectors {
        let [key_id, counter, encoded] = vector.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        check_header(number(key_id), number(counter), encoded);
        checked += 1;
    }
    assert_eq!(checked, 289);
}

fn check_header(key_id: u64, counter: u64, encoded: &str) {
    let header = Header { key_id: KeyId(key_id), counter: Counter(counter) };
    let bytes = hex(encoded);
    assert_eq!(header.encode().as_slice(), bytes);
    assert_eq!(Header::parse(&bytes), Ok((header, bytes.len())));
}

#[test]
fn the_sframe_crate_opens_what_we_seal_and_we_open_what_it_seals() {
    for (ours, theirs) in [
        (CipherSuite::AesGcm128Sha256, TheirSuite::AesGcm128Sha256),
        (CipherSuite::AesGcm256Sha512, TheirSuite::AesGcm256Sha512),
    ] {
        for key_id in [0, 7, 8, 4095, 4096, u64::MAX] {
            let material = vec![0x5A; ours.hash_length()];
            let base_key = || BaseKey::of_any_length(ours, &material);
            let (seal, open) =
                (SealKey::new(base_key(), KeyId(key_id)), OpenKey::new(base_key(), KeyId(key_id)));
            let their_seal = EncryptionKey::derive_from(theirs, key_id, &material).unwrap();
            let their_open = DecryptionKey::derive_from(theirs, key_id, &material).unwrap();
            let mut counter = MonotonicCounter::default();
            for (metadata, plain) in [(&b""[..], &b"opus"[..]), (b"\x10\x02\x00", &[7; 1200])] {
                let mut sealed = Vec::new();
                seal.seal_into(metadata, plain, &mut sealed, 0).unwrap();
                let frame = EncryptedFrameView::try_with_meta_data(&sealed, metadata).unwrap();
                let opened = frame.decrypt(&their_open).unwrap();
                assert_eq!(opened.payload(), plain);

                let frame =
                    MediaFrameView::try_with_meta_data(&mut counter, plain, metadata).unwrap();
                let sealed = frame.encrypt(&their_seal).unwrap();
                let mut opened = Vec::new();
                let ciphertext = Ciphertext::parse(sealed.sframe_cipher_text()).unwrap();
                open.open_into(metadata, &ciphertext, &mut opened, 0).unwrap();
                assert_eq!(opened, plain);
            }
        }
    }
}

/// Random frames, both ways; `base_key`, KID, counter, metadata and text are all drawn.
#[test]
fn ten_thousand_random_frames_are_the_same_bytes_in_both_implementations() {
    let seed = getrandom::u64().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut frames = 0;
    while frames < 10_000 {
        let (ours, theirs) = match rng.random() {
            false => (CipherSuite::AesGcm128Sha256, TheirSuite::AesGcm128Sha256),
            true => (CipherSuite::AesGcm256Sha512, TheirSuite::AesGcm256Sha512),
        };
        let mut material = vec![0; ours.hash_length()];
        rng.fill(&mut material[..]);
        let key_id: u64 = any_length(&mut rng);
        let at = format!("seed {seed}, frame {frames}, {ours:?}, KID {key_id}");
        let base_key = || BaseKey::of_any_length(ours, &material);
        let seal = SealKey::new(base_key(), KeyId(key_id));
        let open = OpenKey::new(base_key(), KeyId(key_id));
        let their_seal = EncryptionKey::derive_from(theirs, key_id, &material).expect(&at);
        let their_open = DecryptionKey::derive_from(theirs, key_id, &material).expect(&at);
        for own_counter in 0..rng.random_range(1..8) {
            frames += 1;
            let (metadata, plain) = (text(&mut rng, 0..81), text(&mut rng, 1..2001));

            // From us to them: the key's own counter, or one that it reaches later.
            let mut sealed = Vec::new();
            seal.seal_into(&metadata, &plain, &mut sealed, 0).expect(&at);
            let counter = any_length(&mut rng) % MAX_FRAMES_PER_KEY;
            let header = Header { key_id: KeyId(key_id), counter: Counter(counter) };
            let (_, _, later) = seal_with_counter(base_key(), header, &metadata, &plain);
            for (sealed, counter) in [(&sealed, own_counter), (&later, counter)] {
                let frame = EncryptedFrameView::try_with_meta_data(sealed, &metadata).expect(&at);
                assert_eq!(frame.header().key_id(), key_id, "{at}");
                assert_eq!(frame.header().counter(), counter, "{at}");
                let opened = frame.decrypt(&their_open).expect(&at);
                assert_eq!(opened.payload(), plain, "{at}");
                let same = their_frame(&their_seal, counter, &metadata, &plain);
                assert_eq!(&same, sealed, "{at}, counter {counter}");
            }

            // From them to us: any counter that there is.
            let counter = any_length(&mut rng);
            let sealed = their_frame(&their_seal, counter, &metadata, &plain);
            let ciphertext = Ciphertext::parse(&sealed).expect(&at);
            assert_eq!(ciphertext.header().counter, Counter(counter), "{at}");
            let mut opened = Vec::new();
            open.open_into(&metadata, &ciphertext, &mut opened, 0).expect(&at);
            assert_eq!(opened, plain, "{at}, counter {counter}");
        }
    }
}

fn their_frame(key: &EncryptionKey, counter: u64, metadata: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut counter = SingleUseCounter::new(counter);
    let frame = MediaFrameView::try_with_meta_data(&mut counter, plain, metadata).unwrap();
    frame.encrypt(key).unwrap().sframe_cipher_text().to_vec()
}

/// A number of 0 to 64 bits, each length as likely as any other.
fn any_length(rng: &mut StdRng) -> u64 {
    let bits = rng.random_range(0..65);
    rng.random::<u64>().checked_shr(64 - bits).unwrap_or(0)
}

/// Bytes of a length in this range: one text in eight of any, the others short.
fn text(rng: &mut StdRng, lengths: std::ops::Range<usize>) -> Vec<u8> {
    let end = if rng.random_ratio(1, 8) { lengths.end } else { lengths.end.min(100) };
    let mut text = vec![0; rng.random_range(lengths.start..end)];
    rng.fill(&mut text[..]);
    text
}

use bytes::BytesMut;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    media::{EncryptorSlot, FrameEncryptor, GenerationKeys, clear_length, hazmat},
    primitives::{Generation, Position, Step},
    sframe::{BaseKey, Counter, MAX_FRAMES_PER_KEY},
};

const TRACK: TrackId = TrackId(1);
/// Where the streams of these tests are: no step before it can be read.
const PLACE: Position = Position { generation: Generation(1), step: Step::FIRST };

/// Where a decryptor's keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OwnSecret,
    /// A base key and a KID of the application's choice.
    Fixed(u64),
    /// A publication, at this step beyond the one that was announced.
    Stream(u32),
}

const KINDS: [Kind; 6] = [
    Kind::OwnSecret,
    Kind::Fixed(5),
    Kind::Fixed(0x123),
    Kind::Stream(0),
    Kind::Stream(3),
    Kind::Stream(4000),
];

/// Keys made of nothing but their place.
struct Toy;

fn toy_key(step: Step) -> BaseKey {
    BaseKey::fill(CipherSuite::default(), |bytes| {
        bytes[..2].copy_from_slice(&step.get().to_be_bytes());
    })
}

impl GenerationKeys for Toy {
    fn base_key(&mut self, step: Step, _: TrackId) -> Option<BaseKey> {
        Some(toy_key(step))
    }
    fn advance_to(&mut self, _: Step) {}
}

/// Both ends, and the ring if there is one. Time passes by a second with every attempt, so that
/// derivations far ahead always have budget.
struct Ends {
    kind: Kind,
    codec: Codec,
    encryptor: FrameEncryptor,
    decryptor: FrameDecryptor,
    ring: SharedKeyRing,
    now: Timestamp,
}

impl Ends {
    fn new(kind: Kind, codec: Codec) -> Self {
        let (suite, secret) = (CipherSuite::default(), Secret::fill(|bytes| bytes.fill(5)));
        let ring = SharedKeyRing::default();
        let (encryptor, decryptor) = match kind {
            Kind::OwnSecret => (
                FrameEncryptor::from_secret(codec, suite, &secret).unwrap(),
                FrameDecryptor::from_secret(codec, suite, &secret),
            ),
            Kind::Fixed(key_id) => (
                hazmat::with_kid(codec, toy_key(Step::FIRST), KeyId(key_id)),
                hazmat::decryptor(codec, toy_key(Step::FIRST), KeyId(key_id)),
            ),
            Kind::Stream(step) => {
                ring.lock().install(PLACE, Box::new(Toy), Timestamp::default());
                let step = Step::new(step).unwrap();
                let slot = Arc::new(EncryptorSlot::default());
                slot.install(Position { step, ..PLACE }, toy_key(step)).unwrap();
                (FrameEncryptor::new(codec, slot), FrameDecryptor::new(codec, ring.clone(), TRACK))
            }
        };
        Self { kind, codec, encryptor, decryptor, ring, now: Timestamp::default() }
    }

    /// A frame after so many others.
    fn frame(&mut self, length: usize, first: u8, others: u64) -> (Vec<u8>, Vec<u8>) {
        let mut frame: Vec<u8> = (0..length).map(|i| i as u8).collect();
        frame[0] = first;
        for _ in 0..others {
            self.encryptor.encrypt(&frame).unwrap();
        }
        let wire = self.encryptor.encrypt(&frame).unwrap();
        (frame, wire)
    }

    /// Decrypts in one of the four ways; checks that a failure gives nothing out and leaves a
    /// frame that was not tried as it was.
    fn decrypt(&mut self, way: usize, wire: &[u8]) -> Result<Vec<u8>, DecryptError> {
        self.now = self.now + std::time::Duration::from_secs(1);
        let (now, decryptor) = (self.now, &mut self.decryptor);
        match way % 4 {
            0 => decryptor.decrypt(wire, now),
            1 => {
                let mut out = b"OLD CONTENT ".repeat(40);
                let opened = decryptor.decrypt_into(wire, now, &mut out);
                assert!(opened.is_ok() || out.is_empty(), "something was given out");
                opened.map(|()| out)
            }
            2 => {
                let mut frame = BytesMut::from(wire);
                let opened = decryptor.decrypt_bytes(&mut frame, now);
                match opened {
                    Ok(()) => {}
                    Err(DecryptError::Authentication) => assert!(frame.is_empty()),
                    Err(_) => assert_eq!(frame, wire, "it was not tried"),
                }
                opened.map(|()| frame.to_vec())
            }
            _ => {
                let mut frame = wire.to_vec();
                let opened = decryptor.decrypt_in_place(&mut frame, now);
                match opened {
                    Ok(()) => {}
                    Err(DecryptError::Authentication) => assert!(frame.is_empty()),
                    Err(_) => assert_eq!(frame, wire, "it was not tried"),
                }
                opened.map(|()| frame)
            }
        }
    }

    /// What a frame that nobody made must meet, by the design's rules and its header alone.
    fn refusal(&self, wire: &[u8]) -> DecryptError {
        let sframe = clear_length(self.codec, wire).map(|clear| &wire[clear..]);
        let parsed = sframe.ok_or(DecryptError::Syntax).and_then(Ciphertext::parse);
        let header = match parsed {
            Ok(ciphertext) => ciphertext.header(),
            Err(error) => return error,
        };
        let refused_key = match self.kind {
            Kind::OwnSecret if header.key_id.0 < 1 << 56 => Some(DecryptError::Syntax),
            Kind::OwnSecret => None,
            Kind::Fixed(key_id) if header.key_id == KeyId(key_id) => None,
            Kind::Fixed(_) => Some(DecryptError::UnknownKey(header.key_id)),
            Kind::Stream(_) => match header.key_id.0 >> 12 {
                generation if generation > u64::from(u32::MAX) => Some(DecryptError::Limit),
                0 => Some(DecryptError::Expired),
                1 => None,
                _ => Some(DecryptError::UnknownKey(header.key_id)),
            },
        };
        match refused_key {
            Some(error) => error,
            None if header.counter.0 >= MAX_FRAMES_PER_KEY => DecryptError::Limit,
            None => DecryptError::Authentication,
        }
    }

    /// Nothing has changed but, after a newer generation's frame, the note that it is missing.
    fn check_unchanged(&mut self, error: DecryptError) {
        let mut ring = self.ring.lock();
        let noted = ring.missing(self.now).map(|(key_id, _)| key_id);
        let missing = match (self.kind, error) {
            (Kind::Stream(_), DecryptError::UnknownKey(key_id)) => Some(key_id),
            _ => None,
        };
        assert_eq!(noted, missing);
        ring.forget_missing();
        assert_eq!(ring.opened(), 0);
        let head = matches!(self.kind, Kind::Stream(_)).then_some(PLACE);
        assert_eq!(ring.head(), head);
    }
}

/// Codec, length and first byte of frames of every plan.
const FRAMES: [(Codec, usize, u8); 9] = [
    (Codec::Opus, 1, 0),
    (Codec::Opus, 2, 0xFC),
    (Codec::Opus, 60, 0x78),
    (Codec::Opus, 300, 0x78),
    (Codec::Vp8, 4, 0x31),
    (Codec::Vp8, 11, 0x10),
    (Codec::Vp8, 60, 0x31),
    (Codec::Vp8, 60, 0x10),
    (Codec::Vp8, 300, 0x10),
];

#[test]
fn every_flipped_bit_is_refused_for_its_reason_and_changes_nothing() {
    for (kind, (codec, length, first)) in
        KINDS.into_iter().flat_map(|kind| FRAMES.map(|frame| (kind, frame)))
    {
        for (way, others) in [0, 7, 8, 300].into_iter().enumerate() {
            let mut ends = Ends::new(kind, codec);
            let (frame, wire) = ends.frame(length, first, others);
            let clear = clear_length(codec, &wire).unwrap();
            let (header, header_length) = Header::parse(&wire[clear..]).unwrap();
            assert_eq!(header.counter.0, others);
            for bit in 0..wire.len() * 8 {
                let mut altered = wire.clone();
                altered[bit / 8] ^= 1 << (bit % 8);
                let in_header = (clear..clear + header_length).contains(&(bit / 8));
                // This bit tells key frames, and with that where the header begins.
                let moves_header = codec == Codec::Vp8 && bit == 0;
                let expected = ends.refusal(&altered);
                if !in_header && !moves_header {
                    assert_eq!(expected, DecryptError::Authentication);
                }
                let at = format!("{kind:?} {codec:?} {length}, frame {others}, bit {bit}");
                for way in 0..4 {
                    assert_eq!(ends.decrypt(way, &altered), Err(expected), "{at}");
                    ends.check_unchanged(expected);
                }
            }
            assert_eq!(ends.decrypt(way, &wire), Ok(frame));
            for way in 0..4 {
                assert_eq!(ends.decrypt(way, &wire), Err(DecryptError::Replayed));
            }
        }
    }
}

#[test]
fn a_replay_is_refused_in_every_way_at_once_and_after_a_thousand_more() {
    for kind in KINDS {
        let mut ends = Ends::new(kind, Codec::Vp8);
        let wires: Vec<_> = (0..1200).map(|_| ends.frame(60, 1, 0)).collect();
        for (i, (frame, wire)) in wires.iter().enumerate() {
            assert_eq!(ends.decrypt(i, wire).as_ref(), Ok(frame));
            assert_eq!(ends.decrypt(i / 3, wire), Err(DecryptError::Replayed), "{kind:?}");
        }
        for (i, (_, wire)) in wires.iter().enumerate() {
            assert_eq!(ends.decrypt(i, wire), Err(DecryptError::Replayed), "{kind:?}");
        }
    }
}

#[test]
fn frames_in_any_order_within_the_window_open_once_and_one_beyond_it_does_not() {
    let seed = getrandom::u64().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    for kind in KINDS {
        let mut ends = Ends::new(kind, Codec::Opus);
        let mut wires: Vec<_> = (0..1000).map(|_| ends.frame(20, 1, 0)).collect();
        for i in 0..wires.len() {
            let other = rng.random_range(i..wires.len());
            wires.swap(i, other);
        }
        for (i, (frame, wire)) in wires.iter().enumerate() {
            assert_eq!(ends.decrypt(i, wire).as_ref(), Ok(frame), "{kind:?}, seed {seed}");
        }
        for (i, (_, wire)) in wires.iter().enumerate() {
            assert_eq!(ends.decrypt(i, wire), Err(DecryptError::Replayed), "seed {seed}");
        }

        let mut ends = Ends::new(kind, Codec::Opus);
        let wires: Vec<_> = (0..1030).map(|_| ends.frame(20, 1, 0)).collect();
        let (frame, wire) = &wires[1029];
        assert_eq!(ends.decrypt(0, wire).as_ref(), Ok(frame));
        for (way, (_, wire)) in wires[..6].iter().enumerate() {
            assert_eq!(ends.decrypt(way, wire), Err(DecryptError::Replayed), "behind the window");
        }
        assert_eq!(ends.decrypt(0, &wires[6].1).as_ref(), Ok(&wires[6].0));
    }
}

#[test]
fn plain_stripped_cut_and_empty_frames_are_never_media() {
    let seed = getrandom::u64().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    for (kind, (codec, length, first)) in
        KINDS.into_iter().flat_map(|kind| FRAMES.map(|frame| (kind, frame)))
    {
        let mut ends = Ends::new(kind, codec);
        let (frame, wire) = ends.frame(length, first, 9);
        let clear = clear_length(codec, &wire).unwrap();
        let (_, header_length) = Header::parse(&wire[clear..]).unwrap();
        let body = clear + header_length;
        let mut bad: Vec<Vec<u8>> = (0..wire.len()).map(|length| wire[..length].into()).collect();
        bad.extend((1..=body).map(|length| wire[length..].to_vec()));
        bad.push(frame.clone());
        bad.push([&wire[..clear], &wire[body..]].concat()); // without its header
        bad.push([&wire[..body], &wire[wire.len() - 16..]].concat()); // header and tag alone
        bad.push([&wire[..], &[0]].concat());
        bad.push([&wire[..], &wire].concat());
        // What a publisher without encryption would send, of the same codec.
        for _ in 0..200 {
            let mut plain = vec![0; rng.random_range(1..400)];
            rng.fill(&mut plain[..]);
            plain[0] = first;
            bad.push(plain);
        }
        for bad in &bad {
            for way in 0..4 {
                let refused = ends.decrypt(way, bad);
                assert!(refused.is_err(), "{kind:?} {codec:?} {length}, seed {seed}: {bad:02x?}");
                ends.check_unchanged(refused.unwrap_err());
            }
        }
        assert_eq!(ends.decrypt(2, &wire), Ok(frame));
    }
}

#[test]
fn any_bytes_and_any_damage_give_a_typed_error() {
    let seed = getrandom::u64().unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut ends: Vec<_> = KINDS
        .into_iter()
        .flat_map(|kind| [Codec::Vp8, Codec::Opus].map(|codec| Ends::new(kind, codec)))
        .collect();
    for round in 0..20_000 {
        let at = format!("seed {seed}, input {round}");
        let some = rng.random_range(0..ends.len());
        let ends = &mut ends[some];
        let input = if round % 2 == 0 {
            let mut input = vec![0; rng.random_range(0..3001)];
            rng.fill(&mut input[..]);
            // Half of them with a short header, which most likely names a key that is there.
            if !input.is_empty() && rng.random() {
                input[0] &= 0x11;
            }
            input
        } else {
            let length = rng.random_range(11..300);
            let (first, others) = (rng.random(), rng.random_range(0..3));
            let (_, wire) = ends.frame(length, first, others);
            let damaged = damage(&mut rng, wire.clone());
            if damaged == wire {
                continue;
            }
            damaged
        };
        if let Ok((header, length)) = Header::parse(&input) {
            assert_eq!(header.encode().as_slice(), &input[..length], "{at}: one encoding only");
            // Always media if there is a text, however a key may be missing.
            assert_eq!(Ciphertext::parse(&input).is_ok(), input.len() > length + 16, "{at}");
        } else {
            assert_eq!(Ciphertext::parse(&input).err(), Some(DecryptError::Syntax), "{at}");
        }
        for codec in [Codec::Vp8, Codec::Opus] {
            assert!(clear_length(codec, &input).is_none_or(|clear| clear < input.len()), "{at}");
        }
        let expected = ends.refusal(&input);
        assert_eq!(ends.decrypt(rng.random_range(0..4), &input), Err(expected), "{at}");
        ends.check_unchanged(expected);
    }
}

/// Cuts, flips, overwrites, inserts or doubles.
fn damage(rng: &mut StdRng, mut wire: Vec<u8>) -> Vec<u8> {
    for _ in 0..rng.random_range(1..4) {
        let at = rng.random_range(0..wire.len().max(1));
        let end = rng.random_range(at..wire.len() + 1);
        match rng.random_range(0..6) {
            0 => wire.truncate(at),
            1 => drop(wire.drain(at..end)),
            2 if at < wire.len() => wire[at] ^= 1 << rng.random_range(0..8),
            3 => rng.fill(&mut wire[at..end]),
            4 => wire.insert(at, rng.random()),
            _ => wire.extend_from_within(at..end),
        }
    }
    wire
}

#[test]
fn a_track_of_another_number_and_another_secret_open_nothing() {
    let ring = SharedKeyRing::default();
    ring.lock().install(PLACE, Box::new(TracksApart), Timestamp::default());
    let slot = Arc::new(EncryptorSlot::default());
    slot.install(PLACE, track_key(TRACK)).unwrap();
    let wire = FrameEncryptor::new(Codec::Opus, slot).encrypt(b"frame").unwrap();
    let mut decryptors = [TrackId(0), TrackId(2), TRACK]
        .map(|track| FrameDecryptor::new(Codec::Opus, ring.clone(), track));
    let mut opened = decryptors.iter_mut().map(|to| to.decrypt(&wire, Timestamp::default()));
    assert_eq!(opened.next(), Some(Err(DecryptError::Authentication)));
    assert_eq!(opened.next(), Some(Err(DecryptError::Authentication)));
    assert_eq!(opened.next(), Some(Ok(b"frame".to_vec())));

    let mut ends = Ends::new(Kind::OwnSecret, Codec::Opus);
    let (_, wire) = ends.frame(40, 1, 0);
    let other = Secret::fill(|bytes| bytes.fill(6));
    let mut other = FrameDecryptor::from_secret(Codec::Opus, CipherSuite::default(), &other);
    let now = Timestamp::default();
    assert_eq!(other.decrypt(&wire, now), Err(DecryptError::Authentication));
}

struct TracksApart;

fn track_key(track: TrackId) -> BaseKey {
    BaseKey::fill(CipherSuite::default(), |bytes| bytes[0] = track.0 as u8)
}

impl GenerationKeys for TracksApart {
    fn base_key(&mut self, _: Step, track: TrackId) -> Option<BaseKey> {
        Some(track_key(track))
    }
    fn advance_to(&mut self, _: Step) {}
}

#[test]
fn forged_kids_do_not_use_up_the_encryptors_that_a_secret_may_have() {
    let mut ends = Ends::new(Kind::OwnSecret, Codec::Opus);
    let (suite, secret) = (CipherSuite::default(), Secret::fill(|bytes| bytes.fill(5)));
    let (first_frame, first) = ends.frame(40, 1, 0);
    for forged in 0..2000_u64 {
        let header = Header { key_id: KeyId((1 << 56) + forged), counter: Counter(0) };
        let wire = [header.encode().as_slice(), &[0; 30]].concat();
        let refused = ends.decrypt(forged as usize, &wire);
        assert_eq!(refused, Err(DecryptError::Authentication));
    }
    let wires: Vec<_> = (0..1024)
        .map(|_| {
            let mut encryptor = FrameEncryptor::from_secret(Codec::Opus, suite, &secret).unwrap();
            [(); 2].map(|()| encryptor.encrypt(b"frame").unwrap())
        })
        .collect();
    for [wire, _] in &wires[..1023] {
        assert_eq!(ends.decrypt(1, wire), Ok(b"frame".to_vec()));
    }
    assert_eq!(ends.decrypt(0, &first), Ok(first_frame));
    // There are 1,024 now. One more is not followed, and costs none of the others anything.
    for way in 0..4 {
        assert_eq!(ends.decrypt(way, &wires[1023][0]), Err(DecryptError::Limit));
    }
    for [seen, fresh] in &wires[..1023] {
        assert_eq!(ends.decrypt(2, seen), Err(DecryptError::Replayed));
        assert_eq!(ends.decrypt(2, fresh), Ok(b"frame".to_vec()));
    }
}

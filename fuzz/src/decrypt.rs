//! Frames through encryptors and decryptors, against a model that knows every frame that was
//! sent and so says of everything that arrives what must become of it.
//!
//! An input is `configuration ‖ key ID ‖ length of the script ‖ script ‖ frame`. The frame arrives
//! as it is, and is encrypted; the script alters, reorders and repeats what was encrypted.

use hkdf::Hkdf;
use olmcast::{
    media::{self, FrameDecryptor, FrameEncryptor, hazmat},
    primitives::{Codec, Secret, Timestamp},
    sframe::{
        Backend, BaseKey, CipherSuite, Counter, DecryptError, EncryptError, Header, KeyId,
        MAX_FRAMES_PER_KEY,
    },
};
use sha2::{Digest, Sha256};

use super::{header, script::Script};

/// Below this no encryptor that is made from a secret draws its KID.
const FIRST_OWN_KEY_ID: u64 = 1 << 56;
const KEY_IDS: [u64; 6] = [0x123, 0, 7, 8, 0x1234_5678, u64::MAX];
const OWN_KEY_IDS: [u64; 4] =
    [FIRST_OWN_KEY_ID, FIRST_OWN_KEY_ID | 7, 0xA5A5_A5A5_A5A5_A5A5, u64::MAX];
const BACKENDS: [Backend; 2] = [
    Backend::AesGcm,
    #[cfg(feature = "aws-lc")]
    Backend::AwsLc,
    #[cfg(not(feature = "aws-lc"))]
    Backend::AesGcm,
];
/// A script's frames that arrive, at most: an input should cost no more than a fraction of a
/// millisecond.
const MAX_ARRIVALS: usize = 6;

/// A key frame and a delta frame, for VP8.
const FIXED: [&[u8]; 2] =
    [b"\x10\x02\x00\x9d\x01\x2a\x80\x02\xe0\x01 a key frame", b"\x11\x02\x00 a delta frame"];

pub fn run(data: &[u8]) {
    let mut input = Script(data);
    let (configuration, key_id, length) = (input.next(), input.next(), input.next() & 63);
    let (script, frame) = input.0.split_at(input.0.len().min(usize::from(length)));
    // Bound to the input: what another input's encryptor made is a forgery here.
    let keys = Keys::new(configuration, key_id, Sha256::digest(data).into());
    let mut session = Session::new(keys, configuration, frame);
    session.arrives(frame);
    session.play(Script(script));
    for index in 0..session.sent.len() {
        session.arrives(&session.sent[index].wire.clone());
    }
}

/// What the two sides share.
struct Keys {
    codec: Codec,
    suite: CipherSuite,
    /// Whether the decryptors follow all KIDs of a secret, or one.
    is_own_secret: bool,
    key_id: KeyId,
    other_key_id: KeyId,
    secret: [u8; 32],
}

impl Keys {
    fn new(configuration: u8, choice: u8, secret: [u8; 32]) -> Self {
        let is_own_secret = configuration & 4 != 0;
        let key_ids = if is_own_secret { &OWN_KEY_IDS[..] } else { &KEY_IDS[..] };
        let key_id = |choice: u8| KeyId(key_ids[usize::from(choice) % key_ids.len()]);
        Self {
            codec: if configuration & 1 == 0 { Codec::Vp8 } else { Codec::Opus },
            suite: [CipherSuite::AesGcm128Sha256, CipherSuite::AesGcm256Sha512]
                [usize::from(configuration >> 1 & 1)],
            is_own_secret,
            key_id: key_id(choice),
            other_key_id: key_id(choice % 16 + 1),
            secret,
        }
    }

    fn encryptor(&self, key_id: KeyId, backend: Backend) -> FrameEncryptor {
        hazmat::with_kid(self.codec, self.base_key(key_id).with_backend(backend), key_id)
    }

    fn decryptor(&self, backend: Backend) -> FrameDecryptor {
        if self.is_own_secret {
            return FrameDecryptor::from_secret(self.codec, self.suite, &self.own_secret());
        }
        let base_key = self.base_key(self.key_id).with_backend(backend);
        hazmat::decryptor(self.codec, base_key, self.key_id)
    }

    fn own_secret(&self) -> Secret<32> {
        Secret::fill(|bytes| *bytes = self.secret)
    }

    /// For a secret of one's own, as `from_secret` derives it, so that the KID, which it draws at
    /// random, can be the same in each run.
    fn base_key(&self, key_id: KeyId) -> BaseKey {
        BaseKey::fill(self.suite, |bytes| {
            if self.is_own_secret {
                let info = [&self.suite.id().to_be_bytes()[..], &key_id.0.to_be_bytes()].concat();
                let prk = Hkdf::<Sha256>::new(Some(b"olmcast/1 own secret"), &self.secret);
                prk.expand(&info, bytes).unwrap();
            } else {
                for part in bytes.chunks_mut(32) {
                    part.copy_from_slice(&self.secret);
                }
            }
        })
    }

    /// The clear bytes of RFC 6386's key and delta frames; Opus has none.
    fn clear_length(&self, frame: &[u8]) -> usize {
        match (self.codec, frame.first()) {
            (Codec::Vp8, Some(first)) if first & 1 == 0 => 10,
            (Codec::Vp8, _) => 3,
            _ => 0,
        }
    }
}

/// The three forms of each call.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Into,
    InPlace,
    Allocating,
}

impl Form {
    fn next(self) -> Self {
        match self {
            Self::Into => Self::InPlace,
            Self::InPlace => Self::Allocating,
            Self::Allocating => Self::Into,
        }
    }

    fn encrypt(self, by: &mut FrameEncryptor, frame: &[u8]) -> Result<Vec<u8>, EncryptError> {
        let mut buffer = self.buffer(frame);
        let encrypted = match self {
            Self::Into => by.encrypt_into(frame, &mut buffer),
            Self::InPlace => by.encrypt_in_place(&mut buffer),
            Self::Allocating => by.encrypt(frame).map(|made| buffer = made),
        };
        if encrypted.is_err() {
            let left = if self == Self::InPlace { frame } else { &[] };
            assert_eq!(buffer, left, "{self:?} {encrypted:?} left something else");
        }
        encrypted.map(|()| buffer)
    }

    fn decrypt(self, by: &mut FrameDecryptor, wire: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let mut buffer = self.buffer(wire);
        let now = Timestamp::default();
        let decrypted = match self {
            Self::Into => by.decrypt_into(wire, now, &mut buffer),
            Self::InPlace => by.decrypt_in_place(&mut buffer, now),
            Self::Allocating => by.decrypt(wire, now).map(|made| buffer = made),
        };
        if let Err(error) = decrypted {
            let was_tried = error == DecryptError::Authentication;
            let left = if self == Self::InPlace && !was_tried { wire } else { &[] };
            assert_eq!(buffer, left, "{self:?} {error:?} left something else");
        }
        decrypted.map(|()| buffer)
    }

    /// One that was used before, the frame itself, or none.
    fn buffer(self, frame: &[u8]) -> Vec<u8> {
        match self {
            Self::Into => vec![0xEE; 50],
            Self::InPlace => frame.to_vec(),
            Self::Allocating => Vec::new(),
        }
    }
}

struct Sent {
    plain: Vec<u8>,
    wire: Vec<u8>,
}

/// Two decryptors that get the same frames in different forms, and what they must make of them.
struct Session {
    keys: Keys,
    decryptors: [(FrameDecryptor, Form); 2],
    sent: Vec<Sent>,
    opened: Vec<Header>,
}

impl Session {
    fn new(keys: Keys, configuration: u8, frame: &[u8]) -> Self {
        let backends = if configuration & 8 == 0 { BACKENDS } else { [BACKENDS[1], BACKENDS[0]] };
        let form = if configuration & 16 == 0 { Form::Into } else { Form::Allocating };
        let mut session = Self {
            decryptors: [
                (keys.decryptor(backends[0]), form),
                (keys.decryptor(backends[1]), Form::InPlace),
            ],
            sent: Vec::new(),
            opened: Vec::new(),
            keys,
        };
        session.send(backends, frame);
        if configuration & 32 != 0 {
            session.send_as_another(frame);
        }
        session
    }

    /// Encrypts with two encryptors that are alike but for the backend, in two forms each time.
    fn send(&mut self, backends: [Backend; 2], frame: &[u8]) {
        let key_id = self.keys.key_id;
        let mut encryptors = backends.map(|backend| self.keys.encryptor(key_id, backend));
        let frames = [
            (frame, Form::Into, Form::InPlace),
            (frame, Form::InPlace, Form::Allocating),
            (FIXED[0], Form::Allocating, Form::Into),
            (FIXED[1], Form::InPlace, Form::Into),
        ];
        let mut counter = 0;
        for (plain, first, second) in frames {
            let made = first.encrypt(&mut encryptors[0], plain);
            assert_eq!(second.encrypt(&mut encryptors[1], plain), made);
            let clear = self.keys.clear_length(plain);
            match made {
                Err(error) => {
                    let empty = plain.is_empty();
                    let due = if empty { EncryptError::Empty } else { EncryptError::Syntax };
                    assert!(plain.len() <= clear && error == due, "{error}");
                }
                Ok(wire) => {
                    let header = Header { key_id, counter: Counter(counter) };
                    assert_eq!(&wire[..clear], &plain[..clear]);
                    assert_eq!(self.header(&wire), Some(header));
                    let added = header.encode().as_slice().len() + CipherSuite::TAG_LENGTH;
                    assert_eq!(wire.len(), plain.len() + added);
                    self.sent.push(Sent { plain: plain.to_vec(), wire });
                    counter += 1;
                }
            }
        }
    }

    /// Of a second encryptor, and where the secret allows it of one with a random KID. Who
    /// follows one KID must refuse them.
    fn send_as_another(&mut self, frame: &[u8]) {
        let mut others = vec![self.keys.encryptor(self.keys.other_key_id, Backend::default())];
        if self.keys.is_own_secret {
            let Keys { codec, suite, .. } = self.keys;
            let random = FrameEncryptor::from_secret(codec, suite, &self.keys.own_secret());
            others.push(random.unwrap());
        }
        for mut other in others {
            let plain = if other.encrypt(frame).is_ok() { frame } else { FIXED[0] };
            let wire = other.encrypt(plain).unwrap();
            self.sent.push(Sent { plain: plain.to_vec(), wire });
        }
    }

    /// It gives what the model says; and nothing more when it comes once more in other forms.
    fn arrives(&mut self, wire: &[u8]) {
        for form in [|form| form, Form::next] {
            let due = self.due(wire);
            for (decryptor, first) in &mut self.decryptors {
                let made = form(*first).decrypt(decryptor, wire);
                assert_eq!(made, due, "{:?} of {wire:02x?}", form(*first));
            }
            if due.is_ok() {
                self.opened.extend(self.header(wire));
            }
        }
    }

    /// What must become of these bytes if they arrive now.
    fn due(&self, wire: &[u8]) -> Result<Vec<u8>, DecryptError> {
        let header = self.header(wire).ok_or(DecryptError::Syntax)?;
        let Header { key_id, counter } = header;
        if self.keys.is_own_secret && key_id.0 < FIRST_OWN_KEY_ID {
            return Err(DecryptError::Syntax);
        }
        if !self.keys.is_own_secret && key_id != self.keys.key_id {
            return Err(DecryptError::UnknownKey(key_id));
        }
        if counter.0 >= MAX_FRAMES_PER_KEY {
            return Err(DecryptError::Limit);
        }
        // All that was sent fits into one window.
        if self.opened.contains(&header) {
            return Err(DecryptError::Replayed);
        }
        let sent = self.sent.iter().find(|sent| sent.wire == wire);
        sent.map(|sent| sent.plain.clone()).ok_or(DecryptError::Authentication)
    }

    /// The header of a frame that has all its parts.
    fn header(&self, wire: &[u8]) -> Option<Header> {
        let clear = self.keys.clear_length(wire);
        let length = media::clear_length(self.keys.codec, wire);
        assert_eq!(length, (wire.len() > clear).then_some(clear));
        let (header, length) = header::read(wire.get(clear..)?)?;
        (wire.len() > clear + length + CipherSuite::TAG_LENGTH).then_some(header)
    }

    fn play(&mut self, mut script: Script<'_>) {
        let mut wire = self.sent[0].wire.clone();
        let mut arrivals = 0;
        while !script.0.is_empty() && arrivals < MAX_ARRIVALS {
            match script.next() % 10 {
                0 => wire.clone_from(&self.pick(&mut script).wire),
                1 => {
                    let (at, change) = (script.place(&wire), script.next());
                    if let Some(byte) = wire.get_mut(at) {
                        *byte ^= change;
                    }
                }
                2 => wire.truncate(script.place(&wire)),
                3 => {
                    let (one, other) = (script.place(&wire), script.place(&wire));
                    wire.drain(one.min(other)..one.max(other));
                }
                4 => {
                    let (at, byte, count) = (script.place(&wire), script.next(), script.next());
                    wire.splice(at..at, [byte].repeat(usize::from(count % 32)));
                }
                5 => {
                    let other = &self.pick(&mut script).wire;
                    let from = script.place(other);
                    wire.truncate(script.place(&wire));
                    wire.extend_from_slice(&other[from..]);
                }
                6 => self.number_anew(&mut wire, &mut script),
                7 => {
                    let at = script.place(&wire);
                    let end = &mut wire[at..];
                    end.rotate_left(usize::from(script.next()) % end.len().max(1));
                }
                8 => self.write_longer(&mut wire),
                _ => {
                    self.arrives(&wire);
                    arrivals += 1;
                }
            }
        }
        self.arrives(&wire);
    }

    fn pick(&self, script: &mut Script<'_>) -> &Sent {
        &self.sent[usize::from(script.next()) % self.sent.len()]
    }

    /// Another counter or KID, in a header that is well made.
    fn number_anew(&self, wire: &mut Vec<u8>, script: &mut Script<'_>) {
        let clear = self.keys.clear_length(wire);
        let (key_id, counter) = (script.next(), script.next());
        let Some((header, length)) = wire.get(clear..).and_then(header::read) else { return };
        let key_id = match key_id {
            0..128 => header.key_id,
            128..192 => self.keys.key_id,
            192.. => self.keys.other_key_id,
        };
        let counter = Counter(match counter {
            0..128 => u64::from(counter),
            128..160 => MAX_FRAMES_PER_KEY - 1,
            160..192 => MAX_FRAMES_PER_KEY,
            192.. => u64::MAX >> (counter % 64),
        });
        let header = Header { key_id, counter }.encode();
        wire.splice(clear..clear + length, header.as_slice().iter().copied());
    }

    /// The same counter in a header that is longer than it need be.
    fn write_longer(&self, wire: &mut Vec<u8>) {
        let clear = self.keys.clear_length(wire);
        let Some((_, length)) = wire.get(clear..).and_then(header::read) else { return };
        let counter = wire[clear] & 15;
        match counter {
            0..8 => {
                wire[clear] |= 8;
                wire[clear] &= 0xF8;
                wire.insert(clear + length, counter);
            }
            8..15 => {
                wire[clear] += 1;
                wire.insert(clear + length - usize::from(counter - 7), 0);
            }
            15.. => {}
        }
    }
}

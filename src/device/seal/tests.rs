use std::collections::BTreeSet;

use vodozemac::Curve25519PublicKey;
use zeroize::ZeroizeOnDrop;

use super::*;
use crate::{
    device::Identity,
    primitives::{DeviceId, RoomId, Secret},
    protocol::PublicKey,
};

const CHEAP: Cost = Cost { memory: 8, passes: 1, lanes: 1 };
/// Where the parts of a body are in a file.
const KIND: usize = frame::HEAD;
const COST: usize = KIND + 1 + SALT;
const CHECK: usize = COST + 12;
const TEXT: usize = frame::HEAD + HEAD;

fn passphrase(passphrase: &str) -> SealingKey {
    SealingKey::passphrase_at(passphrase, CHEAP).unwrap()
}

fn device(byte: u8) -> DeviceId {
    DeviceId::from_bytes([byte; 32])
}

fn identity(key: &SealingKey) -> Identity {
    let mut identity = Identity::generate().with_name("Ada");
    let curve25519 = PublicKey(Curve25519PublicKey::from_bytes([9; 32]));
    identity.memory_mut().decide(|trust| trust.verify(device(1), curve25519, "Bob"));
    identity.memory_mut().admitted(RoomId::from_bytes([3; 32]), device(4), curve25519, "Eve");
    identity.memory_mut().kick(RoomId::from_bytes([3; 32]), device(2));
    identity.seal_with(key).unwrap();
    identity
}

fn error(sealed: &[u8], key: &SealingKey) -> SealError {
    Identity::open(sealed, key).unwrap_err()
}

/// Makes a changed file look whole, as somebody would who knows the format.
fn mend(sealed: &mut [u8]) {
    let at = sealed.len() - 32;
    let length = (at - frame::HEAD) as u64;
    sealed[frame::HEAD - 8..frame::HEAD].copy_from_slice(&length.to_be_bytes());
    let checksum = <sha2::Sha256 as sha2::Digest>::digest(&sealed[..at]);
    sealed[at..].copy_from_slice(&checksum);
}

#[test]
fn a_device_is_the_same_after_it_was_sealed_and_opened() {
    for key in [passphrase("open sesame"), SealingKey::generate().unwrap()] {
        let identity = identity(&key);
        let opened = Identity::open(&identity.sealed().unwrap(), &key).unwrap();
        assert_eq!(opened.device(), identity.device());
        assert_eq!(opened.curve25519(), identity.curve25519());
        assert_eq!(opened.name(), "Ada");
        let show = |identity: &Identity| serde_json::to_string(identity.memory()).unwrap();
        assert_eq!(show(&opened), show(&identity));
        // It signs with the same key, and needs no other passphrase to be sealed again.
        let form = crate::primitives::SigningForm {
            kind: "test",
            room: None,
            recipient: None,
            payload: b"payload",
        };
        assert_eq!(opened.signer().sign(form), identity.signer().sign(form));
        assert!(Identity::open(&opened.sealed().unwrap(), &key).is_ok());
    }
}

#[test]
fn a_device_without_a_key_to_it_is_not_sealed() {
    assert_eq!(Identity::generate().sealed(), Err(SealError::NoKey));
    assert_eq!(SealingKey::passphrase("").unwrap_err(), SealError::EmptyPassphrase);
}

#[test]
fn any_damaged_byte_is_damage() {
    let key = passphrase("open sesame");
    let sealed = identity(&key).sealed().unwrap();
    for at in 0..sealed.len() {
        for change in [1, 0x80, 0xff] {
            let mut damaged = sealed.clone();
            damaged[at] ^= change;
            assert_eq!(error(&damaged, &key), SealError::Damaged, "byte {at}");
        }
    }
    for appended in [&[0][..], &sealed] {
        assert_eq!(error(&[&sealed, appended].concat(), &key), SealError::Damaged);
    }
    assert_eq!(error(b"{\"something\": \"else\"}", &key), SealError::Damaged);
}

#[test]
fn any_missing_end_is_a_cut() {
    let key = passphrase("open sesame");
    let sealed = identity(&key).sealed().unwrap();
    for length in 0..sealed.len() {
        assert_eq!(error(&sealed[..length], &key), SealError::CutShort, "{length} bytes");
    }
}

#[test]
fn another_version_is_named_only_if_the_file_is_whole() {
    let key = passphrase("open sesame");
    let sealed = identity(&key).sealed().unwrap();
    for version in [0, 2, 255, 65_535_u16] {
        let mut later = sealed.clone();
        later[8..10].copy_from_slice(&version.to_be_bytes());
        assert_eq!(error(&later, &key), SealError::Damaged);
        mend(&mut later);
        assert_eq!(error(&later, &key), SealError::Version(version));
        assert_eq!(error(&later[..later.len() - 1], &key), SealError::CutShort);
    }
    // Whatever its body is.
    let mut short = [&sealed[..frame::HEAD], &[0; 32]].concat();
    mend(&mut short);
    assert_eq!(error(&short, &key), SealError::Tampered);
    short[9] = 2;
    mend(&mut short);
    assert_eq!(error(&short, &key), SealError::Version(2));
}

#[test]
fn a_wrong_passphrase_a_wrong_key_and_the_wrong_kind_of_key_are_told_apart() {
    let (words, random) = (passphrase("open sesame"), SealingKey::generate().unwrap());
    let by_words = identity(&words).sealed().unwrap();
    let by_random = identity(&random).sealed().unwrap();
    assert_eq!(error(&by_words, &passphrase("open sesam")), SealError::WrongPassphrase);
    assert_eq!(error(&by_random, &SealingKey::generate().unwrap()), SealError::WrongKey);
    assert_eq!(error(&by_words, &random), SealError::NeedsPassphrase);
    assert_eq!(error(&by_random, &words), SealError::NeedsKey);
    // The cost is the file's.
    let dearer = Cost { memory: 16, ..CHEAP };
    let same = SealingKey::passphrase_at("open sesame", dearer).unwrap();
    assert!(Identity::open(&by_words, &same).is_ok());
}

#[test]
fn no_byte_can_be_changed_on_purpose() {
    let words = passphrase("open sesame");
    let sealed = identity(&words).sealed().unwrap();
    for at in frame::HEAD..sealed.len() - 32 {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        mend(&mut changed);
        let error = error(&changed, &words);
        match at {
            // Another salt, cost or check is another passphrase's; an impossible cost is refused.
            _ if (KIND..COST).contains(&at) && at > KIND => {
                assert_eq!(error, SealError::WrongPassphrase);
            }
            KIND => assert_eq!(error, SealError::Tampered),
            _ if (COST..CHECK).contains(&at) => {
                assert!(matches!(error, SealError::WrongPassphrase | SealError::Cost), "{at}");
            }
            _ if (CHECK..CHECK + 32).contains(&at) => {
                assert_eq!(error, SealError::WrongPassphrase);
            }
            _ => assert_eq!(error, SealError::Tampered, "byte {at}"),
        }
    }
    // Nor cut so that it looks whole.
    for length in (frame::HEAD..sealed.len() - 1).step_by(97) {
        let mut cut = [&sealed[..length], &[0; 32]].concat();
        mend(&mut cut);
        let error = error(&cut, &words);
        assert_eq!(error, SealError::Tampered, "{length} bytes");
    }
}

#[test]
fn a_forged_cost_takes_neither_memory_nor_time() {
    let words = passphrase("open sesame");
    let sealed = identity(&words).sealed().unwrap();
    let most = u32::MAX;
    let started = std::time::Instant::now();
    for cost in
        [[most, 1, 1], [(1 << 20) + 1, 1, 1], [8, 17, 1], [8, most, 1], [most, 1, most], [8, 1, 0]]
    {
        let mut forged = sealed.clone();
        let bytes = cost.map(u32::to_be_bytes).concat();
        forged[COST..CHECK].copy_from_slice(&bytes);
        mend(&mut forged);
        assert_eq!(error(&forged, &words), SealError::Cost, "{cost:?}");
    }
    assert!(started.elapsed().as_millis() < 500);
}

#[test]
fn each_seal_has_its_own_nonce_and_all_sizes_are_multiples() {
    let key = SealingKey::generate().unwrap();
    let mut identity = identity(&key);
    let nonce = |sealed: &[u8]| sealed[TEXT - NONCE..TEXT].to_vec();
    let seals: Vec<_> = (0..100).map(|_| identity.sealed().unwrap()).collect();
    assert_eq!(seals.iter().map(|sealed| nonce(sealed)).collect::<BTreeSet<_>>().len(), 100);
    let size = seals[0].len();
    assert_eq!((size - TEXT - TAG - 32) % PADDING, 0);
    let curve25519 = identity.curve25519();
    for byte in 10..14 {
        identity.memory_mut().decide(|trust| trust.pin(device(byte), curve25519, "somebody"));
    }
    assert_eq!(identity.sealed().unwrap().len(), size, "four devices more are not seen");
    for byte in 20..120 {
        identity.memory_mut().decide(|trust| trust.pin(device(byte), curve25519, "somebody"));
    }
    let sealed = identity.sealed().unwrap();
    assert_eq!((sealed.len() - size) % PADDING, 0);
    let opened = Identity::open(&sealed, &key).unwrap();
    assert_eq!(opened.memory().trust().iter().count(), 107);
}

#[test]
fn what_is_sealed_is_the_account_as_it_was_made_without_any_one_time_key() {
    let key = SealingKey::generate().unwrap();
    let identity = identity(&key);
    let account = |sealed: &[u8]| Seal::open(sealed, &key).unwrap().1.account.to_vec();
    let fresh = account(&identity.sealed().unwrap());
    for _ in 0..50 {
        identity.one_time_key().unwrap();
    }
    let later = identity.sealed().unwrap();
    assert_eq!(account(&later), fresh);
    let opened = Identity::open(&later, &key).unwrap();
    assert_eq!(opened.copy_of_account().stored_one_time_key_count(), 0);
    assert_eq!(account(&opened.sealed().unwrap()), fresh, "and the next time as well");
    assert!(identity.copy_of_account().stored_one_time_key_count() == 50, "there were some");
}

/// The format, pinned: this was written by the first version and is to be readable for ever.
#[test]
fn what_the_first_version_sealed_opens() {
    let sealed = include_bytes!("v1.sealed");
    let identity = Identity::open(sealed, &passphrase("open sesame")).unwrap();
    assert_eq!(identity.name(), "Ada");
    assert_eq!(identity.memory().trust().iter().count(), 3);
    assert_eq!(identity.memory().doors().closed().count(), 1);
    assert_eq!(identity.device().to_string(), include_str!("v1.device").trim());
}

#[test]
#[ignore = "makes the file that the test above reads"]
fn make_the_first_version() {
    let identity = identity(&passphrase("open sesame"));
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/device/seal");
    std::fs::write(folder.join("v1.sealed"), identity.sealed().unwrap()).unwrap();
    std::fs::write(folder.join("v1.device"), format!("{}\n", identity.device())).unwrap();
}

#[test]
fn debug_output_shows_no_secret() {
    let bytes = Secret::fill(|bytes| bytes.fill(0xAB));
    let random = SealingKey::random(bytes);
    assert_eq!(format!("{random:?}"), "SealingKey::Random(..)");
    let words = SealingKey::passphrase_at("open sesame", CHEAP).unwrap();
    assert_eq!(format!("{words:?}"), "SealingKey::Passphrase(..)");
    let made = Made::FromRandom([7; SALT]);
    let seal = Seal(Derived::again(&random, made).unwrap());
    assert_eq!(format!("{seal:?}"), format!("Seal {{ made: FromRandom({:?}), .. }}", [7; SALT]));
    let identity = identity(&words);
    let shown = format!("Identity {{ device: {:?}, .. }}", identity.device());
    assert_eq!(format!("{identity:?}"), shown);
}

#[test]
fn errors_quote_nothing() {
    let words = passphrase("open sesame");
    let mut sealed = identity(&words).sealed().unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    let error = error(&sealed, &words);
    assert_eq!(
        format!("{error} {error:?}"),
        "it is damaged, or no vault at all; restore it from a backup Damaged"
    );
}

/// Whatever holds a secret is one of these, which wipe themselves.
#[test]
fn secrets_are_wiped_when_they_are_dropped() {
    fn is_wiped<T: ZeroizeOnDrop>() {}
    is_wiped::<Secret<32>>();
    is_wiped::<Zeroizing<Vec<u8>>>();
    is_wiped::<Zeroizing<String>>();
    is_wiped::<Aes256Gcm>();
}

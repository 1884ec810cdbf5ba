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
    struct Key(Arc<()>);
    let alive = Arc::new(());
    let (slot, mut seen, mut idle) = (Slot::new(), Seen::nothing(), Seen::nothing());
    slot.put(at(0, 0), || Key(Arc::clone(&alive))).unwrap();
    assert!(Arc::ptr_eq(&seen.key(&slot).unwrap().0, &alive));
    assert!(idle.key(&slot).is_ok());
    slot.put(at(0, 1), || Key(Arc::new(()))).unwrap();
    assert!(seen.key(&slot).is_ok());
    assert_eq!(Arc::strong_count(&alive), 2, "one encryptor has not looked since");
    idle = Seen::nothing();
    assert_eq!(Arc::strong_count(&alive), 1);
    assert!(idle.key(&slot).is_ok());
}

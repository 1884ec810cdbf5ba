//! What is signed, byte by byte, and the JSON around it.

use vodozemac::{Curve25519PublicKey, olm::Account};

use super::*;
use crate::primitives::Timestamp;

const DEVICE: DeviceId = DeviceId::from_bytes([0xD0; 32]);
const SIGNATURE: Signature = Signature::from_bytes([0x51; 64]);

fn key(byte: u8) -> PublicKey {
    PublicKey(Curve25519PublicKey::from_bytes([byte; 32]))
}

/// Hexadecimal, with runs of one byte written `byte*count`.
fn hex(bytes: &[u8]) -> String {
    let runs = bytes.chunk_by(|a, b| a == b).map(|run| match run.len() {
        1..=3 => vec![format!("{:02x}", run[0]); run.len()].join(" "),
        many => format!("{:02x}*{many}", run[0]),
    });
    runs.collect::<Vec<_>>().join(" ")
}

/// What precedes a payload of this length in the signing form, without room and recipient.
fn head(kind: &str, payload: u8) -> String {
    let mut head = Vec::new();
    length_prefixed(&mut head, b"olmcast/1 signed");
    length_prefixed(&mut head, kind.as_bytes());
    head.extend([0; 11]);
    head.push(payload);
    hex(&head)
}

fn signed(make: impl FnOnce(&mut dyn FnMut(SigningForm<'_>) -> Signature)) -> String {
    let mut bytes = Vec::new();
    make(&mut |form| {
        bytes = form.to_bytes();
        SIGNATURE
    });
    hex(&bytes)
}

#[test]
fn device_keys() {
    let bytes = signed(|sign| {
        DeviceKeys::sign_with(DEVICE, key(0xC0), sign);
    });
    let expected = format!("{} 00 00 00 20 d0*32 00 00 00 20 c0*32", head("DeviceKeys", 72));
    assert_eq!(bytes, expected);
}

#[test]
fn a_one_time_key() {
    let bytes = signed(|sign| {
        OneTimeKey::sign_with(0x0102_0304_0506_0708, key(0xC0), sign);
    });
    let payload = "00 00 00 08 01 02 03 04 05 06 07 08 00 00 00 20 c0*32";
    assert_eq!(bytes, format!("{} {payload}", head("OneTimeKey", 48)));
}

#[test]
fn a_fallback_key() {
    let bytes = signed(|sign| {
        FallbackKey::sign_with(key(0xC0), sign);
    });
    assert_eq!(bytes, format!("{} 00 00 00 20 c0*32", head("FallbackKey", 36)));
}

#[test]
fn a_request() {
    let request = DirectoryRequest {
        method: "POST",
        path: "/p",
        server: "h:1",
        time: Timestamp::from_unix_millis(0x0102_0304_0506_0708),
        nonce: &[7; 16],
        body: b"abc",
    };
    let bytes = signed(|sign| {
        request.sign_with(sign);
    });
    // SHA-256 of "abc" (FIPS 180-2, appendix B.1).
    let expected = format!(
        "{} 00 00 00 04 50 4f 53 54 00 00 00 02 2f 70 00 00 00 03 68 3a 31 \
         00 00 00 08 01 02 03 04 05 06 07 08 00 00 00 10 07*16 00 00 00 20 \
         ba 78 16 bf 8f 01 cf ea 41 41 40 de 5d ae 22 23 b0 03 61 a3 96 17 7a 9c b4 10 ff 61 f2 00 \
         15 ad",
        head("DirectoryRequest", 4 * 6 + 4 + 2 + 3 + 8 + 16 + 32),
    );
    assert_eq!(bytes, expected);
}

#[test]
fn json() {
    let (s, c) = (SIGNATURE.to_string(), "wMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMA");
    let device_keys = DeviceKeys { device: DEVICE, curve25519: key(0xC0), signature: SIGNATURE };
    let one_time = OneTimeKey { number: 5, key: key(0xC0), signature: SIGNATURE };
    let fallback = FallbackKey { key: key(0xC0), signature: SIGNATURE };
    let upload = KeysUpload {
        device_keys: Some(device_keys.clone()),
        replace_one_time_keys: false,
        one_time_keys: vec![one_time],
        fallback_key: Some(fallback),
    };
    let d = format!(r#"{{"device":"{DEVICE}","curve25519":"{c}","signature":"{s}"}}"#);
    let o = format!(r#"{{"number":5,"key":"{c}","signature":"{s}"}}"#);
    let f = format!(r#"{{"key":"{c}","signature":"{s}"}}"#);
    let expected = format!(r#"{{"device_keys":{d},"one_time_keys":[{o}],"fallback_key":{f}}}"#);
    assert_eq!(serde_json::to_string(&upload).unwrap(), expected);
    assert_eq!(serde_json::from_str::<KeysUpload>(&expected).unwrap(), upload);
    assert_eq!(serde_json::to_string(&KeysUpload::default()).unwrap(), "{}");
    let replacing = KeysUpload { replace_one_time_keys: true, ..KeysUpload::default() };
    let expected = r#"{"replace_one_time_keys":true}"#;
    assert_eq!(serde_json::to_string(&replacing).unwrap(), expected);
    assert_eq!(serde_json::from_str::<KeysUpload>(expected).unwrap(), replacing);

    let key = ClaimedKey::OneTimeKey(one_time);
    let claimed = KeysClaimed { device_keys, key };
    let expected = format!(r#"{{"device_keys":{d},"key":{{"one_time_key":{o}}}}}"#);
    assert_eq!(serde_json::to_string(&claimed).unwrap(), expected);
    assert_eq!(serde_json::from_str::<KeysClaimed>(&expected).unwrap(), claimed);

    let refusal = r#"{"error":"clock_skew","message":"m","server_time":5}"#;
    let read: DirectoryRefusal = serde_json::from_str(refusal).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), refusal);
    let later = r#"{"error":"of_a_later_version","message":"m"}"#;
    let read: DirectoryRefusal = serde_json::from_str(later).unwrap();
    assert_eq!(read.error, DirectoryErrorCode::Unknown);
}

#[test]
fn a_signature_means_nothing_for_other_fields_or_another_kind() {
    let account = Account::new();
    let device = DeviceId::from_bytes(*account.ed25519_key().as_bytes());
    let sign =
        |form: SigningForm<'_>| Signature::from_bytes(account.sign(form.to_bytes()).to_bytes());
    let keys = DeviceKeys::sign_with(device, key(1), sign);
    let one_time = OneTimeKey::sign_with(5, key(2), sign);
    let fallback = FallbackKey::sign_with(key(3), sign);
    let good = KeysUpload {
        device_keys: Some(keys.clone()),
        replace_one_time_keys: false,
        one_time_keys: vec![one_time],
        fallback_key: Some(fallback),
    };
    assert_eq!(good.verify(&device), Ok(()));
    assert!(good.verify(&DEVICE).is_err(), "another's");
    let with_keys = |device_keys| KeysUpload { device_keys: Some(device_keys), ..good.clone() };
    let with_one = |key| KeysUpload { one_time_keys: vec![one_time, key], ..good.clone() };
    let with_fallback = |key| KeysUpload { fallback_key: Some(key), ..good.clone() };
    for (what, forged) in [
        ("device", with_keys(DeviceKeys { device: DEVICE, ..keys.clone() })),
        ("curve25519", with_keys(DeviceKeys { curve25519: key(9), ..keys.clone() })),
        ("number", with_one(OneTimeKey { number: 6, ..one_time })),
        ("key", with_one(OneTimeKey { key: key(9), ..one_time })),
        ("signature", with_one(OneTimeKey { signature: SIGNATURE, ..one_time })),
        ("fallback", with_fallback(FallbackKey { key: key(9), ..fallback })),
        ("kind", with_fallback(FallbackKey { key: key(2), signature: one_time.signature })),
    ] {
        assert!(forged.verify(&device).is_err(), "{what}");
    }
}

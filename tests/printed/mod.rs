//! Takes down what is printed, and searches it for secrets.

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use olmcast::{primitives::Invite, protocol::OlmMessage};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

/// Every way in which bytes are usually written.
fn written(secret: &[u8]) -> Vec<String> {
    let hex = |upper: bool, between: &str| {
        let digits = |byte: &u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        secret.iter().map(digits).collect::<Vec<_>>().join(between)
    };
    let decimal =
        |between: &str| secret.iter().map(u8::to_string).collect::<Vec<_>>().join(between);
    let mut written: Vec<_> = [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD]
        .map(|form| form.encode(secret))
        .into();
    written.extend(["", " ", ":", ", "].into_iter().flat_map(|b| [hex(false, b), hex(true, b)]));
    written.extend([", ", ",", " "].map(decimal));
    // Behind other bytes, base64 begins elsewhere in a byte.
    for before in 1..3 {
        let shifted = [&vec![0; before][..], secret].concat();
        for form in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            let text = form.encode(&shifted);
            written.push(text[4..text.len() - 2].to_owned());
        }
    }
    written
}

/// Any eight bytes of a secret in a row are too many.
pub(crate) fn assert_hidden(printed: &str, secrets: &[(&str, Vec<u8>)]) {
    for (what, secret) in secrets {
        assert!(secret.len() >= 16, "{what}");
        for part in secret.chunks_exact(8) {
            for form in written(part) {
                assert!(!printed.contains(&form), "{what} is printed: {form}");
            }
        }
        let raw = String::from_utf8_lossy(secret);
        assert!(!printed.contains(&*raw), "{what} is printed as it is");
    }
}

/// Takes down all that is traced, at every level and of every target.
#[derive(Clone, Default)]
pub(crate) struct Transcript(Arc<Mutex<String>>);

impl Visit for Transcript {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{field} {value:?} {value:#?}").unwrap();
    }
}

impl Subscriber for Transcript {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut self.clone());
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Transcript {
    pub(crate) fn note(&self, shown: &dyn Debug) {
        writeln!(self.0.lock().unwrap(), "{shown:?} {shown:#?}").unwrap();
    }

    pub(crate) fn note_error(&self, error: &(impl std::error::Error + ?Sized)) {
        writeln!(self.0.lock().unwrap(), "{error} {error:?}").unwrap();
    }

    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// The invite's secret, as it stands in its link, and what follows from it.
pub(crate) fn secrets_of(invite: &Invite) -> Vec<(&'static str, Vec<u8>)> {
    let link = invite.to_link();
    let secret = URL_SAFE_NO_PAD.decode(link.split_once('#').unwrap().1).unwrap();
    let expand = |info: &[u8]| {
        let mut key = vec![0; 32];
        hkdf::Hkdf::<sha2::Sha256>::new(None, &secret).expand(info, &mut key).unwrap();
        key
    };
    let mut admission = Vec::new();
    for part in [&b"olmcast/1 admission"[..], invite.room().as_bytes()] {
        olmcast::primitives::length_prefixed(&mut admission, part);
    }
    let (door, admission) = (expand(b"olmcast/1 door key"), expand(&admission));
    vec![("the invite", secret), ("the door", door), ("the admission key", admission)]
}

/// What a stream's key message gives away to whoever may read it.
pub(crate) fn secrets_of_key(message: &OlmMessage) -> Vec<(&'static str, Vec<u8>)> {
    let OlmMessage::StreamKey(key) = message else { panic!() };
    let bytes = key.session_key.expose();
    vec![("the ratchet", bytes[5..133].to_vec()), ("the signature", bytes[165..].to_vec())]
}

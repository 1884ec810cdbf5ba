//! Bytes that nobody signed or encrypted, at a publisher and a subscriber that have a live stream:
//! whatever they are, they are refused, are answered with nothing and change nothing.
//!
//! Runs of as many bytes of one value as they are long stand for the devices, rooms, keys and
//! streams that are there, which are others each time.

use std::cell::RefCell;

use olmcast::{
    primitives::Timestamp,
    protocol::{Envelope, EnvelopeError, MAX_ENVELOPE},
};
use serde::Serialize;

use super::stage::{Stage, To};

thread_local! {
    // Nothing may change it, so it serves all inputs.
    static STAGE: RefCell<Stage> = RefCell::new(Stage::new());
}

pub fn run(data: &[u8]) {
    reads(data);
    STAGE.with_borrow_mut(|stage| {
        let named = name(stage, data);
        reads(&named);
        for bytes in [data, &named] {
            arrives(stage, bytes);
        }
    });
}

fn reads(bytes: &[u8]) {
    let decoded = Envelope::decode(bytes);
    match &decoded {
        Ok(envelope) => {
            let encoded = envelope.encode().unwrap();
            assert!(encoded.len() <= bytes.len(), "a number need not be written longer");
            assert_eq!(Envelope::decode(&encoded), decoded);
            assert_eq!(Envelope::decode(&bytes[..bytes.len() - 1]), Err(EnvelopeError::Syntax));
            assert!(Envelope::decode(&[bytes, &[0]].concat()).is_err());
        }
        Err(EnvelopeError::TooLarge) => assert!(bytes.len() > MAX_ENVELOPE),
        Err(EnvelopeError::Version(version)) => assert!(bytes[0] == *version && *version != 1),
        Err(EnvelopeError::Syntax) => assert!(bytes.first().is_none_or(|version| *version == 1)),
    }
}

fn arrives(stage: &mut Stage, bytes: &[u8]) {
    let before = stage.snapshot();
    for to in [To::Publisher, To::Subscriber] {
        let timers = timers(stage);
        let refused = stage.deliver(to, bytes);
        assert!(refused.is_err(), "{to:?} took what nobody made");
        assert!(!stage.is_used, "{to:?} answered {refused:?}");
        assert_eq!(timers, self::timers(stage), "{to:?} has another timer after {refused:?}");
    }
    assert_eq!(stage.snapshot(), before);
}

fn timers(stage: &Stage) -> [Option<Timestamp>; 2] {
    [stage.publisher.poll_timeout(), stage.subscriber.poll_timeout()]
}

/// The values that stand for a name begin here; no tag is so large.
const FIRST_NAME: u8 = 0xC1;

/// Puts the names of what is there into the places that are kept for them.
fn name(stage: &Stage, bytes: &[u8]) -> Vec<u8> {
    fn text(name: &impl Serialize) -> Vec<u8> {
        let json = serde_json::to_vec(name).unwrap();
        json[1..json.len() - 1].to_vec()
    }
    let names = [
        stage.device(To::Publisher).as_bytes().to_vec(),
        stage.device(To::Subscriber).as_bytes().to_vec(),
        stage.forger.device.as_bytes().to_vec(),
        stage.member.device.as_bytes().to_vec(),
        stage.keys.room().as_bytes().to_vec(),
        stage.asked.one_time_key.0.as_bytes().to_vec(),
        stage.forger.curve25519().0.as_bytes().to_vec(),
        stage.stream.stream.as_bytes().to_vec(),
        stage.forged.stream.as_bytes().to_vec(),
        text(&stage.stream.stream),
        text(&stage.forged.stream),
        text(&stage.asked.one_time_key),
    ];
    let mut named = bytes.to_vec();
    let mut at = 0;
    while at < named.len() {
        let (value, end) = (named[at], named[at..].iter().position(|byte| *byte != named[at]));
        let end = at + end.unwrap_or(named.len() - at);
        let name = usize::from(value).checked_sub(FIRST_NAME.into()).and_then(|i| names.get(i));
        let place = name.and_then(|name| Some((name, named[at..end].get_mut(..name.len())?)));
        at = match place {
            Some((name, place)) => {
                place.copy_from_slice(name);
                at + name.len()
            }
            None => end,
        };
    }
    named
}

//! Messages that are properly signed or encrypted, by a member, a publisher and a stranger with
//! tools of their own, and honest ones that were altered on the way.
//!
//! An input is a list of messages: a route, a length in units of four bytes, and what the route
//! makes a message of.

mod content;

use std::cell::RefCell;

use olmcast::{
    device::TrustState,
    endpoint::SubscriptionStatus,
    primitives::{DeviceId, Timestamp},
    protocol::{
        Answers, Carrier, Envelope, Kind, OlmMessage,
        service::{ClientFrame, FrameError, ServerFrame},
    },
};

use super::{
    script::Script,
    stage::{Snapshot, Stage, To},
};

const MAX_MESSAGES: usize = 8;
/// The route on which the publisher's user does something.
const USERS: u8 = 255;

thread_local! {
    // Kept as long as nothing was taken: then it is as it was.
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

pub fn run(data: &[u8]) {
    let mut stage = STAGE.take().unwrap_or_else(Stage::new);
    let mut input = Script(data);
    for _ in 0..MAX_MESSAGES {
        if input.0.is_empty() {
            break;
        }
        let (route, length) = (input.next(), 4 * usize::from(input.next()));
        let (body, rest) = input.0.split_at(input.0.len().min(length));
        input.0 = rest;
        one(&mut stage, route, body);
        stage.hear();
    }
    if !stage.is_used {
        STAGE.set(Some(stage));
    }
}

fn one(stage: &mut Stage, route: u8, body: &[u8]) {
    let mut script = Script(body);
    let member = stage.member.device;
    if route == USERS {
        return users(stage, script);
    }
    match route % 12 {
        0..3 => signed(stage, script),
        3 => {
            let bytes = stage.held.encrypt(body);
            content::plaintext_survives(body);
            arrives(stage, To::Publisher, member, None, &bytes);
        }
        4 => {
            let message = content::message(stage, true, &mut script);
            let bytes = stage.held.encrypt(&message);
            arrives(stage, To::Publisher, member, None, &bytes);
        }
        5 => answer(stage, &content::named(stage, body)),
        6 | 7 => {
            let message = content::message(stage, false, &mut script);
            answer(stage, &message);
        }
        8 => beacon(stage, script),
        9 => altered(stage, script),
        10 => passes(stage, 100 * u64::from(script.next())),
        _ => frames(body),
    }
}

/// The publisher's user verifies somebody. No input can know the secret that is agreed on then, so
/// none leads to anybody's being verified.
fn users(stage: &mut Stage, mut script: Script<'_>) {
    let whom = match script.next() & 3 {
        0 => stage.member.device,
        1 => stage.forger.device,
        2 => stage.stranger.device,
        _ => stage.newcomer.device,
    };
    let (room, now) = (stage.keys.room(), Timestamp::from_unix_millis(stage.now));
    let publisher = &mut stage.publisher;
    // An error says that there is nothing to be done.
    let _ = match script.next() & 3 {
        0 => publisher.verify(room, whom, now),
        1 => publisher.confirm_verification(whom, now),
        2 => publisher.reject_verification(whom, now),
        _ => publisher.cancel_verification(whom, now),
    };
    let before = stage.snapshot();
    stage.pass(1);
    assert!(nobody_is_verified(stage));
    goes_on(stage, &before, &stage.snapshot());
}

fn nobody_is_verified(stage: &Stage) -> bool {
    let endpoints = [&stage.publisher, &stage.subscriber];
    let mut known = endpoints.into_iter().flat_map(|endpoint| endpoint.memory().trust().iter());
    known.all(|known| known.state != TrustState::Verified)
}

/// To the subscriber, from the publisher that it asked. A key that it takes answers it, its
/// generation was never there before, and its session is not the newest one's.
fn answer(stage: &mut Stage, message: &[u8]) {
    let (forger, before) = (stage.forger.device, stage.hoard.sessions());
    let bytes = stage.answer.encrypt(message);
    arrives(stage, To::Subscriber, forger, None, &bytes);
    if stage.hoard.sessions() == before {
        return;
    }
    let Some(OlmMessage::StreamKey(key)) = content::read(message) else { panic!("no key") };
    let asked = |message: &OlmMessage, id| match message {
        OlmMessage::StreamKeyRequest(request) => request.request == id,
        _ => false,
    };
    assert!(match key.answers {
        Answers::OneTimeKey(key) => key == stage.asked.one_time_key,
        Answers::Request(id) => stage.answer.received.iter().any(|message| asked(message, id)),
    });
    let new = (content::session_id(key.session_key.expose()), key.position.generation);
    let newest = stage.taken.iter().max_by_key(|known| known.1);
    assert!(newest.is_none_or(|newest| newest.0 != new.0));
    assert!(stage.taken.iter().all(|known| known.1 != new.1));
    stage.taken.push(new);
}

/// What it announces, if it is believed, is where the session is that it came under.
fn beacon(stage: &mut Stage, mut script: Script<'_>) {
    let (forger, before) = (stage.forger.device, stage.snapshot().forged);
    let (which, message) = content::beacon(stage, &mut script);
    let carrier = Carrier::Megolm { stream: stage.forged.stream, message };
    let bytes = Envelope { sender: forger, carrier }.encode().unwrap();
    arrives(stage, To::Subscriber, forger, Some(Kind::Beacon), &bytes);
    let after = stage.snapshot().forged;
    if let (Some(before), Some(after)) = (before, after)
        && before.position != after.position
    {
        let session = &stage.sessions[which];
        let id = content::session_id(&session.session_key().to_bytes());
        let at = after.position.unwrap();
        assert_eq!(u32::from(at.step.get()), session.message_index());
        assert!(stage.taken.contains(&(id, at.generation)));
    }
}

/// Any payload under a right signature; with the invite or without, to whom it is for or not.
fn signed(stage: &mut Stage, mut script: Script<'_>) {
    const KINDS: [Kind; 17] = [
        Kind::StreamOffer,
        Kind::StreamEnd,
        Kind::Subscribe,
        Kind::Unsubscribe,
        Kind::StreamKeyWithheld,
        Kind::StreamKey,
        Kind::StreamKeyAck,
        Kind::StreamKeyRequest,
        Kind::Renew,
        Kind::Renewed,
        Kind::Beacon,
        Kind::VerificationStart,
        Kind::VerificationAccept,
        Kind::VerificationKey,
        Kind::VerificationMac,
        Kind::VerificationDone,
        Kind::VerificationCancel,
    ];
    let (whom, kind) = (script.next(), KINDS[usize::from(script.next()) % KINDS.len()]);
    let to = if whom & 16 == 0 { To::Publisher } else { To::Subscriber };
    let recipient = match whom >> 5 & 3 {
        0 | 1 => Some(stage.device(to)),
        2 => None,
        _ => Some(stage.member.device),
    };
    let payload = content::named(stage, script.0);
    content::payload_survives(kind, &payload);
    let by = match whom & 3 {
        0 => &stage.member,
        1 => &stage.forger,
        2 => &stage.stranger,
        _ => &stage.newcomer,
    };
    let (sender, bytes) = (by.device, by.sign(kind, stage.keys.room(), recipient, &payload));
    let is_taken = arrives(stage, to, sender, Some(kind), &bytes);
    assert!(!is_taken || recipient.is_none_or(|device| device == stage.device(to)));
}

/// Something that arrived already, altered or not. It says nothing new.
fn altered(stage: &mut Stage, mut script: Script<'_>) {
    let index = usize::from(script.next()) % stage.log.len();
    let (to, mut bytes) = stage.log[index].clone();
    while !script.0.is_empty() {
        script.alter(&mut bytes);
    }
    let before = stage.snapshot();
    let _ = stage.deliver(to, &bytes);
    let after = stage.snapshot();
    assert!(stage.told.drain(..).all(|device| before.devices().contains(&device)));
    assert_eq!(before, after);
}

/// Hands over a message and compares what became of it with what its kind and sender may do. Says
/// whether it was taken.
fn arrives(stage: &mut Stage, to: To, sender: DeviceId, kind: Option<Kind>, bytes: &[u8]) -> bool {
    let before = stage.snapshot();
    let result = stage.deliver(to, bytes);
    let after = stage.snapshot();
    if result.is_err() {
        assert_eq!(before, after, "{result:?}");
    }
    let (was, is) = (before.devices(), after.devices());
    let is_at = |place| to == place;
    for device in is.iter().filter(|device| !was.contains(device)) {
        let may = is_at(To::Publisher) && kind == Some(Kind::Subscribe) && *device == sender;
        assert!(may && sender != stage.stranger.device, "{kind:?} lets somebody in");
    }
    for device in was.iter().filter(|device| !is.contains(device)) {
        let may = is_at(To::Publisher) && kind == Some(Kind::Unsubscribe) && *device == sender;
        assert!(may, "{kind:?} removes somebody");
    }
    if is_at(To::Subscriber) {
        assert_eq!((before.position, &before.live), (after.position, &after.live));
        assert!(sender == stage.forger.device || before.forged == after.forged);
    } else {
        assert_eq!((&before.forged, before.hoarded), (&after.forged, after.hoarded));
    }
    let is_key = is_at(To::Subscriber) && kind.is_none();
    assert!(after.hoarded - before.hoarded <= usize::from(is_key));
    goes_on(stage, &before, &after);
    result.is_ok()
}

/// What holds for every message and every moment.
fn goes_on(stage: &mut Stage, before: &Snapshot, after: &Snapshot) {
    assert!(after.position >= before.position, "the publisher went back");
    for (before, after) in [(&before.live, &after.live), (&before.forged, &after.forged)] {
        let is_closed = |status| matches!(status, SubscriptionStatus::Closed(_));
        if let (Some(before), Some(after)) = (before, after)
            && !is_closed(after.status)
        {
            assert!(!is_closed(before.status), "it was over");
            assert!(after.position >= before.position, "the subscriber went back");
        }
    }
    let (was, is) = (before.devices(), after.devices());
    assert!(nobody_is_verified(stage));
    for device in stage.told.drain(..) {
        assert!(was.contains(&device) || is.contains(&device), "a key for somebody who is none");
    }
    assert!(!is.contains(&stage.stranger.device));
}

fn passes(stage: &mut Stage, ms: u64) {
    let before = stage.snapshot();
    stage.pass(ms);
    let after = stage.snapshot();
    // Nobody was there to let in, but for our own subscriber, should it have to ask anew.
    let mut came = after.devices();
    came.retain(|device| !before.devices().contains(device));
    assert!(came.is_empty() || came == [stage.subscriber.device()]);
    goes_on(stage, &before, &after);
}

/// What is read is all that is there, and the same once it was written and read again.
fn frames(body: &[u8]) {
    let followed = [body, &[0]].concat();
    if let Ok(frame) = ClientFrame::decode(body) {
        assert_eq!(ClientFrame::decode(&followed), Err(FrameError::Malformed));
        let encoded = frame.encode().unwrap();
        assert!(encoded.len() <= body.len());
        assert_eq!(ClientFrame::decode(&encoded), Ok(frame));
    }
    if let Ok(frame) = ServerFrame::decode(body) {
        assert_eq!(ServerFrame::decode(&followed), Err(FrameError::Malformed));
        let encoded = frame.encode().unwrap();
        assert!(encoded.len() <= body.len());
        assert_eq!(ServerFrame::decode(&encoded), Ok(frame));
    }
}

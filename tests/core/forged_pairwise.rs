//! The messages under Olm that are no keys, each wrong in one place: refused with an error that
//! says why, nothing changes and nothing is answered. Each test ends with the right message.

use olmcast::{
    device::PairwiseError,
    endpoint::MessageError,
    primitives::{DeviceId, StreamId, StreamRef},
    protocol::{
        Answers, Carrier, Envelope, EnvelopeError, Kind, MAX_ENVELOPE, OfferHash, OlmCarrier,
        OlmMessage, OlmPlaintext, Place, Renew, Renewed, StreamKey, StreamKeyAck, StreamKeyRequest,
    },
    sframe::CipherSuite,
};
use vodozemac::olm::Account;

use crate::{
    forger::{at, group_session, roster, session_key},
    network::{Room, invite},
    tools::{Signs, encode, signed, state},
    visitor::Visitor,
};

const KIND_AT: usize = 32;

fn olm_error(error: PairwiseError) -> MessageError {
    MessageError::Olm(error)
}

/// A visitor of an honest publisher's, and what is refused there.
struct Scene {
    room: Room,
    visitor: Visitor,
}

impl Scene {
    fn new() -> Self {
        let mut room = Room::with(1);
        let visitor = Visitor::join(&mut room);
        Self { room, visitor }
    }

    fn given(&self) -> StreamKey {
        match &self.visitor.heard[0] {
            OlmMessage::StreamKey(key) => key.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, what: &str, bytes: &[u8]) -> MessageError {
        let (stream, publisher) = (self.room.stream, self.room.stream.publisher);
        let before = (state(&mut self.room.net, stream), self.room.net.log.len());
        let errors = self.room.net.nodes[&publisher].errors.len();
        self.room.net.deliver(publisher, bytes);
        let error = self.room.net.nodes[&publisher].errors.get(errors).copied();
        let error = error.unwrap_or_else(|| panic!("{what}: taken"));
        let after = (state(&mut self.room.net, stream), self.room.net.log.len());
        assert_eq!(after, before, "{what}");
        error
    }

    fn refused_plaintext(&mut self, what: &str, expected: PairwiseError, plaintext: &[u8]) {
        let bytes = encode(&self.visitor.seal(plaintext));
        assert_eq!(self.refused(what, &bytes), olm_error(expected), "{what}");
    }

    /// All that can be wrong with a message whatever it says.
    fn refuse_variants_of(&mut self, message: &OlmMessage) {
        self.refuse_contents(message);
        self.refuse_envelopes(message);
    }

    fn refuse_contents(&mut self, message: &OlmMessage) {
        let right = self.visitor.plaintext(message.clone());
        for length in 0..right.len() {
            let what = format!("cut to {length}");
            self.refused_plaintext(&what, PairwiseError::Syntax, &right[..length]);
        }
        for kind in [5, 6, 0x80, 0xff] {
            let mut unknown = right.clone();
            unknown[KIND_AT] = kind;
            self.refused_plaintext("of an unknown kind", PairwiseError::Syntax, &unknown);
        }
        let (stream, us, room) = (self.room.stream, self.visitor.id(), self.room.invite.room());
        let (publisher, other) = (stream.publisher, self.room.subscribers[0]);
        let elsewhere = StreamRef { stream: StreamId::from_bytes([6; 16]), ..stream };
        for place in [
            Place::new(room, stream, other, publisher),
            Place::new(room, stream, us, other),
            Place::new(room, stream, publisher, us),
            Place::new(room, elsewhere, us, publisher),
            Place::new(room, StreamRef { publisher: us, ..stream }, us, publisher),
            Place::new(invite().room(), stream, us, publisher),
        ] {
            let plaintext = OlmPlaintext { place, message: message.clone() }.encode();
            self.refused_plaintext("elsewhere", PairwiseError::Misdirected, &plaintext);
        }
        let renewed = Renewed {
            nonce: 1,
            ticket: 0,
            position: at(9, 9),
            offer: OfferHash::of(b"offer"),
            roster: roster(1),
        };
        for of_a_publisher in [OlmMessage::StreamKey(self.given()), OlmMessage::Renewed(renewed)] {
            let plaintext = self.visitor.plaintext(of_a_publisher);
            self.refused_plaintext("a publisher's", PairwiseError::Misdirected, &plaintext);
        }
    }

    fn refuse_envelopes(&mut self, message: &OlmMessage) {
        let plaintext = self.visitor.plaintext(message.clone());
        let right = self.visitor.seal(&plaintext);
        let bytes = encode(&right);
        let Carrier::Olm(carrier) = right.carrier.clone() else { panic!() };
        let (other, stranger) = (self.room.subscribers[0], Account::new().id());
        let (sender, publisher) = (right.sender, self.room.stream.publisher);
        let with = |sender: DeviceId, change: &dyn Fn(&mut OlmCarrier)| {
            let mut carrier = carrier.clone();
            change(&mut carrier);
            encode(&Envelope { sender, carrier: Carrier::Olm(carrier) })
        };
        let decryption = olm_error(PairwiseError::Decryption);
        for (what, expected, bytes) in [
            ("another holder's", decryption, with(other, &|_| ())),
            ("a stranger's", olm_error(PairwiseError::Session), with(stranger, &|_| ())),
            ("the publisher's own", MessageError::Old, with(publisher, &|_| ())),
            ("for another", MessageError::Misdirected, with(sender, &|c| c.recipient = other)),
            (
                "about another stream",
                MessageError::UnknownStream,
                with(sender, &|c| {
                    c.stream = StreamId::from_bytes([6; 16]);
                }),
            ),
            (
                "turned round",
                MessageError::UnknownStream,
                with(sender, &|c| {
                    c.from_publisher = true;
                }),
            ),
            (
                "as a first message",
                olm_error(PairwiseError::Syntax),
                with(sender, &|c| {
                    c.message_type = 0;
                }),
            ),
            (
                "of another type",
                olm_error(PairwiseError::Syntax),
                with(sender, &|c| {
                    c.message_type = 2;
                }),
            ),
        ] {
            assert_eq!(self.refused(what, &bytes), expected, "{what}");
        }
        for length in 0..bytes.len() {
            self.refused(&format!("cut to {length}"), &bytes[..length]);
        }
        for length in 0..carrier.ciphertext.len() {
            let cut = with(sender, &|carrier| carrier.ciphertext.truncate(length));
            let error = self.refused(&format!("ciphertext cut to {length}"), &cut);
            assert!(matches!(error, MessageError::Olm(_)), "{error}");
        }
        for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            self.refused(&format!("bit {bit} of {at} turned"), &altered);
        }
        for tail in [&[0][..], &[0x2a, 1, 7]] {
            self.refused("extended", &[&bytes[..], tail].concat());
            let extended = with(sender, &|carrier| carrier.ciphertext.extend_from_slice(tail));
            self.refused("ciphertext extended", &extended);
        }
        let large = with(sender, &|carrier| carrier.ciphertext.extend([0; MAX_ENVELOPE]));
        let too_large = MessageError::Envelope(EnvelopeError::TooLarge);
        assert_eq!(self.refused("too large", &large), too_large);
        self.refuse_carriers(message, &plaintext, &carrier.ciphertext);
    }

    fn refuse_carriers(&mut self, message: &OlmMessage, plaintext: &[u8], ciphertext: &[u8]) {
        let kind = match message {
            OlmMessage::StreamKeyAck(_) => Kind::StreamKeyAck,
            OlmMessage::StreamKeyRequest(_) => Kind::StreamKeyRequest,
            _ => Kind::Renew,
        };
        let (keys, stream) = (self.room.invite.room_keys(), self.room.stream);
        for payload in [plaintext, ciphertext] {
            let to = Some(stream.publisher);
            let envelope = signed(&self.visitor.account, &keys, to, kind, payload);
            assert_eq!(self.refused("signed", &encode(&envelope)), MessageError::Content(kind));
            let carrier = Carrier::Megolm { stream: stream.stream, message: payload.to_vec() };
            let envelope = Envelope { sender: self.visitor.id(), carrier };
            assert_eq!(self.refused("in Megolm's place", &encode(&envelope)), MessageError::NoKey);
        }
    }

    /// The right one, and the same bytes again.
    fn take_once(&mut self, message: OlmMessage) {
        let plaintext = self.visitor.plaintext(message);
        let bytes = encode(&self.visitor.seal(&plaintext));
        let publisher = self.room.stream.publisher;
        let errors = self.room.net.nodes[&publisher].errors.len();
        self.room.net.deliver(publisher, &bytes);
        assert_eq!(self.room.net.nodes[&publisher].errors.len(), errors, "it is taken");
        for _ in 0..3 {
            let error = self.refused("replayed", &bytes);
            assert_eq!(error, olm_error(PairwiseError::Decryption));
        }
    }

    fn confirmed(&mut self) -> bool {
        let (stream, visitor) = (self.room.stream, self.visitor.id());
        let holders = self.room.net.endpoint(stream.publisher).holders(stream.stream);
        holders.iter().any(|holder| holder.device == visitor && holder.confirmed.is_some())
    }
}

#[test]
fn an_ack_that_is_wrong_in_one_place_is_refused_and_confirms_nothing() {
    let mut scene = Scene::new();
    let share = scene.given().share;
    let right = OlmMessage::StreamKeyAck(StreamKeyAck { share, accepted: true });
    scene.refuse_variants_of(&right);
    // Of another share, even another holder's, it says nothing; nor does a refusal confirm.
    for (share, accepted) in [(share ^ 1, true), (0, true), (share, false)] {
        let other = OlmMessage::StreamKeyAck(StreamKeyAck { share, accepted });
        scene.visitor.say(&mut scene.room, other);
        assert!(!scene.confirmed());
    }
    scene.take_once(right);
    assert!(scene.confirmed());
}

#[test]
fn a_request_that_is_wrong_in_one_place_is_refused_and_answered_with_nothing() {
    let mut scene = Scene::new();
    let request = StreamKeyRequest { request: 77, held: None, key_id: 1 };
    let right = OlmMessage::StreamKeyRequest(request);
    scene.refuse_variants_of(&right);
    assert_eq!(scene.visitor.hear(&scene.room), []);
    scene.take_once(right);
    let said = scene.visitor.hear(&scene.room);
    let answer = |message: &OlmMessage| match message {
        OlmMessage::StreamKey(key) => Some(key.answers),
        _ => None,
    };
    assert_eq!(said.iter().filter_map(answer).collect::<Vec<_>>(), [Answers::Request(77)]);
}

#[test]
fn a_renew_that_is_wrong_in_one_place_is_refused_and_answered_with_nothing() {
    let mut scene = Scene::new();
    let right = OlmMessage::Renew(Renew { nonce: 5, ticket: 0 });
    scene.refuse_variants_of(&right);
    assert_eq!(scene.visitor.hear(&scene.room), []);
    scene.take_once(right);
    let said = scene.visitor.hear(&scene.room);
    assert!(matches!(said[..], [OlmMessage::Renewed(Renewed { nonce: 5, .. })]), "{said:?}");
}

#[test]
fn a_key_that_a_subscriber_sends_to_a_publisher_is_taken_by_nobody() {
    let mut scene = Scene::new();
    let session = group_session(0);
    let forged = StreamKey {
        share: 1,
        position: at(7, 0),
        session_key: session_key(&session.session_key().to_bytes()),
        suite: CipherSuite::default(),
        offer: scene.given().offer,
        answers: scene.given().answers,
        roster: roster(0),
    };
    let plaintext = scene.visitor.plaintext(OlmMessage::StreamKey(forged));
    scene.refused_plaintext("a key", PairwiseError::Misdirected, &plaintext);
    let a = scene.room.subscribers[0];
    assert!(scene.room.reads(a));
}
